// SPDX-License-Identifier: MIT
#pragma once
// The selector that draws.
#include <cstdint>
#include <utility>

#include <skald/core/random.hpp>
#include <skald/core/types.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// The stream of counter_rng that `sample` draws from: the letters "sample".
inline constexpr std::uint64_t sample_stream = 0x73616D706C65;

/// Draws a candidate with the probability its logit gives it. A pure function of candidates, seed and step. O(size).
/// Throws as candidates::softmax() does.
struct sample {
    token_id operator()(candidates& c, const context& x) const {
        c.softmax();
        double total = 0;
        for (const candidate& k : std::as_const(c)) total += k.probability;
        const double target = counter_rng(x.seed).uniform_double(sample_stream, x.step) * total;
        double sum = 0;
        token_id chosen = 0;
        for (const candidate& k : std::as_const(c)) {
            if (!(k.probability > 0)) continue;
            chosen = k.token;
            sum += k.probability;
            if (sum > target) break;
        }
        return chosen;
    }
};

static_assert(selector<sample>);

}  // namespace skald::sampling
