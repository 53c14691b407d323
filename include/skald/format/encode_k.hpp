// SPDX-License-Identifier: MIT
#pragma once
// Writing the k-quants.
#include <array>
#include <cstddef>
#include <cstdint>

#include <skald/format/detail/super_search.hpp>
#include <skald/format/encode_block.hpp>
#include <skald/format/k_quants.hpp>

namespace skald::format {

namespace detail {

/// The codes of all groups, from 0. // q: (256)
template <class Codes, std::size_t N, class Groups>
inline void put_group_codes(const Groups& groups, const float* x, std::uint8_t* q) noexcept {
    for (std::size_t g = 0; g < Groups::count; ++g) {
        float minimum = 0;
        if constexpr (requires { groups.minima; }) minimum = groups.minimum(g);
        put_codes<Codes, N>(x + g * N, groups.scale(g), minimum, q + g * N);
    }
}

/// 256 codes below 4 as 64 bytes: bits 2j of bytes 32h … 32h + 31 are values 128h + 32j … + 31.
inline void join_two_bits(const std::uint8_t* q, std::uint8_t* p) noexcept {
    for (std::size_t i = 0; i < 64; ++i) {
        const std::uint8_t* at = q + i / 32 * 128 + i % 32;
        p[i] = static_cast<std::uint8_t>((at[0] & 3) | (at[32] & 3) << 2 | (at[64] & 3) << 4 | (at[96] & 3) << 6);
    }
}

/// Bit `from` of 256 codes as 32 bytes: bit b of byte i is of value 32b + i.
inline void join_bits(const std::uint8_t* q, int from, std::uint8_t* p) noexcept {
    for (std::size_t i = 0; i < 32; ++i) {
        p[i] = 0;
        for (std::size_t b = 0; b < 8; ++b) p[i] = static_cast<std::uint8_t>(p[i] | (q[b * 32 + i] >> from & 1) << b);
    }
}

inline void lower_right(std::uint8_t* q, int bits) noexcept {
    for (std::size_t i = 0; i < 256; ++i) q[i] = static_cast<std::uint8_t>(q[i] >> bits);
}

/// What q4_k and q5_k have alike: d, dmin, and eight 6-bit scales and minima in 12 bytes (see six_bit_pairs) go to `block`, the codes
/// to q. // q: (256)
template <class Codes, float_vector V>
inline void encode_six_bit_lines(const float* x, const float* w, std::byte* block, std::uint8_t* q) noexcept {
    const auto groups = lined_groups<Codes, 32, 63>::template best<V>(x, w);
    put_group_codes<Codes, 32>(groups, x, q);
    put_half(block, groups.factor);
    put_half(block + 2, groups.minimum_factor);
    std::uint8_t* p = bytes_of(block) + 4;
    for (std::size_t i = 0; i < 4; ++i) {
        const int scale = groups.scales[i + 4], minimum = groups.minima[i + 4];
        p[i] = static_cast<std::uint8_t>(groups.scales[i] | scale >> 4 << 6);
        p[4 + i] = static_cast<std::uint8_t>(groups.minima[i] | minimum >> 4 << 6);
        p[8 + i] = static_cast<std::uint8_t>((scale & 15) | (minimum & 15) << 4);
    }
}

}  // namespace detail

template <>
struct encoder<q2_k> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::whole_codes<0, 3>;
        const auto groups = detail::lined_groups<codes, 16, 15>::best<V>(x, w);
        std::uint8_t q[256];
        detail::put_group_codes<codes, 16>(groups, x, q);
        std::uint8_t* p = detail::bytes_of(block);
        for (std::size_t g = 0; g < 16; ++g) p[g] = static_cast<std::uint8_t>(groups.scales[g] | groups.minima[g] << 4);
        detail::join_two_bits(q, p + 16);
        detail::put_half(block + 80, groups.factor);
        detail::put_half(block + 82, groups.minimum_factor);
    }
};

template <>
struct encoder<q3_k> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::whole_codes<-4, 3>;
        const auto groups = detail::scaled_groups<codes, 16, -32, 31>::best<V>(x, w);
        std::uint8_t q[256];
        detail::put_group_codes<codes, 16>(groups, x, q);
        std::uint8_t* p = detail::bytes_of(block);
        detail::join_bits(q, 2, p);
        detail::join_two_bits(q, p + 32);
        for (std::size_t i = 96; i < 108; ++i) p[i] = 0;
        for (std::size_t g = 0; g < 16; ++g) {
            const int scale = groups.scales[g] + 32;
            p[96 + g % 8] = static_cast<std::uint8_t>(p[96 + g % 8] | (scale & 15) << (g / 8 * 4));
            p[104 + g % 4] = static_cast<std::uint8_t>(p[104 + g % 4] | scale >> 4 << (g / 4 * 2));
        }
        detail::put_half(block + 108, groups.factor);
    }
};

template <>
struct encoder<q4_k> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[256];
        detail::encode_six_bit_lines<detail::whole_codes<0, 15>, V>(x, w, block, q);
        for (std::size_t j = 0; j < 4; ++j) detail::join_nibbles<32>(q + j * 64, detail::bytes_of(block) + 16 + j * 32);
    }
};

template <>
struct encoder<q5_k> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[256];
        detail::encode_six_bit_lines<detail::whole_codes<0, 31>, V>(x, w, block, q);
        detail::join_bits(q, 4, detail::bytes_of(block) + 16);
        for (std::size_t j = 0; j < 4; ++j) detail::join_nibbles<32>(q + j * 64, detail::bytes_of(block) + 48 + j * 32);
    }
};

template <>
struct encoder<q6_k> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::whole_codes<-32, 31>;
        const auto groups = detail::scaled_groups<codes, 16, -128, 127>::best<V>(x, w);
        std::uint8_t q[256];
        detail::put_group_codes<codes, 16>(groups, x, q);
        std::uint8_t* p = detail::bytes_of(block);
        for (std::size_t half = 0; half < 256; half += 128) detail::join_nibbles<64>(q + half, p + half / 2);
        detail::lower_right(q, 4);
        detail::join_two_bits(q, p + 128);
        for (std::size_t g = 0; g < 16; ++g) p[192 + g] = static_cast<std::uint8_t>(groups.scales[g]);
        detail::put_half(block + 208, groups.factor);
    }
};

}  // namespace skald::format
