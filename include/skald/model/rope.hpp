// SPDX-License-Identifier: MIT
#pragma once
// Rotary position embedding (Su et al. 2021): its parameters, the frequencies they give, and the cosines and sines of a step.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/tensor_view.hpp>
#include <skald/core/types.hpp>

namespace skald {

/// How rope frequencies are stretched for contexts longer than the model was first trained on.
enum class rope_scaling : std::uint8_t {
    none,
    linear,    ///< every frequency divided by `factor` (Chen et al. 2023)
    llama3,    ///< long wavelengths divided by `factor`, short ones kept, a ramp between (Llama 3.1)
    yarn,      ///< the same by the dimension's number, the magnitude raised (Peng et al. 2023)
    longrope,  ///< each frequency divided by a searched factor: one list for short contexts, one for long (Ding et al. 2024)
};

/// Rotary embedding. No rope: dims = 0.
struct rope_config {
    std::size_t dims = 0;
    bool interleaved = false;  ///< pairs are (2i, 2i + 1), else (i, i + dims / 2)
    double base = 10000.0;
    rope_scaling scaling = rope_scaling::none;
    double factor = 1.0;
    double low_freq_factor = 1.0;         ///< llama3: wavelengths above original_context / low_freq_factor are divided whole
    double high_freq_factor = 4.0;        ///< llama3: wavelengths below original_context / high_freq_factor are kept
    double beta_fast = 32.0;              ///< yarn: frequencies with more turns in the original context are kept
    double beta_slow = 1.0;               ///< yarn: frequencies with fewer are divided whole
    double extrapolation = 1.0;           ///< yarn: how much of "kept" is kept
    bool truncate = true;                 ///< yarn: the ramp begins and ends at whole dimensions
    std::size_t original_context = 8192;  ///< llama3, yarn, longrope: the context of the first training
    double magnitude = 1.0;               ///< cosines and sines are multiplied by it
    std::vector<float> factors{};         ///< divisors of the frequencies; longrope: for short contexts. (dims / 2), or none
    std::vector<float> long_factors{};    ///< longrope: for contexts longer than the original one. (dims / 2)

    /// The lists of frequencies such a rope has: one, or one for short and one for long contexts.
    std::size_t lists() const noexcept { return scaling == rope_scaling::longrope ? 2 : 1; }
    /// Which of them a cache made for `context` tokens is read with.
    std::size_t list_for(std::size_t context) const noexcept { return lists() == 2 && context > original_context ? 1 : 0; }

