// SPDX-License-Identifier: MIT
#pragma once
// Rows of activations in eight bits under one scale each, for weights that have one scale a row too (row_product.hpp). Sixteen rows lie
// together, 64 columns at a time: [row / 16][column / 64][row % 16][64], so that a tile reads one stream, a single row whole lines, and AMX
// its tiles as they lie.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include <skald/backend/cpu/simd.hpp>
#include <skald/core/buffer.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// One row: value i ≈ scale · q[i], with scale = max |value| / 127 and q rounded to nearest, ties to even. Columns 64 j … 64 j + 63 lie at
/// q + j · stride, zeros past the end.
struct int8_row {
    static constexpr std::size_t line = 64, together = 16, stride = line * together;

    std::int8_t* q = nullptr;
    const float* values = nullptr;      ///< the row itself
    std::uint64_t* outliers = nullptr;  ///< where outliers are kept apart: a bit a column, set for those, whose q is 0. // (lines)
    float scale = 0;
    std::int32_t sum = 0;  ///< Σq
    bool any_outliers = false;
};

/// The encoded rows of a buffer of activations. Memory is taken when they are first asked for: formats of files have no use for them.
template <class Arch>
class int8_rows {
public:
    /// Makes room, once; cheap afterwards.
    void reserve(std::size_t rows, std::size_t cols, bool outliers, std::pmr::memory_resource* memory) {
        const std::size_t all = round_up(rows, int8_row::together), lines = ceil_div(cols, int8_row::line);
        if (!rows_.empty() || all * lines == 0) return;
        buffer<std::int8_t> q(all * lines * int8_row::line, memory);
        q.zero();  // tiles read the rows that are missing to a whole one, too
        buffer<std::uint64_t> marks(outliers ? all * lines : 0, memory);
        rows_ = buffer<int8_row>(all, memory);
        std::fill_n(rows_.data(), all, int8_row{});
        q_ = std::move(q), outliers_ = std::move(marks);
    }

    const int8_row* row(std::size_t r) const noexcept { return rows_.data() + r; }

    /// Encodes row r of rows of `cols` values.
    void encode(std::size_t r, const float* x, std::size_t cols) noexcept {
        using V = simd<Arch>;
        const std::size_t lines = ceil_div(cols, int8_row::line);
        std::int8_t* q = q_.data() + (r / int8_row::together * lines * int8_row::together + r % int8_row::together) * int8_row::line;
        int8_row out{q, x, outliers_.empty() ? nullptr : outliers_.data() + r * lines};
        alignas(64) float some[int8_row::line];
        V most = V::zero();
        for (std::size_t j = 0; j < lines; ++j) {
            take(out, j, cols, some);
            for (std::size_t i = 0; i < int8_row::line; i += lanes) most = max(abs(V::load(some + i)), most);
        }
        const float greatest = reduce_max(most);
        const V inverse = V::broadcast(greatest > 0.0f ? 127.0f / greatest : 0.0f);
        out.scale = greatest / 127.0f;
        for (std::size_t j = 0; j < lines; ++j, q += int8_row::stride) {
            take(out, j, cols, some);
            for (std::size_t i = 0; i < int8_row::line; i += lanes) (V::load(some + i) * inverse).store_i8(q + i);
            for (std::size_t i = 0; i < int8_row::line; ++i) out.sum += q[i];
        }
        rows_[r] = out;
    }

private:
    /// Magnitudes beyond this one are outliers, where they are kept apart: the threshold of LLM.int8().
    static constexpr float outlier = 6.0f;

    /// Columns 64 j … 64 j + 63, zeros past the end and for outliers, which are marked.
    static void take(int8_row& row, std::size_t j, std::size_t cols, float (&out)[int8_row::line]) noexcept {
        const std::size_t first = j * int8_row::line, n = std::min(int8_row::line, cols - first);
        std::fill(std::copy_n(row.values + first, n, out), out + int8_row::line, 0.0f);
        if (row.outliers == nullptr) return;
        std::uint64_t marks = 0;
        for (std::size_t i = 0; i < n; ++i)
            if (std::fabs(out[i]) > outlier) marks |= std::uint64_t{1} << i, out[i] = 0.0f;
        row.outliers[j] = marks;
        row.any_outliers = row.any_outliers || marks != 0;
    }

    buffer<std::int8_t> q_;
    buffer<std::uint64_t> outliers_;
    buffer<int8_row> rows_;
};

}  // namespace skald::inline SKALD_ISA::kernels
