// SPDX-License-Identifier: MIT
#pragma once
// Integer sums of codes of weights by activations, exact whichever instructions the target has: codes that unsigned dot products take are
// around 128, those that signed ones take around 0. Where bytes are multiplied in pairs that must fit 16 bits (AVX2), narrow codes, which
// stand for at most 64 either way, are around 64 and need one instruction less.
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/activations.hpp>

namespace skald::inline SKALD_ISA::kernels {

template <class Arch, bool Narrow>
struct byte_sums {
    using ints = simd_int<Arch>;
    static constexpr bool narrow = Narrow && ints::has_narrow_dot;
    /// What zero is among codes.
    static constexpr int zero = narrow ? 64 : ints::code_zero;

    SKALD_INLINE static ints add(ints sum, ints code, ints activations) noexcept {
        if constexpr (narrow)
            return narrow_dot(sum, code, activations);
        else
            return dot(sum, code, activations);
    }

    /// Where the sum of a group begins whose codes are around Zero; the sums of its activations are number `part` of the block's.
    template <int Zero = zero>
    SKALD_INLINE static ints start(const int8_block& x, std::size_t part) noexcept {
        using V = simd<Arch>;
        if constexpr (Zero == 0)
            return ints::broadcast(sums_zero_bits);
        else if constexpr (Zero == 128)
            return ints::broadcast(x.start[part]);
        else  // integers below 2^22: exact
            return ints::bits_of(fma(V::broadcast(x.sum[part]), V::broadcast(-Zero), V::broadcast(sums_zero)));
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
