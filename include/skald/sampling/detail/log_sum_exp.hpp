// SPDX-License-Identifier: MIT
#pragma once
// The two passes over a vocabulary that every step makes: highest logit (and no NaN), then the logarithm of the sum of exponentials.
// Written over fixed lanes so that a compiler makes vector code of them.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>

namespace skald::sampling::detail {

inline constexpr std::size_t lanes = 16;

/// A piece of a vocabulary, on which compilers make vector code: its length is known.
using exp_block = std::array<float, 256>;

/// exp(x) of every x <= 0, in place; relative error below 2e-7, and 0 from -87.7 down, where exp is under 1e-38. Cephes' expf.
inline void exp_nonpositive(exp_block& block) noexcept {
    for (float& x : block) x = x > -88.0f ? x : -88.0f;  // a loop of its own: gcc vectorizes no loop with branches
    for (float& x : block) {
        const auto k = static_cast<std::int32_t>(x * 1.44269504f - 0.5f);  // round(x / ln 2); at -127 the power of two below is 0
        const auto n = static_cast<float>(k);
        const float r = x - n * 0.693359375f - n * -2.12194440e-4f;  // x - n ln 2, the logarithm in two parts
        float p = 1.9875691500e-4f;
        p = p * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        x = (p * r * r + r + 1.0f) * std::bit_cast<float>((k + 127) << 23);
    }
}

/// The sum of a block; 16 terms at most are added in float.
inline double sum_of(const exp_block& block) noexcept {
    std::array<float, lanes> part{};
    for (std::size_t i = 0; i < block.size(); i += lanes)
        for (std::size_t j = 0; j < lanes; ++j) part[j] += block[i + j];
    double sum = 0;
    for (const float x : part) sum += x;
    return sum;
}

/// The highest logit. Throws errc::invalid_argument for no logits, a NaN, or nothing above -inf.
inline float highest(std::span<const float> logits) {
    if (logits.empty()) fail(errc::invalid_argument, "logits", "are empty; a step needs one for every token of the vocabulary");
    if (logits.size() > static_cast<std::size_t>(std::numeric_limits<token_id>::max()))
        fail(errc::invalid_argument, "logits", "are ", logits.size(), "; token ids end at ", std::numeric_limits<token_id>::max());
    constexpr float infinity = std::numeric_limits<float>::infinity();
    std::array<float, lanes> top;
    std::array<std::int32_t, lanes> nan{};
    top.fill(-infinity);
    const std::size_t whole = logits.size() / lanes * lanes;
    for (std::size_t i = 0; i < whole; i += lanes) {
        for (std::size_t j = 0; j < lanes; ++j) {
            const float x = logits[i + j];
            top[j] = x > top[j] ? x : top[j];
            nan[j] |= x != x;
        }
    }
    for (std::size_t i = whole; i < logits.size(); ++i) {
        const float x = logits[i];
        top[0] = x > top[0] ? x : top[0];
        nan[0] |= x != x;
    }
    float max = -infinity;
    std::int32_t any_nan = 0;
    for (std::size_t j = 0; j < lanes; ++j) {
        max = top[j] > max ? top[j] : max;
        any_nan |= nan[j];
    }
    if (any_nan != 0) {
        std::size_t at = 0;
        while (logits[at] == logits[at]) ++at;
        fail(errc::invalid_argument, "logits", "the logit of token ", at, " is NaN; the model's weights or its computation are broken");
    }
    if (max == -infinity) fail(errc::invalid_argument, "logits", "all ", logits.size(), " are -inf; no token can be chosen");
    return max;
}

/// log(sum of exp(logit - max)) for max = highest(logits). Where max is +inf, the logarithm of how many are.
inline double log_sum_exp(std::span<const float> logits, float max) noexcept {
    if (std::isinf(max)) {
        std::size_t count = 0;
        for (const float x : logits) count += x == max;
        return std::log(static_cast<double>(count));
    }
    exp_block block;
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); i += block.size()) {
        const std::size_t n = std::min(block.size(), logits.size() - i);
        if (n < block.size()) block.fill(-std::numeric_limits<float>::infinity());
        for (std::size_t j = 0; j < n; ++j) block[j] = logits[i + j] - max;
        exp_nonpositive(block);
        sum += sum_of(block);
    }
    return std::log(sum);
}

/// The log-probability of one logit; `max` and `log_sum` from the functions above.
inline float logprob_of(float logit, float max, double log_sum) noexcept {
    if (std::isinf(max)) return logit == max ? static_cast<float>(-log_sum) : -std::numeric_limits<float>::infinity();
    return static_cast<float>(static_cast<double>(logit) - max - log_sum);
}

}  // namespace skald::sampling::detail
