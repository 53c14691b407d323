// SPDX-License-Identifier: MIT
#pragma once
// Random texts of a grammar, chosen token by token as a sampler would.
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <skald/grammar/token_mask.hpp>

namespace skald::test {

class grammar_sampler {
public:
    grammar_sampler(std::shared_ptr<const grammar::rules> rules, std::shared_ptr<const grammar::token_trie> trie)
        : tokens_(std::move(rules), std::move(trie)) {}

    grammar::token_matcher& tokens() { return tokens_; }

    /// A text that the grammar accepts; nothing if it has not come to an end after `most` tokens, or cannot go on (`stuck`).
    std::optional<std::string> operator()(std::mt19937& random, std::size_t most = 2000) {
        stuck = false;
        std::string text;
        grammar::match_state at = tokens_.start();
        for (std::size_t n = 0; n < most; ++n) {
            const std::vector<token_id> allowed = listed(tokens_.mask(at));
            if (allowed.empty()) {
                stuck = true;
                return std::nullopt;
            }
            const bool may_end = tokens_.reader().accepts(at);
            if (may_end && (allowed.size() == tokens_.trie().end_tokens().size() || random() % 4 == 0 || n > 60)) return text;
            const token_id chosen = choose(allowed, random, n);
            text += tokens_.trie().piece(chosen);
            at = tokens_.next(at, chosen);
        }
        return std::nullopt;
    }

    bool stuck = false;

private:
    std::vector<token_id> listed(const grammar::token_mask& mask) const {
        std::vector<token_id> out;
        for (std::size_t i = 0; i < tokens_.trie().vocabulary(); ++i)
            if (const auto id = static_cast<token_id>(i); mask.contains(id)) out.push_back(id);
        return out;
    }

    /// Any token at first, later one that closes something, so that texts end.
    token_id choose(const std::vector<token_id>& allowed, std::mt19937& random, std::size_t n) const {
        token_id best = -1;
        int rank = -1;
        for (int tries = 0; tries < 200; ++tries) {
            const token_id id = allowed[random() % allowed.size()];
            if (tokens_.trie().is_end(id)) continue;
            if (n < 60 && random() % 3 != 0) return id;
            const std::string_view piece = tokens_.trie().piece(id);
            const int closes = piece.empty()
                                   ? 0
                                   : 1 + (piece.find_first_of("\"") != piece.npos) + 4 * (piece.find_first_of("}]") != piece.npos) -
                                         3 * (piece.find_first_of("{[") != piece.npos) - (piece.find(',') != piece.npos);
            if (best < 0 || closes > rank) {
                best = id;
                rank = closes;
            }
            if (n < 60 && tries > 3) break;
        }
        for (std::size_t i = 0; best < 0; ++i)
            if (!tokens_.trie().is_end(allowed[i])) best = allowed[i];
        return best;
    }

    grammar::token_matcher tokens_;
};

}  // namespace skald::test
