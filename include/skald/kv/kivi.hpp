// SPDX-License-Identifier: MIT
#pragma once
// KIVI (Liu et al. 2024): keys are quantized per channel over a group of tokens, since what is large in keys is a few channels; values
// per token. Both asymmetric, with 4 or 2 bits. Codes stand for integers under one scale (word_steps.hpp): a key has the scale of its
// group, and each channel of the group a multiple and an offset; a value has a scale, and each 32 channels of it a multiple and an offset.
// Codes lie as the attention kernels want words (woven_codes.hpp), so that there is no row of bytes: a row's address is that of a byte
// which says how far before it the group begins.
//
// Error: half a step, the channel's or the token's range / 15 (4 bits) or / 3 (2 bits), and what multiples are rounded up by: at most half
// of the scale of keys, 1/16000 of the group's longest possible row; of values 1/255 of the row's greatest step.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <skald/backend/attention.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/token_codes.hpp>
#include <skald/kv/woven_codes.hpp>

namespace skald::kv {

namespace detail {

/// What the bytes of all groups begin with: of each token how many bytes before its own the group begins.
template <std::size_t Tokens>
struct woven_group {
    static constexpr std::size_t line = 64, columns = Tokens / lane_count, strips = Tokens / word_unit;
    static_assert(Tokens % word_unit == 0 && Tokens <= 256);

    static void number(std::byte* group) noexcept {
        for (std::size_t r = 0; r < Tokens; ++r) group[r] = static_cast<std::byte>(r);
    }
    static bool numbered(const std::byte* group) noexcept {
        std::size_t r = 0;
        while (r < Tokens && group[r] == static_cast<std::byte>(r)) ++r;
        return r == Tokens;
    }
    static std::size_t token(const std::byte* row) noexcept { return std::to_integer<std::size_t>(*row); }
    static const std::byte* group(const std::byte* row) noexcept { return row - token(row); }
    /// To the second cache.
    static void fetch(const std::byte* at, std::size_t bytes) noexcept {
        for (std::size_t i = 0; i < bytes; i += line) __builtin_prefetch(at + i, 0, 2);
    }

    template <class T>
    static T read(const std::byte* at, std::size_t i) noexcept {
        T out;
        std::memcpy(&out, at + i * sizeof out, sizeof out);
        return out;
    }
    template <class T>
    static void write(std::byte* at, std::size_t i, T value) noexcept {
        std::memcpy(at + i * sizeof value, &value, sizeof value);
    }
};

/// The members of a codec that reads rows one by one, from those of `Rows`: scale(row), steps(row, i) and code(row, i).
template <class Rows>
struct woven_rows {
    static constexpr std::size_t row_bytes(std::size_t) noexcept { return 1; }

    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        float words[V::size];
        for (std::size_t j = 0; j < V::size; ++j) words[j] = static_cast<float>(word(row, i + j));
        return V::load(words) * V::broadcast(Rows::scale(row));
    }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        std::int16_t out[word_unit];
        for (std::size_t i = 0; i < word_unit; ++i) out[word_of(i)] = static_cast<std::int16_t>(word(row, unit * word_unit + i));
        return I::load(out);
    }

private:
    static int word(const std::byte* row, std::size_t i) noexcept {
        const word_steps steps = Rows::steps(row, i);
        return Rows::code(row, i) * steps.multiple + steps.offset;
    }
};

}  // namespace detail

/// Keys. Group: the numbers, the scale at the end of a line, then for each 32 channels multiples and offsets, in the order of words, and
/// codes: a strip for each 16 tokens.
template <std::size_t Bits, std::size_t Tokens>
struct channel_codes : detail::woven_rows<channel_codes<Bits, Tokens>> {
    using base = detail::woven_group<Tokens>;
    using codes = detail::woven_codes<Bits>;
    static constexpr bool woven = true;
    static constexpr std::size_t units_at = skald::round_up(Tokens + sizeof(float), base::line);
    static constexpr std::size_t steps_bytes = word_unit * sizeof(std::int16_t);
    static constexpr std::size_t unit_bytes = 2 * steps_bytes + base::columns * codes::strip;

    static constexpr std::size_t bytes(std::size_t width) noexcept { return units_at + skald::ceil_div(width, word_unit) * unit_bytes; }

