// SPDX-License-Identifier: MIT
#pragma once
// Repetition penalty: tokens of the recent past become less likely. Keskar et al., "CTRL: a conditional transformer language
// model for controllable generation" (2019), with the sign rule of Hugging Face and llama.cpp.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/core/error.hpp>
#include <skald/sampling/detail/recent.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// For every token among the last `last_n` of the history, once however often it stands there: a positive logit is divided by
/// `penalty`, any other multiplied. 1 changes nothing; a negative `last_n` means the whole history, 0 none.
/// Throws errc::invalid_argument for a penalty that is not a positive finite number.
struct repetition_penalty {
    float penalty = 1.1f;
    std::int64_t last_n = 64;

    void operator()(candidates& c, const context& x) const {
        if (!(penalty > 0) || !std::isfinite(penalty))
            fail(errc::invalid_argument, "repetition_penalty", "is ", penalty, "; it must be a positive finite number");
        if (penalty == 1) return;
        c.change_tokens(detail::sorted_last_of(c, x.history, last_n),
                        [this](candidate& k, std::size_t) { k.logit = k.logit > 0 ? k.logit / penalty : k.logit * penalty; });
    }
};

static_assert(processor<repetition_penalty>);

}  // namespace skald::sampling
