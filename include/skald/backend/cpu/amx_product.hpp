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
    static constexpr std::size_t row_block = 288;

    /// Panels [first, last) and rows [row, row_end), at most row_block of them; row a multiple of 16.
    template <class Put>
    static void run(const activations<Arch>& in, const std::byte* panels, std::size_t panel_bytes, std::size_t first, std::size_t last,
                    std::size_t row, std::size_t row_end, Put&& put) {
        constexpr std::size_t chunk = 8;  // steps: those of two panels take 16 KiB of the first cache
        const std::size_t cols = in.cols(), steps = ceil_div(cols, columns);
        const amx_tiles tiles(std::min(row_end - row, rows));
        alignas(64) float sums[row_block][2][lanes];
        const bool few = row_end - row <= rows;
        for (std::size_t p = first; p < last; p += 2) {
            const right_side right(panels + p * panel_bytes, panels + std::min(p + 1, last - 1) * panel_bytes, cols, few);
            for (std::size_t s = 0; s < steps; s += chunk) {
                const std::size_t end = std::min(s + chunk, steps);
                for (std::size_t r = row; r < row_end; r += 2 * rows) {
                    const bfloat16_parts* left[2] = {in.parts_at(r), nullptr};
                    if (r + rows < row_end) {
                        left[1] = in.parts_at(r + rows);
                        multiply<2>(left, right, s, end, sums + (r - row));
                    } else {
                        multiply<1>(left, right, s, end, sums + (r - row));
                    }
                    if (end < steps) continue;
                    for (std::size_t i = r; i < std::min(r + 2 * rows, row_end); ++i)
                        for (std::size_t q = p; q < std::min(p + 2, last); ++q) put(q, i, simd<Arch>::load(sums[i - row][q - p]));
                }
            }
        }
    }

private:
    static constexpr std::size_t rows = bfloat16_parts::rows, columns = bfloat16_parts::columns;
    static constexpr std::size_t step_bytes = columns * lanes * sizeof(bfloat16);

    /// Two panels, step by step, zeros past their last columns.
    class right_side {
    public:
        right_side(const std::byte* first, const std::byte* second, std::size_t cols, bool from_memory) noexcept
            : panel_{first, second}, whole_(cols / columns), from_memory_(from_memory) {
            const std::size_t rest = round_up(cols % columns, 2) * lanes * sizeof(bfloat16);
            if (rest == 0) return;
            for (std::size_t p = 0; p < 2; ++p) {
                std::memcpy(tail_[p], panel_[p] + whole_ * step_bytes, rest);
                std::memset(tail_[p] + rest, 0, step_bytes - rest);
            }
        }
        SKALD_INLINE const std::byte* at(std::size_t p, std::size_t step) const noexcept {
            if (step == whole_) return tail_[p];
            const std::byte* there = panel_[p] + step * step_bytes;
            if (from_memory_)
                for (std::size_t line = 0; line < step_bytes; line += 64) __builtin_prefetch(there + prefetch_distance + line);
            return there;
        }

    private:
        const std::byte* panel_[2];
        std::size_t whole_;
        bool from_memory_;
        alignas(64) std::byte tail_[2][step_bytes];
    };

    /// Adds steps [s, end) to the sums of 16 · R rows and two panels, which begin with step 0. They are tiles 0 … 3, row tiles first.
    template <int R>
    SKALD_INLINE static void multiply(const bfloat16_parts* const (&left)[2], const right_side& right, std::size_t s, std::size_t end,
                                      float (*sums)[2][lanes]) noexcept {
        constexpr std::size_t stride = sizeof *sums;
        const auto each = [&]<int... Tile>(std::integer_sequence<int, Tile...>, auto f) {
            (f(std::integral_constant<int, Tile>{}, sums[Tile / 2 * rows][Tile % 2]), ...);
        };
        constexpr std::make_integer_sequence<int, 2 * R> all;
        each(all, [&](auto tile, float* at) { s == 0 ? zero_tile<tile>() : load_tile<tile>(at, stride); });
        for (; s < end; ++s) {
            load_tile<amx_tiles::right>(right.at(0, s));
            load_tile<amx_tiles::right + 1>(right.at(1, s));
            step<0>(left[0][s]);
            if constexpr (R == 2) step<2>(left[1][s]);
        }
        each(all, [&](auto tile, float* at) { store_tile<tile>(at, stride); });
    }

    /// Sums and Sums + 1 += the rows · both panels.
    template <int Sums>
    SKALD_INLINE static void step(const bfloat16_parts& left) noexcept {
        constexpr int high = 4, low = 5, first = amx_tiles::right, second = first + 1;
        load_tile<high>(left.high);
        load_tile<low>(left.low);
        multiply_bfloat16_tiles<Sums, high, first>();
        multiply_bfloat16_tiles<Sums + 1, high, second>();
        multiply_bfloat16_tiles<Sums, low, first>();
        multiply_bfloat16_tiles<Sums + 1, low, second>();
    }
};

}  // namespace skald::inline SKALD_ISA::kernels

#endif
