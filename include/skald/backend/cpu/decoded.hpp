// SPDX-License-Identifier: MIT
#pragma once
// Products with weights that stay in file layout, in floats: `exact` ones of quantized formats, and 8-bit floats. A few rows of weights are
// decoded to floats in the first cache and multiplied with all rows of activations before the next. One loop serves all formats;
// what differs is a pointer to their decoder.
//
// The order of a sum: lane l of 16 adds columns l, l + 16, l + 32, … by fma, from zero; then the lanes are added by halves.
#include <algorithm>
#include <cstddef>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/packed.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The sums of up to `Rows` rows of activations with the 16 rows of a panel. // plain floats in and out
template <class Arch, std::size_t Rows>
class decoded_panel {
public:
    static constexpr std::size_t weights = 4;  ///< rows decoded together

    /// sums[r][i] = x[r] · (row i of the panel), for r < rows and i < count, the rows that the panel has. `stride` is the distance of rows
    /// in x.
    void multiply(const std::byte* panel, dtype type, format::block_decoder decode, std::size_t cols, std::size_t count, const float* x,
                  std::size_t stride, std::size_t rows, float (&sums)[Rows][lanes]) noexcept {
        const std::size_t block = info(type).block_size;
        for (std::size_t first = 0; first < count; first += weights) {
            for (std::size_t k = 0; k < cols; k += chunk) {
                const std::size_t n = std::min(chunk, cols - k);
                for (std::size_t i = 0; i < weights; ++i) {
                    const std::byte* from = panel + std::min(first + i, count - 1) * row_bytes(type, cols) + row_bytes(type, k);
                    for (std::size_t line = 0; line < row_bytes(type, n); line += 64) __builtin_prefetch(from + ahead + line);
                    decode(from, n / block, w_[i]);
                    std::fill(w_[i] + n, w_[i] + round_up(n, lanes), 0.0f);
                }
                if (rows == 1)
                    tile<1>(x + k, stride, 0, 1, n, k == 0);
                else
                    for (std::size_t r = 0; r < rows; r += rows_of_tile)
                        tile<rows_of_tile>(x + k, stride, r, std::min(rows_of_tile, rows - r), n, k == 0);
            }
            reduce(first, rows, sums);
        }
    }

private:
    using V = simd<Arch>;
    using batch = typename V::batch;
    using reg = typename V::reg;
    static constexpr std::size_t ahead = 4096;  // bytes of weights that are prefetched
    static constexpr std::size_t chunk = 512;   // columns decoded at once: with the activations of a tile they fit the first cache
    static constexpr std::size_t rows_of_tile = register_count == 32 && V::parts == 1 ? 6 : 3;  // accumulators: 24 or 12 registers
    static constexpr std::size_t sums_at_once = lanes / weights;
    static_assert(Rows % rows_of_tile == 0 && Rows % sums_at_once == 0);

    /// acc_[first …] (+)= x · w_ over n columns. Rows past the end repeat the last one, and are not kept.
    template <std::size_t R>
    [[gnu::noinline]] void tile(const float* x, std::size_t stride, std::size_t first, std::size_t rows, std::size_t n,
                                bool start) noexcept {
        const float *row[R], *tail[R];
        float padded[R][lanes];
        const std::size_t whole = n / lanes * lanes, rest = n - whole;
        for (std::size_t r = 0; r < R; ++r) {
            row[r] = x + (first + std::min(r, rows - 1)) * stride;
            tail[r] = padded[r];
            if (rest != 0) std::fill(std::copy_n(row[r] + whole, rest, padded[r]), padded[r] + lanes, 0.0f);
        }
#pragma GCC unroll 4
        for (std::size_t part = 0; part < V::parts; ++part) {
            const std::size_t at = part * V::native::count;
            reg acc[R][weights];
#pragma GCC unroll 8
            for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
                for (std::size_t i = 0; i < weights; ++i) acc[r][i] = start || r >= rows ? reg(batch(0.0f)) : acc_[first + r][i].part(part);
            for (std::size_t k = 0; k < whole; k += lanes) step(k + at, row, k + at, acc);
            if (rest != 0) step(whole + at, tail, at, acc);
#pragma GCC unroll 8
            for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
                for (std::size_t i = 0; i < weights; ++i)
                    if (r < rows) acc_[first + r][i].part(part) = acc[r][i];
        }
    }

    template <std::size_t R>
    SKALD_INLINE void step(std::size_t k, const float* const (&row)[R], std::size_t at, reg (&acc)[R][weights]) const noexcept {
        reg w[weights];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < weights; ++i) w[i] = batch::load_unaligned(w_[i] + k);
#pragma GCC unroll 8
        for (std::size_t r = 0; r < R; ++r) {
            const reg a = batch::load_unaligned(row[r] + at);
#pragma GCC unroll 4
            for (std::size_t i = 0; i < weights; ++i) acc[r][i] = V::native::fma(w[i], a, acc[r][i]);
        }
    }

    void reduce(std::size_t first, std::size_t rows, float (&sums)[Rows][lanes]) const noexcept {
        for (std::size_t r = 0; r < rows; r += sums_at_once) {
            V all[lanes];
#pragma GCC unroll 16
            for (std::size_t i = 0; i < lanes; ++i) all[i] = acc_[std::min(r + i / weights, rows - 1)][i % weights];
            alignas(64) float out[lanes];
            sum_rows(all).store(out);
            for (std::size_t i = 0; i < sums_at_once; ++i) std::copy_n(out + i * weights, weights, sums[r + i] + first);
        }
    }

    alignas(64) float w_[weights][chunk];
    V acc_[Rows][weights];
};

}  // namespace skald::inline SKALD_ISA::kernels
