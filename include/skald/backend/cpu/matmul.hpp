// SPDX-License-Identifier: MIT
#pragma once
// Matrix products: packed weights, the choice of a kernel, and how outputs are split over blocks and threads. The columns are
// never split, so that no result depends on the split.
#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include <skald/backend/cpu/amx_product.hpp>
#include <skald/backend/cpu/decoded.hpp>
#include <skald/backend/cpu/row_product.hpp>
#include <skald/backend/cpu/tile.hpp>
#include <skald/backend/ops.hpp>
#include <skald/format/visit.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Stands for the products of decoded.hpp where a kernel is named.
struct decoded_kernel {
    static constexpr encoding reads = plain;
};

/// Stands for the products of panels of quantized.hpp, which read int8 blocks.
struct quantized_kernel {};

/// The kernel that an unquantized format's products run with.
template <class Arch, class Format, compute Policy>
constexpr auto choose_kernel() noexcept {
    if constexpr (Policy == compute::native && Format::id == dtype::bf16 && has_bf16_dot)
        return std::type_identity<bfloat16_kernel<Arch>>{};
    else if constexpr (Policy == compute::native && format::row_format<Format>)
        return std::type_identity<row_product<Arch, Format>>{};
    else
        return std::type_identity<float_kernel<Arch, panel_layout<Format>>>{};
}

/// Where a product's results go: `value` holds the 16 outputs of a panel for a row.
template <class Arch>
SKALD_INLINE void put(const matmul_job<packed_matrix>& job, std::size_t panel, std::size_t row, simd<Arch> value) noexcept {
    const std::size_t first = panel * lanes, n = job.weight->rows() - first;
    float* out = job.out.data() + row * job.out.strides()[0] + first;
    if (job.bias != nullptr) value = value + simd<Arch>::load_first(job.bias + first, n);
    if (job.accumulate) value = simd<Arch>::load_first(out, n) + value;
    value.store_first(out, n);
}

/// The lines where the results of some rows go, a while before they come: they are not in the cache, a row of results apart.
SKALD_INLINE void fetch_results(const matmul_job<packed_matrix>& job, std::size_t panel, std::size_t panels, std::size_t row,
                                std::size_t row_end) noexcept {
    for (std::size_t r = row; r < row_end; ++r) {
        const float* out = job.out.data() + r * job.out.strides()[0] + panel * lanes;
        for (std::size_t i = 0; i < panels; ++i) __builtin_prefetch(out + i * lanes, 1);
    }
}

/// Panels [first, last) of one product for rows [row, row_end).
template <class Kernel, class Arch>
class product {
public:
    static constexpr std::size_t row_block = 96;  ///< rows of activations that are multiplied with a panel before the next, at most
    using job = matmul_job<packed_matrix>;

    product(const job& j, const activations<Arch>& in) noexcept : job_(j), weight_(*j.weight), in_(in) {}

    void run(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        if (row_end - row == 1) {
            walk<1, Kernel::panels_of_one_row>(first, last, row, row_end);
        } else {
            walk<Kernel::rows, Kernel::panels>(first, last, row, row_end);
        }
    }

private:
    template <std::size_t R, std::size_t P>
    void walk(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        for (std::size_t p = first; p < last; p += P)
            for (std::size_t r = row; r < row_end; r += R) tile<R, P>(p, std::min(P, last - p), r, std::min(R, row_end - r));
    }

    /// One call of the kernel. Rows and panels past the end repeat the last one, and are not written.
    template <std::size_t R, std::size_t P>
    [[gnu::noinline]] void tile(std::size_t p0, std::size_t panels, std::size_t r0, std::size_t rows) const noexcept {
        const std::byte* panel[P];
        const typename Kernel::row* x[R];
        for (std::size_t p = 0; p < P; ++p) panel[p] = weight_.panel(p0 + std::min(p, panels - 1));
        for (std::size_t r = 0; r < R; ++r) x[r] = Kernel::row_of(in_, r0 + std::min(r, rows - 1));
        simd<Arch> acc[R][P];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p) acc[r][p] = simd<Arch>::zero();
        Kernel::template run<R, P>(panel, x, weight_.cols(), acc);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (std::size_t p = 0; p < P; ++p)
                if (r < rows && p < panels) put(job_, p0 + p, r0 + r, acc[r][p]);
    }

    const job& job_;
    const packed_matrix& weight_;
    const activations<Arch>& in_;
};

