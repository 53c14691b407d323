// SPDX-License-Identifier: MIT
#pragma once
// Frequency and presence penalty: tokens become less likely with every time they were used, or once they were. As in the API of
// OpenAI; the window is that of llama.cpp and holds the prompt too.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/core/error.hpp>
#include <skald/sampling/detail/recent.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// From the logit of every token that stands `count` > 0 times among the last `last_n` of the history goes count · frequency +
/// presence. Negative penalties make repetition likelier; a negative `last_n` means the whole history, 0 none.
/// Throws errc::invalid_argument for a penalty that is not finite.
struct frequency_presence_penalty {
    float frequency = 0.0f;
    float presence = 0.0f;
    std::int64_t last_n = 64;

    void operator()(candidates& c, const context& x) const {
        if (!std::isfinite(frequency)) fail(errc::invalid_argument, "frequency penalty", "is ", frequency, "; it must be a finite number");
        if (!std::isfinite(presence)) fail(errc::invalid_argument, "presence penalty", "is ", presence, "; it must be a finite number");
        if (frequency == 0 && presence == 0) return;
        c.change_tokens(detail::sorted_last_of(c, x.history, last_n),
                        [this](candidate& k, std::size_t count) { k.logit -= static_cast<float>(count) * frequency + presence; });
    }
};

static_assert(processor<frequency_presence_penalty>);

}  // namespace skald::sampling
