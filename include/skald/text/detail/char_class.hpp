// SPDX-License-Identifier: MIT
#pragma once
// The classes of code points that words are divided by, from the one table of categories.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include <skald/text/detail/category_table.hpp>

namespace skald::text::detail {

/// Bits of a code point's class; unassigned code points, symbols and controls have none.
enum char_class : std::uint8_t {
    letter = 0x01,       ///< \p{L}
    number = 0x02,       ///< \p{N}
    space = 0x04,        ///< \s
    punctuation = 0x08,  ///< \p{P}
    mark = 0x10,         ///< \p{M}
    digit = 0x20,        ///< what the Digits pre-tokenizer isolates: \p{N} of a later Unicode
    upper = 0x40,        ///< \p{Lu} and \p{Lt}
    lower = 0x80,        ///< \p{Ll}
};

/// The entry of a code point in the category table; 0 for what is none. Cost: 12 comparisons.
constexpr std::uint32_t properties_of(char32_t code) noexcept {
    const auto* above =
        std::upper_bound(std::begin(category_ranges), std::end(category_ranges), static_cast<std::uint32_t>(code) << 11 | 0x7FF);
    return *(above - 1) & 0x7FF;
}

/// Whether a code point with these properties is \s.
constexpr bool is_space(std::uint32_t properties) noexcept {
    const std::string_view name = category_names[properties & 31];
    return name[0] == 'Z' || (properties & 31) + 1 == std::size(category_names);
}

/// The class that a general category stands for, by its number.
inline constexpr auto category_classes = [] {
    std::array<std::uint8_t, 32> out{};
    for (std::uint32_t i = 0; i < std::size(category_names); ++i) {
        const std::string_view name = category_names[i];
        unsigned is = 0;
        if (name[0] == 'L') is |= letter;
        if (name[0] == 'N') is |= number;
        if (name[0] == 'P') is |= punctuation;
        if (name[0] == 'M') is |= mark;
        if (is_space(i)) is |= space;
        if (name == "Lu" || name == "Lt") is |= upper;
        if (name == "Ll") is |= lower;
        out[i] = static_cast<std::uint8_t>(is);
    }
    return out;
}();

/// The class of a code point. Cost: that of properties_of().
constexpr std::uint8_t class_of(char32_t code) noexcept {
    const std::uint32_t p = properties_of(code);
    return static_cast<std::uint8_t>(category_classes[p & 31] | ((p & is_digit) != 0 ? digit : 0));
}

static_assert(class_of(U'\u00B2') == (number | digit) && class_of(U'\u3000') == space && class_of(U'\u01C5') == (letter | upper));

}  // namespace skald::text::detail