template <class Arch>
class product<decoded_kernel, Arch> {
public:
    static constexpr std::size_t row_block = 96;
    product(const matmul_job<packed_matrix>& j, const activations<Arch>& in) noexcept : job_(j), in_(in) {}

    void run(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        const packed_matrix& w = *job_.weight;
        decoded_panel<Arch, row_block> room;
        float sums[row_block][lanes] = {};
        for (std::size_t p = first; p < last; ++p) {
            room.multiply(w.panel(p), w.type(), w.decode(), w.cols(), std::min(lanes, w.rows() - p * lanes), in_.row(row), w.cols(),
                          row_end - row, sums);
            for (std::size_t r = row; r < row_end; ++r) put(job_, p, r, simd<Arch>::load(sums[r - row]));
        }
    }

private:
    const matmul_job<packed_matrix>& job_;
    const activations<Arch>& in_;
};

template <class Arch>
class product<quantized_kernel, Arch> {
public:
    static constexpr std::size_t row_block = 288;  // many enough that unpacking a panel costs little
    product(const matmul_job<packed_matrix>& j, const activations<Arch>& in) noexcept : job_(j), weight_(*j.weight), in_(in) {}

    void run(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        if (row_end - row <= few_rows)
            one_by_one(first, last, row, row_end);
        else
            walk(first, last, row, row_end);
    }

private:
    /// As many take less time one by one, from codes that are in the cache after the first, than unpacked codes do with a whole tile,
    /// which costs as much as 2.5 to 4.3 rows.
    static constexpr std::size_t few_rows = std::max<std::size_t>(rows_of_tile<Arch> / 2, 1);

    static constexpr std::size_t fetching_tiles = 8, results_ahead = 1;

    void one_by_one(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        const quantized_panels& format = *weight_.quantized();
        alignas(64) float sums[panels_of_row][lanes];
        const std::byte* panel[panels_of_row];
        for (std::size_t p = first; p < last; p += panels_of_row) {
            for (std::size_t i = 0; i < panels_of_row; ++i) panel[i] = weight_.panel(std::min(p + i, last - 1));
            for (std::size_t r = row; r < row_end; ++r) {
                format.one_row(panel, weight_.cols(), in_.int8_at(r, 0, format.wide), in_.tile_of(r), sums);
                for (std::size_t i = 0; i < std::min(panels_of_row, last - p); ++i) put(job_, p + i, r, simd<Arch>::load(sums[i]));
            }
        }
    }

    void walk(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        using tile = quantized_tile<Arch>;
        static_assert(row_block % tile::rows == 0 && rows_together % tile::rows == 0);
        const quantized_panels& format = *weight_.quantized();
        const auto run = tile::of(format), run_low = quantized_tile<Arch, rows_of_low_tile<Arch>>::of(format);
        const matmul_job<packed_matrix> job = job_;
        const std::size_t cols = weight_.cols(), tiles = in_.tiles(row, row_end);
        // The first cache holds columns, those that come next and the activations of few tiles.
        const bool few = tiles <= 6;
        const std::size_t columns = few ? unpacked_panel::columns / 2 : unpacked_panel::columns;
        // Up to three tiles take less time than memory does; bytes the processor fetches by itself.
        const std::size_t ahead = tiles <= 3 && format.code_bytes < int8_block::size * lanes ? 2 : 1;
        const tile_fetch nothing;
        unpacked_panel panel[tile::panels];
        constexpr std::size_t width = tile::panels * lanes;
        alignas(64) float sums[row_block][width];
        float* const results = job.out.data();
        const std::size_t stride = job.out.strides()[0];
        for (std::size_t p = first; p < last; p += tile::panels) {
            const std::size_t panels = std::min(tile::panels, last - p);
            const bool whole = job.bias == nullptr && p * lanes + width <= weight_.rows() && p + tile::panels <= last;
            for (std::size_t k = 0, n; k < cols; k += n) {
                n = next_columns(cols - k, columns);
                for (std::size_t i = 0; i < panels; ++i) format.unpack(weight_.panel(p + i), cols, k, n, few, panel[i]);
                const bool more = k + n < cols;
                std::size_t next_p = p, next_k = k;
                for (std::size_t i = 0; i < ahead; ++i) {
                    next_k += next_columns(cols - next_k, columns);
                    if (next_k == cols) next_k = 0, next_p += tile::panels;
                }
                const codes next = codes_of(next_p, last, next_k, columns);
                // The last tiles fetch these, block by block, so that activations do not push them out of the cache again.
                const std::size_t blocks = n / int8_block::size, fetching = std::min(tiles, fetching_tiles);
                tile_fetch part = next.part(fetching * blocks);
                if (!more) fetch_results(job, p, panels, row, std::min(row + results_ahead * tile::rows, row_end));
                for (std::size_t t = 0, begin = row, end; t < tiles; ++t, begin = end) {
                    const std::size_t rows = in_.tile_of(begin);
                    end = std::min(begin + rows, row_end);
                    const bool fetches = t + fetching >= tiles && part.at < next.end();
                    if (!more)
                        fetch_results(job, p, panels, begin + results_ahead * tile::rows,
                                      std::min(end + results_ahead * tile::rows, row_end));
                    const bool direct = !more && whole && begin + rows <= row_end;
                    const tile_results to = direct ? tile_results{results + begin * stride + p * lanes, stride, job.accumulate}
                                                   : tile_results{sums[begin - row], width, false};
                    (rows == tile::rows ? run : run_low)(panel, in_.int8_at(begin, k, format.wide), blocks,
                                                         k == 0 ? nullptr : sums[begin - row], fetches ? part : nothing, to);
                    if (fetches) part.at += blocks * part.lines * 64;
                    if (more || direct) continue;
                    for (std::size_t r = begin; r < end; ++r)
                        for (std::size_t i = 0; i < panels; ++i) put(job, p + i, r, simd<Arch>::load(sums[r - row] + i * lanes));
                }
            }
        }
    }

