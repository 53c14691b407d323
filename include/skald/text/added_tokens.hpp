// SPDX-License-Identifier: MIT
#pragma once
// The tokens that are looked for in the text itself, before it is divided into words: user-defined ones anywhere, control tokens
// where the text is trusted to name them.
#include <algorithm>
#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

/// Finds the longest added token at a place: a binary search that narrows byte by byte. Refers to the vocabulary it is made
/// from only in its members' arguments. Move-only.
class added_tokens {
public:
    static constexpr std::size_t longest = 1024;  ///< bytes of an added token; bounds the work a byte of text can cost

    added_tokens() noexcept = default;  ///< none

    /// Throws errc::bad_file for an added token longer than `longest`.
    added_tokens(const vocabulary& tokens, std::string_view place, std::pmr::memory_resource* memory) {
        const auto is_one = [&](token_id id) { return tokens.is_added(id) && !tokens.piece(id).empty(); };
        std::size_t n = 0;
        for (token_id id = 0; tokens.contains(id); ++id) n += is_one(id);
        ids_ = buffer<token_id>(n, memory);
        n = 0;
        for (token_id id = 0; tokens.contains(id); ++id) {
            if (!is_one(id)) continue;
            const std::string_view piece = tokens.piece(id);
            if (piece.size() > longest)
                fail(errc::bad_file, place, "key 'tokenizer.ggml.tokens': the special token ", id, " ", io::detail::in_quotes(piece),
                     " has ", piece.size(), " bytes; at most ", longest, " are possible");
            ids_[n++] = id;
            starts_.set(static_cast<unsigned char>(piece[0]));
        }
        std::sort(ids_.data(), ids_.data() + n, [&](token_id a, token_id b) {
            const int order = tokens.piece(a).compare(tokens.piece(b));
            return order != 0 ? order < 0 : a < b;
        });
    }

    /// The longest added token that `text` has at `at`, or -1. Control and unknown tokens count only if they end at or before
    /// `trusted_end`. Of equal ones the first in the vocabulary.
    token_id match(const vocabulary& tokens, std::string_view text, std::size_t at, std::size_t trusted_end) const noexcept {
        if (!starts_[static_cast<unsigned char>(text[at])]) return -1;
        const token_id *first = ids_.data(), *last = first + ids_.size();
        token_id best = -1;
        for (std::size_t length = 0; first != last; ++length) {
            // Here all of [first, last) start with the `length` bytes at `at`; those that are no longer stand first.
            for (bool found = false; first != last && tokens.piece(*first).size() == length; ++first)
                if (!found && (tokens.kind(*first) == token_kind::user_defined || at + length <= trusted_end)) {
                    best = *first;
                    found = true;
                }
            if (at + length >= text.size()) break;
            const auto byte = static_cast<unsigned char>(text[at + length]);
            const auto byte_of = [&](token_id id) { return static_cast<unsigned char>(tokens.piece(id)[length]); };
            first = std::partition_point(first, last, [&](token_id id) { return byte_of(id) < byte; });
            last = std::partition_point(first, last, [&](token_id id) { return byte_of(id) == byte; });
        }
        return best;
    }

private:
    buffer<token_id> ids_;  // by piece
    std::bitset<256> starts_;
};

}  // namespace skald::text
