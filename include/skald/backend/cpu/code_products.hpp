// SPDX-License-Identifier: MIT
#pragma once
// Products of few rows of words with woven codes (attention::woven_unit) as these are kept, for registers of 512 bits: words are made and
// multiplied on the way, without a store. Σ w · (code · multiple + offset) is Σ w · (code · multiple) + Σ w · offset, and the last of these
// is the same for all columns. Sums are exact modulo 2^32, the same as those of words.hpp.
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/cpu/words.hpp>
#include <skald/format/block.hpp>

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
            for (std::size_t q = 0; q < Q; ++q) keep(sum[0][0][q]), keep(sum[0][1][q]), keep(sum[1][0][q]), keep(sum[1][1][q]);
        }
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 2
            for (std::size_t h = 0; h < 2; ++h) sum_[h][q] = native::add(sum[0][h][q], sum[1][h][q]);
    }

    /// f(row, half, sums of columns 0 … 15 or 16 … 31)
    template <class F>
    SKALD_INLINE void each(const F& f) const noexcept {
        const reg some[4] = {offsets_[0], offsets_[1 % Q], offsets_[2 % Q], offsets_[3 % Q]};
        const reg all = native::each_sum(some);
        each_row<0>(all, f);
    }

private:
    /// Those of a line's pairs from N on.
    template <class Codes, int N>
    SKALD_INLINE static void add_pairs(const std::int32_t* rows, std::size_t stride, const std::byte* multiples, I a, I b,
                                       reg (&sum)[2][2][Q]) noexcept {
        const I by = I::broadcast(format::detail::read_at<std::int32_t>(multiples + N * sizeof(std::int32_t))), zero = I::broadcast(0);
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

    template <int K, class F>
    SKALD_INLINE void each_row(reg offsets, const F& f) const noexcept {
        const reg start = native::template broadcast_each<K>(offsets);
#pragma GCC unroll 2
        for (std::size_t h = 0; h < 2; ++h) {
            I out;
            out.part(0) = native::add(sum_[h][K], start);
            f(K, h, out);
        }
        if constexpr (K + 1 < Q) each_row<K + 1>(offsets, f);
    }

    reg sum_[2][Q], offsets_[Q];
};

// These two are aligned, as where a loop lies in its lines makes a tenth of its time.
template <class Codes, class Arch, std::size_t Q>
[[gnu::noinline, gnu::aligned(64)]] void add_unit(code_sums<Arch, Q>& sums, const std::int32_t* rows, std::size_t stride,
                                                  const attention::woven_unit& unit) noexcept {
    sums.template add<Codes>(rows, stride, unit);
}

/// c = rows · unit, or what it was and that, of its first strips.
template <class Codes, class Arch, std::size_t Q>
[[gnu::noinline, gnu::aligned(64)]] void multiply_unit(const std::int32_t* rows, std::size_t stride, const attention::woven_unit& unit,
                                                       std::int32_t* c, std::size_t c_stride, std::size_t strips, bool add) noexcept {
    code_sums<Arch, Q> sums;
    sums.template add<Codes>(rows, stride, unit);
    sums.each([&](std::size_t r, std::size_t h, simd_int<Arch> sum) {
        if (h == strips) return;
        std::int32_t* out = c + r * c_stride + h * lanes;
        if (add) sum.part(0) = words_of<Arch>::add(sum.part(0), simd_int<Arch>::load(out).part(0));
        sum.store(out);
    });
}

/// f(n), one to four, as a constant.
template <class F>
SKALD_INLINE void with_few(std::size_t n, const F& f) noexcept {
    switch (n) {
        case 1: return f(std::integral_constant<std::size_t, 1>{});
        case 2: return f(std::integral_constant<std::size_t, 2>{});
        case 3: return f(std::integral_constant<std::size_t, 3>{});
        default: return f(std::integral_constant<std::size_t, 4>{});
    }
}

/// Operands of a product of one to four rows of words with 32 rows in codes: c = a · keys, or a · values. What a unit is multiplied by is a
/// call of its own, so that sums stay in registers.
struct code_product {
    const std::int32_t* a;  // (count, pairs), rows a_stride apart
    std::size_t a_stride, count;
    const std::byte *row, *next;  // the first of them, and of those that are fetched
    std::size_t width;
    std::int32_t* c;  // (count, 32) or (count, width), rows c_stride apart
    std::size_t c_stride;
};

template <class Arch, attention::woven_codec Codec>
void multiply_key_codes(const code_product& p) noexcept {
    using I = simd_int<Arch>;
    with_few(p.count, [&](auto rows) {
        code_sums<Arch, rows> sums;
        Codec::template each_unit<I>(p.row, p.width, p.next, [&](std::size_t i, const attention::woven_unit& unit) {
            add_unit<typename Codec::codes>(sums, p.a + i * lanes, p.a_stride, unit);
        });
        sums.each([&](std::size_t r, std::size_t h, I sum) { sum.store(p.c + r * p.c_stride + h * lanes); });
    });
}

/// add: to what stands in c, not instead of it.
template <class Arch, attention::woven_codec Codec>
void multiply_value_codes(const code_product& p, bool add) noexcept {
    with_few(p.count, [&](auto rows) {
        Codec::template each_unit<simd_int<Arch>>(p.row, p.width, p.next, [&](std::size_t i, const attention::woven_unit& unit) {
            multiply_unit<typename Codec::codes, Arch, rows>(p.a, p.a_stride, unit, p.c + i * 2 * lanes, p.c_stride,
                                                             unit.strips_of_values(i, p.width), add);
        });
    });
}

}  // namespace skald::inline SKALD_ISA::kernels