    /// How many of the `left` columns come next: few of them before the last ones, which should take as long as memory does.
    static std::size_t next_columns(std::size_t left, std::size_t most) noexcept {
        constexpr std::size_t least = unpacked_panel::columns / 2;
        return left <= most ? left : most > least && left <= most + least ? least : most;
    }

    /// The codes of a tile's panels that are unpacked next.
    struct codes {
        const std::byte* at = nullptr;
        std::size_t stride = 0, lines = 0;

        const std::byte* end() const noexcept { return at + lines * 64; }
        /// The first of so many equal parts.
        tile_fetch part(std::size_t parts) const noexcept { return {at, stride, ceil_div(lines, parts)}; }
    };

    /// Of the panels from p on, columns k and following; their scales are fetched now.
    codes codes_of(std::size_t p, std::size_t last, std::size_t k, std::size_t columns) const noexcept {
        if (p >= last) return {};
        const std::size_t cols = weight_.cols(), n = next_columns(cols - k, columns);
        const std::size_t block_bytes = weight_.quantized()->code_bytes, all = cols / int8_block::size * block_bytes;
        const std::size_t panels = std::min(quantized_tile<Arch>::panels, last - p), scales = weight_.panel_bytes() - all;
        for (std::size_t i = 0; i < panels; ++i)
            for (std::size_t at = scales * k / cols / 64 * 64; at < scales * (k + n) / cols; at += 64)
                __builtin_prefetch(weight_.panel(p + i) + all + at);
        return {weight_.panel(p) + k / int8_block::size * block_bytes, panels == 1 ? 0 : weight_.panel_bytes(),
                n / int8_block::size * block_bytes / 64};
    }

    const matmul_job<packed_matrix>& job_;
    const packed_matrix& weight_;
    const activations<Arch>& in_;
};

/// Of kernels that walk over panels and rows themselves: amx_product, row_product. They give results to put(panel, row, values), after
/// they may have asked for put.fetch(panel, panels, row, row_end).
template <class Kernel, class Arch>
    requires Kernel::walks
class product<Kernel, Arch> {
public:
    static constexpr std::size_t row_block = Kernel::row_block;
    product(const matmul_job<packed_matrix>& j, const activations<Arch>& in) noexcept : job_(j), in_(in) {}

    void run(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const noexcept {
        const packed_matrix& w = *job_.weight;
        Kernel::run(in_, w.panel(0), w.panel_bytes(), first, last, row, row_end, results{job_});
    }

private:
    struct results {
        const matmul_job<packed_matrix>& job;
        SKALD_INLINE void operator()(std::size_t panel, std::size_t row, simd<Arch> value) const noexcept { put(job, panel, row, value); }
        SKALD_INLINE void fetch(std::size_t panel, std::size_t panels, std::size_t row, std::size_t row_end) const noexcept {
            fetch_results(job, panel, panels, row, row_end);
        }
    };

    const matmul_job<packed_matrix>& job_;
    const activations<Arch>& in_;
};

/// All products of one input in one parallel region.
template <class Arch, class Formats>
class matmul {
public:
    using job = matmul_job<packed_matrix>;