    friend bool operator==(const rope_config&, const rope_config&) = default;
};

/// The magnitude that YaRN gives frequencies stretched by `factor`: 0.1 · weight · ln(factor) + 1.
inline double yarn_magnitude(double factor, double weight = 1.0) noexcept {
    return factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

/// The magnitude that LongRoPE gives a context `factor` times the original one: sqrt(1 + ln(factor) / ln(original)).
inline double longrope_magnitude(double factor, double original_context) noexcept {
    return factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(original_context));
}

/// Throws errc::bad_file, naming `file`, the parameter and its value, for a rope that heads of `head_dim` cannot have.
inline void validate(const rope_config& rope, std::size_t head_dim, std::string_view file) {
    if (rope.dims == 0) return;
    if (rope.dims % 2 != 0 || rope.dims > head_dim)
        fail(errc::bad_file, file, "the rope dimension count is ", rope.dims, "; it must be even and at most the head dimension, ",
             head_dim);
    const auto positive = [&](std::string_view what, double value) {
        if (!std::isfinite(value) || value <= 0.0) fail(errc::bad_file, file, what, " is ", value, "; it must be positive");
    };
    positive("the rope base", rope.base);
    positive("the rope scaling factor", rope.factor);
    positive("the rope magnitude", rope.magnitude);
    if (rope.scaling == rope_scaling::llama3 &&
        (!(rope.low_freq_factor > 0.0) || !(rope.high_freq_factor > rope.low_freq_factor) || rope.original_context == 0))
        fail(errc::bad_file, file, "llama3 rope scaling needs 0 < low_freq_factor < high_freq_factor and an original context; found ",
             rope.low_freq_factor, ", ", rope.high_freq_factor, " and ", rope.original_context);
    if (rope.scaling == rope_scaling::yarn) {
        positive("yarn's beta_fast", rope.beta_fast);
        positive("yarn's beta_slow", rope.beta_slow);
        if (!(rope.base > 1.0) || rope.original_context == 0 || !(rope.extrapolation >= 0.0 && rope.extrapolation <= 1.0))
            fail(errc::bad_file, file,
                 "yarn rope scaling needs a base above 1, an original context, and an extrapolation factor from 0 to 1; "
                 "found ",
                 rope.base, ", ", rope.original_context, " and ", rope.extrapolation);
    }
    const auto list = [&](std::string_view what, const std::vector<float>& factors, bool needed) {
        if ((needed || !factors.empty()) && factors.size() != rope.dims / 2)
            fail(errc::bad_file, file, "there are ", factors.size(), " ", what, " and ", rope.dims / 2, " frequencies");
        for (std::size_t i = 0; i < factors.size(); ++i)
            if (!(factors[i] > 0.0f) || !std::isfinite(factors[i]))
                fail(errc::bad_file, file, "value ", i, " of the ", what, " is ", factors[i], "; it must be positive");
    };
    const bool longrope = rope.scaling == rope_scaling::longrope;
    list(longrope ? "short rope factors" : "rope factors", rope.factors, longrope);
    list("long rope factors", rope.long_factors, longrope);
    if (longrope && rope.original_context == 0) fail(errc::bad_file, file, "longrope needs an original context; found 0");
}

namespace detail {

/// How much of each frequency YaRN keeps: 1 below the dimension that turns beta_fast times in the original context, 0 above that
/// of beta_slow, a ramp between.
class yarn_ramp {
public:
    explicit yarn_ramp(const rope_config& rope) noexcept : extrapolation_(static_cast<float>(rope.extrapolation)) {
        const auto dims = static_cast<double>(rope.dims);
        const auto dimension = [&](double turns) {
            return dims * std::log(static_cast<double>(rope.original_context) / (turns * 2.0 * std::numbers::pi)) /
                   (2.0 * std::log(rope.base));
        };
        const double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
        const double first = std::max(0.0, rope.truncate ? std::floor(low) : low);
        first_ = static_cast<float>(first);
        width_ = static_cast<float>(std::max(0.001, std::min(dims - 1.0, rope.truncate ? std::ceil(high) : high) - first));
    }
    float kept(std::size_t i) const noexcept {
        return extrapolation_ * (1.0f - std::clamp((static_cast<float>(i) - first_) / width_, 0.0f, 1.0f));
    }

private:
    float extrapolation_, first_ = 0, width_ = 1;
};

/// Llama 3.1's ramp over the turns that a frequency makes in the original context.
inline float llama3_frequency(const rope_config& rope, float f) noexcept {
    const auto context = static_cast<float>(rope.original_context), factor = static_cast<float>(rope.factor);
    const auto low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
    const float wavelength = 2.0f * std::numbers::pi_v<float> / f;
    if (wavelength > context / low) return f / factor;
    if (wavelength < context / high) return f;
    const float kept = (context / wavelength - low) / (high - low);
    return (1.0f - kept) * f / factor + kept * f;
}

}  // namespace detail

/// Fills the dims / 2 angular frequencies, radians a token: base^(-2i/dims), stretched as the scaling says and divided by the
/// factors of that list. Rounded to float after each step as transformers rounds, since models are trained and served so: at position
/// 10,000 a last bit turns the fastest pair by a thousandth.
inline void rope_frequencies(const rope_config& rope, std::size_t list, std::span<float> out) {
    const detail::yarn_ramp ramp(rope);
    const std::vector<float>& factors = list == 0 ? rope.factors : rope.long_factors;
    const auto factor = static_cast<float>(rope.factor);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.dims);
        const auto wave = static_cast<float>(std::pow(rope.base, static_cast<double>(exponent)));
        float f = 1.0f / wave;
        switch (rope.scaling) {
            case rope_scaling::none: break;
            case rope_scaling::linear: f /= factor; break;
            case rope_scaling::llama3: f = detail::llama3_frequency(rope, f); break;
            case rope_scaling::yarn: f = 1.0f / (factor * wave) * (1.0f - ramp.kept(i)) + f * ramp.kept(i); break;
            case rope_scaling::longrope: f = 1.0f / (factors[i] * wave); break;
        }
        if (!factors.empty() && rope.scaling != rope_scaling::longrope) f /= factors[i];
        out[i] = f;
    }
}

/// Fills row r of the tables with the cosines and sines of `p` times the frequencies, times the magnitude. // (rows, dims / 2)
/// The angle is rounded to float before the cosine, as models are trained and served.
inline void rope_row(std::span<const float> frequencies, double magnitude, position p, std::span<float> cosine, std::span<float> sine) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const float angle = static_cast<float>(p) * frequencies[i];
        cosine[i] = static_cast<float>(std::cos(static_cast<double>(angle)) * magnitude);
        sine[i] = static_cast<float>(std::sin(static_cast<double>(angle)) * magnitude);
    }
}

}  // namespace skald
