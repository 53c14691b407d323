// SPDX-License-Identifier: MIT
#pragma once
// Products of weights with one scale a row: panels of bytes, and a loop whose sums are integers from the first column to the last.
//
// The canonical value of an output of a `native` product: t = Σ code · q, as a float; t = t · the weights' scale; with minima
// t = fma(minimum, Σq, t); out = t · the activations' scale. Where outliers are kept apart, for each in the order of columns
// out = fma(weight, activation, out), both in floats.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/amx.hpp>
#include <skald/backend/cpu/packed.hpp>
#include <skald/backend/cpu/tile.hpp>
#include <skald/core/error.hpp>
#include <skald/format/row_quants.hpp>

namespace skald::inline SKALD_ISA::kernels {

namespace detail {

/// Codes as [column / 4][lane][4], around 128 where they are signed, for whole lines of int8_row; then 16 scales, and 16 minima.
template <class Format>
struct row_panel {
    static constexpr std::size_t group = 4;
    static constexpr bool minima = Format::minima;
    static constexpr std::int32_t zero = minima ? 0 : 128;
    static constexpr std::size_t most_cols = 65536;  // sums of products of bytes stay below 2³¹

    static std::size_t code_bytes(std::size_t cols) noexcept { return round_up(cols, int8_row::line) * lanes; }
    static std::size_t panel_bytes(std::size_t cols) noexcept { return code_bytes(cols) + (minima ? 2 : 1) * lanes * sizeof(float); }
    SKALD_INLINE static const std::byte* where(const std::byte* panel, std::size_t k) noexcept { return panel + k * lanes; }
    SKALD_INLINE static const float* scales(const std::byte* panel, std::size_t cols) noexcept {
        return reinterpret_cast<const float*>(panel + code_bytes(cols));
    }

    /// Throws errc::unsupported for rows of more than most_cols.
    static void pack(const weight_view& w, std::size_t first, std::byte* out) {
        if (w.cols > most_cols)
            fail(errc::unsupported, w.name, "rows of ", w.cols, " values; sums of ", to_string(w.type), " hold ", most_cols);
        for_each_lane(w, first, [&](std::size_t lane, const std::byte* row) {
            for (std::size_t i = 0; i < info(Format::id).row_header; i += sizeof(float))
                std::memcpy(out + code_bytes(w.cols) + i * lanes + lane * sizeof(float), row + i, sizeof(float));
            row += info(Format::id).row_header;
            for (std::size_t k = 0; k < w.cols; ++k)
                out[(k / group * lanes + lane) * group + k % group] = row[k] ^ static_cast<std::byte>(zero);
        });
    }

    static float at(const std::byte* panel, std::size_t cols, std::size_t lane, std::size_t k) noexcept {
        const int code = std::to_integer<int>(panel[(k / group * lanes + lane) * group + k % group]) - zero;
        const float value = scales(panel, cols)[lane] * static_cast<float>(code);
        return minima ? value + scales(panel, cols)[lanes + lane] : value;
    }

    /// Four columns of each row as dot() takes them: signed where it takes signed bytes, and then 128 below the codes.
    template <class Arch>
    SKALD_INLINE static simd_int<Arch> codes(const std::byte* panel, std::size_t k) noexcept {
        const auto raw = simd_int<Arch>::load(where(panel, k));
        if constexpr (simd_int<Arch>::code_zero == 128)
            return raw;
        else
            return add_bytes(raw, 128);
    }
    /// What such a code is short of its value.
    template <class Arch>
    static constexpr std::int32_t shortfall = 128 - simd_int<Arch>::code_zero - zero;

    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t cols, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        using V = simd<Arch>;
        const V scale = V::load(scales(panel, cols));
        const auto four = codes<Arch>(panel, k);
        for (std::size_t j = 0; j < group; ++j) {
            const auto code = to_float(dot(simd_int<Arch>::broadcast(shortfall<Arch>), four, simd_int<Arch>::broadcast(1 << (8 * j))));
            if constexpr (minima)
                out[j] = fma(code, scale, V::load(scales(panel, cols) + lanes));
            else
                out[j] = code * scale;
        }
    }
};

}  // namespace detail

template <>
struct panel_layout<format::w8_row> : detail::row_panel<format::w8_row> {};
template <>
struct panel_layout<format::w8_mixed> : detail::row_panel<format::w8_mixed> {};
template <>
struct panel_layout<format::u8_row> : detail::row_panel<format::u8_row> {};

