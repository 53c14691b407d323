// SPDX-License-Identifier: MIT
#pragma once
// Keys and values as 8-bit floats, E4M3 (OCP OFP8, revision 1.0) under one scale a token and head: beside q8 the same bytes, less exact
// near a row's greatest values and more exact far below them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <skald/core/fp8.hpp>
#include <skald/core/half.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

/// Relative error about 2^-4 from a row's greatest magnitude down to 2^-15 of it. Row: the scale, then codes.
///
/// E4M3 times 2^-8 is binary16 with three fraction bits: the exponents agree, subnormals too, so that conversions are shifts.
struct fp8 {
    static constexpr std::string_view name = "fp8";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return sizeof(float) + width; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        const float scale = detail::greatest_magnitude<V>(row, width) / 448.0f;
        const V by = V::broadcast(scale > 1e-30f ? 1.0f / (scale * as_half) : 0.0f);
        std::memcpy(out, &scale, sizeof scale);
        for (std::size_t i = 0; i < width; i += V::size) {
            half some[V::size];
            (V::load(row + i) * by).store_half(some);
            for (std::size_t j = 0; j < V::size; ++j) out[sizeof scale + i + j] = static_cast<std::byte>(code_of(some[j].bits));
        }
    }
    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        half some[V::size];
        for (std::size_t j = 0; j < V::size; ++j) {
            const auto code = std::to_integer<unsigned>(row[sizeof(float) + i + j]);
            some[j].bits = static_cast<std::uint16_t>((code & 0x80u) << 8 | (code & 0x7fu) << 7);
        }
        return V::load_half(some) * V::broadcast(detail::read_scale(row) * as_half);
    }

private:
    static constexpr float as_half = 256.0f;  // 2^(15 - 7), what the exponents' biases differ by

    /// Rounds to nearest, ties to even; saturates.
    static unsigned code_of(unsigned h) noexcept {
        const unsigned rounded = ((h & 0x7fffu) + 0x3fu + (h >> 7 & 1u)) >> 7;
        return (h >> 8 & 0x80u) | std::min<unsigned>(rounded, fp8_e4m3::highest);
    }
};

static_assert(codec<fp8> && !attention::word_codec<fp8>);

}  // namespace skald::kv
