// SPDX-License-Identifier: MIT
#pragma once
// Grapheme clusters (UAX #29) as far as their length matters: where one of less than 6 bytes ends is exact; longer ones, as sequences
// of emoji and the conjuncts of Indic scripts, may come in several parts of at least 6 bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <skald/text/detail/normalization.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::text::detail {

/// Values of cluster_ranges.
enum cluster_flag : std::uint8_t { attaches = 1, prepends = 2, stands_alone = 4 };

/// What of a syllable of Hangul a code point is, as a bit; 0: nothing.
enum hangul_part : std::uint8_t { hangul_lead = 1, hangul_vowel = 2, hangul_tail = 4, hangul_open = 8, hangul_closed = 16 };

constexpr std::uint8_t hangul_part_of(char32_t code) noexcept {
    if (hangul::is_syllable(code)) return (code - hangul::syllables) % hangul::num_tails == 0 ? hangul_open : hangul_closed;
    if ((code >= 0x1100 && code <= 0x115F) || (code >= 0xA960 && code <= 0xA97C)) return hangul_lead;
    if ((code >= 0x1160 && code <= 0x11A7) || (code >= 0xD7B0 && code <= 0xD7C6)) return hangul_vowel;
    if ((code >= 0x11A8 && code <= 0x11FF) || (code >= 0xD7CB && code <= 0xD7FB)) return hangul_tail;
    return 0;
}

/// Whether two code points are parts of one syllable of Hangul.
constexpr bool joins_hangul(char32_t left, char32_t right) noexcept {
    const std::uint8_t l = hangul_part_of(left), r = hangul_part_of(right);
    return (l == hangul_lead && (r & (hangul_lead | hangul_vowel | hangul_open | hangul_closed)) != 0) ||
           ((l & (hangul_vowel | hangul_open)) != 0 && (r & (hangul_vowel | hangul_tail)) != 0) ||
           ((l & (hangul_tail | hangul_closed)) != 0 && r == hangul_tail);
}

constexpr bool is_regional(char32_t code) noexcept { return code >= 0x1F1E6 && code <= 0x1F1FF; }

/// The bytes of the cluster that a text that is not empty starts with; a byte that is no UTF-8 is one.
constexpr std::size_t cluster_length(std::string_view text) noexcept {
    if (text.substr(0, 2) == "\r\n") return 2;
    unit last = unit_at(text, 0);
    const auto is_stray = [](const unit& u) { return u.code == replacement && u.length == 1; };
    std::size_t at = last.length;
    std::uint8_t flags = value_in(cluster_ranges, last.code);
    if (is_stray(last) || (flags & stands_alone) != 0) return at;
    bool paired = false;  // `last` is the second regional indicator of a flag
    while (at < text.size()) {
        const unit next = unit_at(text, at);
        const std::uint8_t next_flags = value_in(cluster_ranges, next.code);
        const bool flag = is_regional(last.code) && is_regional(next.code) && !paired;
        const bool together = !is_stray(next) && (next_flags & stands_alone) == 0 &&
                              ((next_flags & attaches) != 0 || (flags & prepends) != 0 || flag || joins_hangul(last.code, next.code));
        if (!together) break;
        paired = flag;
        last = next;
        flags = next_flags;
        at += next.length;
    }
    return at;
}

}  // namespace skald::text::detail