    static float scale(const std::byte* row) noexcept { return base::template read<float>(base::group(row) + scale_at, 0); }
    static detail::word_steps steps(const std::byte* row, std::size_t i) noexcept {
        const std::byte* unit = unit_of(row, i / word_unit);
        const std::size_t at = detail::word_of(i % word_unit);
        return {base::template read<std::int16_t>(unit, at), base::template read<std::int16_t>(unit + steps_bytes, at)};
    }
    static int code(const std::byte* row, std::size_t i) noexcept {
        const std::size_t token = base::token(row);
        return codes::code(strips(unit_of(row, i / word_unit)) + token / lane_count * codes::strip, i % word_unit, token % lane_count);
    }

    template <class I>
    static void scales(const std::byte* row, float* out) noexcept {
        std::fill_n(out, word_unit, scale(row));
    }
    /// The first rows of a group fetch what all of it has in common.
    template <class I, class F>
    static void each_unit(const std::byte* row, std::size_t width, const std::byte* next, const F& f) noexcept {
        const std::size_t first = base::token(row) / lane_count * codes::strip, first_next = base::token(next) / lane_count * codes::strip;
        if (first_next == 0) base::fetch(next, units_at);
        for (std::size_t unit = 0; unit * word_unit < width; ++unit) {
            const std::byte *at = unit_of(row, unit), *at_next = unit_of(next, unit);
            if (first_next == 0) base::fetch(at_next, 2 * steps_bytes);
            base::fetch(strips(at_next) + first_next, 2 * codes::strip);
            const std::byte* strip = strips(at) + first;
            f(unit, attention::woven_unit{at, at + steps_bytes, {strip, strip + codes::strip}});
        }
    }

    template <format::float_vector V, class Rows>
    static void seal(const Rows& rows, std::size_t width, std::byte* group) noexcept {
        V squares = V::broadcast(0.0f), greatest = squares;
        for (std::size_t i = 0; i < width; i += V::size) {
            const auto [low, high] = extremes<V>(rows, i);
            const V most = max(abs(low), abs(high));
            squares = fma(most, most, squares);
            greatest = max(greatest, most);
        }
        const float scale = detail::code_limits<Bits>::scale(reduce_add(squares), reduce_max(greatest));
        std::memset(group, 0, bytes(width));
        base::number(group);
        base::write(group + scale_at, 0, scale);
        for (std::size_t at = 0; at < width; at += word_unit)
            seal_unit<V>(rows, at, std::min(word_unit, width - at), detail::inverse_of(scale),
                         group + units_at + at / word_unit * unit_bytes);
    }

private:
    static constexpr std::size_t scale_at = units_at - sizeof(float);
    static const std::byte* unit_of(const std::byte* row, std::size_t unit) noexcept {
        return base::group(row) + units_at + unit * unit_bytes;
    }
    static const std::byte* strips(const std::byte* unit) noexcept { return unit + 2 * steps_bytes; }

    template <class V>
    struct range {
        V low, high;
    };
    template <format::float_vector V, class Rows>
    static range<V> extremes(const Rows& rows, std::size_t i) noexcept {
        range<V> out{rows.template load<V>(0, i), rows.template load<V>(0, i)};
        for (std::size_t r = 1; r < Tokens; ++r) {
            const V x = rows.template load<V>(r, i);
            out = {min(out.low, x), max(out.high, x)};
        }
        return out;
    }
    /// Channels at … at + n - 1.
    template <format::float_vector V, class Rows>
    static void seal_unit(const Rows& rows, std::size_t at, std::size_t n, float inverse, std::byte* unit) noexcept {
        constexpr float most = detail::code_limits<Bits>::most;
        std::byte* out = unit + 2 * steps_bytes;
        for (std::size_t i = 0; i < n; i += V::size) {
            float low[V::size], high[V::size], offset[V::size], divided[V::size];
            const auto lowest_and_highest = extremes<V>(rows, at + i);
            (lowest_and_highest.low * V::broadcast(inverse)).store(low);
            (lowest_and_highest.high * V::broadcast(inverse)).store(high);
            for (std::size_t j = 0; j < V::size; ++j) {
                const auto steps = detail::word_steps::of(low[j], high[j], most);
                base::write(unit, detail::word_of(i + j), steps.multiple);
                base::write(unit + steps_bytes, detail::word_of(i + j), steps.offset);
                offset[j] = steps.offset;
                divided[j] = steps.inverse_multiple();
            }
            for (std::size_t r = 0; r < Tokens; ++r) {
                std::int8_t chosen[V::size];
                detail::codes_of(rows.template load<V>(r, at + i), V::broadcast(inverse), V::load(offset), V::load(divided), most)
                    .store_i8(chosen);
                for (std::size_t j = 0; j < V::size; ++j) codes::put(out + r / lane_count * codes::strip, i + j, r % lane_count, chosen[j]);
            }
        }
    }
};

