// SPDX-License-Identifier: MIT
#pragma once
// Products of bf16 weights by AMX, for the policy `native`. Activations are the sum of two bf16, high and low, so that 16 of their bits
// count. A tile takes 32 columns in a step, high · weights before low · weights, each output in an order that is its own: one row and
// many agree bitwise.
//
// A step of 16 rows and 16 outputs is two multiplications of 16 cycles for 16384 operations; with f32 it takes 256 cycles.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include <skald/backend/cpu/amx.hpp>
#include <skald/backend/cpu/tile.hpp>

#if defined(SKALD_ISA_HAS_AMX)

namespace skald::inline SKALD_ISA::kernels {

/// Panels of bf16, given to put(panel, row, values).
template <class Arch>
class amx_product {
public:
    static constexpr bool walks = true;  ///< over panels and rows
    static constexpr encoding reads = bf16_parts;
    static constexpr std::size_t row_block = 288;

    /// Panels [first, last) and rows [row, row_end), at most row_block of them; row a multiple of 16.
    template <class Put>
    static void run(const activations<Arch>& in, const std::byte* panels, std::size_t panel_bytes, std::size_t first, std::size_t last,
                    std::size_t row, std::size_t row_end, Put&& put) {
        // Few rows read their weights from memory; many share those of four panels, in the first cache.
        if (row_end - row <= rows)
            walk<2>(in, panels, panel_bytes, first, last, row, row_end, put);
        else
            walk<4>(in, panels, panel_bytes, first, last, row, row_end, put);
    }

private:
    static constexpr std::size_t rows = bfloat16_parts::rows, columns = bfloat16_parts::columns;
    static constexpr std::size_t step_bytes = columns * lanes * sizeof(bfloat16);
    template <int P>
    using sums = float[P][lanes];

    template <int P, class Put>
    static void walk(const activations<Arch>& in, const std::byte* panels, std::size_t panel_bytes, std::size_t first, std::size_t last,
                     std::size_t row, std::size_t row_end, Put& put) {
        const std::size_t steps = ceil_div(in.cols(), columns), chunk = P == 2 ? steps : 8;
        const amx_tiles tiles(std::min(row_end - row, rows));
        alignas(64) sums<P> room[P == 2 ? rows : row_block];
        for (std::size_t p = first; p < last; p += P) {
            right_side<P> right(in.cols());
            for (std::size_t i = 0; i < P; ++i) right.set(i, panels + std::min(p + i, last - 1) * panel_bytes);
            for (std::size_t s = 0; s < steps; s += chunk) {
                const std::size_t end = std::min(s + chunk, steps);
                for (std::size_t r = row; r < row_end; r += rows) {
                    multiply(in.parts_at(r), right, s, end, room + (r - row));
                    if (end < steps) continue;
                    for (std::size_t i = r; i < std::min(r + rows, row_end); ++i)
                        for (std::size_t q = p; q < std::min(p + P, last); ++q) put(q, i, simd<Arch>::load(room[i - row][q - p]));
                }
            }
        }
    }

    /// P panels, step by step, zeros past their last columns.
    template <int P>
    class right_side {
    public:
        explicit right_side(std::size_t cols) noexcept
            : whole_(cols / columns), rest_bytes_(round_up(cols % columns, 2) * lanes * sizeof(bfloat16)) {}
        void set(std::size_t p, const std::byte* panel) noexcept {
            panel_[p] = panel;
            if (rest_bytes_ == 0) return;
            std::memcpy(rest_[p], panel + whole_ * step_bytes, rest_bytes_);
            std::memset(rest_[p] + rest_bytes_, 0, step_bytes - rest_bytes_);
        }
        SKALD_INLINE const std::byte* at(std::size_t p, std::size_t step) const noexcept {
            if (step == whole_) return rest_[p];
            const std::byte* there = panel_[p] + step * step_bytes;
            if constexpr (P == 2)
                for (std::size_t line = 0; line < step_bytes; line += 64) __builtin_prefetch(there + prefetch_distance + line);
            return there;
        }

    private:
        const std::byte* panel_[P];
        std::size_t whole_, rest_bytes_;
        alignas(64) std::byte rest_[P][step_bytes];
    };

    /// Adds steps [s, end) to the sums of 16 rows and P panels, which begin with step 0. They are tiles 0 … P - 1.
    template <int P>
    SKALD_INLINE static void multiply(const bfloat16_parts* left, const right_side<P>& right, std::size_t s, std::size_t end,
                                      sums<P>* out) noexcept {
        constexpr int high = 4, low = 5;
        const auto each = [](auto f) {
            [&]<int... Panel>(std::integer_sequence<int, Panel...>) {
                (f(std::integral_constant<int, Panel>{}), ...);
            }(std::make_integer_sequence<int, P>{});
        };
        each([&](auto p) { s == 0 ? zero_tile<p>() : load_tile<p>(out[0][p], sizeof *out); });
        for (; s < end; ++s) {
            load_tile<high>(left[s].high);
            load_tile<low>(left[s].low);
            each([&](auto p) {
                constexpr int weights = amx_tiles::right + p % 2;
                load_tile<weights>(right.at(p, s));
                multiply_bfloat16_tiles<p, high, weights>();
                multiply_bfloat16_tiles<p, low, weights>();
            });
        }
        each([&](auto p) { store_tile<p>(out[0][p], sizeof *out); });
    }
};

}  // namespace skald::inline SKALD_ISA::kernels

#endif
