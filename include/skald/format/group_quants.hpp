// SPDX-License-Identifier: MIT
#pragma once
// The library's own formats of four bits: groups of 32, 64 or 128 values under one binary16 scale d. Nibbles lie by 32 values, 16 bytes
// each: the low ones are values 0 … 15, the high ones 16 … 31. Which activations they meet is the product's business: `exact` products
// leave those as they are (W4A16), `native` ones round them to eight bits (W4A8).
#include <cstddef>
#include <cstdint>

#include <skald/format/block.hpp>
#include <skald/format/legacy_blocks.hpp>

namespace skald::format {

namespace detail {

/// d, nibbles. value = d · (q - 8).
template <dtype Id, std::size_t Group>
struct symmetric_group {
    static constexpr dtype id = Id;
    static constexpr std::size_t codes_at = 2;
    static_assert(info(Id).block_size == Group && info(Id).block_bytes == codes_at + Group / 2);
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        for (std::size_t i = 0; i < Group; i += 32) {
            four_bit_codes(bytes_of(block) + codes_at + i / 2, 8, q);
            scale_codes<V>(half_at(block), q, out + i);
        }
    }
};

/// d, a byte whose low nibble is the zero point z, nibbles. value = d · (q - z).
template <dtype Id, std::size_t Group>
struct asymmetric_group {
    static constexpr dtype id = Id;
    static constexpr std::size_t codes_at = 3;
    static_assert(info(Id).block_size == Group && info(Id).block_bytes == codes_at + Group / 2);
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        for (std::size_t i = 0; i < Group; i += 32) {
            four_bit_codes(bytes_of(block) + codes_at + i / 2, bytes_of(block)[2] & 15, q);
            scale_codes<V>(half_at(block), q, out + i);
        }
    }
};

/// The 4-bit NormalFloat of Dettmers et al., "QLoRA" (2023), appendix E.
inline constexpr float normal_levels[16] = {-1.0f,
                                            -0.6961928009986877f,
                                            -0.5250730514526367f,
                                            -0.39491748809814453f,
                                            -0.28444138169288635f,
                                            -0.18477343022823334f,
                                            -0.09105003625154495f,
                                            0.0f,
                                            0.07958029955625534f,
                                            0.16093020141124725f,
                                            0.24611230194568634f,
                                            0.33791524171829224f,
                                            0.44070982933044434f,
                                            0.5626170039176941f,
                                            0.7229568362236023f,
                                            1.0f};

}  // namespace detail

struct w4_g32 : detail::symmetric_group<dtype::w4_g32, 32> {};
struct w4_g64 : detail::symmetric_group<dtype::w4_g64, 64> {};
struct w4_g128 : detail::symmetric_group<dtype::w4_g128, 128> {};
struct w4z_g32 : detail::asymmetric_group<dtype::w4z_g32, 32> {};
struct w4z_g64 : detail::asymmetric_group<dtype::w4z_g64, 64> {};
struct w4z_g128 : detail::asymmetric_group<dtype::w4z_g128, 128> {};

/// 64 values: d, nibbles. value = d · 127 · level[q], so that d is a 127th of the greatest magnitude. `native` products round
/// 127 · level to whole numbers, which moves a value by 0.44 d at most.
struct nf4 {
    static constexpr dtype id = dtype::nf4;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        for (std::size_t i = 0; i < 64; i += 32) {
            detail::split_nibbles<16>(detail::bytes_of(block) + 2 + i / 2, q);
            for (std::size_t j = 0; j < 32; ++j) out[i + j] = detail::half_at(block) * (127.0f * detail::normal_levels[q[j]]);
        }
    }
};

}  // namespace skald::format
