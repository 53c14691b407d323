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

/// The 4-bit NormalFloat of Dettmers et al., "QLoRA" (2023), appendix E, in 127ths, rounded: no farther than 0.0037 from the paper's.
inline constexpr std::int8_t normal_levels[16]{-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127};

}  // namespace detail

struct w4_g32 : detail::symmetric_group<dtype::w4_g32, 32> {};
struct w4_g64 : detail::symmetric_group<dtype::w4_g64, 64> {};
struct w4_g128 : detail::symmetric_group<dtype::w4_g128, 128> {};
struct w4z_g32 : detail::asymmetric_group<dtype::w4z_g32, 32> {};
struct w4z_g64 : detail::asymmetric_group<dtype::w4z_g64, 64> {};
struct w4z_g128 : detail::asymmetric_group<dtype::w4z_g128, 128> {};

/// 64 values: d, nibbles. value = d · level[q], so that d is a 127th of the greatest magnitude.
struct nf4 {
    static constexpr dtype id = dtype::nf4;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        for (std::size_t i = 0; i < 64; i += 32) {
            detail::split_nibbles<16>(detail::bytes_of(block) + 2 + i / 2, q);
            detail::scale_levels<32, V>(detail::half_at(block), detail::normal_levels, q, out + i);
        }
    }
};

}  // namespace skald::format
