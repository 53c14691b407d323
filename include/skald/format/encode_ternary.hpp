// SPDX-License-Identifier: MIT
#pragma once
// Writing the ternary formats: one scale for 256 values of -1, 0 and 1. Weights of a model that was not trained so lose most of
// what they say.
#include <cstddef>
#include <cstdint>

#include <skald/format/encode_block.hpp>
#include <skald/format/encode_k.hpp>
#include <skald/format/ternary.hpp>

namespace skald::format {

namespace detail {

/// The best scale goes to `d`, the digits, from 0, to q. // q: (256)
template <float_vector V>
inline void encode_digits(const float* x, const float* w, std::byte* d, std::uint8_t* q) noexcept {
    using codes = whole_codes<-1, 1>;
    put_codes<codes, 256>(x, put_half(d, best_scale<codes, 256, V>(x, w)), 0, q);
}

/// N bytes of Digits ternary digits, as ternary_digits() reads them; digits that a byte has besides are 0.
template <std::size_t N, std::size_t Digits>
inline void join_ternary(const std::uint8_t* q, std::uint8_t* p) noexcept {
    for (std::size_t i = 0; i < N; ++i) {
        unsigned number = 0;
        for (std::size_t digit = 0; digit < 5; ++digit) number = number * 3 + (digit < Digits ? q[digit * N + i] : 0);
        p[i] = static_cast<std::uint8_t>((number * 256 + 242) / 243);
    }
}

}  // namespace detail

template <>
struct encoder<tq1_0> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[256], *p = detail::bytes_of(block);
        detail::encode_digits<V>(x, w, block + 52, q);
        detail::join_ternary<32, 5>(q, p);
        detail::join_ternary<16, 5>(q + 160, p + 32);
        detail::join_ternary<4, 4>(q + 240, p + 48);
    }
};

template <>
struct encoder<tq2_0> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        std::uint8_t q[256];
        detail::encode_digits<V>(x, w, block + 64, q);
        detail::join_two_bits(q, detail::bytes_of(block));
    }
};

}  // namespace skald::format
