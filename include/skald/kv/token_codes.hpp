// SPDX-License-Identifier: MIT
#pragma once
// Asymmetric codes of few bits a token: what KIVI (Liu et al. 2024) does with values, and what it compares its keys with. A token has a
// scale, and each 32 channels of it a multiple and an offset (word_steps.hpp).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <skald/backend/attention.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/word_codec.hpp>
#include <skald/kv/word_steps.hpp>

namespace skald::kv {

namespace detail {

/// The codes of one token and what they mean. Error: half of a unit's range / 15 (4 bits) or / 3 (2 bits), and what multiples are rounded
/// up by, at most 1/255 of the token's greatest step.
template <std::size_t Bits>
struct token_quantizer {
    using limits = code_limits<Bits>;
    static constexpr std::int16_t most_multiple = 255;

    /// load(i): values i … i + V::size - 1. unit(n, steps, codes): channels 32 n … of the token. Returns the scale, a bf16.
    template <format::float_vector V, class Load, class Unit>
    static std::uint16_t encode(const Load& load, std::size_t width, const Unit& unit) noexcept {
        float squares = 0, greatest = 0, range = 0;
        for (std::size_t at = 0; at < width; at += word_unit) {
            const auto [low, high] = extremes<V>(load, at, width);
            const float most = std::max(std::fabs(low), std::fabs(high));
            squares += static_cast<float>(word_unit) * most * most;
            greatest = std::max(greatest, most);
            range = std::max(range, high - low);
        }
        const std::uint16_t scale = round_up_bits(std::max(limits::scale(squares, greatest), range / (limits::most * most_multiple)));
        const float inverse = inverse_of(scale_of(scale));
        for (std::size_t at = 0; at < width; at += word_unit) {
            const auto [low, high] = extremes<V>(load, at, width);
            auto steps = word_steps::of(low * inverse, high * inverse, limits::most);
            steps.multiple = std::min<std::int16_t>(steps.multiple, most_multiple);
            std::int8_t codes[word_unit] = {};
            for (std::size_t i = 0; i < std::min(word_unit, width - at); i += V::size)
                codes_of(load(at + i), V::broadcast(inverse), V::broadcast(steps.offset), V::broadcast(steps.inverse_multiple()),
                         limits::most)
                    .store_i8(codes + i);
            unit(at / word_unit, steps, codes);
        }
        return scale;
    }
    static float scale_of(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

private:
    struct range {
        float low, high;
    };
    /// Of the unit at `at`.
    template <format::float_vector V, class Load>
    static range extremes(const Load& load, std::size_t at, std::size_t width) noexcept {
        V low = load(at), high = low;
        for (std::size_t i = at; i < std::min(at + word_unit, width); i += V::size) low = min(low, load(i)), high = max(high, load(i));
        return {-reduce_max(V::broadcast(0.0f) - low), reduce_max(high)};
    }
    /// The least bf16 that is not below x ≥ 0.
    static std::uint16_t round_up_bits(float x) noexcept {
        return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(x) + 0xffffu) >> 16);
    }
};

}  // namespace detail

/// Such tokens as rows. Row: the scale in bf16, then for each 32 channels the multiple, the offset, and codes: of channel i in byte
/// i % bytes, in the order in which kernels widen them.
template <std::size_t Bits>
struct token_codes {
    static constexpr std::string_view name = Bits == 4 ? "token4" : "token2";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return 2 + skald::ceil_div(width, word_unit) * unit_bytes; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        const auto put = [&](std::size_t n, detail::word_steps steps, const std::int8_t(&codes)[word_unit]) {
            std::byte* unit = out + 2 + n * unit_bytes;
            unit[0] = static_cast<std::byte>(steps.multiple);
            std::memcpy(unit + 1, &steps.offset, sizeof steps.offset);
            std::uint8_t packed[code_bytes] = {};
            for (std::size_t i = 0; i < word_unit; ++i)
                packed[i % code_bytes] = static_cast<std::uint8_t>(packed[i % code_bytes] | codes[i] << shift(i));
            std::memcpy(unit + 3, packed, code_bytes);
        };
        const std::uint16_t scale = quantizer::template encode<V>([&](std::size_t i) { return V::load(row + i); }, width, put);
        std::memcpy(out, &scale, sizeof scale);
    }
    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        const std::byte* unit = row + 2 + i / word_unit * unit_bytes;
        const detail::word_steps steps = steps_of(unit);
        float words[V::size];
        for (std::size_t j = 0; j < V::size; ++j) {
            const std::size_t at = i % word_unit + j;
            const int code = std::to_integer<int>(unit[3 + at % code_bytes] >> shift(at)) & ((1 << Bits) - 1);
            words[j] = static_cast<float>(code * steps.multiple + steps.offset);
        }
        return V::load(words) * V::broadcast(scale(row));
    }

    static float scale(const std::byte* row) noexcept {
        std::uint16_t bits;
        std::memcpy(&bits, row, sizeof bits);
        return quantizer::scale_of(bits);
    }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        row += 2 + unit * unit_bytes;
        const detail::word_steps steps = steps_of(row);
        if constexpr (Bits == 4)
            return scale_words(I::widen_nibbles(row + 3), steps.multiple, steps.offset);
        else
            return scale_words(I::widen_quarters(row + 3), steps.multiple, steps.offset);
    }

private:
    using quantizer = detail::token_quantizer<Bits>;
    static constexpr std::size_t code_bytes = word_unit * Bits / 8, unit_bytes = 3 + code_bytes;

    static constexpr std::size_t shift(std::size_t i) noexcept {
        return Bits == 4 ? i / lane_count * 4 : i % lane_count / code_bytes * 4 + i / lane_count * 2;
    }
    static detail::word_steps steps_of(const std::byte* unit) noexcept {
        detail::word_steps steps;
        steps.multiple = std::to_integer<std::int16_t>(unit[0]);
        std::memcpy(&steps.offset, unit + 1, sizeof steps.offset);
        return steps;
    }
};

static_assert(codec<token_codes<4>> && codec<token_codes<2>> && attention::word_codec<token_codes<4>>);

}  // namespace skald::kv
