// SPDX-License-Identifier: MIT
#pragma once
// What normalizers ask of a code point: look-ups in the tables of normalization_table.hpp, and the syllables of Hangul, which are
// composed by arithmetic (Unicode 15, section 3.12).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>

#include <skald/text/detail/normalization_table.hpp>

namespace skald::text::detail {

/// The value of a code point in a table of ranges, first code point × 256 + value. Cost: about 12 comparisons.
template <std::size_t N>
constexpr std::uint8_t value_in(const std::uint32_t (&ranges)[N], char32_t code) noexcept {
    const auto* above = std::upper_bound(std::begin(ranges), std::end(ranges), static_cast<std::uint32_t>(code) << 8 | 0xFF);
    return static_cast<std::uint8_t>(*(above - 1) & 0xFF);
}

/// Bits of normal_flag. The code points below U+00A0 have none.
constexpr std::uint8_t normal_flags(char32_t code) noexcept { return code < 0xA0 ? std::uint8_t{0} : value_in(normal_ranges, code); }

constexpr std::uint8_t combining_class(char32_t code) noexcept { return value_in(combining_ranges, code); }

/// Whether BertNormalizer removes the code point as a control.
constexpr bool is_bert_control(char32_t code) noexcept { return value_in(control_ranges, code) != 0; }

/// The entry whose upper 32 bits are a code point; null without one.
template <std::size_t N>
constexpr const std::uint64_t* entry_of(const std::uint64_t (&table)[N], char32_t code) noexcept {
    const auto* found = std::lower_bound(std::begin(table), std::end(table), static_cast<std::uint64_t>(code) << 32);
    return found != std::end(table) && *found >> 32 == code ? found : nullptr;
}

namespace hangul {
inline constexpr char32_t leads = 0x1100, vowels = 0x1161, tails = 0x11A7, syllables = 0xAC00;  // of tails, the first is none
inline constexpr char32_t num_leads = 19, num_vowels = 21, num_tails = 28;

constexpr bool is_syllable(char32_t code) noexcept { return code - syllables < num_leads * num_vowels * num_tails; }
}  // namespace hangul

/// Calls `emit(code)` for each code point of the whole decomposition, canonical or compatible.
template <class Emit>
void decompose(char32_t code, bool compatible, Emit&& emit) {
    if (hangul::is_syllable(code)) {
        const char32_t i = code - hangul::syllables, tail = i % hangul::num_tails;
        emit(hangul::leads + i / (hangul::num_vowels * hangul::num_tails));
        emit(hangul::vowels + i / hangul::num_tails % hangul::num_vowels);
        if (tail != 0) emit(hangul::tails + tail);
        return;
    }
    const std::uint8_t flags = normal_flags(code);
    const std::uint64_t* entry = compatible && (flags & compat_decomposes) != 0 ? entry_of(compatible_decompositions, code) : nullptr;
    if (entry == nullptr && (flags & decomposes) != 0) entry = entry_of(canonical_decompositions, code);
    if (entry == nullptr) return emit(code);
    for (const char32_t part : std::span(decomposed + (*entry >> 8 & 0xFFFF), *entry & 0xFF)) emit(part);
}

/// What two code points become together; 0 if they stay apart.
constexpr char32_t composed(char32_t left, char32_t right) noexcept {
    if (left - hangul::leads < hangul::num_leads && right - hangul::vowels < hangul::num_vowels)
        return hangul::syllables + ((left - hangul::leads) * hangul::num_vowels + right - hangul::vowels) * hangul::num_tails;
    if (hangul::is_syllable(left) && (left - hangul::syllables) % hangul::num_tails == 0 && right > hangul::tails &&
        right < hangul::tails + hangul::num_tails)
        return left + right - hangul::tails;
    const std::uint64_t pair = static_cast<std::uint64_t>(left) << 42 | static_cast<std::uint64_t>(right) << 21;
    const auto* found = std::lower_bound(std::begin(compositions), std::end(compositions), pair);
    return found != std::end(compositions) && *found >> 21 == pair >> 21 ? static_cast<char32_t>(*found & 0x1FFFFF) : 0;
}
static_assert(composed('e', 0x301) == 0xE9 && composed(0x1100, 0x1161) == 0xAC00 && composed('e', 'e') == 0);

/// The lower case of a code point, but of U+0130, which has two code points.
constexpr char32_t lower_of(char32_t code) noexcept {
    if (code < 0x80) return code - 'A' < 26 ? code + 32 : code;
    const std::uint64_t* entry = entry_of(lower_cases, code);
    return entry == nullptr ? code : static_cast<char32_t>(*entry & 0x1FFFFF);
}

}  // namespace skald::text::detail
