// SPDX-License-Identifier: MIT
#pragma once
// Rotary position embedding (Su et al. 2021): the frequencies of a model, fixed at load, and the cosines and sines of a step.
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>

#include <skald/core/tensor_view.hpp>
#include <skald/core/types.hpp>
#include <skald/model/config.hpp>

namespace skald {

/// Fills the dims / 2 angular frequencies, radians a token: base^(-2i/dims), stretched as the scaling says, divided by `factors` (a file's
/// rope_freqs, dims / 2 of them) when there are any. Rounded to float, as the models were trained with.
inline void rope_frequencies(const rope_config& rope, std::span<const float> factors, std::span<float> out) {
    const double longest = static_cast<double>(rope.original_context) / rope.low_freq_factor;
    const double shortest = static_cast<double>(rope.original_context) / rope.high_freq_factor;
    for (std::size_t i = 0; i < out.size(); ++i) {
        double f = static_cast<float>(std::pow(rope.base, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dims)));
        if (rope.scaling == rope_scaling::linear) f /= rope.factor;
        if (rope.scaling == rope_scaling::llama3) {
            const double wavelength = 2.0 * std::numbers::pi / f;
            const double keep = wavelength < shortest  ? 1.0
                                : wavelength > longest ? 0.0
                                                       : (static_cast<double>(rope.original_context) / wavelength - rope.low_freq_factor) /
                                                             (rope.high_freq_factor - rope.low_freq_factor);
            f = keep * f + (1.0 - keep) * f / rope.factor;
        }
        if (!factors.empty()) f /= static_cast<double>(factors[i]);
        out[i] = static_cast<float>(f);
    }
}

/// Fills row r of the tables with the cosines and sines of `p` times the frequencies. // (rows, dims / 2)
/// The angle is rounded to float before the cosine, as models are trained and served.
inline void rope_row(std::span<const float> frequencies, position p, std::span<float> cosine, std::span<float> sine) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const float angle = static_cast<float>(p) * frequencies[i];
        cosine[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
        sine[i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
}

}  // namespace skald
