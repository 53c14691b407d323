// SPDX-License-Identifier: MIT
#pragma once
// The inner loops of matrix products: R rows of activations by P panels of weights, accumulated in registers, columns in
// order. A kernel is a policy: what it reads of the activations, and one loop. Every output has one accumulator and meets its
// columns in one order, so R and P change speed only.
#include <cstddef>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/packed.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// How many registers one vector takes.
template <class Arch>
inline constexpr std::size_t parts_of = simd<Arch>::parts;

/// Bytes ahead of the weights being read that one-row loops prefetch: some tens of lines, past the hardware's own.
inline constexpr std::size_t prefetch_distance = 2048;

/// acc[r][p] += weights · activations in f32: any layout, exact.
template <class Arch, class Layout>
struct float_kernel {
    using row = float;
    static constexpr encoding reads = plain;
    static constexpr std::size_t rows = parts_of<Arch> == 1 ? 6 : 12 / (2 * parts_of<Arch>);  // accumulators: 12 registers
    static constexpr std::size_t panels = parts_of<Arch> == 1 ? 2 : 1;
    static constexpr std::size_t panels_of_one_row = parts_of<Arch> == 1 ? 2 : 1;

    static const row* row_of(const activations<Arch>& a, std::size_t r) noexcept { return a.row(r); }

    template <std::size_t R, std::size_t P>
    SKALD_INLINE static void run(const std::byte* const (&panel)[P], const row* const (&x)[R], std::size_t cols,
                                 simd<Arch> (&acc)[R][P]) noexcept {
        constexpr std::size_t group = Layout::group;
        simd<Arch> w[P][group];
        std::size_t k = 0;
        for (; k + group <= cols; k += group) {
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) {
                Layout::template load<Arch>(panel[p], cols, k, w[p]);
                if constexpr (R == 1) __builtin_prefetch(Layout::where(panel[p], k) + prefetch_distance);
            }
#pragma GCC unroll 4
            for (std::size_t j = 0; j < group; ++j) step(w, x, k + j, j, acc);
        }
        if (k == cols) return;
#pragma GCC unroll 4
        for (std::size_t p = 0; p < P; ++p) Layout::template load<Arch>(panel[p], cols, k, w[p]);
#pragma GCC unroll 4
        for (std::size_t j = 0; j < group; ++j)
            if (k + j < cols) step(w, x, k + j, j, acc);
    }

private:
    template <std::size_t R, std::size_t P, std::size_t G>
    SKALD_INLINE static void step(const simd<Arch> (&w)[P][G], const row* const (&x)[R], std::size_t k, std::size_t j,
                                  simd<Arch> (&acc)[R][P]) noexcept {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) {
            const auto a = simd<Arch>::broadcast(x[r][k]);
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) acc[r][p] = fma(w[p][j], a, acc[r][p]);
        }
    }
};

/// Quantized weights against int8 activations: per block of 32 exact integer sums, then one convert, one multiply and one fma;
/// a layout with minima adds minimum · (scale · Σq) by one fma more.
template <class Arch, class Layout>
struct int8_kernel {
    using row = int8_block;
    static constexpr encoding reads = int8;
    static constexpr std::size_t rows = parts_of<Arch> == 1 ? 6 : parts_of<Arch> == 2 ? 4 : 2;
    static constexpr std::size_t panels = parts_of<Arch> == 1 ? 2 : 1;
    static constexpr std::size_t panels_of_one_row = 1;

    static const row* row_of(const activations<Arch>& a, std::size_t r) noexcept { return a.int8_row(r); }

