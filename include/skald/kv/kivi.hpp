// SPDX-License-Identifier: MIT
#pragma once
// KIVI (Liu et al. 2024): keys are quantized per channel over a group of tokens, since what is large in keys is a few channels; values
// per token. Both asymmetric, with 4 or 2 bits. Codes stand for integers under one scale, code · multiple + offset, so that kernels that
// multiply integers read them as they lie (attention::word_codec): a key's row has the scale of its group, and each channel of the group a
// multiple and an offset; a value's row has a scale, and each 32 channels of it a multiple and an offset.
//
// Error: half a step, the channel's or the group's range / 15 (4 bits) or / 3 (2 bits), and what multiples are rounded up by: at most half
// of the scale of keys, 1/16000 of the group's longest possible row; of values 1/255 of the row's greatest step.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <skald/backend/attention.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

namespace detail {

/// Codes of one word_unit of values.
template <std::size_t Bits>
struct unit_codes {
    static_assert(Bits == 4 || Bits == 2);
    static constexpr std::size_t bytes = word_unit * Bits / 8;
    static constexpr float most = (1 << Bits) - 1;

    /// Value i is in byte i % bytes, from this bit on: the order in which kernels widen them.
    static constexpr std::size_t shift(std::size_t i) noexcept {
        return Bits == 4 ? i / lane_count * 4 : i % lane_count / bytes * 4 + i / lane_count * 2;
    }
    static void pack(const std::int8_t (&codes)[word_unit], std::byte* out) noexcept {
        std::uint8_t packed[bytes] = {};
        for (std::size_t i = 0; i < word_unit; ++i) packed[i % bytes] = static_cast<std::uint8_t>(packed[i % bytes] | codes[i] << shift(i));
        std::memcpy(out, packed, bytes);
    }
    static int code(const std::byte* packed, std::size_t i) noexcept {
        return std::to_integer<int>(packed[i % bytes] >> shift(i)) & static_cast<int>(most);
    }
    template <class I>
    static I words(const std::byte* packed) noexcept {
        if constexpr (Bits == 4)
            return I::widen_nibbles(packed);
        else
            return I::widen_quarters(packed);
    }

    /// Words are at most as far from the values over the scale, beside half a step.
    static constexpr float slack = most + 1;
    /// The least scale for values of which none is greater than `greatest` and whose vector is no longer than sqrt(squares).
    static float scale(float squares, float greatest) noexcept {
        constexpr float length = attention::most_length - 23 * slack;  // sqrt(512) channels
        return std::max(std::sqrt(squares) / length, greatest / (attention::most_word - slack));
    }
};

/// The nearest integer, where words may be; NaN is the least.
inline std::int16_t to_word(float x) noexcept {
    const float high = x < attention::most_word ? x : attention::most_word;
    return static_cast<std::int16_t>(std::nearbyint(high > -attention::most_word ? high : -attention::most_word));
}

inline float inverse_of(float scale) noexcept { return scale > 1e-30f ? 1.0f / scale : 0.0f; }

/// The steps of one channel, or of some: value = (code · multiple + offset) · scale.
struct word_steps {
    std::int16_t multiple = 0, offset = 0;

    /// For codes from 0 to `most` and values from low to high, both over the scale.
    static word_steps of(float low, float high, float most) noexcept {
        const float multiple = std::ceil((high - low) / most - 1e-3f);  // rounding may not cost a step
        return {to_word(multiple > 0 ? multiple : 0), to_word(low)};
    }
};

template <format::float_vector V>
V codes_of(V x, V inverse_scale, V offset, V inverse_multiple, float most) noexcept {
    return min(max(V::broadcast(0.0f), (x * inverse_scale - offset) * inverse_multiple), V::broadcast(most));
}

}  // namespace detail

