// SPDX-License-Identifier: MIT
#pragma once
// Rows of activations and what products read instead of them: int8 blocks and bf16, encoded once however many matrices ask.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>

#include <skald/backend/cpu/int8_rows.hpp>
#include <skald/backend/cpu/parallel.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/cpu/words.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/tensor_view.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Integer sums that are to become floats count up from the bits of this one, 1.5 · 2^23: its unit is 1, so that below 2^22 the sum
/// stands in the fraction, and no conversion is needed.
inline constexpr float sums_zero = 0x1.8p23f;
inline constexpr std::int32_t sums_zero_bits = std::bit_cast<std::int32_t>(sums_zero);

/// 32 activations: value i ≈ scale · q[i], with scale = max |value| / 127 and q rounded to nearest, ties to even. A cache line.
/// Of wide blocks so many after one another have the scale of all. Sums are of all, of the first 16 and of the last 16 values.
struct alignas(64) int8_block {
    static constexpr std::size_t size = 32;
    static constexpr std::size_t wide = 4;

    std::int8_t q[size];
    float sum[3];  ///< Σq, for the minima of weights
    float scale;
    std::int32_t start[3];  ///< sums_zero_bits - 128 · Σq: where a dot product with codes around 128 begins
};
static_assert(sizeof(int8_block) == 64 && int8_block::wide == 4);

/// Encodes 32 floats to each of n blocks, at most 16, that lie `stride` apart; they share what is slow, a division.
template <class Arch, bool Wide>
SKALD_INLINE void encode_int8(const float* x, int8_block* out, std::size_t stride, std::size_t n) noexcept {
    using V = simd<Arch>;
    using four = registers<16>;
    V most[lanes];
    for (std::size_t i = 0; i < lanes; ++i) {
        const float* some = x + std::min(i, n - 1) * int8_block::size;
        most[i] = max(abs(V::load(some)), abs(V::load(some + lanes)));
    }
    if constexpr (Wide)
#pragma GCC unroll 16
        for (std::size_t i = 0; i < lanes; i += int8_block::wide)
            most[i] = most[i + 1] = most[i + 2] = most[i + 3] = max(max(most[i], most[i + 1]), max(most[i + 2], most[i + 3]));
    const V greatest = greatest_of_rows(most);
    alignas(64) float scale[lanes], inverse[lanes];
    (greatest / V::broadcast(127.0f)).store(scale);
    min(V::broadcast(127.0f) / greatest, V::broadcast(std::numeric_limits<float>::max())).store(inverse);  // zeros times a number are zeros
    for (std::size_t i = 0; i < n; ++i, x += int8_block::size, out += stride) {
        const V by = V::broadcast(inverse[i]);
        (V::load(x) * by).store_i8(out->q);
        (V::load(x + lanes) * by).store_i8(out->q + lanes);
        // Four floats, of which the last is another's place.
        const auto sums = four::to_float(four::sums_of_bytes(out->q));
        std::byte* const block = reinterpret_cast<std::byte*>(out);
        four::store(sums, block + offsetof(int8_block, sum));
        four::store(four::fma(sums, four::broadcast(-128.0f), four::broadcast(sums_zero)), block + offsetof(int8_block, start));
        out->scale = scale[i];
    }
}

/// Rows of int8 blocks that one tile of a product reads. They lie block by block, [row / rows_of_tile][block][row % rows_of_tile],
/// so that a tile reads its activations as one stream. The last ones are low tiles where those have fewer rows left over.
template <class Arch>
inline constexpr std::size_t rows_of_tile = simd<Arch>::parts == 1   ? 6
                                            : simd<Arch>::parts == 2 ? 4
                                                                     : 2;
template <class Arch>
inline constexpr std::size_t rows_of_low_tile = simd<Arch>::parts == 1 ? 4 : rows_of_tile<Arch>;

/// Blocks of so many rows may be multiplied apart, at least, and begin with a tile.
inline constexpr std::size_t rows_together = 48;

/// How many of n rows are in whole tiles; the others are in one or two low ones. Where there are more than rows_together, it must not
/// be two: a block of rows could begin between.
template <class Arch>
constexpr std::size_t rows_of_whole_tiles(std::size_t n) noexcept {
    constexpr std::size_t rows = rows_of_tile<Arch>, low = rows_of_low_tile<Arch>;
    const std::size_t left = n % rows;
    if (low == rows || left == 0 || left > low) return n;
    if (2 * left > low) return n - left;
    return n >= 2 * low - 1 && n <= rows_together ? n - left - rows : n;
}

/// Which encodings a product reads.
enum encoding : unsigned {
    plain = 0,
    int8 = 1,
    int8_wide = 2,
    bf16_pairs = 4,
    bf16_parts = 8,
    int8_rows_whole = 16,
    int8_rows_and_outliers = 32
};

