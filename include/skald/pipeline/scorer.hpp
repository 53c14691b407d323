// SPDX-License-Identifier: MIT
#pragma once
// Scoring: how probable a model finds a continuation of a text. Ranks answers, measures perplexity, classifies without training.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/pipeline/reader.hpp>
#include <skald/pipeline/request.hpp>
#include <skald/sampling/logprobs.hpp>

namespace skald {

/// What a model thinks of a continuation.
struct continuation_score {
    std::vector<scored_token> tokens;  ///< of the continuation, each with its log-probability after all before it
    bool greedy = true;                ///< whether each is the most probable token of its place

    /// ln p(continuation | prompt).
    double logprob() const noexcept {
        double sum = 0;
        for (const scored_token& t : tokens) sum += static_cast<double>(t.logprob);
        return sum;
    }

    /// exp(-logprob / tokens); 1 without tokens.
    double perplexity() const noexcept { return tokens.empty() ? 1.0 : std::exp(-logprob() / static_cast<double>(tokens.size())); }
};

/// Scores continuations, one at a time.
template <class Backend, class Policy = kv::contiguous<kv::f32>>
class scorer {
    static_assert(kv::require_policy<Policy>());

public:
    explicit scorer(model<Backend> m, const Policy& policy = {}, const reader_options& options = {})
        : reader_(std::move(m), policy, options) {}

    /// Scores what follows a prompt. The two are encoded as one text, and what its tokens have in common with the prompt's alone is the
    /// prompt: a token across the border belongs to the continuation. With an empty prompt the text's first token has no score
    /// unless the model begins texts with a token of its own.
    /// Throws errc::invalid_argument when nothing is left to score, errc::cache_full, errc::cancelled.
    continuation_score score(std::string_view prompt, std::string_view continuation, const std::stop_token& stop = {}) {
        const text::tokenizer& t = reader_.get_model().tokenizer();
        const std::vector<token_id> head = t.encode(prompt, {.add_bos = t.add_bos()});
        const std::vector<token_id> whole = t.encode(std::string(prompt).append(continuation), {.add_bos = t.add_bos()});
        const auto differs = std::mismatch(head.begin(), head.end(), whole.begin(), whole.end()).second;
        const auto kept = static_cast<std::size_t>(differs - whole.begin());
        return score(std::span(whole).first(std::max<std::size_t>(kept, 1)), std::span(whole).subspan(std::max<std::size_t>(kept, 1)),
                     stop);
    }

    /// The same of tokens. The prompt needs one token at least.
    continuation_score score(std::span<const token_id> prompt, std::span<const token_id> continuation, const std::stop_token& stop = {}) {
        if (prompt.empty()) fail(errc::invalid_argument, "prompt", "is empty; a score needs at least one token before the continuation");
        if (continuation.empty()) fail(errc::invalid_argument, "continuation", "has no tokens of its own to score");
        std::vector<token_id> tokens(prompt.begin(), prompt.end());
        tokens.insert(tokens.end(), continuation.begin(), continuation.end() - 1);
        continuation_score out;
        reader_.logits(tokens, prompt.size() - 1, stop, [&](std::size_t row, std::span<const float> logits) {
            const token_id next = continuation[row + 1 - prompt.size()];
            out.tokens.push_back({next, sampling::logprob(logits, next)});
            out.greedy = out.greedy && logits[static_cast<std::size_t>(next)] == *std::max_element(logits.begin(), logits.end());
        });
        return out;
    }

    const model<Backend>& get_model() const noexcept { return reader_.get_model(); }

private:
    detail::reader<Backend, Policy> reader_;
};

}  // namespace skald
