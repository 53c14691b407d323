// SPDX-License-Identifier: MIT
#pragma once
// Top-p, nucleus sampling: only the likely tokens that together hold probability p stay. Holtzman et al., "The curious case of
// neural text degeneration" (2019).
#include <cstddef>

#include <skald/core/error.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the fewest best candidates whose probabilities sum to `p` or more, at least `min_keep`; afterwards they are sorted. At 1
/// and above all stay. Cost: the nucleus is sorted, the rest of the vocabulary is not. Throws errc::invalid_argument for NaN.
struct top_p {
    float p = 0.9f;
    std::size_t min_keep = 1;

    void operator()(candidates& c) const {
        if (p != p) fail(errc::invalid_argument, "top_p", "is NaN; it must be a number, commonly in (0, 1]");
        if (p >= 1) return;
        c.softmax();
        c.keep_mass(p, min_keep);
    }
};

static_assert(processor<top_p>);

}  // namespace skald::sampling
