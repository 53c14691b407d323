// SPDX-License-Identifier: MIT
#pragma once
// The number formats of weights in file layout: one type a format, each with its block's layout and an exact decode. Layouts
// are those of GGUF (ggml): quantized blocks start with their scale as a binary16.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/core/dtype.hpp>
#include <skald/core/half.hpp>
#include <skald/format/vector.hpp>

namespace skald::format {

/// A weight format: its dtype, and the exact decode of one block into `info(id).block_size` floats.
template <class F>
concept weight_format = requires(const std::byte* block, float* out) {
    { F::id } -> std::convertible_to<dtype>;
    F::template decode<scalar>(block, out);
};

namespace detail {
inline float half_at(const std::byte* p) noexcept {
    half h;
    std::memcpy(static_cast<void*>(&h), p, sizeof h);
    return to_float(h);
}
}  // namespace detail

struct f32 {
    static constexpr dtype id = dtype::f32;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::memcpy(out, block, sizeof(float));
    }
};

struct f16 {
    static constexpr dtype id = dtype::f16;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        *out = detail::half_at(block);
    }
};

struct bf16 {
    static constexpr dtype id = dtype::bf16;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        bfloat16 b;
        std::memcpy(static_cast<void*>(&b), block, sizeof b);
        *out = to_float(b);
    }
};

/// 32 values: scale d (binary16), 32 signed bytes q. value = d · q.
struct q8_0 {
    static constexpr dtype id = dtype::q8_0;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const V d = V::broadcast(detail::half_at(block));
        const auto* q = reinterpret_cast<const std::int8_t*>(block + 2);
        for (std::size_t i = 0; i < 32; i += V::size) (d * V::load_i8(q + i)).store(out + i);
    }
};

/// 32 values: scale d (binary16), 16 bytes: the low nibbles are values 0…15, the high ones 16…31. value = d · (q - 8).
struct q4_0 {
    static constexpr dtype id = dtype::q4_0;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::half_at(block);
        for (std::size_t i = 0; i < 16; ++i) {
            const int byte = std::to_integer<int>(block[2 + i]);
            out[i] = d * static_cast<float>((byte & 15) - 8);
            out[i + 16] = d * static_cast<float>((byte >> 4) - 8);
        }
    }
};

/// 32 values: scale d and minimum m (binary16 each), 16 bytes of nibbles as in q4_0. value = d · q + m.
struct q4_1 {
    static constexpr dtype id = dtype::q4_1;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const float d = detail::half_at(block), m = detail::half_at(block + 2);
        for (std::size_t i = 0; i < 16; ++i) {
            const int byte = std::to_integer<int>(block[4 + i]);
            out[i] = d * static_cast<float>(byte & 15) + m;  // exact up to one rounding: d · q needs at most 11 + 4 bits
            out[i + 16] = d * static_cast<float>(byte >> 4) + m;
        }
    }
};

}  // namespace skald::format