/// 32 columns of 16 rows as what AMX multiplies: value ≈ high + low, of 16 bits together.
struct bfloat16_parts {
    static constexpr std::size_t rows = 16, columns = 32;
    alignas(64) bfloat16 high[rows][columns], low[rows][columns];
};

/// Rows of floats (rows, cols), dense, and their encodings. Move-only; memory is taken once, for the greatest size; for int8_rows.hpp, and
/// for wide blocks beside others, when products first ask.
/// Ops that produce rows call begin(), fill rows, encode each while it is in the cache with finish(row), and end(). What they
/// encode is what the last product asked for; a product encodes what is missing, so that results never depend on it.
template <class Arch>
class activations {
public:
    activations(std::size_t rows, std::size_t cols, bool encoded, std::pmr::memory_resource* memory)
        : max_rows_(rows),
          max_cols_(cols),
          memory_(memory),
          values_(rows * cols, memory),
          int8_(encoded ? int8_blocks(rows, cols) : 0, memory),
          pairs_(encoded && has_bf16_dot ? rows * round_up(cols, 2) : 0, memory),
          parts_(encoded && has_amx ? part_blocks(rows, cols) : 0, memory) {
        int8_.zero();  // tiles read the rows that are missing to a whole one, too
        parts_.zero();
    }

    static std::size_t bytes(std::size_t rows, std::size_t cols, bool encoded) noexcept {
        std::size_t total = buffer<float>::bytes_for(rows * cols);
        if (encoded) total += buffer<int8_block>::bytes_for(int8_blocks(rows, cols));
        if (encoded && has_bf16_dot) total += buffer<bfloat16>::bytes_for(rows * round_up(cols, 2));
        if (encoded && has_amx) total += buffer<bfloat16_parts>::bytes_for(part_blocks(rows, cols));
        return total;
    }

    /// Throws errc::invalid_argument beyond the size it was made for. Contents are lost.
    void resize(std::size_t rows, std::size_t cols) {
        if (rows > max_rows_ || cols > max_cols_)
            fail(errc::invalid_argument, "activations", rows, " × ", cols, " values, in room for ", max_rows_, " × ", max_cols_);
        rows_ = rows;
        cols_ = cols;
        in_whole_tiles_ = rows_of_whole_tiles<Arch>(rows);
        present_ = plain;
    }

    std::size_t rows() const noexcept { return rows_; }
    std::size_t cols() const noexcept { return cols_; }

    /// The rows, to write; encodings made before are forgotten. // (rows, cols)
    matrix_view<float> values() noexcept {
        present_ = plain;
        return {values_.data(), {rows_, cols_}};
    }
    matrix_view<const float> values() const noexcept { return {values_.data(), {rows_, cols_}}; }

    float* begin() noexcept { return values().data(); }
    SKALD_INLINE void finish(std::size_t row) noexcept { encode(row, wanted_); }
    void end() noexcept { present_ = wanted_; }

    /// Makes these encodings present.
    void require(unsigned encodings, const workers& w) {
        if ((encodings & either) == either && wide_.empty()) {
            wide_ = buffer<int8_block>(int8_.size(), memory_);
            wide_.zero();
            present_ &= ~unsigned{int8_wide};
        }
        if (encodings & int8_rows_whole) whole_rows_.reserve(max_rows_, max_cols_, false, memory_);
        if (encodings & int8_rows_and_outliers) parted_rows_.reserve(max_rows_, max_cols_, true, memory_);
        wanted_ = encodings;
        const unsigned missing = encodings & ~present_;
        if (missing == plain) return;
        w.split(rows_, 1 + 8192 / (cols_ + 1), [&](std::size_t begin, std::size_t end) {
            for (std::size_t r = begin; r < end; ++r) encode(r, missing);
        });
        if (wide_.empty() && missing & either) present_ &= ~either;
        present_ |= missing;
    }

    const float* row(std::size_t r) const noexcept { return values_.data() + r * cols_; }
    /// How many rows are in the tile that row r is in.
    std::size_t tile_of(std::size_t r) const noexcept { return r < in_whole_tiles_ ? rows_of_tile<Arch> : rows_of_low_tile<Arch>; }
    /// Of rows row … row_end - 1, the first of which begins one.
    std::size_t tiles(std::size_t row, std::size_t row_end) const noexcept {
        const std::size_t border = std::clamp(in_whole_tiles_, row, row_end);
        return ceil_div(border - row, rows_of_tile<Arch>) + ceil_div(row_end - border, rows_of_low_tile<Arch>);
    }
    /// The block of row r that has columns k … k + 31. The row's next is tile_of(r) blocks further.
    const int8_block* int8_at(std::size_t r, std::size_t k, bool wide) const noexcept { return blocks(wide) + int8_index(r, k); }
    const bfloat16* pairs_row(std::size_t r) const noexcept { return pairs_.data() + r * round_up(cols_, 2); }
    /// The first 32 columns of rows r … r + 15; r a multiple of 16. The next columns follow.
    const bfloat16_parts* parts_at(std::size_t r) const noexcept {
        return parts_.data() + r / bfloat16_parts::rows * ceil_div(cols_, bfloat16_parts::columns);
    }

