// SPDX-License-Identifier: MIT
#pragma once
// The inner loops of matrix products: R rows of activations by P panels of weights, accumulated in registers, columns in
// order. A kernel is a policy: what it reads of the activations, and one loop. Every output has one accumulator and meets its
// columns in one order, so R and P change speed only.
#include <cstddef>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/byte_sums.hpp>
#include <skald/backend/cpu/packed.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// How many registers one vector takes.
template <class Arch>
inline constexpr std::size_t parts_of = simd<Arch>::parts;

/// Bytes ahead of the weights being read that one-row loops prefetch: some tens of lines, past the hardware's own. Twice as many where
/// one panel is all they read.
inline constexpr std::size_t prefetch_distance = 2048;

/// acc[r][p] += weights · activations in f32: any layout, exact.
template <class Arch, class Layout>
struct float_kernel {
    using row = float;
    static constexpr encoding reads = plain;
    static constexpr std::size_t rows = parts_of<Arch> == 1 ? 6 : 12 / (2 * parts_of<Arch>);  // accumulators: 12 registers
    static constexpr std::size_t panels = parts_of<Arch> == 1 ? 2 : 1;
    static constexpr std::size_t panels_of_one_row = 1;

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
                if constexpr (R == 1) __builtin_prefetch(Layout::where(panel[p], k) + 2 * prefetch_distance);
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

/// Where rows of results go, `stride` floats apart; `add`: to what stands there.
struct tile_results {
    float* at;
    std::size_t stride;
    bool add;
};

/// What a tile fetches meanwhile: with every block so many lines of each of its panels, which are `stride` bytes apart.
struct tile_fetch {
    const std::byte* at = nullptr;
    std::size_t stride = 0, lines = 0;
};

/// A tile of quantized products: so many rows of activations by `panels` unpacked panels. Per group of columns exact integer sums;
/// the canonical order is in quantized.hpp.
template <class Arch, std::size_t Rows = rows_of_tile<Arch>>
struct quantized_tile {
    static constexpr std::size_t rows = Rows;
    static constexpr std::size_t panels = parts_of<Arch> == 1 ? 2 : 1;
    /// out = sums (from nullptr zero) and the products of `blocks` blocks. The rows' int8 blocks lie as in `activations`.
    /// // sums: (rows, panels, 16); out: rows of (panels, 16)
    using function = void (*)(const unpacked_panel (&panel)[panels], const int8_block* x, std::size_t blocks, const float* sums,
                              const tile_fetch& next, const tile_results& out) noexcept;

    static function of(const quantized_panels& format) noexcept {
        if constexpr (ints::has_narrow_dot)
            if (format.narrow) return of<true>(format);
        return of<false>(format);
    }

private:
    using V = simd<Arch>;
    using ints = simd_int<Arch>;

    template <bool Narrow>
    static function of(const quantized_panels& format) noexcept {
        return format.wide ? of<true, Narrow>(format) : of<false, Narrow>(format);
    }
    template <bool Wide, bool Narrow>
    static function of(const quantized_panels& format) noexcept {
        if (format.halves) return format.minima ? run<true, true, Wide, Narrow> : run<true, false, Wide, Narrow>;
        return format.minima ? run<false, true, Wide, Narrow> : run<false, false, Wide, Narrow>;
    }

