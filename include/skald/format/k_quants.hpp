// SPDX-License-Identifier: MIT
#pragma once
// The k-quants: super-blocks of 256 values in groups of 16 or 32. A group's scale is a small integer times the super-block's
// binary16 d; q2_k, q4_k and q5_k have minima likewise, times dmin.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <skald/format/block.hpp>

namespace skald::format {

namespace detail {

/// 16 small integers times a factor. // p, out: (16)
template <float_vector V, class Integer>
inline void scale_16(float factor, const Integer* p, float* out) noexcept {
    for (std::size_t i = 0; i < 16; i += V::size) {
        if constexpr (std::is_signed_v<Integer>)
            (V::broadcast(factor) * V::load_i8(p + i)).store(out + i);
        else
            (V::broadcast(factor) * V::load_u8(p + i)).store(out + i);
    }
}

/// The eight 6-bit scales, then minima of q4_k and q5_k from 12 bytes: 0 … 3 are the low six bits of bytes 0 … 3 and 4 … 7;
/// 4 … 7 are the nibbles of bytes 8 … 11 under the high two bits of the former. // out: (16)
inline void six_bit_pairs(const std::uint8_t* p, std::uint8_t* out) noexcept {
    const auto scales = read_at<std::uint32_t>(p), minima = read_at<std::uint32_t>(p + 4), nibbles = read_at<std::uint32_t>(p + 8);
    const auto join = [](std::uint32_t low, std::uint32_t four) {
        return (low & 0x3f3f3f3fu) | static_cast<std::uint64_t>((four & 0x0f0f0f0fu) | (low >> 2 & 0x30303030u)) << 32;
    };
    store_16(pair(join(scales, nibbles), join(minima, nibbles >> 4)), out);
}

/// Those, times d and dmin.
template <float_vector V>
inline void six_bit_pairs(float d, float dmin, const std::uint8_t* p, super_block<V>& out) noexcept {
    std::uint8_t bytes[24] = {};
    six_bit_pairs(p, bytes);
    scale_16<V>(d, bytes, out.scale);
    scale_16<V>(dmin, bytes + 8, out.minimum);
}

/// The 6-bit scale of a group of q3_k: nibbles in bytes 96 … 103 of the block, under pairs in bytes 104 … 107.
inline std::uint8_t q3_k_scale(const std::uint8_t* block, std::size_t g) noexcept {
    return static_cast<std::uint8_t>((block[96 + g % 8] >> (g / 8 * 4) & 15) | (block[104 + g % 4] >> (g / 4 * 2) & 3) << 4);
}

/// Codes of two bits, 64 bytes: bits 2j of bytes 32h … 32h + 31 are values 128h + 32j … + 31. // q: (256)
inline void two_bit_codes(const std::uint8_t* p, std::uint8_t* q) noexcept {
    for (std::size_t half = 0; half < 2; ++half)
        for (std::size_t i = 0; i < 32; i += 16) {
            const bytes_16 four = load_16(p + half * 32 + i);
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) store_16(right(four, 2 * j, 3), q + half * 128 + static_cast<std::size_t>(j) * 32 + i);
        }
}

/// Adds to 256 codes a bit each, which stands for `Bit`: bit b of byte i of 32 belongs to value 32b + i.
template <int Bit>
inline void add_bits(const std::uint8_t* p, std::uint8_t* q) noexcept {
    for (std::size_t i = 0; i < 32; i += 16) {
        const bytes_16 eight = load_16(p + i);
#pragma GCC unroll 8
        for (int b = 0; b < 8; ++b) {
            std::uint8_t* at = q + static_cast<std::size_t>(b) * 32 + i;
            store_16(load_16(at) | (1 << b > Bit ? right(eight, b - std::countr_zero(unsigned{Bit}), Bit)
                                                 : left(eight, std::countr_zero(unsigned{Bit}) - b, Bit)),
                     at);
        }
    }
}

/// Codes of six bits: 128 bytes of low nibbles, of values 128h … 128h + 63 and + 64 … + 127, and 64 of high pairs. // q: (256)
inline void six_bit_codes(const std::uint8_t* nibbles, const std::uint8_t* pairs, std::uint8_t* q) noexcept {
    two_bit_codes(pairs, q);
    for (std::size_t half = 0; half < 256; half += 128)
        for (std::size_t i = 0; i < 64; i += 16) {
            const bytes_16 low = load_16(nibbles + half / 2 + i);
            std::uint8_t* at = q + half + i;
            store_16(left(load_16(at), 4, 48) | (low & 15), at);
            store_16(left(load_16(at + 64), 4, 48) | right(low, 4, 15), at + 64);
        }
}

/// Makes 256 codes signed, around an offset.
inline void lower(std::uint8_t* q, std::uint8_t offset) noexcept {
    for (std::size_t i = 0; i < 256; i += 16) store_16(load_16(q + i) - offset, q + i);
}

}  // namespace detail

/// 16 bytes of scale (low nibble) and minimum (high nibble), 64 bytes of 2-bit codes, d, dmin. Groups of 16.
struct q2_k {
    static constexpr dtype id = dtype::q2_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        detail::super_block<V> s;
        std::uint8_t scales[32];
        detail::split_nibbles<16>(p, scales);
        detail::scale_16<V>(detail::half_at(p + 80), scales, s.scale);
        detail::scale_16<V>(detail::half_at(p + 82), scales + 16, s.minimum);
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
        for (std::size_t g = 0; g < 16; ++g) s.scale[g] = d * static_cast<float>(detail::q3_k_scale(p, g) - 32);
        detail::two_bit_codes(p + 32, s.code);
        detail::add_bits<4>(p, s.code);
        detail::lower(s.code, 4);
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
        detail::add_bits<16>(p + 16, s.code);
        s.template put_lowered<32>(out);
    }
};

/// 128 bytes of low nibbles, 64 of high 2-bit codes, 16 signed scales, d. value = d · scale · (q - 32), groups of 16.
struct q6_k {
    static constexpr dtype id = dtype::q6_k;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        detail::super_block<V> s;
        detail::scale_16<V>(detail::half_at(p + 208), reinterpret_cast<const std::int8_t*>(p + 192), s.scale);
        detail::six_bit_codes(p, p + 128, s.code);
        detail::lower(s.code, 32);
        s.template put<16>(out);
    }
};

}  // namespace skald::format
