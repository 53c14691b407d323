// SPDX-License-Identifier: MIT
#pragma once
// XTC, exclude top choices: now and then all the likely tokens but the least likely of them go. p-e-w's sampler (2024), as llama.cpp
// has it.
#include <cstddef>
#include <cstdint>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/random.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// The stream of counter_rng that `xtc` draws from: the letters "xtc".
inline constexpr std::uint64_t xtc_stream = 0x787463;

/// With `probability` at each step: where two candidates or more have a probability of `threshold` or more, only the last of them in
/// the order of better(), and all below, stay. Nothing happens when fewer than `min_keep` would be left, or at a threshold above
/// 0.5, which two can not reach. Throws errc::invalid_argument for NaN.
struct xtc {
    float probability = 0.5f;
    float threshold = 0.1f;
    std::size_t min_keep = 1;

    void operator()(candidates& c, const context& x) const {
        if (probability != probability) fail(errc::invalid_argument, "xtc", "the probability is NaN; it must be a number in [0, 1]");
        if (threshold != threshold) fail(errc::invalid_argument, "xtc", "the threshold is NaN; it must be a number in [0, 0.5]");
        if (threshold > 0.5f || c.size() < 2) return;
        if (counter_rng(x.seed).uniform_double(xtc_stream, x.step) >= probability) return;
        c.softmax();
        const candidate* last = nullptr;
        std::size_t likely = 0;
        for (const candidate& k : std::as_const(c)) {
            if (k.probability < threshold) continue;
            if (last == nullptr || better(*last, k)) last = &k;
            ++likely;
        }
        if (likely < 2 || c.size() - (likely - 1) < min_keep) return;
        c.keep_if([this, least = *last](const candidate& k) { return k.probability < threshold || k.token == least.token; });
    }
};

static_assert(processor<xtc>);

}  // namespace skald::sampling