    /// Row r under one scale, with its outliers apart or not.
    const int8_row* int8_row_of(std::size_t r, bool outliers) const noexcept { return (outliers ? parted_rows_ : whole_rows_).row(r); }

private:
    static constexpr unsigned either = int8 | int8_wide;

    static std::size_t part_blocks(std::size_t rows, std::size_t cols) noexcept {
        return ceil_div(rows, bfloat16_parts::rows) * ceil_div(cols, bfloat16_parts::columns);
    }

    static std::size_t int8_blocks(std::size_t rows, std::size_t cols) noexcept {
        return round_up(rows, rows_of_tile<Arch>) * (cols / int8_block::size);
    }
    std::size_t int8_index(std::size_t r, std::size_t k) const noexcept {
        const std::size_t first = r < in_whole_tiles_ ? 0 : in_whole_tiles_, tile = tile_of(r), blocks = cols_ / int8_block::size;
        r -= first;
        return first * blocks + (r / tile * blocks + k / int8_block::size) * tile + r % tile;
    }

    /// Where blocks of a kind lie: both in the same place until they are needed beside one another.
    const int8_block* blocks(bool wide) const noexcept { return wide && !wide_.empty() ? wide_.data() : int8_.data(); }

    template <bool Wide>
    void encode_blocks(std::size_t r) noexcept {
        int8_block* out = const_cast<int8_block*>(int8_at(r, 0, Wide));
        const std::size_t tile = tile_of(r);
        for (std::size_t b = 0, all = cols_ / int8_block::size; b < all; b += lanes)
            encode_int8<Arch, Wide>(row(r) + b * int8_block::size, out + b * tile, tile, std::min(lanes, all - b));
    }

    void encode(std::size_t r, unsigned encodings) noexcept {
        const float* x = row(r);
        if (encodings & int8) encode_blocks<false>(r);
        if (encodings & int8_wide) encode_blocks<true>(r);
        if (encodings & int8_rows_whole) whole_rows_.encode(r, x, cols_);
        if (encodings & int8_rows_and_outliers) parted_rows_.encode(r, x, cols_);
        if (encodings & bf16_pairs) {
            bfloat16* out = pairs_.data() + r * round_up(cols_, 2);
            std::size_t k = 0;
            for (; k + lanes <= cols_; k += lanes) simd<Arch>::load(x + k).store_bfloat16(out + k);
            for (; k < cols_; ++k) out[k] = to_bfloat16(x[k]);
            if (cols_ % 2 != 0) out[cols_] = bfloat16{};
        }
        if (encodings & bf16_parts) {
            bfloat16_parts* out = parts_.data() + r / bfloat16_parts::rows * ceil_div(cols_, bfloat16_parts::columns);
            for (std::size_t k = 0; k < cols_; k += lanes) {
                bfloat16_parts& block = out[k / bfloat16_parts::columns];
                const std::size_t row = r % bfloat16_parts::rows, column = k % bfloat16_parts::columns;
                const auto value = simd<Arch>::load_first(x + k, cols_ - k);
                value.store_bfloat16(&block.high[row][column]);
                (value - simd<Arch>::load_bfloat16(&block.high[row][column])).store_bfloat16(&block.low[row][column]);
            }
            if (const std::size_t half = cols_ % bfloat16_parts::columns; half != 0 && half <= lanes) {
                bfloat16_parts& block = out[cols_ / bfloat16_parts::columns];
                std::fill_n(&block.high[r % bfloat16_parts::rows][lanes], lanes, bfloat16{});
                std::fill_n(&block.low[r % bfloat16_parts::rows][lanes], lanes, bfloat16{});
            }
        }
    }

    std::size_t max_rows_, max_cols_, rows_ = 0, cols_ = 0, in_whole_tiles_ = 0;
    unsigned wanted_ = plain, present_ = plain;
    std::pmr::memory_resource* memory_;
    buffer<float> values_;
    buffer<int8_block> int8_, wide_;
    buffer<bfloat16> pairs_;
    buffer<bfloat16_parts> parts_;
    int8_rows<Arch> whole_rows_, parted_rows_;
};

}  // namespace skald::inline SKALD_ISA::kernels
