// SPDX-License-Identifier: MIT
#pragma once
// What SentencePiece's models take from a vocabulary: the tokens that are made from text, their scores, and the tokens <0x00> to
// <0xFF> that they fall back to for what no other token covers.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/piece_trie.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text::detail {

/// Throws errc::bad_file if a token has no score, or one that is NaN.
inline void check_scores(const vocabulary_source& source) {
    if (source.scores.size() != source.tokens.size())
        fail(errc::bad_file, source.place, "the vocabulary has ", source.tokens.size(), " tokens, but ", source.scores.size(), " scores");
    for (std::size_t i = 0; i < source.scores.size(); ++i)
        if (source.scores[i] != source.scores[i])
            fail(errc::bad_file, source.place, "the score of token ", i, " ", io::detail::in_quotes(source.tokens[i]), " is NaN");
}

inline token_kind kind_of(const vocabulary_source& source, std::size_t id) noexcept {
    return source.kinds.empty() ? token_kind::normal : static_cast<token_kind>(source.kinds[id]);
}

/// Whether a model makes the token from text. Control tokens and those for bytes are never made from what reads like them.
inline bool is_text(const vocabulary_source& source, std::size_t id) noexcept {
    const token_kind kind = kind_of(source, id);
    return source.makes(id) && kind != token_kind::control && kind != token_kind::unknown && kind != token_kind::byte;
}

inline constexpr std::size_t longest_text_token = 512;  ///< bytes; bounds the work that a byte of text can cost

/// The tokens that are made from text, as the keys of a trie. Throws errc::unsupported for one longer than `longest_text_token`.
inline std::vector<trie_key> text_keys(const vocabulary_source& source) {
    std::vector<trie_key> out;
    for (std::size_t i = 0; i < source.tokens.size(); ++i) {
        if (!is_text(source, i)) continue;
        if (source.tokens[i].size() > longest_text_token)
            fail(errc::unsupported, source.place, "token ", i, " has ", source.tokens[i].size(), " bytes; at most ", longest_text_token,
                 " are possible");
        out.push_back({source.tokens[i], static_cast<token_id>(i)});
    }
    return out;
}

/// The byte that a token `<0xXX>` with upper-case digits stands for, or nothing.
constexpr std::optional<std::uint8_t> byte_of_token(std::string_view token) noexcept {
    constexpr std::string_view digits = "0123456789ABCDEF";
    if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return std::nullopt;
    const std::size_t high = digits.find(token[3]), low = digits.find(token[4]);
    if (high == digits.npos || low == digits.npos) return std::nullopt;
    return static_cast<std::uint8_t>(high * 16 + low);
}
static_assert(byte_of_token("<0x0A>") == 10 && !byte_of_token("<0x-1>") && !byte_of_token("<0xZZ>"));

/// The token of each byte, or -1.
using byte_tokens = std::array<token_id, 256>;

/// Throws errc::bad_file for a token of kind `byte` that is not written <0xXX>.
inline byte_tokens byte_tokens_of(const vocabulary_source& source) {
    byte_tokens out;
    out.fill(-1);
    for (std::size_t i = 0; i < source.tokens.size(); ++i) {
        const std::optional<std::uint8_t> byte = byte_of_token(source.tokens[i]);
        if (byte)
            out[*byte] = static_cast<token_id>(i);
        else if (kind_of(source, i) == token_kind::byte)
            fail(errc::bad_file, source.place, "token ", i, " stands for a byte, but is ", io::detail::in_quotes(source.tokens[i]),
                 ", not <0x00> to <0xFF>");
    }
    return out;
}

/// Appends the tokens of a text's bytes. False, with `out` as before, if one of them has none.
inline bool append_byte_tokens(const byte_tokens& tokens, std::string_view text, std::vector<token_id>& out) {
    const std::size_t before = out.size();
    for (const char c : text) {
        const token_id id = tokens[static_cast<unsigned char>(c)];
        if (id < 0) {
            out.resize(before);
            return false;
        }
        out.push_back(id);
    }
    return true;
}

}  // namespace skald::text::detail
