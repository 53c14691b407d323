// SPDX-License-Identifier: MIT
#pragma once
// Characters as Python's str sees them: code points, their classes and their cases. Bytes that are no UTF-8 are characters of their own.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/detail/utf8.hpp>
#include <skald/text/jinja/python_text_table.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

/// The bits of python_class of a code point. Cost: 12 comparisons.
inline std::uint8_t class_of(char32_t code) noexcept {
    const auto* above =
        std::upper_bound(std::begin(python_classes), std::end(python_classes), static_cast<std::uint32_t>(code) << 8 | 0xFF);
    return static_cast<std::uint8_t>(*(above - 1) & 0xFF);
}

/// str.isspace, which is \s of Python's expressions too.
constexpr bool is_space(char32_t c) noexcept {
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// Where str.splitlines breaks; \r\n breaks once.
constexpr bool is_line_break(char32_t c) noexcept {
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

/// The bytes of white space at `at`.
inline std::size_t space_at(std::string_view text, std::size_t at) noexcept {
    std::size_t p = at;
    while (p < text.size()) {
        const auto u = text::detail::unit_at(text, p);
        if (!is_space(u.code)) break;
        p += u.length;
    }
    return p - at;
}

/// Where the character that ends at `end` starts; end > 0.
inline std::size_t before(std::string_view text, std::size_t end) noexcept {
    for (std::size_t n = 2; n <= 4 && n <= end; ++n)
        if (text::detail::unit_at(text.substr(0, end), end - n).length == n) return end - n;
    return end - 1;
}

inline std::string_view stripped_right(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t last = before(text, text.size());
        if (!is_space(text::detail::unit_at(text, last).code)) break;
        text = text.substr(0, last);
    }
    return text;
}

inline void append_utf8(std::string& out, char32_t code) {
    const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xC0 | (code >> 6));
        tail(0);
    } else if (code < 0x10000) {
        out += static_cast<char>(0xE0 | (code >> 12));
        tail(6), tail(0);
    } else {
        out += static_cast<char>(0xF0 | (code >> 18));
        tail(12), tail(6), tail(0);
    }
}

template <std::size_t N>
std::int32_t delta_of(const case_range (&ranges)[N], char32_t code, std::int32_t otherwise) noexcept {
    const auto* above =
        std::upper_bound(std::begin(ranges), std::end(ranges), code, [](char32_t c, const case_range& r) { return c < r.first; });
    if (above == std::begin(ranges)) return otherwise;
    const case_range& r = *(above - 1);
    return code <= r.last && (code - r.first) % r.step == 0 ? r.delta : otherwise;
}

enum class letter_case { upper, lower, title };

/// Appends a character in another case.
inline void append_in_case(std::string& out, char32_t code, letter_case to) {
    if (code < 0x80) {
        const bool changes = to == letter_case::lower ? code >= 'A' && code <= 'Z' : code >= 'a' && code <= 'z';
        out += static_cast<char>(changes ? code ^ 0x20 : code);
        return;
    }
    if (to == letter_case::lower && code == 0x130) {
        out += "i\xCC\x87";
        return;
    }
    if (to != letter_case::lower) {
        const auto* found = std::lower_bound(std::begin(case_expansions), std::end(case_expansions), code,
                                             [](const case_expansion& e, char32_t c) { return e.code < c; });
        if (found != std::end(case_expansions) && found->code == code) {
            out += to == letter_case::upper ? found->upper : found->title;
            return;
        }
    }
    std::int32_t delta = to == letter_case::lower ? delta_of(lower_ranges, code, 0) : delta_of(upper_ranges, code, 0);
    if (to == letter_case::title) delta = delta_of(title_ranges, code, delta);
    append_utf8(out, static_cast<char32_t>(static_cast<std::int32_t>(code) + delta));
}

/// A text's characters by number.
class characters {
public:
    explicit characters(std::string_view text) : size_(text.size()) {
        if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return;
        for (std::size_t at = 0; at < text.size(); at += text::detail::unit_at(text, at).length) starts_.push_back(at);
        ascii_ = false;
    }

    std::size_t count() const noexcept { return ascii_ ? size_ : starts_.size(); }
    /// Where the i-th character starts; of count(), the text's end.
    std::size_t start(std::size_t i) const noexcept { return ascii_ ? i : i < starts_.size() ? starts_[i] : size_; }

private:
    std::size_t size_;
    bool ascii_ = true;
    std::vector<std::size_t> starts_;
};

inline std::size_t count_characters(std::string_view text) noexcept {
    std::size_t n = 0;
    for (std::size_t at = 0; at < text.size(); at += text::detail::unit_at(text, at).length) ++n;
    return n;
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
