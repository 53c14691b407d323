// SPDX-License-Identifier: MIT
#pragma once
// How great the words of a row of floats may be, in the fold of integers (attention_words.hpp): what is measured of the row for that.
#include <cstddef>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_softmax.hpp>
#include <skald/backend/cpu/words.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// What of a row is made as great as words may be.
enum class word_size { length, greatest };

/// Rows of floats on their way to words: what is measured, and which factor leads to words of that size and which scale back.
template <class Arch, word_size Size>
struct measured {
    using V = simd<Arch>;
    static constexpr float limit = Size == word_size::length ? attention::most_length : attention::most_word;

    SKALD_INLINE static V grow(V size, V v) noexcept {
        if constexpr (Size == word_size::length)
            return fma(v, v, size);
        else
            return magnitude(size, v);
    }
    /// Of 16 rows.
    SKALD_INLINE static V size_of(const V (&rows)[lanes]) noexcept {
        if constexpr (Size == word_size::length)
            return square_root(sum_rows(rows));
        else
            return greatest_of_rows(rows);
    }
    /// Zero for rows of zeros.
    SKALD_INLINE static void store(V size, float* factor, float* scale) noexcept {
        const V smallest = V::broadcast(least_size), range = max(smallest, size);
        zero_up_to(size, smallest, V::broadcast(limit) / range).store(factor);
        zero_up_to(size, smallest, range * V::broadcast(1.0f / limit)).store(scale);
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