/// Values. Group: the numbers, the scales in bf16, then for each 32 channels multiples (a byte each) and offsets, both in the order of
/// words of tokens, and codes: for each 16 channels a strip for each 32 tokens.
template <std::size_t Bits, std::size_t Tokens>
struct grouped_token_codes : detail::woven_rows<grouped_token_codes<Bits, Tokens>> {
    using base = detail::woven_group<Tokens>;
    using codes = detail::woven_codes<Bits>;
    static constexpr bool woven = true;
    static constexpr std::size_t scales_at = Tokens, units_at = Tokens + Tokens * sizeof(std::uint16_t);
    static constexpr std::size_t steps_bytes = Tokens * 3, unit_bytes = steps_bytes + 2 * base::strips * codes::strip;

    static constexpr std::size_t bytes(std::size_t width) noexcept { return units_at + skald::ceil_div(width, word_unit) * unit_bytes; }

    static float scale(const std::byte* row) noexcept {
        return quantizer::scale_of(base::template read<std::uint16_t>(base::group(row) + scales_at, detail::word_of(base::token(row))));
    }
    static detail::word_steps steps(const std::byte* row, std::size_t i) noexcept {
        const std::byte* unit = unit_of(row, i / word_unit);
        const std::size_t at = detail::word_of(base::token(row));
        return {std::to_integer<std::int16_t>(unit[at]), base::template read<std::int16_t>(unit + Tokens, at)};
    }
    static int code(const std::byte* row, std::size_t i) noexcept {
        const std::size_t token = base::token(row);
        return codes::code(unit_of(row, i / word_unit) + strip_at(i, token), token % word_unit, i % lane_count);
    }

    template <class I>
    static void scales(const std::byte* row, float* out) noexcept {
        const I tokens = I::load(base::group(row) + scales_at + base::token(row) * sizeof(std::uint16_t));
        low_bfloat16(tokens).store(out);
        high_bfloat16(tokens).store(out + lane_count);
    }
    /// The first rows of a group fetch what all of it has in common.
    template <class I, class F>
    static void each_unit(const std::byte* row, std::size_t width, const std::byte* next, const F& f) noexcept {
        const std::size_t first = base::token(row), first_next = base::token(next);
        if (first_next == 0) base::fetch(next, units_at);
        for (std::size_t unit = 0; unit * word_unit < width; ++unit) {
            const std::byte *at = unit_of(row, unit), *at_next = unit_of(next, unit);
            if (first_next == 0) base::fetch(at_next, steps_bytes);
            for (std::size_t i = 0; i < word_unit; i += lane_count) base::fetch(at_next + strip_at(i, first_next), codes::strip);
            alignas(64) std::byte multiples[base::line];
            I::widen(at + first).template code_words<8, 0>().store(multiples);
            f(unit,
              attention::woven_unit{
                  multiples, at + Tokens + first * sizeof(std::int16_t), {at + strip_at(0, first), at + strip_at(lane_count, first)}});
        }
    }

