// SPDX-License-Identifier: MIT
#pragma once
// Writing formats without blocks: the nearest number, ties to even.
#include <cstddef>

#include <skald/format/encode_block.hpp>
#include <skald/format/numbers.hpp>

namespace skald::format {

template <>
struct encoder<f32> {
    template <float_vector V>
    static void encode(const float* x, const float*, std::byte* block) noexcept {
        detail::put_at(block, *x);
    }
};

template <>
struct encoder<f16> {
    template <float_vector V>
    static void encode(const float* x, const float*, std::byte* block) noexcept {
        detail::put_at(block, to_half(*x));
    }
};

template <>
struct encoder<bf16> {
    template <float_vector V>
    static void encode(const float* x, const float*, std::byte* block) noexcept {
        detail::put_at(block, to_bfloat16(*x));
    }
};

}  // namespace skald::format
