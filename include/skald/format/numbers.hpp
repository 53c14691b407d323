// SPDX-License-Identifier: MIT
#pragma once
// Formats without blocks: one number after the other.
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <skald/core/fp8.hpp>
#include <skald/format/block.hpp>

namespace skald::format {

namespace detail {

/// One number of type T: exact for types of up to 24 significant bits, rounded to nearest for wider ones.
template <dtype Id, class T>
struct number {
    static constexpr dtype id = Id;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        if constexpr (std::is_arithmetic_v<T>)
            *out = static_cast<float>(read_at<T>(block));
        else
            *out = to_float(read_at<T>(block));
    }
};

/// One 8-bit float, from a table of all.
template <dtype Id, class Fp8>
struct eight_bits {
    static constexpr dtype id = Id;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        static constexpr auto values = [] {
            std::array<float, 256> all{};
            for (std::size_t i = 0; i < all.size(); ++i) all[i] = to_float(Fp8{static_cast<std::uint8_t>(i)});
            return all;
        }();
        *out = values[std::to_integer<std::size_t>(*block)];
    }
};

}  // namespace detail

struct f32 : detail::number<dtype::f32, float> {};
struct f16 : detail::number<dtype::f16, half> {};
struct bf16 : detail::number<dtype::bf16, bfloat16> {};
struct f64 : detail::number<dtype::f64, double> {};
struct i8 : detail::number<dtype::i8, std::int8_t> {};
struct i16 : detail::number<dtype::i16, std::int16_t> {};
struct i32 : detail::number<dtype::i32, std::int32_t> {};
struct i64 : detail::number<dtype::i64, std::int64_t> {};

struct f8_e4m3 : detail::eight_bits<dtype::f8_e4m3, fp8_e4m3> {};
struct f8_e5m2 : detail::eight_bits<dtype::f8_e5m2, fp8_e5m2> {};

}  // namespace skald::format
