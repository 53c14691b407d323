// SPDX-License-Identifier: MIT
#pragma once
// Grammar constraint: what is generated follows a grammar (grammar/), and ends where the grammar lets it end.
//
// It belongs in front of a chain: a truncation before it could leave no token that the grammar allows.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/grammar/rules.hpp>
#include <skald/grammar/token_mask.hpp>
#include <skald/grammar/token_trie.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the candidates whose text the grammar allows after what was generated so far, that is after the last context.step tokens
/// of the history: a pure function of the two. What it has read it remembers, so a step reads one token more; a history that is
/// shorter or other than the last (a new request, a rollback) is read from where they part.
///
/// End tokens stay exactly where the grammar may end, and alone where it must. Copies are independent.
class grammar_constraint {
public:
    /// Throws errc::unsupported for a vocabulary without end tokens.
    grammar_constraint(std::shared_ptr<const grammar::rules> rules, std::shared_ptr<const grammar::token_trie> trie)
        : matcher_(std::move(rules), std::move(trie)) {
        if (matcher_.trie().end_tokens().empty())
            fail(errc::unsupported, "grammar", "the vocabulary has no end token, by which a text that follows a grammar could end");
    }

    /// Builds the tree of the vocabulary: share one among the constraints of a model.
    grammar_constraint(grammar::rules rules, const text::tokenizer& tokenizer)
        : grammar_constraint(std::make_shared<const grammar::rules>(std::move(rules)),
                             std::make_shared<const grammar::token_trie>(tokenizer)) {}

    /// Throws errc::invalid_argument if the history does not follow the grammar, or no candidate is left that does;
    /// errc::unsupported and errc::memory_limit as grammar::matcher does.
    void operator()(candidates& c, const context& x) {
        const grammar::match_state state = read(x);
        if (state == ended) {
            c.keep_if([this](const candidate& k) { return matcher_.trie().is_end(k.token); });
            return;
        }
        const grammar::token_mask& mask = matcher_.mask(state);
        if (mask.bits.empty())
            c.keep_tokens(mask.listed);
        else
            c.keep_if([&](const candidate& k) { return mask.contains(k.token); });
        if (c.empty())
            fail(errc::invalid_argument, "grammar", "none of the candidates goes on with it; put the grammar in front of the chain",
                 mask.count == 0 ? ", and use a vocabulary that can write its texts" : "");
    }

    /// Tokens for the text that comes next in any case (the name of a member, say), as `encode(text)` divides it. The last one is
    /// left out where more text may follow, because it could become part of a longer token. Empty where there is a choice.
    template <class Encode>
    std::vector<token_id> forced(const context& x, Encode encode) {
        constexpr std::size_t longest = 1024;
        grammar::match_state state = read(x);
        if (state == ended) return {};
        const std::string text = matcher_.forced_text(state, longest);
        if (text.empty()) return {};
        std::vector<token_id> tokens = encode(std::string_view(text));
        std::string spelled;
        for (const token_id t : tokens) {
            if (t < 0 || static_cast<std::size_t>(t) >= matcher_.trie().vocabulary()) return {};
            spelled += matcher_.trie().piece(t);
            state = matcher_.next(state, t);
        }
        if (spelled != text || state == grammar::matcher::dead) return {};  // the tokenizer adds a blank, or lacks bytes
        if (matcher_.reader().goes_on(state)) tokens.pop_back();
        return tokens;
    }

private:
    static constexpr grammar::match_state ended = 0xFFFFFFFF;

    /// The state after the generated tokens.
    grammar::match_state read(const context& x) {
        if (x.step > x.history.size())
            fail(errc::invalid_argument, "grammar", "step ", x.step, " of a history of ", x.history.size(), " tokens is impossible");
        const std::span<const token_id> generated = x.history.last(static_cast<std::size_t>(x.step));
        const auto differs = std::mismatch(tokens_.begin(), tokens_.end(), generated.begin(), generated.end()).first;
        keep(static_cast<std::size_t>(differs - tokens_.begin()));
        if (matcher_.wants_clearing()) {
            keep(0);
            matcher_.clear();
        }
        while (tokens_.size() < generated.size()) read(generated[tokens_.size()]);
        return current();
    }

    grammar::match_state current() const noexcept { return states_.empty() ? matcher_.start() : states_.back(); }

    void keep(std::size_t n) noexcept {
        tokens_.resize(std::min(n, tokens_.size()));
        states_.resize(tokens_.size());
    }

    void read(token_id token) {
        const grammar::match_state before = current();
        grammar::match_state after = grammar::matcher::dead;
        if (before != ended) after = matcher_.next(before, token);
        if (after == grammar::matcher::dead && matcher_.trie().is_end(token) && (before == ended || matcher_.reader().accepts(before)))
            after = ended;
        if (after == grammar::matcher::dead)
            fail(errc::invalid_argument, "grammar", "token ", token, ", generated as number ", tokens_.size(), ", does not follow it");
        tokens_.push_back(token);
        states_.push_back(after);
    }

    grammar::token_matcher matcher_;
    std::vector<token_id> tokens_;              // that were read
    std::vector<grammar::match_state> states_;  // after each
};

static_assert(processor<grammar_constraint>);

}  // namespace skald::sampling
