// SPDX-License-Identifier: MIT
#pragma once
// Log-probabilities of the model's own distribution, before any processor.
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/sampling/detail/log_sum_exp.hpp>

namespace skald::sampling {

/// A chosen token and its log-probability (natural logarithm) under the unprocessed logits.
struct choice {
    token_id token;
    float logprob;
};

/// The log-probability of a token. // logits: (vocabulary)
/// Throws errc::invalid_argument for a token outside the vocabulary, for NaN and for logits that are all -inf.
inline float logprob(std::span<const float> logits, token_id token) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size())
        fail(errc::invalid_argument, "token", token, " is outside the vocabulary of ", logits.size());
    const float max = detail::highest(logits);
    return detail::logprob_of(logits[static_cast<std::size_t>(token)], max, detail::log_sum_exp(logits, max));
}

/// The `n` most probable tokens, best first, the lower token first among equals; all of them where `n` exceeds their number.
/// Empty at no cost for n = 0. O(size + n log n). Throws errc::invalid_argument for NaN and for logits that are all -inf.
inline std::vector<choice> top_logprobs(std::span<const float> logits, std::size_t n) {
    if (n == 0) return {};
    const float max = detail::highest(logits);
    n = std::min(n, logits.size());
    // A heap with the worst kept choice in front; until the end `logprob` is the logit.
    const auto better = [](const choice& a, const choice& b) { return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token; };
    std::vector<choice> best;
    best.reserve(n);
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const choice next{static_cast<token_id>(i), logits[i]};
        if (best.size() == n) {
            if (!better(next, best.front())) continue;
            std::pop_heap(best.begin(), best.end(), better);
            best.back() = next;
        } else {
            best.push_back(next);
        }
        std::push_heap(best.begin(), best.end(), better);
    }
    std::sort_heap(best.begin(), best.end(), better);
    const double log_sum = detail::log_sum_exp(logits, max);
    for (choice& c : best) c.logprob = detail::logprob_of(c.logprob, max, log_sum);
    return best;
}

}  // namespace skald::sampling
