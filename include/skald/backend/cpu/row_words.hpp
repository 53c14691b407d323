// SPDX-License-Identifier: MIT
#pragma once
// Encoded rows as 16-bit words for attention (attention_words.hpp), a vector at a time, and what is fetched on the way. A word_codec's rows
// are words already; others are decoded and rounded.
#include <cstddef>
#include <type_traits>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/rows_by_eight.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/cpu/word_sizes.hpp>
#include <skald/backend/cpu/words.hpp>

namespace skald::inline SKALD_ISA::kernels {

inline constexpr std::size_t most_fetched = 16 * 1024;  // of first caches of 32 KB or more

/// Some lines of a row of the next piece as vectors i and i + 1 of a row are read: a few at a time, since a processor that waits for
/// many reads nothing else; to the first cache where a piece takes little of it. (A function that does nothing else must be inlined:
/// GCC drops calls of such.)
template <class Codec>
SKALD_INLINE void fetch_row(const std::byte* row, std::size_t i, auto vectors) noexcept {
    constexpr std::size_t line = 64;
    const std::size_t bytes = Codec::row_bytes(vectors * lanes), shares = (vectors + 1) / 2;
    for (std::size_t at = line * (i / 2); at < bytes; at += line * shares)
        if (bytes * rows_by_eight::count <= most_fetched)
            __builtin_prefetch(row + at, 0, 3);
        else
            __builtin_prefetch(row + at, 0, 2);
}

/// Whether the lines that are fetched of a piece follow one another in memory: rows of heads of 128 come faster so than side by side (f16
/// by 12%, q8 by 5%), those of words and of shorter heads do not.
template <class Codec, class Vectors>
inline constexpr bool fetched_in_order = std::is_same_v<Vectors, std::integral_constant<std::size_t, 8>> && !attention::word_codec<Codec>;

/// What is fetched of rows four … four + 3 as vectors i and i + 1 of the r-th of the four before them are read.
template <class Codec>
SKALD_INLINE void fetch_of_four(const rows_by_eight& next, std::size_t four, std::size_t r, std::size_t i, auto vectors) noexcept {
    if constexpr (fetched_in_order<Codec, decltype(vectors)>)
        fetch_row<Codec>(next[four + i / 2], 2 * r, vectors);
    else
        fetch_row<Codec>(next[four + r], i, vectors);
}

/// What is fetched as vector i of rows r and r + 16 is read.
template <class Codec>
SKALD_INLINE void fetch_of_pair(const rows_by_eight& next, std::size_t r, std::size_t i, auto vectors) noexcept {
    if constexpr (fetched_in_order<Codec, decltype(vectors)>)
        fetch_row<Codec>(next[2 * r + i / 4], i % 4 * 2, vectors);
    else
        fetch_row<Codec>(next[r + i % 2 * lanes], i, vectors);
}

/// Vectors i and i + 1 of a row in words.
template <class Codec, class Arch>
SKALD_INLINE simd_int<Arch> words_of_row(const std::byte* row, std::size_t i, std::size_t vectors, simd<Arch> factor) noexcept {
    using V = simd<Arch>;
    using I = simd_int<Arch>;
    if constexpr (attention::word_codec<Codec>)
        return Codec::template words<I>(row, i / 2);
    else
        return low_words(to_words<Arch>(Codec::template decode<V>(row, i * lanes), factor),
                         i + 1 < vectors ? to_words<Arch>(Codec::template decode<V>(row, (i + 1) * lanes), factor) : I::broadcast(0));
}

/// The factors and scales of 16 rows.
template <class Arch, word_size Size, class Codec>
SKALD_INLINE void measure_rows(const rows_by_eight& rows, std::size_t first, std::size_t vectors, float* factor, float* scale) noexcept {
    using V = simd<Arch>;
    if constexpr (attention::word_codec<Codec>) {
        for (std::size_t r = 0; r < lanes; ++r) scale[r] = Codec::scale(rows[first + r]);
    } else {
        V size[lanes];
        for (std::size_t r = 0; r < lanes; ++r) {
            const std::byte* row = rows[first + r];
            V some = V::zero();
            for (std::size_t i = 0; i < vectors; ++i) some = measured<Arch, Size>::grow(some, Codec::template decode<V>(row, i * lanes));
            size[r] = some;
        }
        measured<Arch, Size>::store(measured<Arch, Size>::size_of(size), factor, scale);
    }
}

}  // namespace skald::inline SKALD_ISA::kernels
