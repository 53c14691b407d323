// SPDX-License-Identifier: MIT
#pragma once
// WordPiece, as BERT and its kin use it: from the start of a word on, always the longest token that fits; tokens that do not start
// a word are written with a prefix. A word that cannot be covered is unknown as a whole. (Schuster and Nakajima 2012; Devlin et
// al. 2019.)
#include <cstddef>
#include <memory_resource>
#include <string_view>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/text/detail/piece_trie.hpp>
#include <skald/text/detail/scored_tokens.hpp>
#include <skald/text/detail/utf8.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

/// Takes the longest token first. Move-only; const members may be called from several threads.
class wordpiece_model {
public:
    /// Throws errc::bad_file if the tokens have 2^31 bytes or more.
    wordpiece_model(const vocabulary_source& source, std::pmr::memory_resource* memory)
        : trie_(detail::text_keys(source), source.place, memory),
          starting_(trie_.walk(trie_.root, source.starting_prefix)),
          continuing_(trie_.walk(trie_.root, source.continuing_prefix)),
          longest_word_(source.longest_word),
          unknown_(source.unknown) {}

    /// Appends the tokens of a word, or the unknown token, if there is one. Cost: at most the word's length times that of the
    /// longest token.
    void encode(std::string_view word, std::vector<token_id>& out) const {
        const std::size_t before = out.size();
        bool covered = !is_long(word);
        for (std::size_t at = 0; covered && at < word.size();) {
            const match m = longest_match(word, at);
            covered = m.id >= 0;
            if (covered) out.push_back(m.id);
            at = m.end;
        }
        if (covered) return;
        out.resize(before);
        if (unknown_ >= 0) out.push_back(unknown_);
    }

private:
    using node = detail::piece_trie::node;

    struct match {
        token_id id = -1;
        std::size_t end = 0;
    };

    bool is_long(std::string_view word) const noexcept {
        if (word.size() <= longest_word_) return false;
        std::size_t units = 0;
        for (std::size_t at = 0; at < word.size() && units <= longest_word_; ++units) at += detail::unit_at(word, at).length;
        return units > longest_word_;
    }

    match longest_match(std::string_view word, std::size_t at) const noexcept {
        match out;
        node n = at == 0 ? starting_ : continuing_;
        while (n != trie_.none && at < word.size()) {
            n = trie_.step(n, word[at++]);
            if (n != trie_.none && trie_.id(n) >= 0) out = {trie_.id(n), at};
        }
        return out;
    }

    detail::piece_trie trie_;
    node starting_, continuing_;  // where the prefixes lead
    std::size_t longest_word_;
    token_id unknown_;
};

}  // namespace skald::text
