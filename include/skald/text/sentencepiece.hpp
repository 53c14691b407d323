// SPDX-License-Identifier: MIT
#pragma once
// SentencePiece's byte-pair encoding, as Llama 2, Mistral, Phi-3 and Gemma use it: of all neighbouring symbols whose union is a
// token, the one with the best score (the leftmost of equals) becomes one, until none is left. Symbols start as code points.
// (Kudo and Richardson 2018.) Texts arrive with blanks written as U+2581; what divides and prefixes them comes before.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/text/detail/piece_trie.hpp>
#include <skald/text/detail/scored_tokens.hpp>
#include <skald/text/detail/utf8.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

/// U+2581, which stands for a blank in SentencePiece's tokens.
inline constexpr std::string_view blank_mark = "\u2581";

/// Merges by scores. Move-only; const members may be called from several threads.
class sentencepiece_model {
public:
    /// Throws errc::bad_file for scores that are missing or NaN, and for a malformed byte token.
    sentencepiece_model(const vocabulary_source& source, std::pmr::memory_resource* memory)
        : bytes_(detail::byte_tokens_of(source)), unknown_(source.unknown) {
        detail::check_scores(source);
        ranks_ = buffer<std::uint32_t>(source.tokens.size(), memory);
        for (std::size_t i = 0; i < source.tokens.size(); ++i) ranks_[i] = rank_of(static_cast<float>(source.scores[i]));
        std::vector<detail::trie_key> keys = detail::text_keys(source);
        for (const detail::trie_key& key : keys) blanks_start_words_ = blanks_start_words_ && !has_inner_blank(key.bytes);
        trie_ = detail::piece_trie(std::move(keys), source.place, memory);
    }

    /// Appends the tokens of a text. A code point that is no token becomes the tokens of its bytes, or the unknown token where the
    /// vocabulary has none for one of them; neighbours that are unknown become one. Throws errc::invalid_argument for 2^31 bytes or
    /// more. Cost: n log n.
    void encode(std::string_view text, std::vector<token_id>& out) const {
        if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            fail(errc::invalid_argument, "text", "has ", text.size(), " bytes; at most 2147483647 can be encoded at once");
        scratch s;
        while (!text.empty()) {
            const std::size_t length = blanks_start_words_ ? word_length(text) : text.size();
            encode_word(text.substr(0, length), s, out);
            text.remove_prefix(length);
        }
    }

private:
    using node = detail::piece_trie::node;

    struct symbol {
        node at;                      // where its bytes lead in the trie
        std::uint32_t begin, length;  // length 0: merged into its left neighbour
        std::int32_t before, after;   // -1 at the ends
    };
    struct candidate {
        std::uint64_t order;   // rank, then place
        std::uint32_t length;  // of both together; another one tells that a symbol was merged meanwhile
        node at;
        std::size_t left() const noexcept { return order & 0xFFFFFFFFu; }
    };
    struct scratch {
        std::vector<symbol> symbols;
        std::vector<candidate> heap;
        bool after_unknown = false;
    };

    /// Numbers that ascend as scores descend.
    static std::uint32_t rank_of(float score) noexcept {
        const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // -0 is 0
        return (bits >> 31) != 0 ? bits : ~bits & 0x7FFFFFFFu;
    }

    /// Whether a blank follows something else, so that words may not be encoded one by one.
    static bool has_inner_blank(std::string_view token) noexcept {
        while (token.starts_with(blank_mark)) token.remove_prefix(blank_mark.size());
        return token.find(blank_mark) != std::string_view::npos;
    }

    /// The bytes up to the first blank after something else.
    static std::size_t word_length(std::string_view text) noexcept {
        std::size_t at = 0;
        while (text.substr(at).starts_with(blank_mark)) at += blank_mark.size();
        return std::min(text.find(blank_mark, at), text.size());
    }

    void encode_word(std::string_view word, scratch& s, std::vector<token_id>& out) const {
        s.symbols.clear();
        s.heap.clear();
        for (std::size_t at = 0; at < word.size();) {
            const detail::utf8_prefix found = detail::utf8_at(word, at);
            const std::uint32_t length = found.present < found.length ? 1u : found.length;
            const auto i = static_cast<std::int32_t>(s.symbols.size());
            s.symbols.push_back({trie_.walk(trie_.root, word.substr(at, length)), static_cast<std::uint32_t>(at), length, i - 1, i + 1});
            at += length;
        }
        s.symbols.back().after = -1;
        for (std::size_t i = 0; i + 1 < s.symbols.size(); ++i) consider(word, static_cast<std::int32_t>(i), s);
        std::make_heap(s.heap.begin(), s.heap.end(), later);
        while (!s.heap.empty()) {
            std::pop_heap(s.heap.begin(), s.heap.end(), later);
            const candidate c = s.heap.back();
            s.heap.pop_back();
            merge(word, c, s);
        }
        for (std::int32_t i = 0; i >= 0; i = s.symbols[static_cast<std::size_t>(i)].after)
            emit(word, s.symbols[static_cast<std::size_t>(i)], s, out);
    }

    void merge(std::string_view word, const candidate& c, scratch& s) const {
        symbol& left = s.symbols[c.left()];
        if (left.length == 0 || left.after < 0) return;
        symbol& right = s.symbols[static_cast<std::size_t>(left.after)];
        if (left.length + right.length != c.length) return;
        left.at = c.at;
        left.length = c.length;
        left.after = right.after;
        right.length = 0;
        const auto at = static_cast<std::int32_t>(c.left());
        if (left.after >= 0) {
            s.symbols[static_cast<std::size_t>(left.after)].before = at;
            if (consider(word, at, s)) std::push_heap(s.heap.begin(), s.heap.end(), later);
        }
        if (left.before >= 0 && consider(word, left.before, s)) std::push_heap(s.heap.begin(), s.heap.end(), later);
    }

    static bool later(const candidate& a, const candidate& b) noexcept { return a.order > b.order; }

    /// Adds the pair of a symbol and the next at the end of the heap, if their union is a token.
    bool consider(std::string_view word, std::int32_t at, scratch& s) const {
        const symbol& left = s.symbols[static_cast<std::size_t>(at)];
        const symbol& right = s.symbols[static_cast<std::size_t>(left.after)];
        const node both = trie_.walk(left.at, word.substr(right.begin, right.length));
        if (both == trie_.none || trie_.id(both) < 0) return false;
        const std::uint64_t rank = ranks_[static_cast<std::size_t>(trie_.id(both))];
        s.heap.push_back({rank << 32 | static_cast<std::uint32_t>(at), left.length + right.length, both});
        return true;
    }

    void emit(std::string_view word, const symbol& piece, scratch& s, std::vector<token_id>& out) const {
        if (piece.at != trie_.none && trie_.id(piece.at) >= 0) {
            out.push_back(trie_.id(piece.at));
            s.after_unknown = false;
            return;
        }
        const bool unknown = !detail::append_byte_tokens(bytes_, word.substr(piece.begin, piece.length), out);
        if (unknown && !s.after_unknown && unknown_ >= 0) out.push_back(unknown_);
        s.after_unknown = unknown;
    }

    detail::piece_trie trie_;
    buffer<std::uint32_t> ranks_;  // (tokens): by score, 0 the best
    detail::byte_tokens bytes_;
    token_id unknown_;
    bool blanks_start_words_ = true;
};

}  // namespace skald::text
