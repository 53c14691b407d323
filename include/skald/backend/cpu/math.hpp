// SPDX-License-Identifier: MIT
#pragma once
// The functions that activations and attention need, over simd.
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// e^x within 2 ulp; exp(-inf) = 0, exp of 88.8 and more is inf, results below 2^-126 lose bits as subnormals do.
/// x = n · ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor series to the seventh power (remainder below 2^-27); ln 2 is split
/// in two, the first part with 9 bits so that n times it is exact (Cody & Waite 1980).
template <class Arch>
SKALD_INLINE simd<Arch> exp(simd<Arch> x) noexcept {
    using V = simd<Arch>;
    const V bounded = min(V::broadcast(89.0f), max(V::broadcast(-104.0f), x));  // in this order NaN stays NaN
    const V n = round(bounded * V::broadcast(1.44269504088896341f));
    V r = fma(n, V::broadcast(-0.693359375f), bounded);
    r = fma(n, V::broadcast(2.12194440e-4f), r);
    V p = V::broadcast(1.0f / 5040);
    p = fma(p, r, V::broadcast(1.0f / 720));
    p = fma(p, r, V::broadcast(1.0f / 120));
    p = fma(p, r, V::broadcast(1.0f / 24));
    p = fma(p, r, V::broadcast(1.0f / 6));
    p = fma(p, r, V::broadcast(0.5f));
    p = fma(p, r, V::broadcast(1.0f));
    p = fma(p, r, V::broadcast(1.0f));
    return scale_by_power(p, n);
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
