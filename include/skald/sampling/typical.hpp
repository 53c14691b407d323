// SPDX-License-Identifier: MIT
#pragma once
// Locally typical sampling: only tokens about as surprising as the model expects stay. Meister, Pimentel, Wiher, Cotterell, "Locally
// typical sampling" (2022).
#include <cmath>
#include <cstddef>
#include <utility>

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
        const auto distance = [&](const candidate& k) { return std::abs(surprisal(k) - entropy); };
        // A few passes find a distance that holds the mass; only what is within needs an order.
        for (double radius = 0.5; radius <= 8; radius *= 2) {
            double mass = 0;
            std::size_t within = 0;
            for (const candidate& k : std::as_const(c)) {
                if (!(distance(k) <= radius)) continue;
                mass += k.probability;
                ++within;
            }
            if (mass < p || within < min_keep) continue;
            c.keep_if([&](const candidate& k) { return distance(k) <= radius; });
            break;
        }
        c.keep_mass(p, min_keep, [&](const candidate& a, const candidate& b) {
            const double far_a = distance(a), far_b = distance(b);
            return far_a != far_b ? far_a < far_b : better(a, b);
        });
    }
};

static_assert(processor<typical>);

}  // namespace skald::sampling
