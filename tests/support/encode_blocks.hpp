// SPDX-License-Identifier: MIT
#pragma once
// Floats to the bytes of a weight format, by the plainest rule of each (ggml's reference rule: the largest magnitude or the
// range fixes the scale). For making test files; quantizers for use are another matter.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include <skald/core/dtype.hpp>
#include <skald/core/half.hpp>

namespace skald::test {

namespace detail {

inline void put_half(std::byte* out, float value) {
    const half h = to_half(value);
    std::memcpy(out, &h, sizeof h);
}

inline std::byte code(float value, int lowest, int highest) {
    return static_cast<std::byte>(static_cast<std::uint8_t>(std::clamp(static_cast<int>(std::lround(value)), lowest, highest)));
}

inline void pack_nibbles(const float* x, float zero, float inverse, std::byte* out) {
    for (int i = 0; i < 16; ++i)
        out[i] = code((x[i] - zero) * inverse, 0, 15) | static_cast<std::byte>(code((x[i + 16] - zero) * inverse, 0, 15) << 4);
}

inline void encode_block(dtype type, const float* x, std::byte* out) {
    const auto inverse = [](float d) { return d == 0 ? 0.0f : 1 / d; };
    switch (type) {
        case dtype::f32: std::memcpy(out, x, 4); return;
        case dtype::f16: put_half(out, *x); return;
        case dtype::bf16: {
            const bfloat16 b = to_bfloat16(*x);
            std::memcpy(out, &b, sizeof b);
            return;
        }
        case dtype::q8_0: {
            float largest = 0;
            for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[i]));
            const float d = largest / 127;
            put_half(out, d);
            for (int i = 0; i < 32; ++i) out[2 + i] = code(x[i] * inverse(d), -127, 127);
            return;
        }
        case dtype::q4_0: {
            float extreme = 0;
            for (int i = 0; i < 32; ++i)
                if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
            const float d = extreme / -8;  // the extreme value gets code 0
            put_half(out, d);
            pack_nibbles(x, -8 * d, inverse(d), out + 2);
            return;
        }
        case dtype::q4_1: {
            const auto [low, high] = std::minmax_element(x, x + 32);
            const float d = (*high - *low) / 15;
            put_half(out, d);
            put_half(out + 2, *low);
            pack_nibbles(x, *low, inverse(d), out + 4);
            return;
        }
        default: throw std::invalid_argument("the test writer has no encoder for this type");
    }
}

}  // namespace detail

/// The bytes of `values` (whole rows of whole blocks) as f32, f16, bf16, q8_0, q4_0 or q4_1.
inline std::vector<std::byte> encode_blocks(dtype type, std::span<const float> values) {
    const dtype_info& format = info(type);
    if (values.size() % format.block_size != 0) throw std::invalid_argument("the test writer needs whole blocks");
    std::vector<std::byte> out(values.size() / format.block_size * format.block_bytes);
    for (std::size_t b = 0; b < values.size() / format.block_size; ++b)
        detail::encode_block(type, values.data() + b * format.block_size, out.data() + b * format.block_bytes);
    return out;
}

}  // namespace skald::test
