// SPDX-License-Identifier: MIT
#pragma once
// MiniCache (Liu et al. 2024): how the rows of two adjacent layers are kept together. Of each token the two vectors of a head become one
// direction, on the great circle between theirs, and two lengths; tokens whose vectors stand farthest apart are kept as they are. The
// directions of a group of tokens are kept by a group codec, so that KIVI's groups hold merged rows as they hold others.
//
// A token's rows, a and b at an angle Ω, have the direction
//     e = sin((1 - t)Ω) / sin Ω · a / |a| + sin(tΩ) / sin Ω · b / |b|
// and are read as |a| · e and |b| · e. Of a group whose angles reach from Ω_min to Ω_max those with Ω > Ω_max - γ · (Ω_max - Ω_min) are
// kept, the widest first, the earliest of equals, no more than there is room for: which is a function of the group's rows alone. (The
// paper has this for similarities, which are small where angles are wide.)
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>
#include <type_traits>

#include <skald/backend/attention.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

/// The middle layer of a model, as the first that is merged.
inline constexpr std::size_t middle_layer = std::numeric_limits<std::size_t>::max();

/// Which layers and tokens are merged, and how.
struct merging {
    float share = 0.6f;               ///< t, from 0 to 1: how far the direction is from the first layer's to the second's
    float far = 0.05f;                ///< γ, from 0 to 1: the part of the range of angles whose tokens are kept as they are
    std::size_t kept = 4;             ///< the most of them, of 64 tokens
    std::size_t from = middle_layer;  ///< the first layer that has a partner

    constexpr std::size_t kept_of(std::size_t tokens) const noexcept { return kept * tokens / 64; }
};

namespace detail {

/// Two vectors, from the sums of their squares and products.
struct vector_pair {
    float first = 0, second = 0;  // lengths
    float angle = 0;              // from 0 to π; of a vector of zeros to any other 0, where something is not finite π

    vector_pair() = default;
    vector_pair(float first_squares, float second_squares, float products) noexcept
        : first(std::sqrt(first_squares)), second(std::sqrt(second_squares)) {
        if (first == 0 || second == 0) return;
        const float cosine = products / first / second;
        const bool finite = std::max(first, second) <= std::numeric_limits<float>::max() && std::fabs(cosine) <= 2;
        angle = finite ? std::acos(std::clamp(cosine, -1.0f, 1.0f)) : std::numbers::pi_v<float>;
    }
};

/// e = first · a + second · b.
struct slerp_weights {
    float first = 0, second = 0;

    slerp_weights() = default;
    slerp_weights(const vector_pair& p, float t) noexcept {
        const float sine = std::sin(p.angle);
        if (p.first == 0 || p.second == 0)
            first = second = 1;  // the direction of the other one
        else if (sine > 1e-3f)
            first = std::sin((1 - t) * p.angle) / sine, second = std::sin(t * p.angle) / sine;
        else if (p.angle < 1)
            first = 1 - t, second = t;
        else  // opposite vectors have no direction between them
            (t < 0.5f ? first : second) = 1;
        first = p.first > 0 ? first / p.first : 0;
        second = p.second > 0 ? second / p.second : 0;
    }
};

/// A length in 16 bits, 8 of them the exponent: off by 2⁻⁹ of it at most.
inline constexpr std::uint16_t no_length = 0xffff;
inline std::uint16_t short_length(float x) noexcept {
    return static_cast<std::uint16_t>(std::min<std::uint32_t>((std::bit_cast<std::uint32_t>(x) + 0x4000u) >> 15, no_length - 1));
}
inline float long_length(std::uint16_t x) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 15); }

/// Marks the tokens [first, n) of a group that are kept as they are, and counts them.
template <std::size_t N>
std::size_t choose_kept(const std::array<float, N>& angles, std::size_t first, const merging& how, std::array<bool, N>& kept) noexcept {
    kept.fill(false);
    const auto [low, high] = std::minmax_element(angles.begin() + static_cast<std::ptrdiff_t>(first), angles.end());
    const float limit = *high - how.far * (*high - *low);
    const std::size_t most = how.kept_of(N);
    for (std::size_t chosen = 0; chosen < most; ++chosen) {
        std::size_t widest = N;
        for (std::size_t i = first; i < N; ++i)
            if (!kept[i] && angles[i] > limit && (widest == N || angles[i] > angles[widest])) widest = i;
        if (widest == N) return chosen;
        kept[widest] = true;
    }
    return most;
}

}  // namespace detail

/// A row of one of two merged layers: its length, or that it has none, and how many bytes behind it the direction stands, or the row as it
/// is. Words where both codecs have some.
template <class Direction, codec Kept>
struct merged_row {
    static constexpr std::size_t row_bytes(std::size_t) noexcept { return 2 * sizeof(std::uint16_t); }
    static constexpr bool has_words = attention::word_codec<Direction> && attention::word_codec<Kept>;

