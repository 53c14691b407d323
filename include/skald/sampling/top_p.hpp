// SPDX-License-Identifier: MIT
#pragma once
// Top-p, nucleus sampling: only the likely tokens that together hold probability p stay. Holtzman et al., "The curious case of
// neural text degeneration" (2019).
#include <algorithm>
#include <cstddef>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the fewest best candidates whose probabilities sum to `p` or more, at least one; afterwards they are sorted. At 1 and
/// above all stay. Cost: the nucleus is sorted, the rest of the vocabulary is not. Throws errc::invalid_argument for NaN.
struct top_p {
    float p = 0.9f;

    void operator()(candidates& c) const {
        if (p != p) fail(errc::invalid_argument, "top_p", "is NaN; it must be a number, commonly in (0, 1]");
        if (p >= 1) return;
        c.softmax();
        double sum = 0;
        for (std::size_t done = 0; done < c.size();) {
            const std::size_t next = std::min(c.size(), std::max<std::size_t>(128, 4 * done));
            c.sort_first(next, done);
            for (; done < next; ++done) {
                sum += std::as_const(c)[done].probability;
                if (sum >= p) return c.keep_best(done + 1, done + 1);
            }
        }
    }
};

static_assert(processor<top_p>);

}  // namespace skald::sampling
