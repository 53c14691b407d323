// SPDX-License-Identifier: MIT
#pragma once
// The functions that activations and attention need, over simd.
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// x = e^x within 2 ulp, for x in [-104, 89]; results below 2^-126 lose bits as subnormals do. Step after step for all N: a processor
/// looks too few instructions ahead to find eight such chains one behind another.
/// x = n · ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor series to the seventh power (remainder below 2^-27); ln 2 is split
/// in two, the first part with 9 bits so that n times it is exact (Cody & Waite 1980).
template <class Arch, std::size_t N>
SKALD_INLINE void bounded_exp(simd<Arch> (&x)[N]) noexcept {
    using V = simd<Arch>;
    V n[N], p[N];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) n[i] = round(x[i] * V::broadcast(1.44269504088896341f));
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) x[i] = fma(n[i], V::broadcast(-0.693359375f), x[i]);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) x[i] = fma(n[i], V::broadcast(2.12194440e-4f), x[i]);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) p[i] = fma(V::broadcast(1.0f / 5040), x[i], V::broadcast(1.0f / 720));
#pragma GCC unroll 8
    for (const float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
#pragma GCC unroll 8
        for (std::size_t i = 0; i < N; ++i) p[i] = fma(p[i], x[i], V::broadcast(c));
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) x[i] = scale_by_power(p[i], n[i]);
}

/// The same for all x; exp(-inf) = 0, exp of 88.8 and more is inf.
template <class Arch>
SKALD_INLINE simd<Arch> exp(simd<Arch> x) noexcept {
    using V = simd<Arch>;
    V bounded[] = {min(V::broadcast(89.0f), max(V::broadcast(-104.0f), x))};  // in this order NaN stays NaN
    bounded_exp(bounded);
    return bounded[0];
}

/// 1 - 2 / (1 + e^2x), within 2 · eps of the true value.
template <class Arch>
SKALD_INLINE simd<Arch> tanh(simd<Arch> x) noexcept {
    using V = simd<Arch>;
    return V::broadcast(1.0f) - V::broadcast(2.0f) / (V::broadcast(1.0f) + exp(x + x));
}

/// x / (1 + e^-x).
template <class Arch>
SKALD_INLINE simd<Arch> silu(simd<Arch> x) noexcept {
    using V = simd<Arch>;
    return x / (V::broadcast(1.0f) + exp(V::zero() - x));
}

/// 0.5 · x · (1 + tanh(u)) = x / (1 + e^-2u), with u = sqrt(2/π) · (x + 0.044715 · x³).
template <class Arch>
SKALD_INLINE simd<Arch> gelu_tanh(simd<Arch> x) noexcept {
    using V = simd<Arch>;
    const V cubic = fma(x * x, V::broadcast(0.044715f * -1.59576912160573071f), V::broadcast(-1.59576912160573071f));
    return x / (V::broadcast(1.0f) + exp(x * cubic));
}

/// f(x) of an activation_kind, chosen at compile time.
template <activation_kind Kind, class Arch>
SKALD_INLINE simd<Arch> activation(simd<Arch> x) noexcept {
    if constexpr (Kind == activation_kind::silu)
        return silu(x);
    else
        return gelu_tanh(x);
}

}  // namespace skald::inline SKALD_ISA::kernels
