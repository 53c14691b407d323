// SPDX-License-Identifier: MIT
#pragma once
// Writing the library's own groups of four bits, to the nearest: no search, no weights. Methods that look at activations choose codes of
// their own.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/format/encode_block.hpp>
#include <skald/format/group_quants.hpp>

namespace skald::format {

namespace detail {

/// Codes of N values, code(x) each, as nibbles by 32.
template <std::size_t N, class Code>
inline void put_nibbles(const float* x, std::byte* out, Code code) noexcept {
    std::uint8_t q[32];
    for (std::size_t i = 0; i < N; i += 32) {
        for (std::size_t j = 0; j < 32; ++j) q[j] = code(x[i + j]);
        join_nibbles<16>(q, bytes_of(out) + i / 2);
    }
}

inline std::uint8_t nearest_code(float x) noexcept { return static_cast<std::uint8_t>(std::clamp(std::nearbyint(x), 0.0f, 15.0f)); }

/// The scale is that by which the greatest magnitude is 7.
template <dtype Id, std::size_t Group>
inline void encode(symmetric_group<Id, Group>, const float* x, std::byte* block) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < Group; ++i) most = std::max(most, std::fabs(x[i]));
    const float inverse = inverse_of(put_half(block, most / 7));
    put_nibbles<Group>(x, block + 2, [&](float v) { return nearest_code(v * inverse + 8); });
}

/// The codes span the values and zero.
template <dtype Id, std::size_t Group>
inline void encode(asymmetric_group<Id, Group>, const float* x, std::byte* block) noexcept {
    const auto [low, high] = std::minmax_element(x, x + Group);
    const float least = std::min(*low, 0.0f), most = std::max(*high, 0.0f);
    const float inverse = inverse_of(put_half(block, (most - least) / 15));
    const std::uint8_t zero = nearest_code(-least * inverse);
    bytes_of(block)[2] = zero;
    put_nibbles<Group>(x, block + 3, [&, zero](float v) { return nearest_code(v * inverse + static_cast<float>(zero)); });
}

/// The greatest magnitude is level ±1.
inline void encode(nf4, const float* x, std::byte* block) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < 64; ++i) most = std::max(most, std::fabs(x[i]));
    const float inverse = inverse_of(put_half(block, most / 127));
    put_nibbles<64>(x, block + 2, [&](float v) {
        std::uint8_t code = 0;
        while (code < 15 && 2 * v * inverse > static_cast<float>(normal_levels[code] + normal_levels[code + 1])) ++code;
        return code;
    });
}

}  // namespace detail

/// Of all formats of group_quants.hpp.
template <class Format>
    requires requires(const float* x, std::byte* block) { detail::encode(Format{}, x, block); }
struct encoder<Format> {
    template <float_vector V>
    static void encode(const float* x, const float*, std::byte* block) noexcept {
        detail::encode(Format{}, x, block);
    }
};

}  // namespace skald::format
