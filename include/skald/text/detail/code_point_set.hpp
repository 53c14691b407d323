// SPDX-License-Identifier: MIT
#pragma once
// Sets of code points as regular expressions write them: ranges, general categories, scripts, and what can be made of these.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/text/detail/category_table.hpp>
#include <skald/text/detail/char_class.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::text::detail {

/// What a byte that belongs to no code point reads as: a member of complements only.
inline constexpr char32_t stray_byte = 0x110000;

/// The code point at `text[at]` and its length; `stray_byte` for a byte of none.
struct code_unit {
    char32_t code;
    std::uint8_t length;
};

constexpr code_unit code_unit_at(std::string_view text, std::size_t at) noexcept {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) return {lead, 1};
    const utf8_prefix found = utf8_at(text, at);
    if (found.present < found.length) return {stray_byte, 1};
    char32_t code = lead & (0xFFu >> (found.length + 1));
    for (std::size_t i = 1; i < found.length; ++i) code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
    return {code, found.length};
}

/// Where the unit that ends at `at` starts; at > 0.
constexpr std::size_t unit_before(std::string_view text, std::size_t at) noexcept {
    for (std::size_t length = 2; length <= 4 && length <= at; ++length)
        if (code_unit_at(text, at - length).length == length) return at - length;
    return at - 1;
}

/// Code points and `stray_byte`. Membership costs one shift below 128, a binary search above.
class code_point_set {
public:
    struct range {
        char32_t first, last;
        friend bool operator==(const range&, const range&) = default;
    };

    code_point_set() = default;
    code_point_set(char32_t first, char32_t last) { add(first, last); }

    /// The members whose entry in the category table satisfies `accept(properties)`.
    template <class Accept>
    static code_point_set of_properties(Accept accept) {
        code_point_set out;
        for (const std::uint32_t* p = std::begin(category_ranges); p != std::end(category_ranges); ++p)
            if (accept(*p & 0x7FFu))
                out.ranges_.push_back({*p >> 11, (p + 1 == std::end(category_ranges) ? stray_byte : *(p + 1) >> 11) - 1});
        out.tidy();
        return out;
    }

    void add(char32_t first, char32_t last) {
        ranges_.push_back({first, last});
        tidy();
    }

    void add(const code_point_set& other) {
        ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
        tidy();
    }

    code_point_set complement() const {
        code_point_set out;
        char32_t next = 0;
        for (const range& r : ranges_) {
            if (r.first > next) out.ranges_.push_back({next, r.first - 1});
            next = r.last + 1;
        }
        if (next <= stray_byte) out.ranges_.push_back({next, stray_byte});
        out.tidy();
        return out;
    }

    code_point_set intersection(const code_point_set& other) const {
        code_point_set out = complement();
        out.add(other.complement());
        return out.complement();
    }

    /// The least member of a set that has one.
    char32_t first() const noexcept { return ranges_.front().first; }

    bool contains(char32_t code) const noexcept {
        if (code < 128) return (ascii_[code >> 6] >> (code & 63) & 1) != 0;
        const auto above = std::upper_bound(ranges_.begin(), ranges_.end(), code, [](char32_t c, const range& r) { return c < r.first; });
        return above != ranges_.begin() && std::prev(above)->last >= code;
    }

    friend bool operator==(const code_point_set& a, const code_point_set& b) { return a.ranges_ == b.ranges_; }

private:
    /// Sorts, joins neighbours and notes the members of ASCII.
    void tidy() {
        std::sort(ranges_.begin(), ranges_.end(), [](const range& a, const range& b) { return a.first < b.first; });
        std::size_t n = 0;
        for (const range& r : ranges_) {
            if (n > 0 && r.first <= ranges_[n - 1].last + 1)
                ranges_[n - 1].last = std::max(ranges_[n - 1].last, r.last);
            else
                ranges_[n++] = r;
        }
        ranges_.resize(n);
        ascii_[0] = ascii_[1] = 0;
        for (const range& r : ranges_)
            for (char32_t c = r.first; c <= r.last && c < 128; ++c) ascii_[c >> 6] |= std::uint64_t{1} << (c & 63);
    }

    std::vector<range> ranges_;  // ascending, apart
    std::uint64_t ascii_[2] = {0, 0};
};

/// Whether a code point with these properties is \w in brackets: ², ³, ¹, ¼, ½ and ¾ are words outside of them only.
constexpr bool is_bracketed_word(std::uint32_t properties) noexcept {
    constexpr std::uint32_t other_number = 15;
    static_assert(category_names[other_number] == "No");
    return (properties & is_word) != 0 && (properties & 31) != other_number;
}

/// The set that \p{name} names: a general category (Lu), a group of them (L) one of a few scripts, or
/// what the pre-tokenizers Digits and Punctuation look for (Digits, Signs). False for other names.
inline bool find_property(std::string_view name, code_point_set& out) {
    for (std::uint32_t i = 1; i < std::size(script_names); ++i)
        if (script_names[i] == name) {
            out = code_point_set::of_properties([i](std::uint32_t p) { return (p >> 5 & 7) == i; });
            return true;
        }
    if (name == "Digits" || name == "Signs") {
        const std::uint32_t flag = name == "Digits" ? is_digit : is_sign;
        out = code_point_set::of_properties([flag](std::uint32_t p) { return (p & flag) != 0; });
        return true;
    }
    static constexpr std::pair<std::string_view, std::string_view> long_names[] = {{"Letter", "L"},      {"Mark", "M"},  {"Number", "N"},
                                                                                   {"Punctuation", "P"}, {"Punct", "P"}, {"Symbol", "S"},
                                                                                   {"Separator", "Z"},   {"Other", "C"}};
    for (const auto& [long_name, short_name] : long_names)
        if (long_name == name) name = short_name;
    std::uint32_t categories = 0;
    for (std::size_t i = 0; i < std::size(category_names); ++i)
        if (category_names[i] == name || (name.size() == 1 && category_names[i][0] == name[0])) categories |= 1u << i;
    out = code_point_set::of_properties([categories](std::uint32_t p) { return (categories >> (p & 31) & 1) != 0; });
    return categories != 0;
}

}  // namespace skald::text::detail
