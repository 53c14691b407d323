// SPDX-License-Identifier: MIT
#pragma once
// Products of few rows of words with woven codes (attention::woven_unit) as these are kept, for registers of 512 bits: words are made and
// multiplied on the way, without a store. Σ w · (code · multiple + offset) is Σ w · (code · multiple) + Σ w · offset, and the last of these
// is the same for all columns. Sums are exact modulo 2^32, the same as those of words.hpp.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/cpu/words.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Sums of Q rows and 32 columns.
template <class Arch, std::size_t Q>
class code_sums {
    using I = simd_int<Arch>;
    using reg = typename I::reg;
    using native = words_of<Arch>;

public:
    SKALD_INLINE code_sums() noexcept {
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q) sum_[0][q] = sum_[1][q] = offsets_[q] = I::broadcast(0).part(0);
    }

    /// Adds the products of a unit with rows of 16 pairs of words, in the order of words.
    template <class Codes>
    SKALD_INLINE void add(const std::int32_t* rows, std::size_t stride, const attention::woven_unit& unit) noexcept {
        constexpr std::size_t pairs = Codes::pairs, line = lanes * sizeof(std::int32_t);
        reg sum[2][2][Q];  // pairs by turns: an instruction waits for the one before
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q) {
            offsets_[q] = native::dot(offsets_[q], I::load(rows + q * stride).part(0), I::load(unit.offsets).part(0));
            sum[0][0][q] = sum_[0][q], sum[0][1][q] = sum_[1][q];
            sum[1][0][q] = sum[1][1][q] = I::broadcast(0).part(0);
        }
        for (std::size_t i = 0; i < lanes; i += pairs) {
            add_pairs<Codes, 0>(rows + i, stride, unit.multiples + i * sizeof(std::int32_t), I::load(unit.strips[0] + i / pairs * line),
                                I::load(unit.strips[1] + i / pairs * line), sum);
#pragma GCC unroll 4
            for (std::size_t q = 0; q < Q; ++q) asm("" : "+v"(sum[0][0][q]), "+v"(sum[0][1][q]), "+v"(sum[1][0][q]), "+v"(sum[1][1][q]));
        }
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 2
            for (std::size_t h = 0; h < 2; ++h) sum_[h][q] = native::add(sum[0][h][q], sum[1][h][q]);
    }

    /// The sums of row q and of columns 0 … 15 or 16 … 31.
    SKALD_INLINE I sum(std::size_t half, std::size_t q) const noexcept {
        I out = I::broadcast(native::sum(offsets_[q]));
        out.part(0) = native::add(out.part(0), sum_[half][q]);
        return out;
    }
    SKALD_INLINE static I add(I a, I b) noexcept {
        a.part(0) = native::add(a.part(0), b.part(0));
        return a;
    }

private:
    /// Those of a line's pairs from N on.
    template <class Codes, int N>
    SKALD_INLINE static void add_pairs(const std::int32_t* rows, std::size_t stride, const std::byte* multiples, I a, I b,
                                       reg (&sum)[2][2][Q]) noexcept {
        std::int32_t multiple;
        std::memcpy(&multiple, multiples + N * sizeof multiple, sizeof multiple);
        const I by = I::broadcast(multiple), zero = I::broadcast(0);
        const I words[] = {scale_words(a.template code_words<Codes::bits, N>(), by, zero),
                           scale_words(b.template code_words<Codes::bits, N>(), by, zero)};
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q) {
            const I w = I::broadcast(rows[q * stride + N]);
#pragma GCC unroll 2
            for (std::size_t h = 0; h < 2; ++h) sum[N % 2][h][q] = native::dot(sum[N % 2][h][q], words[h].part(0), w.part(0));
        }
        if constexpr (N + 1 < Codes::pairs) add_pairs<Codes, N + 1>(rows, stride, multiples, a, b, sum);
    }

    reg sum_[2][Q], offsets_[Q];
};

}  // namespace skald::inline SKALD_ISA::kernels
