// SPDX-License-Identifier: MIT
#pragma once
// The patterns of pre-tokenizers as functions: the length in bytes of the match that starts at `text[at]`, 0 for none. Each
// looks no further than its match and a few units beyond, so that a whole text takes linear time. The end of `text` is the end
// of the string that the pattern would see.
#include <cstddef>
#include <string_view>

#include <skald/text/detail/utf8.hpp>

namespace skald::text::detail {

using split_rule = std::size_t (*)(std::string_view text, std::size_t at);

/// Moves `at` over units while `accept(unit)`; at most `limit` of them.
template <class Accept>
std::size_t run(std::string_view text, std::size_t at, Accept accept, std::size_t limit = std::string_view::npos) {
    for (; at < text.size() && limit > 0; --limit) {
        const unit u = unit_at(text, at);
        if (!accept(u)) break;
        at += u.length;
    }
    return at;
}

constexpr auto is_any(unsigned classes) {
    return [classes](const unit& u) { return u.any(classes); };
}
constexpr auto is_other = [](const unit& u) { return u.other(); };
constexpr auto is_newline = [](const unit& u) { return u.newline(); };

/// 's|'t|'re|'ve|'m|'ll|'d, or (?i:'s|'t|'re|'ve|'m|'ll|'d), where s is also U+017F.
inline std::size_t contraction(std::string_view text, std::size_t at, bool any_case) {
    if (text[at] != '\'' || at + 1 >= text.size()) return 0;
    const auto folded = [&](std::size_t i) {
        const char c = i < text.size() ? text[i] : '\0';
        return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char first = folded(at + 1), second = folded(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')) return 3;
    if (any_case && unit_at(text, at + 1).code == long_s) return 3;
    return 0;
}

/// \s+(?!\S)|\s+ for a space at `at`: all spaces of the run but the last, which goes to the word that follows.
inline std::size_t spaces(std::string_view text, std::size_t at) {
    std::size_t end = at, last = at;
    while (end < text.size()) {
        const unit u = unit_at(text, end);
        if (!u.any(space)) break;
        last = end;
        end += u.length;
    }
    return (end == text.size() || last == at ? end : last) - at;
}

/// \s*[\r\n]+|\s+(?!\S)|\s+ for a space at `at`.
inline std::size_t spaces_to_newline(std::string_view text, std::size_t at) {
    std::size_t newline_end = at;
    for (std::size_t i = at; i < text.size();) {
        const unit u = unit_at(text, i);
        if (!u.any(space)) break;
        i += u.length;
        if (u.newline()) newline_end = i;
    }
    return newline_end > at ? newline_end - at : spaces(text, at);
}

/// \p{N}, also of a later Unicode: the Digits pre-tokenizer.
inline std::size_t match_digit(std::string_view text, std::size_t at) {
    const unit u = unit_at(text, at);
    return u.any(digit) ? u.length : 0;
}

/// [\r\n]
inline std::size_t match_newline(std::string_view text, std::size_t at) { return text[at] == '\r' || text[at] == '\n' ? 1 : 0; }

/// \s?[class]+
template <unsigned Class>
std::size_t match_spaced(std::string_view text, std::size_t at) {
    const unit u = unit_at(text, at);
    const std::size_t start = u.any(space) ? at + u.length : at;
    const std::size_t end = run(text, start, is_any(Class));
    return end > start ? end - at : 0;
}

/// [一-龥ࠀ-一가-퟿]+
inline std::size_t match_cjk(std::string_view text, std::size_t at) {
    return run(text, at, [](const unit& u) { return (u.code >= 0x800 && u.code <= 0x9FA5) || (u.code >= 0xAC00 && u.code <= 0xD7FF); }) -
           at;
}

/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
inline std::size_t match_gpt2(std::string_view text, std::size_t at) {
    if (const std::size_t length = contraction(text, at, false); length > 0) return length;
    const std::size_t start = text[at] == ' ' ? at + 1 : at;
    if (start == text.size()) return 1;
    const unit u = unit_at(text, start);
    if (u.any(letter)) return run(text, start, is_any(letter)) - at;
    if (u.any(number)) return run(text, start, is_any(number)) - at;
    if (u.other()) return run(text, start, is_other) - at;
    return spaces(text, at);
}

/// The alternatives that follow the letters in the patterns of Llama 3 and after:
/// \p{N}{1,Digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ (with Slash, [\r\n/]* in place of [\r\n]*). No letter at `at`.
template <std::size_t Digits, bool Slash>
std::size_t match_non_letters(std::string_view text, std::size_t at) {
    if (unit_at(text, at).any(number)) return run(text, at, is_any(number), Digits) - at;
    const std::size_t start = text[at] == ' ' ? at + 1 : at;
    if (const std::size_t end = run(text, start, is_other); end > start)
        return run(text, end, [](const unit& u) { return u.newline() || (Slash && u.code == '/'); }) - at;
    return spaces_to_newline(text, at);
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,Digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <std::size_t Digits>
std::size_t match_words(std::string_view text, std::size_t at) {
    if (const std::size_t length = contraction(text, at, true); length > 0) return length;
    const unit u = unit_at(text, at);
    const std::size_t start = u.newline() || u.any(letter | number) ? at : at + u.length;
    if (const std::size_t end = run(text, start, is_any(letter)); end > start) return end - at;
    return match_non_letters<Digits, false>(text, at);
}

/// Where U*L+ (or, if it matches nowhere, 0) ends from `at`, and where U* ends; U is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], L is
/// [\p{Ll}\p{Lm}\p{Lo}\p{M}].
struct cased_run {
    std::size_t mixed, upper;
};

inline cased_run cased_word(std::string_view text, std::size_t at) {
    const auto is_lower = [](const unit& u) { return u.any(letter | mark) && !u.any(upper); };
    std::size_t end = at, both_end = 0;  // both_end: after the last unit that is in U and in L, to which U* goes back for L+
    while (end < text.size()) {
        const unit u = unit_at(text, end);
        if (!u.any(letter | mark) || u.any(lower)) break;
        end += u.length;
        if (is_lower(u)) both_end = end;
    }
    const std::size_t longer = run(text, end, is_lower);
    return {longer > end ? longer : both_end, end};
}

/// P?U*L+C|P?U+L*C|\p{N}{1,Digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ with U and L as in cased_run, P
/// [^\r\n\p{L}\p{N}] and C, if Contractions, (?i:'s|'t|'re|'ve|'m|'ll|'d)?
template <std::size_t Digits, bool Contractions>
std::size_t match_cased_words(std::string_view text, std::size_t at) {
    const unit u = unit_at(text, at);
    const std::size_t after = u.newline() || u.any(letter | number) ? at : at + u.length;  // P may take the first unit, or not
    const cased_run with = cased_word(text, after), without = cased_word(text, at);
    std::size_t end = with.mixed > 0 ? with.mixed : without.mixed;
    if (end == 0) end = with.upper > after ? with.upper : without.upper;
    if (end == at) return match_non_letters<Digits, true>(text, at);
    if (Contractions && end < text.size()) end += contraction(text, end, true);
    return end - at;
}

}  // namespace skald::text::detail