/// Values: asymmetric codes a token, a multiple and an offset for each 32 channels. Also a codec of its own, of single rows.
/// Row: the scale in bf16, then for each 32 channels the multiple, the offset, and codes.
template <std::size_t Bits>
struct token_codes {
    using codes = detail::unit_codes<Bits>;
    static constexpr std::string_view name = Bits == 4 ? "token4" : "token2";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return 2 + skald::ceil_div(width, word_unit) * unit_bytes; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        encode_from<V>([&](std::size_t i) { return V::load(row + i); }, width, out);
    }
    /// load(i): values i … i + V::size - 1.
    template <format::float_vector V, class Load>
    static void encode_from(const Load& load, std::size_t width, std::byte* out) noexcept {
        float squares = 0, greatest = 0, range = 0;
        for (std::size_t at = 0; at < width; at += word_unit) {
            const auto [low, high] = limits<V>(load, at, width);
            const float most = std::max(std::fabs(low), std::fabs(high));
            squares += static_cast<float>(word_unit) * most * most;
            greatest = std::max(greatest, most);
            range = std::max(range, high - low);
        }
        const std::uint16_t stored = round_up_bits(std::max(codes::scale(squares, greatest), range / (codes::most * most_multiple)));
        std::memcpy(out, &stored, sizeof stored);
        const float inverse = detail::inverse_of(scale(out));
        out += sizeof stored;
        for (std::size_t at = 0; at < width; at += word_unit, out += unit_bytes) {
            const auto [low, high] = limits<V>(load, at, width);
            auto steps = detail::word_steps::of(low * inverse, high * inverse, codes::most);
            steps.multiple = std::min<std::int16_t>(steps.multiple, most_multiple);
            const V by = V::broadcast(inverse), offset = V::broadcast(steps.offset);
            const V divided = V::broadcast(steps.multiple == 0 ? 0.0f : 1.0f / static_cast<float>(steps.multiple));
            std::int8_t some[word_unit] = {};
            for (std::size_t i = 0; i < std::min(word_unit, width - at); i += V::size)
                detail::codes_of(load(at + i), by, offset, divided, codes::most).store_i8(some + i);
            out[0] = static_cast<std::byte>(steps.multiple);
            std::memcpy(out + 1, &steps.offset, sizeof steps.offset);
            codes::pack(some, out + 3);
        }
    }
    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        const std::byte* unit = row + 2 + i / word_unit * unit_bytes;
        const detail::word_steps steps = steps_of(unit);
        float words[V::size];
        for (std::size_t j = 0; j < V::size; ++j)
            words[j] = static_cast<float>(codes::code(unit + 3, i % word_unit + j) * steps.multiple + steps.offset);
        return V::load(words) * V::broadcast(scale(row));
    }

    static float scale(const std::byte* row) noexcept {
        std::uint16_t bits;
        std::memcpy(&bits, row, sizeof bits);
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        row += 2 + unit * unit_bytes;
        const detail::word_steps steps = steps_of(row);
        return scale_words(codes::template words<I>(row + 3), steps.multiple, steps.offset);
    }

private:
    static constexpr std::size_t unit_bytes = 3 + codes::bytes;
    static constexpr std::int16_t most_multiple = 255;

    struct range {
        float low, high;
    };
    /// Of the unit at `at`.
    template <format::float_vector V, class Load>
    static range limits(const Load& load, std::size_t at, std::size_t width) noexcept {
        V low = load(at), high = low;
        for (std::size_t i = at; i < std::min(at + word_unit, width); i += V::size) low = min(low, load(i)), high = max(high, load(i));
        return {-reduce_max(V::broadcast(0.0f) - low), reduce_max(high)};
    }
    static detail::word_steps steps_of(const std::byte* unit) noexcept {
        detail::word_steps steps;
        steps.multiple = std::to_integer<std::int16_t>(unit[0]);
        std::memcpy(&steps.offset, unit + 1, sizeof steps.offset);
        return steps;
    }
    /// The least bf16 that is not below x ≥ 0.
    static std::uint16_t round_up_bits(float x) noexcept {
        return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(x) + 0xffffu) >> 16);
    }
};

