// SPDX-License-Identifier: MIT
#pragma once
// The vector of floats that codecs are written against. A codec says `decode<V>(pointer)` and runs at the width of the
// backend that reads it; `scalar` is the width-1 reference, used by the naive backend and for plain dequantization.
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/core/half.hpp>

namespace skald::format {

/// A fixed number of floats with elementwise arithmetic. No pointer needs to be aligned.
///
/// | expression                          | meaning                                                                 |
/// |-------------------------------------|-------------------------------------------------------------------------|
/// | V::size                             | how many floats                                                         |
/// | V::broadcast(float)                 | all elements equal                                                      |
/// | V::load(const float*)               | also load_half, load_bfloat16, load_i8, load_u8: converted exactly      |
/// | V::load_levels(levels, const u8*)   | levels[code] of codes below 16, converted                               |
/// | v.store(float*)                     | also store_half, store_bfloat16: round to nearest, ties to even         |
/// | v.store_i8(std::int8_t*)            | round to nearest, ties to even; saturates                               |
/// | a + b, a - b, a * b                 | elementwise                                                             |
/// | fma(a, b, c)                        | a · b + c, rounded once where the target has such an instruction        |
/// | max(a, b), min(a, b), abs(a)        | elementwise                                                             |
/// | reduce_add(v), reduce_max(v)        | over the elements, in a fixed order                                     |
template <class V>
concept float_vector = requires(V v, const float* f, const half* h, const bfloat16* b, const std::int8_t* i, const std::uint8_t* u,
                                const std::int8_t (&levels)[16], float* out_f, half* out_h, bfloat16* out_b, std::int8_t* out_i) {
    { V::size } -> std::convertible_to<std::size_t>;
    { V::broadcast(1.0f) } -> std::same_as<V>;
    { V::load(f) } -> std::same_as<V>;
    { V::load_half(h) } -> std::same_as<V>;
    { V::load_bfloat16(b) } -> std::same_as<V>;
    { V::load_i8(i) } -> std::same_as<V>;
    { V::load_u8(u) } -> std::same_as<V>;
    { V::load_levels(levels, u) } -> std::same_as<V>;
    v.store(out_f);
    v.store_half(out_h);
    v.store_bfloat16(out_b);
    v.store_i8(out_i);
    { v + v } -> std::same_as<V>;
    { v - v } -> std::same_as<V>;
    { v* v } -> std::same_as<V>;
    { fma(v, v, v) } -> std::same_as<V>;
    { max(v, v) } -> std::same_as<V>;
    { min(v, v) } -> std::same_as<V>;
    { abs(v) } -> std::same_as<V>;
    { reduce_add(v) } -> std::same_as<float>;
    { reduce_max(v) } -> std::same_as<float>;
};

/// The vector of one float.
struct scalar {
    static constexpr std::size_t size = 1;
    float value = 0;

    static scalar broadcast(float f) noexcept { return {f}; }
    static scalar load(const float* p) noexcept { return {read<float>(p)}; }
    static scalar load_half(const half* p) noexcept { return {to_float(read<half>(p))}; }
    static scalar load_bfloat16(const bfloat16* p) noexcept { return {to_float(read<bfloat16>(p))}; }
    static scalar load_i8(const std::int8_t* p) noexcept { return {static_cast<float>(*p)}; }
    static scalar load_u8(const std::uint8_t* p) noexcept { return {static_cast<float>(*p)}; }
    static scalar load_levels(const std::int8_t (&levels)[16], const std::uint8_t* p) noexcept { return {static_cast<float>(levels[*p])}; }
    void store(float* p) const noexcept { std::memcpy(static_cast<void*>(p), &value, sizeof value); }
    void store_half(half* p) const noexcept {
        const half h = to_half(value);
        std::memcpy(static_cast<void*>(p), &h, sizeof h);
    }
    void store_bfloat16(bfloat16* p) const noexcept {
        const bfloat16 b = to_bfloat16(value);
        std::memcpy(static_cast<void*>(p), &b, sizeof b);
    }
    void store_i8(std::int8_t* p) const noexcept { *p = static_cast<std::int8_t>(std::nearbyint(std::clamp(value, -128.0f, 127.0f))); }

    friend scalar operator+(scalar a, scalar b) noexcept { return {a.value + b.value}; }
    friend scalar operator-(scalar a, scalar b) noexcept { return {a.value - b.value}; }
    friend scalar operator*(scalar a, scalar b) noexcept { return {a.value * b.value}; }
    friend scalar fma(scalar a, scalar b, scalar c) noexcept { return {std::fma(a.value, b.value, c.value)}; }
    friend scalar max(scalar a, scalar b) noexcept { return {std::max(a.value, b.value)}; }
    friend scalar min(scalar a, scalar b) noexcept { return {std::min(a.value, b.value)}; }
    friend scalar abs(scalar a) noexcept { return {std::fabs(a.value)}; }
    friend scalar tanh(scalar a) noexcept { return {std::tanh(a.value)}; }
    friend float reduce_add(scalar a) noexcept { return a.value; }
    friend float reduce_max(scalar a) noexcept { return a.value; }

private:
    template <class T>
    static T read(const void* p) noexcept {
        T value;
        std::memcpy(static_cast<void*>(&value), p, sizeof value);
        return value;
    }
};

static_assert(float_vector<scalar>);

}  // namespace skald::format