    template <bool Halves, bool Minima, bool Wide, bool Narrow>
    static void run(const unpacked_panel (&panel)[panels], const int8_block* x, std::size_t blocks, const float* sums,
                    const tile_fetch& next, const tile_results& out) noexcept {
        const std::byte* at = next.at;
        const std::size_t stride = next.stride, lines = next.lines;
        V acc[rows][panels], t[rows][panels];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels; ++p) {
                acc[r][p] = sums == nullptr ? V::zero() : V::load(sums + (r * panels + p) * lanes);
                t[r][p] = V::zero();
            }
        for (std::size_t b = 0; b < blocks; ++b, x += rows) {
            for (std::size_t i = 0; i < lines; ++i, at += 64)
                for (std::size_t p = 0; p < panels; ++p) __builtin_prefetch(at + p * stride);
            V(&to)[rows][panels] = Wide ? t : acc;
            if constexpr (Halves) {
                add_group<0, 4, Minima, Wide, Narrow>(panel, x, b, b * 2, 1, to);
                add_group<4, 8, Minima, Wide, Narrow>(panel, x, b, b * 2 + 1, 2, to);
            } else {
                add_group<0, 8, Minima, Wide, Narrow>(panel, x, b, b, 0, to);
            }
            if (Wide && b % int8_block::wide == int8_block::wide - 1) add_scaled_rows(t, x, acc);
        }
        if (out.add) {
            float* from = out.at;
#pragma GCC unroll 16
            for (std::size_t r = 0; r < rows; ++r, from += out.stride)
#pragma GCC unroll 4
                for (std::size_t p = 0; p < panels; ++p) acc[r][p] = V::load(from + p * lanes) + acc[r][p];
        }
        float* to = out.at;
        const std::size_t row = out.stride;
#pragma GCC unroll 16
        for (std::size_t r = 0; r < rows; ++r, to += row)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels; ++p) acc[r][p].store(to + p * lanes);
    }

    /// Group g of columns, which is in vectors Begin … End - 1 of block b; the sums of its activations are number `part` of the block's.
    /// What is added is not yet scaled as activations are where those are wide.
    template <std::size_t Begin, std::size_t End, bool Minima, bool Wide, bool Narrow>
    SKALD_INLINE static void add_group(const unpacked_panel (&panel)[panels], const int8_block* x, std::size_t b, std::size_t g,
                                       std::size_t part, V (&to)[rows][panels]) noexcept {
        ints sum[rows][panels];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < rows; ++r) {
            const auto start = byte_sums<Arch, Narrow>::start(x[r], part);
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels; ++p) sum[r][p] = start;
        }
#pragma GCC unroll 8
        for (std::size_t i = Begin; i < End; ++i) {
            ints w[panels];
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels; ++p) w[p] = ints::load(panel[p].code[b * 8 + i]);
#pragma GCC unroll 16
            for (std::size_t r = 0; r < rows; ++r) {
                const auto a = ints::broadcast(format::detail::read_at<std::int32_t>(x[r].q + 4 * i));
#pragma GCC unroll 4
                for (std::size_t p = 0; p < panels; ++p) sum[r][p] = byte_sums<Arch, Narrow>::add(sum[r][p], w[p], a);
            }
        }
#pragma GCC unroll 4
        for (std::size_t p = 0; p < panels; ++p) {
            const V scale = V::load(panel[p].scale[g]), offset = Wide ? V::zero() : V::load(panel[p].offset[g]);
#pragma GCC unroll 16
            for (std::size_t r = 0; r < rows; ++r) {
                V t = Wide ? add_scaled(sum[r][p], scale, to[r][p]) : scaled(sum[r][p], scale, offset);
                if constexpr (Minima) t = fma(V::load(panel[p].minimum[g]), V::broadcast(x[r].sum[part]), t);
                to[r][p] = Wide ? t : fma(t, V::broadcast(x[r].scale), to[r][p]);
            }
        }
    }

    /// Adds t, scaled as the rows' blocks, to acc; t begins anew.
    SKALD_INLINE static void add_scaled_rows(V (&t)[rows][panels], const int8_block* x, V (&acc)[rows][panels]) noexcept {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels; ++p) {
                acc[r][p] = fma(t[r][p], V::broadcast(x[r].scale), acc[r][p]);
                t[r][p] = V::zero();
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
    static constexpr std::size_t panels_of_one_row = 1;

    static const row* row_of(const activations<Arch>& a, std::size_t r) noexcept { return a.pairs_row(r); }

    template <std::size_t R, std::size_t P>
    SKALD_INLINE static void run(const std::byte* const (&panel)[P], const row* const (&x)[R], std::size_t cols,
                                 simd<Arch> (&acc)[R][P]) noexcept {
        for (std::size_t k = 0; k < cols; k += 2) {
            simd_int<Arch> w[P];
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) {
                const std::byte* pairs = panel[p] + k * lanes * 2;
                if constexpr (R == 1) __builtin_prefetch(pairs + 2 * prefetch_distance);
                w[p] = simd_int<Arch>::load(pairs);
            }
#pragma GCC unroll 16
            for (std::size_t r = 0; r < R; ++r) {
                const auto a = simd_int<Arch>::broadcast(format::detail::read_at<std::int32_t>(x[r] + k));
#pragma GCC unroll 4
                for (std::size_t p = 0; p < P; ++p) acc[r][p] = dot_bfloat16(acc[r][p], w[p], a);
            }
        }
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
