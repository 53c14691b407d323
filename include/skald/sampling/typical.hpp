// SPDX-License-Identifier: MIT
#pragma once
// Locally typical sampling: only tokens about as surprising as the model expects stay. Meister, Pimentel, Wiher, Cotterell, "Locally
// typical sampling" (2022).
#include <cmath>
#include <cstddef>

#include <skald/core/error.hpp>
#include <skald/sampling/detail/surprisal.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the fewest candidates whose probabilities sum to `p` or more, at least `min_keep`, taking those first whose surprisal is
/// nearest the entropy (of equally near ones the better). The most probable one may go. At 1 and above all stay. O(size).
/// Throws errc::invalid_argument for NaN.
struct typical {
    float p = 0.95f;
    std::size_t min_keep = 1;

    void operator()(candidates& c) const {
        if (p != p) fail(errc::invalid_argument, "typical", "is NaN; it must be a number, commonly in (0, 1]");
        if (p >= 1) return;
        const detail::surprisal surprisal(c);
        const double entropy = surprisal.entropy(c);
        c.keep_mass(p, min_keep, [&](const candidate& a, const candidate& b) {
            const double far_a = std::abs(surprisal(a) - entropy), far_b = std::abs(surprisal(b) - entropy);
            return far_a != far_b ? far_a < far_b : better(a, b);
        });
    }
};

static_assert(processor<typical>);

}  // namespace skald::sampling
