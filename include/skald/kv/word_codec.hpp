// SPDX-License-Identifier: MIT
#pragma once
// Codecs whose rows are integers under one scale: i16, q8, q4. Kernels that multiply integers read them as they lie; the role,
// attention::word_codec, and the order of a row's words are in backend/attention.hpp.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <skald/backend/attention.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/codec.hpp>

namespace skald::kv {

/// Values whose words lie together.
inline constexpr std::size_t word_unit = 2 * lane_count;

namespace detail {

/// What rows of word codecs begin with.
inline float read_scale(const std::byte* row) noexcept {
    float scale;
    std::memcpy(&scale, row, sizeof scale);
    return scale;
}

template <format::float_vector V>
float greatest_magnitude(const float* row, std::size_t width) noexcept {
    V most = V::broadcast(0.0f);
    for (std::size_t i = 0; i < width; i += V::size) most = max(most, abs(V::load(row + i)));
    return reduce_max(most);
}

/// Where value i stands among the words of its row.
constexpr std::size_t word_of(std::size_t i) noexcept { return i / word_unit * word_unit + i % lane_count * 2 + i / lane_count % 2; }

/// Codes of values i … i + V::size - 1, one a byte in the order of words, as floats.
template <format::float_vector V>
V load_codes(const std::int8_t* codes, std::size_t i) noexcept {
    std::int8_t some[V::size];
    for (std::size_t j = 0; j < V::size; ++j) some[j] = codes[word_of(i) + 2 * j];
    return V::load_i8(some);
}

}  // namespace detail

/// 16-bit words: as many bytes as f16 and as exact beside the row's greatest value: error at most max(|row| / 65400, greatest / 16380).
/// Row: the scale, then words.
struct i16 {
    static constexpr std::string_view name = "i16";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return sizeof(float) + round_up(width, word_unit) * 2; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        V squares = V::broadcast(0.0f);
        for (std::size_t i = 0; i < width; i += V::size) squares = fma(V::load(row + i), V::load(row + i), squares);
        const float length = std::sqrt(reduce_add(squares)), greatest = detail::greatest_magnitude<V>(row, width);
        const float scale = std::max(length / attention::most_length, greatest / attention::most_word);
        const V inverse = V::broadcast(scale > least ? 1.0f / scale : 0.0f), zero = V::broadcast(magic);
        std::memcpy(out, &scale, sizeof scale);
        out += sizeof scale;
        std::memset(out, 0, round_up(width, word_unit) * 2);
        for (std::size_t i = 0; i < width; i += V::size) {
            std::uint32_t bits[V::size];
            float shifted[V::size];
            fma(V::load(row + i), inverse, zero).store(shifted);
            std::memcpy(bits, shifted, sizeof bits);
            for (std::size_t j = 0; j < V::size; ++j) {
                const auto word = static_cast<std::uint16_t>(bits[j]);
                std::memcpy(out + 2 * detail::word_of(i + j), &word, sizeof word);
            }
        }
    }
    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        float some[V::size];
        for (std::size_t j = 0; j < V::size; ++j) {
            std::int16_t word;
            std::memcpy(&word, row + sizeof(float) + 2 * detail::word_of(i + j), sizeof word);
            some[j] = word;
        }
        return V::load(some) * V::broadcast(scale(row));
    }

    static float scale(const std::byte* row) noexcept { return detail::read_scale(row); }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        return I::load(row + sizeof(float) + unit * word_unit * 2);
    }

private:
    static constexpr float magic = 0x1.8p23f;  // its unit is 1: what is added stands rounded in the lower bits
    static constexpr float least = 1e-30f;     // scales below have inverses that are not finite
};

