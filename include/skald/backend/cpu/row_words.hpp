// SPDX-License-Identifier: MIT
#pragma once
// Encoded rows as 16-bit words for attention (attention_words.hpp), a vector at a time, and what is fetched on the way. A word_codec's rows
// are words already; others are decoded and rounded.
#include <cstddef>

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