    static void write(std::byte* row, std::uint16_t length, std::size_t behind) noexcept {
        const auto offset = static_cast<std::uint16_t>(behind);
        std::memcpy(row, &length, sizeof length);
        std::memcpy(row + sizeof length, &offset, sizeof offset);
    }
    static std::uint16_t length(const std::byte* row) noexcept { return read(row); }
    static std::size_t behind(const std::byte* row) noexcept { return read(row + sizeof(std::uint16_t)); }

    template <format::float_vector V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        if (length(row) == detail::no_length) return Kept::template decode<V>(body(row), i);
        return Direction::template decode<V>(body(row), i) * V::broadcast(detail::long_length(length(row)));
    }

    static float scale(const std::byte* row) noexcept
        requires(has_words)
    {
        if (length(row) == detail::no_length) return Kept::scale(body(row));
        return Direction::scale(body(row)) * detail::long_length(length(row));
    }
    template <class I>
    static I words(const std::byte* row, std::size_t unit) noexcept {
        if (length(row) == detail::no_length) return Kept::template words<I>(body(row), unit);
        return Direction::template words<I>(body(row), unit);
    }

private:
    static std::uint16_t read(const std::byte* at) noexcept {
        std::uint16_t out;
        std::memcpy(&out, at, sizeof out);
        return out;
    }
    static const std::byte* body(const std::byte* row) noexcept { return row + behind(row); }
};

/// A group of tokens of two layers. Rows of the first layer, rows of the second, directions, and what is kept as it is: (2, kept) rows, in
/// the codec of the hot tier, or in q8 where directions are words.
/// // (2, tokens, row_bytes), a group of Cold, (2, kept, row_bytes)
template <codec Hot, group_codec Cold>
struct merged_group {
    static constexpr std::size_t tokens = Cold::tokens;
    static constexpr std::size_t most_bytes = 65535;  // behind a row
    template <class Direction>
    using kept_codec = std::conditional_t<attention::word_codec<Direction>, q8, Hot>;
    using key_codec = merged_row<typename Cold::key_codec, kept_codec<typename Cold::key_codec>>;
    using value_codec = merged_row<typename Cold::value_codec, kept_codec<typename Cold::value_codec>>;

    static std::size_t key_bytes(std::size_t width, std::size_t kept) noexcept { return bytes<true>(width, kept); }
    static std::size_t value_bytes(std::size_t width, std::size_t kept) noexcept { return bytes<false>(width, kept); }

    /// Where row 0 of a layer stands, 0 or 1; the others follow, row_bytes() apart.
    static constexpr std::size_t first_row(std::size_t layer) noexcept { return layer * tokens * key_codec::row_bytes(0); }

    /// From the rows of both layers, source_rows; the first `skip` tokens, which nobody reads, are as the one after them.
    template <format::float_vector V, class Rows>
    static void seal_keys(const Rows& a, const Rows& b, std::size_t width, std::size_t skip, const merging& how, std::byte* out) noexcept {
        seal<true, V>(a, b, width, skip, how, out);
    }
    template <format::float_vector V, class Rows>
    static void seal_values(const Rows& a, const Rows& b, std::size_t width, std::size_t skip, const merging& how,
                            std::byte* out) noexcept {
        seal<false, V>(a, b, width, skip, how, out);
    }

    /// Whether the rows of a group of such bytes stand in it: one as it is in a place for such, any other where its direction does.
    static bool plausible(bool keys, std::size_t width, std::size_t kept, const std::byte* group) noexcept {
        return keys ? plausible<true>(width, kept, group) : plausible<false>(width, kept, group);
    }

private:
    template <bool Key>
    static bool plausible(std::size_t width, std::size_t kept, const std::byte* group) noexcept {
        using row_codec = std::conditional_t<Key, key_codec, value_codec>;
        using direction = std::conditional_t<Key, typename Cold::key_codec, typename Cold::value_codec>;
        using as_is = kept_codec<direction>;
        const std::size_t first = group_at + (Key ? Cold::first_key(width) : Cold::first_value(width));
        for (std::size_t r = 0; r < 2 * tokens; ++r) {
            const std::size_t row = r * row_codec::row_bytes(width), at = row + row_codec::behind(group + row);
            if (row_codec::length(group + row) != detail::no_length) {
                if (at != first + r % tokens * direction::row_bytes(width)) return false;
            } else if (at < kept_at<Key>(width) || at - kept_at<Key>(width) >= 2 * kept * as_is::row_bytes(width) ||
                       (at - kept_at<Key>(width)) % as_is::row_bytes(width) != 0) {
                return false;
            }
        }
        return plausible_group<Cold>(Key, width, group + group_at);
    }

