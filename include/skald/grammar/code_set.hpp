// SPDX-License-Identifier: MIT
#pragma once
// Sets of Unicode code points, as character classes need them, and how one becomes sequences of byte ranges in UTF-8. Surrogates
// belong to no set: UTF-8 cannot write them.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace skald::grammar {

inline constexpr char32_t last_code_point = 0x10FFFF;

/// The code points first … last, both included.
struct code_range {
    char32_t first, last;
    friend constexpr bool operator==(const code_range&, const code_range&) = default;
};

/// A set as ascending ranges that neither touch nor overlap.
class code_set {
public:
    code_set() = default;
    code_set(std::initializer_list<code_range> ranges) : code_set(std::span(ranges.begin(), ranges.size())) {}
    explicit code_set(std::span<const code_range> ranges) : ranges_(ranges.begin(), ranges.end()) { normalize(); }

    /// Every code point but the surrogates.
    static code_set all() { return {{0, last_code_point}}; }

    std::span<const code_range> ranges() const noexcept { return ranges_; }
    bool empty() const noexcept { return ranges_.empty(); }

    bool contains(char32_t c) const noexcept {
        const auto above = std::upper_bound(ranges_.begin(), ranges_.end(), c, [](char32_t x, const code_range& r) { return x < r.first; });
        return above != ranges_.begin() && c <= std::prev(above)->last;
    }

    code_set complement() const {
        code_set out;
        char32_t next = 0;
        for (const code_range& r : ranges_) {
            if (r.first > next) out.ranges_.push_back({next, r.first - 1});
            next = r.last + 1;
        }
        if (next <= last_code_point) out.ranges_.push_back({next, last_code_point});
        out.normalize();
        return out;
    }

    friend code_set operator|(const code_set& a, const code_set& b) {
        code_set out = a;
        out.ranges_.insert(out.ranges_.end(), b.ranges_.begin(), b.ranges_.end());
        out.normalize();
        return out;
    }
    friend code_set operator&(const code_set& a, const code_set& b) {
        code_set out;
        for (auto x = a.ranges_.begin(), y = b.ranges_.begin(); x != a.ranges_.end() && y != b.ranges_.end();) {
            const code_range common{std::max(x->first, y->first), std::min(x->last, y->last)};
            if (common.first <= common.last) out.ranges_.push_back(common);
            (x->last < y->last ? x : y)++;
        }
        return out;
    }
    friend code_set operator-(const code_set& a, const code_set& b) { return a & b.complement(); }
    friend bool operator==(const code_set&, const code_set&) = default;

private:
    void normalize() {
        std::vector<code_range> split;
        for (const code_range& r : ranges_) {
            if (r.first > r.last || r.first > last_code_point) continue;
            if (r.first < 0xD800) split.push_back({r.first, std::min<char32_t>(r.last, 0xD7FF)});
            if (r.last > 0xDFFF) split.push_back({std::max<char32_t>(r.first, 0xE000), std::min(r.last, last_code_point)});
        }
        std::sort(split.begin(), split.end(), [](const code_range& a, const code_range& b) { return a.first < b.first; });
        ranges_.clear();
        for (const code_range& r : split) {
            if (!ranges_.empty() && r.first <= ranges_.back().last + 1)
                ranges_.back().last = std::max(ranges_.back().last, r.last);
            else
                ranges_.push_back(r);
        }
    }

    std::vector<code_range> ranges_;
};

namespace detail {

/// Byte ranges, one after the other: any choice of a byte of each is the UTF-8 of one code point.
struct byte_sequence {
    struct range {
        std::uint8_t first, last;
    };
    std::array<range, 4> bytes{};
    std::size_t length = 0;
};

constexpr std::size_t utf8_length(char32_t c) noexcept { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

/// Byte `i` of the UTF-8 of a code point that takes `length` bytes.
constexpr std::uint8_t utf8_byte(char32_t c, std::size_t i, std::size_t length) noexcept {
    const auto bits = static_cast<std::uint32_t>(c >> (6 * (length - 1 - i)));
    if (i > 0) return static_cast<std::uint8_t>(0x80 | (bits & 0x3F));
    constexpr std::array<std::uint8_t, 5> marks{0, 0, 0xC0, 0xE0, 0xF0};
    return static_cast<std::uint8_t>(marks[length] | bits);
}

/// Calls `use(byte_sequence)` for sequences that together are the UTF-8 of exactly this range, which holds no surrogates.
template <class Use>
void for_each_sequence(code_range whole, Use use) {
    std::vector<code_range> open{whole};
    while (!open.empty()) {
        code_range r = open.back();
        open.pop_back();
        // A range may cross neither a change of length nor, below its top byte, be anything but a full block of tails.
        const auto cut = [&](char32_t last_of_left) {
            open.push_back({last_of_left + 1, r.last});
            r.last = last_of_left;
        };
        for (const char32_t limit : {U'\x7F', U'\x7FF', U'\xFFFF'})
            if (r.first <= limit && r.last > limit) cut(limit);
        const std::size_t length = utf8_length(r.first);
        for (std::size_t i = 1; i < length; ++i) {
            const char32_t tail = (char32_t{1} << (6 * i)) - 1;
            if ((r.first & ~tail) == (r.last & ~tail)) continue;
            if ((r.first & tail) != 0)
                cut(r.first | tail);
            else if ((r.last & tail) != tail)
                cut((r.last & ~tail) - 1);
        }
        byte_sequence s;
        s.length = length;
        for (std::size_t i = 0; i < length; ++i) s.bytes[i] = {utf8_byte(r.first, i, length), utf8_byte(r.last, i, length)};
        use(s);
    }
}

/// Appends the UTF-8 of a code point.
inline void append_utf8(char32_t c, auto& out) {
    const std::size_t length = utf8_length(c);
    for (std::size_t i = 0; i < length; ++i) out.push_back(static_cast<char>(utf8_byte(c, i, length)));
}

}  // namespace detail

}  // namespace skald::grammar
