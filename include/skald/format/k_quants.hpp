// SPDX-License-Identifier: MIT
#pragma once
// The k-quants: super-blocks of 256 values in groups of 16 or 32. A group's scale is a small integer times the super-block's
// binary16 d; q2_k, q4_k and q5_k have minima likewise, times dmin.
#include <cstddef>
#include <cstdint>

#include <skald/format/block.hpp>

namespace skald::format {

namespace detail {

/// The eight 6-bit scales and minima of q4_k and q5_k, times d and dmin, from 12 bytes: 0 … 3 are the low six bits of bytes 0 … 3
/// and 4 … 7; 4 … 7 are the nibbles of bytes 8 … 11 under the high two bits of the former.
template <class V>
inline void six_bit_pairs(float d, float dmin, const std::uint8_t* p, super_block<V>& out) noexcept {
    for (std::size_t i = 0; i < 4; ++i) {
        out.scale[i] = d * static_cast<float>(p[i] & 63);
        out.minimum[i] = dmin * static_cast<float>(p[i + 4] & 63);
        out.scale[i + 4] = d * static_cast<float>((p[i + 8] & 15) | (p[i] >> 6 << 4));
        out.minimum[i + 4] = dmin * static_cast<float>((p[i + 8] >> 4) | (p[i + 4] >> 6 << 4));
    }
}

/// Codes of two bits, 64 bytes: bits 2j of bytes 32h … 32h + 31 are values 128h + 32j … + 31. // q: (256)
inline void two_bit_codes(const std::uint8_t* p, std::uint8_t* q) noexcept {
    for (std::size_t half = 0; half < 2; ++half)
        for (std::size_t j = 0; j < 4; ++j)
            for (std::size_t i = 0; i < 32; ++i) q[half * 128 + j * 32 + i] = p[half * 32 + i] >> (2 * j) & 3;
}

}  // namespace detail

/// 16 bytes of scale (low nibble) and minimum (high nibble), 64 bytes of 2-bit codes, d, dmin. Groups of 16.
struct q2_k {
    static constexpr dtype id = dtype::q2_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p + 80), dmin = detail::half_at(p + 82);
        detail::super_block<V> s;
        for (std::size_t g = 0; g < 16; ++g) {
            s.scale[g] = d * static_cast<float>(p[g] & 15);
            s.minimum[g] = dmin * static_cast<float>(p[g] >> 4);
        }
        detail::two_bit_codes(p + 16, s.code);
        s.template put_lowered<16>(out);
    }
};

/// 32 bytes of high bits, 64 of low 2-bit codes, 12 of 6-bit scales, d. value = d · (scale - 32) · (q - 4), groups of 16.
struct q3_k {
    static constexpr dtype id = dtype::q3_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p + 108);
        detail::super_block<V> s;
        for (std::size_t g = 0; g < 16; ++g)
            s.scale[g] = d * static_cast<float>((p[96 + g % 8] >> (g / 8 * 4) & 15) + (p[104 + g % 4] >> (g / 4 * 2) & 3) * 16 - 32);
        detail::two_bit_codes(p + 32, s.code);
        for (std::size_t bit = 0; bit < 8; ++bit)
            for (std::size_t i = 0; i < 32; ++i)
                s.code[bit * 32 + i] = static_cast<std::uint8_t>(s.code[bit * 32 + i] + (p[i] >> bit & 1) * 4 - 4);
        s.template put<16>(out);
    }
};

/// d, dmin, 12 bytes of scales and minima, 128 bytes of nibbles: bytes 32j … 32j + 31 are groups 2j and 2j + 1. Groups of 32.
struct q4_k {
    static constexpr dtype id = dtype::q4_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        detail::super_block<V> s;
        detail::six_bit_pairs(detail::half_at(p), detail::half_at(p + 2), p + 4, s);
        for (std::size_t j = 0; j < 4; ++j) detail::split_nibbles<32>(p + 16 + j * 32, s.code + j * 64);
        s.template put_lowered<32>(out);
    }
};

/// As q4_k, with 32 bytes of high bits before the nibbles: bit g of byte i belongs to value i of group g.
struct q5_k {
    static constexpr dtype id = dtype::q5_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        detail::super_block<V> s;
        detail::six_bit_pairs(detail::half_at(p), detail::half_at(p + 2), p + 4, s);
        for (std::size_t j = 0; j < 4; ++j) detail::split_nibbles<32>(p + 48 + j * 32, s.code + j * 64);
        for (std::size_t g = 0; g < 8; ++g)
            for (std::size_t i = 0; i < 32; ++i) s.code[g * 32 + i] |= static_cast<std::uint8_t>((p[16 + i] >> g & 1) << 4);
        s.template put_lowered<32>(out);
    }
};

/// 128 bytes of low nibbles, 64 of high 2-bit codes, 16 signed scales, d. value = d · scale · (q - 32), groups of 16.
struct q6_k {
    static constexpr dtype id = dtype::q6_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p + 208);
        detail::super_block<V> s;
        std::uint8_t high[256];
        for (std::size_t g = 0; g < 16; ++g) s.scale[g] = d * static_cast<float>(static_cast<std::int8_t>(p[192 + g]));
        for (std::size_t half = 0; half < 2; ++half) detail::split_nibbles<64>(p + half * 64, s.code + half * 128);
        detail::two_bit_codes(p + 128, high);
        for (std::size_t i = 0; i < 256; ++i) s.code[i] = static_cast<std::uint8_t>(s.code[i] + high[i] * 16 - 32);
        s.template put<16>(out);
    }
};

}  // namespace skald::format
