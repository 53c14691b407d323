// SPDX-License-Identifier: MIT
#pragma once
// Cutoffs by probability: absolute, or lower where the model is unsure. Hewitt, Manning, Liang, "Truncation sampling as language
// model desmoothing" (2022); as Hugging Face's epsilon_cutoff and eta_cutoff.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include <skald/core/error.hpp>
#include <skald/sampling/detail/surprisal.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the candidates of probability `epsilon` or more; the best `min_keep` always stay. At 0 and below all stay.
/// Throws errc::invalid_argument for NaN.
struct epsilon_cutoff {
    float epsilon = 3e-4f;
    std::size_t min_keep = 1;

    void operator()(candidates& c) const {
        if (epsilon != epsilon) fail(errc::invalid_argument, "epsilon_cutoff", "is NaN; it must be a number in [0, 1)");
        if (epsilon <= 0) return;
        c.softmax();
        c.keep_if_or_best(min_keep, [this](const candidate& k) { return k.probability >= epsilon; });
    }
};

/// The same with min(epsilon, √epsilon · exp(-entropy)) in place of epsilon.
struct eta_cutoff {
    float epsilon = 3e-4f;
    std::size_t min_keep = 1;

    void operator()(candidates& c) const {
        if (epsilon != epsilon) fail(errc::invalid_argument, "eta_cutoff", "is NaN; it must be a number in [0, 1)");
        if (epsilon <= 0) return;
        const double entropy = detail::surprisal(c).entropy(c);
        const double least = std::min<double>(epsilon, std::sqrt(static_cast<double>(epsilon)) * std::exp(-entropy));
        c.keep_if_or_best(min_keep, [least](const candidate& k) { return k.probability >= least; });
    }
};

static_assert(processor<epsilon_cutoff> && processor<eta_cutoff>);

}  // namespace skald::sampling