/// Products of panels of codes with rows of int8.
template <class Arch, class Format>
class row_product {
public:
    static constexpr bool mixed = Format::id == dtype::w8_mixed;
    static constexpr bool walks = true;  ///< over panels and rows
    static constexpr encoding reads = mixed ? int8_rows_and_outliers : int8_rows_whole;
    static constexpr std::size_t row_block = 288;

    /// Panels [first, last) and rows [row, row_end), at most row_block of them; row a multiple of int8_row::together. Results go to
    /// put(panel, row, values), and are fetched before.
    template <class Put>
    static void run(const activations<Arch>& in, const std::byte* panels, std::size_t panel_bytes, std::size_t first, std::size_t last,
                    std::size_t row, std::size_t row_end, Put&& put) {
        constexpr std::size_t chunk = 16;  // lines: those of two panels take 32 KiB of the first cache
        const std::size_t cols = in.cols(), lines = ceil_div(cols, int8_row::line);
        const int8_row* x = in.int8_row_of(row, mixed);
        const std::size_t rows = row_end - row;
        const bool by_tiles = rows > 1 && V::parts == 1 && ints::code_zero == 128 && may_use_amx();
        alignas(64) std::int32_t sums[row_block][panels_of_tile][lanes];
        for (std::size_t p = first; p < last; p += panels_of_tile) {
            const std::byte* panel[panels_of_tile];
            for (std::size_t i = 0; i < panels_of_tile; ++i) panel[i] = panels + std::min(p + i, last - 1) * panel_bytes;
            for (std::size_t r = 0; r < round_up(rows, int8_row::together); ++r)
                for (std::size_t i = 0; i < panels_of_tile; ++i)
                    ints::broadcast(layout::template shortfall<Arch> * x[r].sum).store(sums[r][i]);
            for (std::size_t j = 0; j < lines; j += chunk) {
                const std::size_t end = std::min(j + chunk, lines);
                if (rows == 1)
                    add<1>(panel, x, j, end, sums);
                else if (by_tiles)
                    add_by_tiles(panel, x, rows, j, end, sums);
                else
                    for (std::size_t r = 0; r < rows; r += rows_of_tile) {
                        if (end == lines) put.fetch(p, std::min(panels_of_tile, last - p), row + r, row + std::min(r + rows_of_tile, rows));
                        add<rows_of_tile>(panel, x + r, j, end, sums + r);
                    }
            }
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t i = 0; i < std::min(panels_of_tile, last - p); ++i)
                    put(p + i, row + r, scaled(panel[i], x[r], cols, ints::load(sums[r][i])));
        }
    }

private:
    using V = simd<Arch>;
    using ints = simd_int<Arch>;
    using layout = panel_layout<Format>;
    static constexpr std::size_t panels_of_tile = V::parts == 1 ? 2 : 1;
    static constexpr std::size_t rows_of_tile = V::parts == 1 ? 8 : V::parts == 2 ? 4 : 2;
    static_assert(int8_row::together % rows_of_tile == 0 && row_block % int8_row::together == 0);

    /// Adds lines [j, end) of R rows to their sums. The codes of rows follow those of the first.
    template <std::size_t R>
    [[gnu::noinline]] static void add(const std::byte* const (&panel)[panels_of_tile], const int8_row* x, std::size_t j, std::size_t end,
                                      std::int32_t (*sums)[panels_of_tile][lanes]) noexcept {
        ints sum[R][panels_of_tile];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels_of_tile; ++p) sum[r][p] = ints::load(sums[r][p]);
        for (; j < end; ++j) {
            const std::int8_t* q = x->q + j * int8_row::stride;
            const std::size_t k = j * int8_row::line;
            for (std::size_t i = 0; i < int8_row::line; i += 16)
#pragma GCC unroll 4
                for (std::size_t four = i; four < i + 16; four += 4) step(panel, k + four, q + four, sum);
        }
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels_of_tile; ++p) sum[r][p].store(sums[r][p]);
    }

    template <std::size_t R>
    SKALD_INLINE static void step(const std::byte* const (&panel)[panels_of_tile], std::size_t k, const std::int8_t* q,
                                  ints (&sum)[R][panels_of_tile]) noexcept {
        ints w[panels_of_tile];
#pragma GCC unroll 4
        for (std::size_t p = 0; p < panels_of_tile; ++p) {
            w[p] = layout::template codes<Arch>(panel[p], k);
            if constexpr (R == 1) __builtin_prefetch(layout::where(panel[p], k) + prefetch_distance);
        }
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) {
            const auto a = ints::broadcast(format::detail::read_at<std::int32_t>(q + r * int8_row::line));
#pragma GCC unroll 4
            for (std::size_t p = 0; p < panels_of_tile; ++p) sum[r][p] = dot(sum[r][p], w[p], a);
        }
    }

    /// The same for all rows, 32 at a time, by AMX; integers, so that sums are the same.
    static void add_by_tiles(const std::byte* const (&panel)[panels_of_tile], const int8_row* x, std::size_t rows, std::size_t j,
                             std::size_t end, std::int32_t (*sums)[panels_of_tile][lanes]) noexcept {
#if defined(SKALD_ISA_HAS_AMX)
        if constexpr (panels_of_tile == 2) {
            const amx_tiles tiles(int8_row::together);
            for (std::size_t r = 0; r < rows; r += 2 * int8_row::together) {
                if (r + int8_row::together < rows)
                    add_tiles<2>(panel, x + r, j, end, sums + r);
                else
                    add_tiles<1>(panel, x + r, j, end, sums + r);
            }
        }
#else
        static_cast<void>(panel), static_cast<void>(x), static_cast<void>(rows), static_cast<void>(j), static_cast<void>(end);
        static_cast<void>(sums);
#endif
    }