    static constexpr std::size_t line = 64;
    static constexpr std::size_t group_at = round_up(first_row(2), line);

    template <bool Key>
    static std::size_t kept_at(std::size_t width) noexcept {
        return group_at + (Key ? Cold::key_bytes(width) : Cold::value_bytes(width));
    }
    template <bool Key>
    static std::size_t bytes(std::size_t width, std::size_t kept) noexcept {
        using row = std::conditional_t<Key, kept_codec<typename Cold::key_codec>, kept_codec<typename Cold::value_codec>>;
        return round_up(kept_at<Key>(width) + 2 * kept * row::row_bytes(width), line);
    }

    /// The directions, as rows that a group codec reads.
    template <class Rows>
    struct directions {
        const Rows &a, &b;
        std::array<detail::slerp_weights, tokens> weights;
        std::array<std::size_t, tokens> row;  // which stands there

        template <format::float_vector V>
        V load(std::size_t r, std::size_t i) const noexcept {
            const std::size_t from = row[r];
            return fma(a.template load<V>(from, i), V::broadcast(weights[from].first),
                       b.template load<V>(from, i) * V::broadcast(weights[from].second));
        }
    };

    template <format::float_vector V, class Rows>
    static detail::vector_pair measure(const Rows& a, const Rows& b, std::size_t width, std::size_t r) noexcept {
        V first = V::broadcast(0.0f), second = first, both = first;
        for (std::size_t i = 0; i < width; i += V::size) {
            const V x = a.template load<V>(r, i), y = b.template load<V>(r, i);
            first = fma(x, x, first);
            second = fma(y, y, second);
            both = fma(x, y, both);
        }
        return {reduce_add(first), reduce_add(second), reduce_add(both)};
    }

    template <bool Key, format::float_vector V, class Rows>
    static void seal(const Rows& a, const Rows& b, std::size_t width, std::size_t skip, const merging& how, std::byte* out) noexcept {
        using row_codec = std::conditional_t<Key, key_codec, value_codec>;
        using direction = std::conditional_t<Key, typename Cold::key_codec, typename Cold::value_codec>;
        std::array<detail::vector_pair, tokens> pairs;
        std::array<float, tokens> angles;
        std::array<bool, tokens> kept;
        directions<Rows> merged{a, b, {}, {}};
        for (std::size_t r = skip; r < tokens; ++r) {
            pairs[r] = measure<V>(a, b, width, r);
            angles[r] = pairs[r].angle;
            merged.weights[r] = {pairs[r], how.share};
        }
        detail::choose_kept(angles, skip, how, kept);
        // What is kept would widen the ranges of a group's codes.
        std::size_t plain = skip;
        while (plain + 1 < tokens && kept[plain]) ++plain;
        for (std::size_t r = 0; r < tokens; ++r) merged.row[r] = r < skip || kept[r] ? plain : r;
        if constexpr (Key)
            Cold::template seal_keys<V>(merged, width, out + group_at);
        else
            Cold::template seal_values<V>(merged, width, out + group_at);
        std::memset(out + kept_at<Key>(width), 0, bytes<Key>(width, how.kept_of(tokens)) - kept_at<Key>(width));

        const std::size_t first = group_at + (Key ? Cold::first_key(width) : Cold::first_value(width));
        for (std::size_t r = 0, place = 0; r < tokens; ++r) {
            const bool as_is = r >= skip && kept[r];
            for (const std::size_t layer : {0, 1}) {
                const std::size_t row = first_row(layer) + r * row_codec::row_bytes(width);
                if (as_is) {
                    const std::size_t at = keep<Key, V>(layer == 0 ? a : b, r, width, 2 * place + layer, out);
                    row_codec::write(out + row, detail::no_length, at - row);
                } else {
                    const float length = r < skip ? 0.0f : layer == 0 ? pairs[r].first : pairs[r].second;
                    row_codec::write(out + row, detail::short_length(length), first + r * direction::row_bytes(width) - row);
                }
            }
            place += as_is ? 1 : 0;
        }
    }

    /// Writes a row as it is and tells where.
    template <bool Key, format::float_vector V, class Rows>
    static std::size_t keep(const Rows& rows, std::size_t r, std::size_t width, std::size_t place, std::byte* out) noexcept {
        using row = std::conditional_t<Key, kept_codec<typename Cold::key_codec>, kept_codec<typename Cold::value_codec>>;
        alignas(64) float x[Cold::most_width];
        for (std::size_t i = 0; i < width; i += V::size) rows.template load<V>(r, i).store(x + i);
        const std::size_t at = kept_at<Key>(width) + place * row::row_bytes(width);
        row::template encode<V>(x, width, out + at);
        return at;
    }
};

}  // namespace skald::kv
