// SPDX-License-Identifier: MIT
#pragma once
// Temperature: below 1 the likely tokens become likelier, above 1 the unlikely ones.
#include <cmath>

#include <skald/core/error.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Divides every logit by `value`. At 0 and below only the best candidate stays, which makes every chain greedy, as in
/// llama.cpp. Throws errc::invalid_argument for a value that is not finite.
struct temperature {
    float value = 0.8f;

    void operator()(candidates& c) const {
        if (!std::isfinite(value)) fail(errc::invalid_argument, "temperature", "is ", value, "; it must be a finite number");
        const float best = c.best().logit;
        if (value <= 0) return c.keep_best(1);
        // Near 0 the quotients leave float's range; the differences to the best, which alone count, need not.
        const float shift = std::isfinite(best) && !std::isfinite(best / value) ? best : 0.0f;
        c.change_logits([&](float logit) { return (logit - shift) / value; });
    }
};

static_assert(processor<temperature>);

}  // namespace skald::sampling