#if defined(SKALD_ISA_HAS_AMX)
    /// Of 16 · R rows. Tiles 0 … 3 are sums, rows first.
    template <int R>
    [[gnu::noinline]] static void add_tiles(const std::byte* const (&panel)[panels_of_tile], const int8_row* x, std::size_t j,
                                            std::size_t end, std::int32_t (*sums)[panels_of_tile][lanes]) noexcept {
        constexpr std::size_t stride = sizeof *sums, second = int8_row::together;
        constexpr int left = 4, right = amx_tiles::right;
        load_tile<0>(sums[0][0], stride), load_tile<1>(sums[0][1], stride);
        if constexpr (R == 2) load_tile<2>(sums[second][0], stride), load_tile<3>(sums[second][1], stride);
        for (; j < end; ++j) {
            load_tile<right>(layout::where(panel[0], j * int8_row::line));
            load_tile<right + 1>(layout::where(panel[1], j * int8_row::line));
            load_tile<left>(x->q + j * int8_row::stride);
            multiply_signed_unsigned_tiles<0, left, right>();
            multiply_signed_unsigned_tiles<1, left, right + 1>();
            if constexpr (R == 2) {
                load_tile<left + 1>(x[second].q + j * int8_row::stride);
                multiply_signed_unsigned_tiles<2, left + 1, right>();
                multiply_signed_unsigned_tiles<3, left + 1, right + 1>();
            }
        }
        store_tile<0>(sums[0][0], stride), store_tile<1>(sums[0][1], stride);
        if constexpr (R == 2) store_tile<2>(sums[second][0], stride), store_tile<3>(sums[second][1], stride);
    }
#endif

    static V scaled(const std::byte* panel, const int8_row& x, std::size_t cols, ints sum) noexcept {
        const float* scales = layout::scales(panel, cols);
        V t = to_float(sum) * V::load(scales);
        if constexpr (layout::minima) t = fma(V::load(scales + lanes), V::broadcast(static_cast<float>(x.sum)), t);
        t = t * V::broadcast(x.scale);
        if (mixed && x.any_outliers) t = add_outliers(panel, x, cols, t);
        return t;
    }

    static V add_outliers(const std::byte* panel, const int8_row& x, std::size_t cols, V sum) noexcept {
        for (std::size_t j = 0; j * int8_row::line < cols; ++j)
            for (std::uint64_t marks = x.outliers[j]; marks != 0; marks &= marks - 1) {
                const std::size_t k = j * int8_row::line + static_cast<std::size_t>(std::countr_zero(marks));
                V w[layout::group];
                layout::template load<Arch>(panel, cols, k / layout::group * layout::group, w);
                sum = fma(w[k % layout::group], V::broadcast(x.values[k]), sum);
            }
        return sum;
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