    template <format::float_vector V, class Rows>
    static void seal(const Rows& rows, std::size_t width, std::byte* group) noexcept {
        std::memset(group, 0, bytes(width));
        base::number(group);
        for (std::size_t r = 0; r < Tokens; ++r) {
            const auto put = [&](std::size_t n, detail::word_steps steps, const std::int8_t(&chosen)[word_unit]) {
                std::byte* unit = group + units_at + n * unit_bytes;
                unit[detail::word_of(r)] = static_cast<std::byte>(steps.multiple);
                base::write(unit + Tokens, detail::word_of(r), steps.offset);
                for (std::size_t i = 0; i < std::min(word_unit, width - n * word_unit); ++i)
                    codes::put(unit + strip_at(i, r), r % word_unit, i % lane_count, chosen[i]);
            };
            const auto load = [&](std::size_t i) { return rows.template load<V>(r, i); };
            base::write(group + scales_at, detail::word_of(r), quantizer::template encode<V>(load, width, put));
        }
    }

private:
    using quantizer = detail::token_quantizer<Bits>;

    static const std::byte* unit_of(const std::byte* row, std::size_t unit) noexcept {
        return base::group(row) + units_at + unit * unit_bytes;
    }
    /// Where in a unit the strip of channel i and a token stands.
    static constexpr std::size_t strip_at(std::size_t i, std::size_t token) noexcept {
        return steps_bytes + (i % word_unit / lane_count * base::strips + token / word_unit) * codes::strip;
    }
};

/// A group of `Tokens` tokens, keys in codes of `Bits` bits, values in `ValueBits`.
template <std::size_t Bits, std::size_t Tokens = 64, std::size_t ValueBits = Bits>
struct kivi {
    using key_codec = channel_codes<Bits, Tokens>;
    using value_codec = grouped_token_codes<ValueBits, Tokens>;
    static constexpr std::string_view name = Bits == 4 ? (ValueBits == 4 ? "kivi4" : "kivi4v2") : "kivi2";
    static constexpr std::size_t tokens = Tokens, most_width = 512;
    /// What all rows attend to loses most: kivi4 costs 0.5% of perplexity with the first tokens as they are, 1.1% without (kv/README.md).
    static constexpr std::size_t sinks = 4;

    static constexpr std::size_t first_key(std::size_t) noexcept { return 0; }
    static constexpr std::size_t first_value(std::size_t) noexcept { return 0; }
    static constexpr std::size_t key_bytes(std::size_t width) noexcept {
        return skald::round_up(key_codec::bytes(width), key_codec::base::line);
    }
    static constexpr std::size_t value_bytes(std::size_t width) noexcept {
        return skald::round_up(value_codec::bytes(width), value_codec::base::line);
    }
    template <format::float_vector V, class Rows>
    static void seal_keys(const Rows& rows, std::size_t width, std::byte* out) noexcept {
        key_codec::template seal<V>(rows, width, out);
        const std::size_t used = key_codec::bytes(width);
        std::memset(out + used, 0, key_bytes(width) - used);
    }
    template <format::float_vector V, class Rows>
    static void seal_values(const Rows& rows, std::size_t width, std::byte* out) noexcept {
        value_codec::template seal<V>(rows, width, out);
        const std::size_t used = value_codec::bytes(width);
        std::memset(out + used, 0, value_bytes(width) - used);
    }
    static bool plausible_keys(std::size_t, const std::byte* bytes) noexcept { return key_codec::base::numbered(bytes); }
    static bool plausible_values(std::size_t, const std::byte* bytes) noexcept { return value_codec::base::numbered(bytes); }
};

/// Groups of 64 take 39.5 bytes a row of 64 channels and cost 0.8% of perplexity where groups of 32 take 42 and cost 0.6%, both without
/// sinks (kv/README.md says of which model). With 2 bits steps are five times as long, and the range of a channel counts for more.
using kivi4 = kivi<4, 64>;
using kivi2 = kivi<2, 32>;
/// Keys are what loses most: 31.5 bytes a row cost 7% where 26 (kivi2) cost 46% (kv/README.md).
using kivi4v2 = kivi<4, 64, 2>;

static_assert(group_codec<kivi4> && group_codec<kivi2> && group_codec<kivi4v2>);
static_assert(attention::woven_codec<kivi4::key_codec> && attention::woven_codec<kivi2::value_codec>);
static_assert(kivi4::key_bytes(64) + kivi4::value_bytes(64) == 2 * 64 * 39.5);
static_assert(kivi4v2::key_bytes(64) + kivi4v2::value_bytes(64) == 2 * 64 * 31.5);

}  // namespace skald::kv
