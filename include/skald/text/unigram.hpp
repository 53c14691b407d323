// SPDX-License-Identifier: MIT
#pragma once
// The unigram language model of SentencePiece, as T5, XLM-R, ALBERT and their kin use it: of all divisions of a word into tokens,
// the one with the largest sum of scores, by dynamic programming. (Kudo 2018.) Where sums are equal, the choice is that of
// Hugging Face's tokenizers: of the tokens that end at a place, the one that starts first.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <string_view>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/text/detail/piece_trie.hpp>
#include <skald/text/detail/scored_tokens.hpp>
#include <skald/text/detail/utf8.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

/// Divides by scores. Move-only; const members may be called from several threads.
class unigram_model {
public:
    static constexpr double unknown_penalty = 10.0;  ///< how far an unknown code point's score lies below the lowest of all tokens

    /// Throws errc::bad_file for scores that are missing or NaN, and for a malformed byte token.
    unigram_model(const vocabulary_source& source, std::pmr::memory_resource* memory)
        : trie_(detail::text_keys(source), source.place, memory),
          scores_(source.tokens.size(), memory),
          unknown_(source.unknown),
          fuse_unknown_(source.fuse_unknown) {
        detail::check_scores(source);
        bytes_.fill(-1);
        if (source.byte_fallback) bytes_ = detail::byte_tokens_of(source);
        std::copy(source.scores.begin(), source.scores.end(), scores_.data());
        double lowest = std::numeric_limits<double>::infinity();
        for (std::size_t i = 0; i < source.tokens.size(); ++i)
            if (source.makes(i) && detail::kind_of(source, i) != token_kind::unused) lowest = std::min(lowest, scores_[i]);
        unknown_score_ = lowest - unknown_penalty;
    }

    /// Appends the tokens of a word. Code points that no token covers become the tokens of their bytes, or the unknown token where
    /// the vocabulary has none for one of them. Throws errc::invalid_argument for 2^31 bytes or more. Cost: the word's length times
    /// that of the longest token.
    void encode(std::string_view word, std::vector<token_id>& out) const {
        if (word.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            fail(errc::invalid_argument, "text", "has ", word.size(), " bytes; at most 2147483647 can be encoded at once");
        std::vector<ending> best(word.size() + 1);  // the best division of the text before a place
        for (std::size_t at = 0; at < word.size(); at += unit_length(word, at)) extend(word, at, best);
        link_forward(best);
        for (std::size_t at = 0; at < word.size();) {
            std::size_t end = best[at].link;
            const token_id id = best[end].id;
            if (id < 0 && fuse_unknown_)
                while (end < word.size() && best[best[end].link].id < 0) end = best[end].link;
            if (id >= 0)
                out.push_back(id);
            else
                append_unknown(word.substr(at, end - at), out);
            at = end;
        }
    }

private:
    struct ending {
        double score = 0;
        std::uint32_t link = unreached;  // where the last token of the division starts; later, where the next one ends
        token_id id = -1;                // of the last token; -1: unknown
    };
    static constexpr std::uint32_t unreached = std::numeric_limits<std::uint32_t>::max();

    static std::size_t unit_length(std::string_view text, std::size_t at) noexcept {
        const detail::utf8_prefix found = detail::utf8_at(text, at);
        return found.present < found.length ? 1 : found.length;
    }

    /// Tries every token that starts at a place.
    void extend(std::string_view word, std::size_t at, std::vector<ending>& best) const {
        const double before = best[at].score;
        const auto offer = [&](std::size_t end, double score, token_id id) {
            ending& e = best[end];
            if (e.link == unreached || score > e.score) e = {score, static_cast<std::uint32_t>(at), id};
        };
        const std::size_t unit_end = at + unit_length(word, at);
        bool covers_unit = false;
        detail::piece_trie::node node = trie_.root;
        for (std::size_t end = at; end < word.size();) {
            node = trie_.step(node, word[end++]);
            if (node == trie_.none) break;
            const token_id id = trie_.id(node);
            if (id < 0) continue;
            offer(end, scores_[static_cast<std::size_t>(id)] + before, id);
            covers_unit = covers_unit || end == unit_end;
        }
        if (!covers_unit) offer(unit_end, unknown_score_ + before, -1);
    }

    /// Turns the links of the best division of all from backward to forward.
    static void link_forward(std::vector<ending>& best) noexcept {
        for (auto at = static_cast<std::uint32_t>(best.size() - 1), next = unreached; at != 0;) {
            const std::uint32_t start = best[at].link;
            best[at].link = next;
            next = at;
            at = start;
            if (at == 0) best[0].link = next;
        }
    }

    void append_unknown(std::string_view text, std::vector<token_id>& out) const {
        if (const token_id id = trie_.find(text); id >= 0)  // a token too bad to be chosen
            out.push_back(id);
        else if (!detail::append_byte_tokens(bytes_, text, out) && unknown_ >= 0)
            out.push_back(unknown_);
    }

    detail::piece_trie trie_;
    buffer<double> scores_;  // (tokens)
    detail::byte_tokens bytes_;
    token_id unknown_;
    double unknown_score_ = 0;
    bool fuse_unknown_;
};

}  // namespace skald::text