/// A key of a group. Row: how many bytes before it the group's channels stand, then codes.
/// The channels: for each 32 of them multiples, then offsets, both in the order of words; the scale is the float before.
template <std::size_t Bits>
struct channel_codes {
    using codes = detail::unit_codes<Bits>;
    static constexpr std::size_t row_bytes(std::size_t width) noexcept {
        return sizeof(std::uint16_t) + skald::ceil_div(width, word_unit) * codes::bytes;
    }
    static constexpr std::size_t unit_bytes = word_unit * sizeof(detail::word_steps);
    static constexpr std::size_t channel_bytes(std::size_t width) noexcept { return skald::ceil_div(width, word_unit) * unit_bytes; }

    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        const std::byte *unit = channels_of(row) + i / word_unit * unit_bytes, *packed = codes_at(row, i / word_unit);
        float words[V::size];
        for (std::size_t j = 0; j < V::size; ++j) {
            const std::size_t at = i % word_unit + j;
            std::int16_t multiple, offset;
            std::memcpy(&multiple, unit + 2 * detail::word_of(at), sizeof multiple);
            std::memcpy(&offset, unit + 2 * (word_unit + detail::word_of(at)), sizeof offset);
            words[j] = static_cast<float>(codes::code(packed, at) * multiple + offset);
        }
        return V::load(words) * V::broadcast(scale(row));
    }

    static float scale(const std::byte* row) noexcept {
        float out;
        std::memcpy(&out, channels_of(row) - sizeof out, sizeof out);
        return out;
    }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        const std::byte* channels = channels_of(row) + unit * unit_bytes;
        return scale_words(codes::template words<I>(codes_at(row, unit)), I::load(channels), I::load(channels + unit_bytes / 2));
    }

private:
    static const std::byte* channels_of(const std::byte* row) noexcept {
        std::uint16_t back;
        std::memcpy(&back, row, sizeof back);
        return row - back;
    }
    static const std::byte* codes_at(const std::byte* row, std::size_t unit) noexcept {
        return row + sizeof(std::uint16_t) + unit * codes::bytes;
    }
};

/// A group of `Tokens` tokens. Keys: a line with the scale at its end, the channels, rows. Values: rows.
template <std::size_t Bits, std::size_t Tokens = 64>
struct kivi {
    using key_codec = channel_codes<Bits>;
    using value_codec = token_codes<Bits>;
    using codes = detail::unit_codes<Bits>;
    static constexpr std::string_view name = Bits == 4 ? "kivi4" : "kivi2";
    static constexpr std::size_t tokens = Tokens;

    static constexpr std::size_t first_key(std::size_t width) noexcept { return line + key_codec::channel_bytes(width); }
    static constexpr std::size_t first_value(std::size_t) noexcept { return 0; }
    static constexpr std::size_t key_bytes(std::size_t width) noexcept {
        return round_up(first_key(width) + Tokens * key_codec::row_bytes(width), line);
    }
    static constexpr std::size_t value_bytes(std::size_t width) noexcept { return round_up(Tokens * value_codec::row_bytes(width), line); }
    static constexpr std::size_t most_width = 512;

