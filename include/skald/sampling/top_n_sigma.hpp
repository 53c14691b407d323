// SPDX-License-Identifier: MIT
#pragma once
// Top-nσ: a threshold on the logits themselves, which a temperature before it does not move. Tang et al., "Top-nσ: not all logits
// are you need" (2024).
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the candidates at most `n` standard deviations below the best logit. The deviation is that of the candidates with a logit above
/// -inf, over their number, as in llama.cpp. At 0 and below all stay. Throws errc::invalid_argument for NaN.
struct top_n_sigma {
    float n = 1.0f;

    void operator()(candidates& c) const {
        if (n != n) fail(errc::invalid_argument, "top_n_sigma", "is NaN; it must be a number, commonly near 1");
        if (n <= 0) return;
        const float best = c.best().logit;
        if (std::isinf(best)) return c.keep_if([best](const candidate& k) { return k.logit == best; });
        // Of the distances to the best: sums of logits far from 0 would lose the difference.
        double sum = 0, squares = 0;
        std::size_t count = 0;
        for (const candidate& k : std::as_const(c)) {
            if (k.logit == -std::numeric_limits<float>::infinity()) continue;
            const double below = static_cast<double>(best) - k.logit;
            sum += below;
            squares += below * below;
            ++count;
        }
        if (sum != sum) detail::fail_of_nan();
        const double mean = sum / static_cast<double>(count);
        const double sigma = std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean * mean));
        const double least = best - n * sigma;
        c.keep_if([least](const candidate& k) { return k.logit >= least; });
    }
};

static_assert(processor<top_n_sigma>);

}  // namespace skald::sampling
