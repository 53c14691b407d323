// SPDX-License-Identifier: MIT
#pragma once
// How codes of few bits stand for integers under one scale, code · multiple + offset, so that kernels that multiply integers read them as
// words (attention::word_codec). What shares a scale, a multiple and an offset is for codecs to say.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/backend/attention.hpp>
#include <skald/format/vector.hpp>

namespace skald::kv::detail {

/// Of codes of `Bits` bits.
template <std::size_t Bits>
struct code_limits {
    static_assert(Bits == 4 || Bits == 2);
    static constexpr float most = (1 << Bits) - 1;
    /// Words are at most as far from the values over the scale, beside half a step.
    static constexpr float slack = most + 1;

    /// The least scale for values of which none is greater than `greatest` and whose vector is no longer than sqrt(squares).
    static float scale(float squares, float greatest) noexcept {
        constexpr float length = attention::most_length - 23 * slack;  // sqrt(512) channels
        return std::max(std::sqrt(squares) / length, greatest / (attention::most_word - slack));
    }
};

/// The nearest integer, where words may be; NaN is the least.
inline std::int16_t to_word(float x) noexcept {
    const float high = x < attention::most_word ? x : attention::most_word;
    return static_cast<std::int16_t>(std::nearbyint(high > -attention::most_word ? high : -attention::most_word));
}

inline float inverse_of(float scale) noexcept { return scale > 1e-30f ? 1.0f / scale : 0.0f; }

/// value = (code · multiple + offset) · scale.
struct word_steps {
    std::int16_t multiple = 0, offset = 0;

    /// For codes from 0 to `most` and values from low to high, both over the scale.
    static word_steps of(float low, float high, float most) noexcept {
        const float multiple = std::ceil((high - low) / most - 1e-3f);  // rounding may not cost a step
        return {to_word(multiple > 0 ? multiple : 0), to_word(low)};
    }
    float inverse_multiple() const noexcept { return multiple == 0 ? 0.0f : 1.0f / static_cast<float>(multiple); }
};

template <format::float_vector V>
V codes_of(V x, V inverse_scale, V offset, V inverse_multiple, float most) noexcept {
    return min(max(V::broadcast(0.0f), (x * inverse_scale - offset) * inverse_multiple), V::broadcast(most));
}

}  // namespace skald::kv::detail