    template <format::float_vector V, class Rows>
    static void seal_keys(const Rows& rows, std::size_t width, std::byte* out) noexcept {
        V squares = V::broadcast(0.0f), greatest = squares;
        for (std::size_t i = 0; i < width; i += V::size) {
            const auto [low, high] = limits<V>(rows, i);
            const V most = max(abs(low), abs(high));
            squares = fma(most, most, squares);
            greatest = max(greatest, most);
        }
        const float scale = codes::scale(reduce_add(squares), reduce_max(greatest));
        std::memcpy(out + line - sizeof scale, &scale, sizeof scale);
        const std::size_t row_bytes = key_codec::row_bytes(width);
        std::byte* first = out + first_key(width);
        for (std::size_t r = 0; r < Tokens; ++r) {
            const auto back = static_cast<std::uint16_t>(first + r * row_bytes - (out + line));
            std::memcpy(first + r * row_bytes, &back, sizeof back);
        }
        for (std::size_t at = 0; at < width; at += word_unit)
            seal_unit<V>(rows, at, std::min(word_unit, width - at), detail::inverse_of(scale),
                         out + line + at / word_unit * key_codec::unit_bytes, first + 2 + at / word_unit * codes::bytes, row_bytes);
    }
    template <format::float_vector V, class Rows>
    static void seal_values(const Rows& rows, std::size_t width, std::byte* out) noexcept {
        for (std::size_t r = 0; r < Tokens; ++r)
            value_codec::template encode_from<V>([&](std::size_t i) { return rows.template load<V>(r, i); }, width,
                                                 out + r * value_codec::row_bytes(width));
    }

private:
    static constexpr std::size_t line = 64;
    static_assert(Tokens % word_unit == 0 &&
                  line + key_codec::channel_bytes(most_width) + Tokens * key_codec::row_bytes(most_width) < 65536);

    template <class V>
    struct range {
        V low, high;
    };
    template <format::float_vector V, class Rows>
    static range<V> limits(const Rows& rows, std::size_t i) noexcept {
        range<V> out{rows.template load<V>(0, i), rows.template load<V>(0, i)};
        for (std::size_t r = 1; r < Tokens; ++r) {
            const V x = rows.template load<V>(r, i);
            out = {min(out.low, x), max(out.high, x)};
        }
        return out;
    }

    /// Channels at … at + n - 1, and their codes in rows `row_bytes` apart.
    template <format::float_vector V, class Rows>
    static void seal_unit(const Rows& rows, std::size_t at, std::size_t n, float inverse, std::byte* channels, std::byte* packed,
                          std::size_t row_bytes) noexcept {
        std::int16_t multiples[word_unit] = {}, offsets[word_unit] = {};
        std::int8_t chosen[Tokens][word_unit] = {};
        for (std::size_t i = 0; i < n; i += V::size) {
            float low[V::size], high[V::size], offset[V::size], divided[V::size];
            const auto lowest_and_highest = limits<V>(rows, at + i);
            (lowest_and_highest.low * V::broadcast(inverse)).store(low);
            (lowest_and_highest.high * V::broadcast(inverse)).store(high);
            for (std::size_t j = 0; j < V::size; ++j) {
                const auto steps = detail::word_steps::of(low[j], high[j], codes::most);
                multiples[detail::word_of(i + j)] = steps.multiple;
                offsets[detail::word_of(i + j)] = steps.offset;
                offset[j] = steps.offset;
                divided[j] = steps.multiple == 0 ? 0.0f : 1.0f / static_cast<float>(steps.multiple);
            }
            for (std::size_t r = 0; r < Tokens; ++r)
                detail::codes_of(rows.template load<V>(r, at + i), V::broadcast(inverse), V::load(offset), V::load(divided), codes::most)
                    .store_i8(chosen[r] + i);
        }
        std::memcpy(channels, multiples, sizeof multiples);
        std::memcpy(channels + sizeof multiples, offsets, sizeof offsets);
        for (std::size_t r = 0; r < Tokens; ++r) codes::pack(chosen[r], packed + r * row_bytes);
    }
};

/// Groups of 64 take 39.5 bytes a row of 64 channels and cost 0.8% of perplexity where groups of 32 take 42 and cost 0.6%
/// (kv/README.md says of which model). With 2 bits steps are five times as long, and the range of a channel counts for more.
using kivi4 = kivi<4, 64>;
using kivi2 = kivi<2, 32>;

static_assert(codec<token_codes<4>> && codec<token_codes<2>> && group_codec<kivi4> && group_codec<kivi2>);
static_assert(attention::word_codec<token_codes<4>> && attention::word_codec<channel_codes<2>>);

}  // namespace skald::kv
