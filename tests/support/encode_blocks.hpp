// SPDX-License-Identifier: MIT
#pragma once
// Bytes of weight formats for test files: floats encoded by the plainest rule of a format (ggml's reference rule: the largest
// magnitude or the range fixes the scale), and random blocks of any format. Quantizers for use are another matter.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
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

/// Whether encode_blocks() knows the format.
inline bool can_encode(dtype type) {
    constexpr dtype known[] = {dtype::f32, dtype::f16, dtype::bf16, dtype::q8_0, dtype::q4_0, dtype::q4_1};
    return std::find(std::begin(known), std::end(known), type) != std::end(known);
}

/// The bytes of `values` (whole rows of whole blocks) in a format that can_encode().
inline std::vector<std::byte> encode_blocks(dtype type, std::span<const float> values) {
    const dtype_info& format = info(type);
    if (values.size() % format.block_size != 0) throw std::invalid_argument("the test writer needs whole blocks");
    std::vector<std::byte> out(values.size() / format.block_size * format.block_bytes);
    for (std::size_t b = 0; b < values.size() / format.block_size; ++b)
        detail::encode_block(type, values.data() + b * format.block_size, out.data() + b * format.block_bytes);
    return out;
}

/// Random blocks of any format, with scales between 1/32 and 1/8 where the format has a scale, so that every value is finite.
inline std::vector<std::byte> random_blocks(dtype type, std::size_t blocks, unsigned seed) {
    std::mt19937 random(seed);
    const std::size_t bytes = info(type).block_bytes;
    std::vector<std::byte> out(blocks * bytes);
    for (std::byte& b : out) b = static_cast<std::byte>(random() & 255);
    const auto high_byte = [&] { return static_cast<std::byte>(0x28 + random() % 8); };  // of a binary16
    for (std::byte* block = out.data(); block != out.data() + out.size(); block += bytes) switch (type) {
            case dtype::f32: block[3] = std::byte{0x3d}; break;
            case dtype::bf16: block[1] = std::byte{0x3d}; break;
            case dtype::f8_e4m3:
            case dtype::f8_e5m2: block[0] &= std::byte{0xbf}; break;
            case dtype::q4_1:
            case dtype::q5_1:
            case dtype::q4_k:
            case dtype::q5_k: block[1] = high_byte(), block[3] = high_byte(); break;
            case dtype::q2_k: block[81] = high_byte(), block[83] = high_byte(); break;
            case dtype::q3_k: block[109] = high_byte(); break;
            case dtype::q6_k: block[209] = high_byte(); break;
            case dtype::iq1_m: block[55] = (block[55] & std::byte{0x0f}) | std::byte{0x20}; break;
            case dtype::tq1_0: block[53] = high_byte(); break;
            case dtype::tq2_0: block[65] = high_byte(); break;
            case dtype::mxfp4: block[0] = static_cast<std::byte>(120 + random() % 8); break;
            case dtype::nvfp4:
                for (std::size_t i = 0; i < 4; ++i) block[i] = static_cast<std::byte>(0x10 + random() % 32);
                break;
            default: block[1] = high_byte();
        }
    return out;
}

}  // namespace skald::test