    template <std::size_t R, std::size_t P>
    SKALD_INLINE static void run(const std::byte* const (&panel)[P], const row* const (&x)[R], std::size_t cols,
                                 simd<Arch> (&acc)[R][P]) noexcept {
        for (std::size_t b = 0; b < cols / Layout::block; ++b) {
            simd_int<Arch> sum[R][P];
#pragma GCC unroll 16
            for (std::size_t r = 0; r < R; ++r) {
                const auto start = simd_int<Arch>::broadcast(x[r][b].template start_for<Layout::zero>());
#pragma GCC unroll 4
                for (std::size_t p = 0; p < P; ++p) sum[r][p] = start;
            }
            if constexpr (Layout::code_bytes == 512) {
#pragma GCC unroll 8
                for (std::size_t i = 0; i < 8; ++i) {
                    simd_int<Arch> w[P];
#pragma GCC unroll 4
                    for (std::size_t p = 0; p < P; ++p) w[p] = codes<R>(panel[p], b, i);
                    step(w, x, b, i, sum);
                }
            } else {
#pragma GCC unroll 4
                for (std::size_t i = 0; i < 4; ++i) {
                    simd_int<Arch> low[P], high[P];
#pragma GCC unroll 4
                    for (std::size_t p = 0; p < P; ++p) {
                        const auto both = codes<R>(panel[p], b, i);
                        low[p] = low_nibbles(both);
                        high[p] = high_nibbles(both);
                    }
                    step(low, x, b, i, sum);
                    step(high, x, b, i + 4, sum);
                }
            }
            finish(panel, x, cols, b, sum, acc);
        }
    }

private:
    template <std::size_t R>
    SKALD_INLINE static simd_int<Arch> codes(const std::byte* panel, std::size_t b, std::size_t i) noexcept {
        const std::byte* p = Layout::codes(panel, b) + i * 64;
        if constexpr (R == 1) __builtin_prefetch(p + prefetch_distance);
        return simd_int<Arch>::load(p);
    }

    template <std::size_t R, std::size_t P>
    SKALD_INLINE static void step(const simd_int<Arch> (&w)[P], const row* const (&x)[R], std::size_t b, std::size_t i,
                                  simd_int<Arch> (&sum)[R][P]) noexcept {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) {
            const auto a = simd_int<Arch>::broadcast(detail::read_as<std::int32_t>(x[r][b].q + 4 * i));
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) sum[r][p] = dot(sum[r][p], w[p], a);
        }
    }

    template <std::size_t R, std::size_t P>
    SKALD_INLINE static void finish(const std::byte* const (&panel)[P], const row* const (&x)[R], std::size_t cols, std::size_t b,
                                    const simd_int<Arch> (&sum)[R][P], simd<Arch> (&acc)[R][P]) noexcept {
        simd<Arch> scale[P];
#pragma GCC unroll 4
        for (std::size_t p = 0; p < P; ++p) scale[p] = Layout::template scale<Arch>(panel[p], cols, b);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) {
            const auto a = simd<Arch>::broadcast(x[r][b].scale);
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) acc[r][p] = fma(to_float(sum[r][p]), scale[p] * a, acc[r][p]);
        }
        if constexpr (Layout::zero == 0) {
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) scale[p] = Layout::template scale<Arch>(panel[p], cols, b, 1);
#pragma GCC unroll 16
            for (std::size_t r = 0; r < R; ++r) {
                const auto a = simd<Arch>::broadcast(x[r][b].sum);
#pragma GCC unroll 4
                for (std::size_t p = 0; p < P; ++p) acc[r][p] = fma(scale[p], a, acc[r][p]);
            }
        }
    }
};

/// bf16 weights against bf16 activations, pairs of columns by vdpbf16ps; only where has_bf16_dot.
template <class Arch>
struct bfloat16_kernel {
    using row = bfloat16;
    static constexpr encoding reads = bf16_pairs;
    static constexpr std::size_t rows = parts_of<Arch> == 1 ? 6 : 12 / (2 * parts_of<Arch>);
    static constexpr std::size_t panels = parts_of<Arch> == 1 ? 2 : 1;
    static constexpr std::size_t panels_of_one_row = 2;

    static const row* row_of(const activations<Arch>& a, std::size_t r) noexcept { return a.pairs_row(r); }

    template <std::size_t R, std::size_t P>
    SKALD_INLINE static void run(const std::byte* const (&panel)[P], const row* const (&x)[R], std::size_t cols,
                                 simd<Arch> (&acc)[R][P]) noexcept {
        for (std::size_t k = 0; k < cols; k += 2) {
            simd_int<Arch> w[P];
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) {
                const std::byte* pairs = panel[p] + k * lanes * 2;
                if constexpr (R == 1) __builtin_prefetch(pairs + prefetch_distance);
                w[p] = simd_int<Arch>::load(pairs);
            }
#pragma GCC unroll 16
            for (std::size_t r = 0; r < R; ++r) {
                const auto a = simd_int<Arch>::broadcast(detail::read_as<std::int32_t>(x[r] + k));
#pragma GCC unroll 4
                for (std::size_t p = 0; p < P; ++p) acc[r][p] = dot_bfloat16(acc[r][p], w[p], a);
            }
        }
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
