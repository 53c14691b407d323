// SPDX-License-Identifier: MIT
#pragma once
// Writing blocks of 32 values with one scale, and for the formats "_1" a minimum.
#include <cstddef>
#include <cstdint>

#include <skald/format/encode_block.hpp>
#include <skald/format/legacy_blocks.hpp>

namespace skald::format {

namespace detail {

/// 32 codes of five bits: 32 high bits, then 16 bytes of low nibbles.
inline void join_five_bits(const std::uint8_t* q, std::uint8_t* p) noexcept {
    std::uint32_t high = 0;
    for (std::size_t i = 0; i < 32; ++i) high |= static_cast<std::uint32_t>(q[i] >> 4) << i;
    put_at(p, high);
    join_nibbles<16>(q, p + 4);
}

/// The best scale goes to `block`, the codes to q. // q: (32)
template <class Codes, float_vector V>
inline void encode_scaled(const float* x, const float* w, std::byte* block, std::uint8_t* q) noexcept {
    put_codes<Codes, 32>(x, put_half(block, best_scale<Codes, 32, V>(x, w)), 0, q);
}

/// The best scale and minimum go to `block`, the codes to q. // q: (32)
template <class Codes, float_vector V>
inline void encode_line(const float* x, const float* w, std::byte* block, std::uint8_t* q) noexcept {
    const line l = best_line<Codes, 32, V>(x, w, false);
    const float scale = put_half(block, l.scale);
    put_codes<Codes, 32>(x, scale, put_half(block + 2, l.minimum), q);
}

}  // namespace detail

template <>
struct encoder<q8_0> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::whole_codes<-128, 127>;
        const float inverse = detail::inverse_of(detail::put_half(block, detail::best_scale<codes, 32, V>(x, w)));
        for (std::size_t i = 0; i < 32; i += V::size)
            (V::load(x + i) * V::broadcast(inverse)).store_i8(reinterpret_cast<std::int8_t*>(block) + 2 + i);
    }
};

template <>
struct encoder<q4_0> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[32];
        detail::encode_scaled<detail::whole_codes<-8, 7>, V>(x, w, block, q);
        detail::join_nibbles<16>(q, detail::bytes_of(block) + 2);
    }
};

template <>
struct encoder<q4_1> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[32];
        detail::encode_line<detail::whole_codes<0, 15>, V>(x, w, block, q);
        detail::join_nibbles<16>(q, detail::bytes_of(block) + 4);
    }
};

template <>
struct encoder<q5_0> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[32];
        detail::encode_scaled<detail::whole_codes<-16, 15>, V>(x, w, block, q);
        detail::join_five_bits(q, detail::bytes_of(block) + 2);
    }
};

template <>
struct encoder<q5_1> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[32];
        detail::encode_line<detail::whole_codes<0, 31>, V>(x, w, block, q);
        detail::join_five_bits(q, detail::bytes_of(block) + 4);
    }
};

}  // namespace skald::format