    matmul(activations<Arch>& in, std::span<const job> jobs, compute policy, const workers& w) : in_(in), jobs_(jobs), policy_(policy) {
        // The int8 blocks of a block of rows stay in the second cache from panel to panel.
        constexpr std::size_t cached = 8 << 20, whole = rows_together;  // whole tiles of every kernel
        const std::size_t fit = cached / (in.cols() / int8_block::size * sizeof(int8_block) + 1) / whole * whole;
        std::size_t panels = 0, bytes = 0, rows = std::max(fit, whole);
        unsigned encodings = plain;
        for (const job& j : jobs) {
            if (j.weight->cols() != in.cols())
                fail(errc::invalid_argument, "matmul", "rows of ", in.cols(), " values for a matrix of ", j.weight->cols(), " columns");
            panels += round_up(j.weight->panels(), unit);
            bytes += j.weight->bytes();
            with_kernel(j, [&]<class Kernel>(std::type_identity<Kernel>) {
                if constexpr (std::is_same_v<Kernel, quantized_kernel>)
                    encodings |= j.weight->quantized()->wide ? int8_wide : int8;
                else
                    encodings |= Kernel::reads;
                rows = std::min(rows, product<Kernel, Arch>::row_block);
            });
        }
        if (in.rows() == 0 || panels == 0) return;
        in.require(encodings, w);

        // Pieces are many enough to even out threads that run at different speeds, and large enough to be worth a call; their rows are
        // about as many, in whole tiles of the kernels that read them.
        const std::size_t units = panels / unit, blocks = ceil_div(in.rows(), rows);
        const bool by_sixteen = encodings & (bf16_parts | int8_rows_whole | int8_rows_and_outliers);
        rows = round_up(ceil_div(in.rows(), blocks), by_sixteen ? whole : whole / 4);
        std::size_t chunks = 1;
        if (w.count() > 1) {
            const std::size_t wanted = w.count() * (bytes * blocks > 256 * 1024 * w.count() ? 6 : 1);
            chunks = std::clamp<std::size_t>(ceil_div(wanted, blocks), 1, units);
        }
        w.run(blocks * chunks, [&](std::size_t i) {
            const std::size_t chunk = in_streams(i / blocks, chunks, w.count()), block = i % blocks;
            run(units * chunk / chunks * unit, units * (chunk + 1) / chunks * unit, block * rows, std::min(in.rows(), (block + 1) * rows));
        });
    }

private:
    static constexpr std::size_t unit = panels_of_row;  // panels that stay together

    /// The part of memory that is the i-th to be claimed: threads that claim in turn read one stream each.
    static std::size_t in_streams(std::size_t i, std::size_t parts, std::size_t threads) noexcept {
        const std::size_t thread = i % threads;
        return thread * (parts / threads) + std::min(thread, parts % threads) + i / threads;
    }

    /// Panels [first, last), counted over all jobs, each job's rounded up to whole units.
    void run(std::size_t first, std::size_t last, std::size_t row, std::size_t row_end) const {
        for (const job& j : jobs_) {
            const std::size_t panels = j.weight->panels(), all = round_up(panels, unit);
            if (first < panels)
                with_kernel(j, [&]<class Kernel>(std::type_identity<Kernel>) {
                    product<Kernel, Arch>(j, in_).run(first, std::min(last, panels), row, row_end);
                });
            if (last <= all) return;
            first = first > all ? first - all : 0;
            last -= all;
        }
    }

    template <class F>
    void with_kernel(const job& j, F&& f) const {
        if (j.weight->decode() != nullptr) return f(std::type_identity<decoded_kernel>{});
        if (j.weight->quantized() != nullptr) return f(std::type_identity<quantized_kernel>{});
        format::visit(panel_formats<Formats>{}, j.weight->type(), "matmul", [&](auto format) {
            using Format = decltype(format);
#if defined(SKALD_ISA_HAS_AMX)
            if constexpr (Format::id == dtype::bf16)
                if (policy_ == compute::native && may_use_amx()) return f(std::type_identity<amx_product<Arch>>{});
#endif
            if (policy_ == compute::native)
                f(choose_kernel<Arch, Format, compute::native>());
            else
                f(choose_kernel<Arch, Format, compute::exact>());
        });
    }

    activations<Arch>& in_;
    std::span<const job> jobs_;
    compute policy_;
};

}  // namespace skald::inline SKALD_ISA::kernels