/// 8-bit codes, one scale a token and head: error at most greatest / 254. Row: the scale, then codes.
struct q8 {
    static constexpr std::string_view name = "q8";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return sizeof(float) + round_up(width, word_unit); }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        const float scale = detail::greatest_magnitude<V>(row, width) / 127.0f;
        const V inverse = V::broadcast(scale > 1e-30f ? 1.0f / scale : 0.0f);
        std::memcpy(out, &scale, sizeof scale);
        auto* codes = reinterpret_cast<std::int8_t*>(out + sizeof scale);
        std::memset(codes, 0, round_up(width, word_unit));
        for (std::size_t i = 0; i < width; i += V::size) {
            std::int8_t some[V::size];
            (V::load(row + i) * inverse).store_i8(some);
            for (std::size_t j = 0; j < V::size; ++j) codes[detail::word_of(i + j)] = some[j];
        }
    }
    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        return detail::load_codes<V>(reinterpret_cast<const std::int8_t*>(row + sizeof(float)), i) * V::broadcast(scale(row));
    }

    static float scale(const std::byte* row) noexcept { return detail::read_scale(row); }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        return I::widen(row + sizeof(float) + unit * word_unit);
    }
};

/// 4-bit codes from -8 to 7 in groups of 32 values, each under a multiple, from 1 to 15 and signed, of the row's scale; of a group's
/// greatest values one is met by code -8, as in GGUF's Q4_0. Row: the scale, then for each group the multiple and two codes a byte, of
/// values i and i + 16.
struct q4 {
    static constexpr std::string_view name = "q4";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept {
        return sizeof(float) + skald::ceil_div(width, word_unit) * group_bytes;
    }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        const float scale = detail::greatest_magnitude<V>(row, width) / (8 * most_multiple);
        std::memcpy(out, &scale, sizeof scale);
        out += sizeof scale;
        for (std::size_t begin = 0; begin < width; begin += word_unit, out += group_bytes)
            encode_group<V>(row + begin, std::min(word_unit, width - begin), scale, out);
    }
    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        const std::byte* group = row + sizeof(float) + i / word_unit * group_bytes;
        const int shift = i % word_unit < lane_count ? 0 : 4;
        std::uint8_t codes[V::size];
        for (std::size_t j = 0; j < V::size; ++j)
            codes[j] = std::to_integer<std::uint8_t>(group[1 + i % lane_count + j] >> shift & std::byte{15});
        return (V::load_u8(codes) - V::broadcast(8.0f)) * V::broadcast(scale(row) * static_cast<float>(multiple_of(group)));
    }

    static float scale(const std::byte* row) noexcept { return detail::read_scale(row); }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        const std::byte* group = row + sizeof(float) + unit * group_bytes;
        const int multiple = multiple_of(group);
        return scale_words(I::widen_nibbles(group + 1), static_cast<std::int16_t>(multiple), static_cast<std::int16_t>(-8 * multiple));
    }

private:
    static constexpr std::size_t group_bytes = 1 + word_unit / 2;
    static constexpr float most_multiple = 15;  // times -8 it is a byte

    static int multiple_of(const std::byte* group) noexcept { return static_cast<std::int8_t>(std::to_integer<int>(group[0])); }

    template <format::float_vector V>
    static void encode_group(const float* x, std::size_t n, float scale, std::byte* out) noexcept {
        float extreme = 0;
        for (std::size_t i = 0; i < n; ++i)
            if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
        const bool empty = !(scale > 1e-30f);
        const float wanted = empty ? 1.0f : std::ceil(std::fabs(extreme) / (8 * scale) - 1e-3f);  // rounding may not cost a step
        const float multiple = std::clamp(wanted, 1.0f, most_multiple) * (extreme > 0 ? -1.0f : 1.0f);
        const V inverse = V::broadcast(empty ? 0.0f : 1.0f / (scale * multiple)), low = V::broadcast(-8.0f), high = V::broadcast(7.0f);
        std::int8_t codes[word_unit] = {};
        for (std::size_t i = 0; i < n; i += V::size) min(max(low, V::load(x + i) * inverse), high).store_i8(codes + i);
        *out++ = static_cast<std::byte>(static_cast<std::int8_t>(multiple));
        for (std::size_t i = 0; i < lane_count; ++i) out[i] = static_cast<std::byte>((codes[i] + 8) | (codes[i + lane_count] + 8) << 4);
    }
};

static_assert(codec<i16> && codec<q8> && codec<q4>);
static_assert(attention::word_codec<i16> && attention::word_codec<q8> && attention::word_codec<q4> && !attention::word_codec<f16>);

}  // namespace skald::kv
