// SPDX-License-Identifier: MIT
#pragma once
// Min-p: a threshold that follows the model's confidence. Nguyen et al., "Turning up the heat: min-p sampling for creative and
// coherent LLM outputs" (2024).
#include <algorithm>
#include <cmath>
#include <cstddef>

#include <skald/core/error.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the candidates at least `p` times as probable as the best one; the best `min_keep` always stay. At 0 and below all stay;
/// above 1 counts as 1. Throws errc::invalid_argument for NaN.
struct min_p {
    float p = 0.05f;
    std::size_t min_keep = 1;

    void operator()(candidates& c) const {
        if (p != p) fail(errc::invalid_argument, "min_p", "is NaN; it must be a number in [0, 1]");
        if (p <= 0) return;
        const float least = c.best().logit + std::log(std::min(p, 1.0f));
        c.keep_if_or_best(min_keep, [least](const candidate& k) { return k.logit >= least; });
    }
};

static_assert(processor<min_p>);

}  // namespace skald::sampling
