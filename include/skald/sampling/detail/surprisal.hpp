// SPDX-License-Identifier: MIT
#pragma once
// How surprising each candidate is, -ln p, and how much on average, at no logarithm a candidate.
#include <algorithm>
#include <cmath>
#include <utility>

#include <skald/sampling/candidates.hpp>

namespace skald::sampling::detail {

/// The surprisals of candidates, in nats, as they stood when it was made.
class surprisal {
public:
    /// Calls softmax(), and throws as that does.
    explicit surprisal(candidates& c) {
        c.softmax();
        const candidate* const top = std::max_element(std::as_const(c).begin(), std::as_const(c).end(),
                                                      [](const candidate& a, const candidate& b) { return a.logit < b.logit; });
        max_ = top->logit;
        log_sum_ = -std::log(static_cast<double>(top->probability));
    }

    /// -ln p of a candidate; +inf for one of logit -inf.
    double operator()(const candidate& k) const noexcept { return log_sum_ - above_max(k); }

    /// The mean of the surprisals, the entropy of the candidates' distribution.
    double entropy(const candidates& c) const noexcept {
        double mean = 0;
        for (const candidate& k : c)
            if (k.probability > 0) mean += k.probability * above_max(k);
        return log_sum_ - mean;
    }

private:
    double above_max(const candidate& k) const noexcept { return k.logit == max_ ? 0.0 : static_cast<double>(k.logit) - max_; }

    float max_ = 0;
    double log_sum_ = 0;  // -ln p of the best
};

}  // namespace skald::sampling::detail
