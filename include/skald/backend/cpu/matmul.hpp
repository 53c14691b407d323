// SPDX-License-Identifier: MIT
#pragma once
// Matrix products: packed weights, the choice of a kernel, and how outputs are split over blocks and threads. The columns are
// never split, so that no result depends on the split.
#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <type_traits>

#include <skald/backend/cpu/tile.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/format/visit.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// A packed weight. Move-only; an empty one has no rows. // (rows, cols)
class packed_matrix {
public:
    packed_matrix() noexcept = default;
    packed_matrix(dtype type, std::size_t rows, std::size_t cols, std::size_t panel_bytes, std::pmr::memory_resource* memory)
        : type_(type), rows_(rows), cols_(cols), panel_bytes_(panel_bytes), bytes_(bytes_for(rows, panel_bytes), memory) {}

    static constexpr std::size_t bytes_for(std::size_t rows, std::size_t panel_bytes) noexcept {
        return ceil_div(rows, lanes) * panel_bytes;
    }

    dtype type() const noexcept { return type_; }
    std::size_t rows() const noexcept { return rows_; }
    std::size_t cols() const noexcept { return cols_; }
    std::size_t bytes() const noexcept { return bytes_.bytes(); }
    std::size_t panels() const noexcept { return ceil_div(rows_, lanes); }
    std::size_t panel_bytes() const noexcept { return panel_bytes_; }
    std::byte* panel(std::size_t p) const noexcept { return bytes_.data() + p * panel_bytes_; }

private:
    dtype type_ = dtype::f32;
    std::size_t rows_ = 0, cols_ = 0, panel_bytes_ = 0;
    buffer<> bytes_;
};

/// The kernel that a format's products run with.
template <class Arch, class Format, compute Policy>
using kernel_of =
    std::conditional_t<Policy == compute::native && info(Format::id).block_size == 32, int8_kernel<Arch, panel_layout<Format>>,
                       std::conditional_t<Policy == compute::native && Format::id == dtype::bf16 && has_bf16_dot, bfloat16_kernel<Arch>,
                                          float_kernel<Arch, panel_layout<Format>>>>;

/// Rows of activations that are multiplied with a panel before the next: their int8 blocks of a few hundred columns fit the
/// first cache together with the panels.
inline constexpr std::size_t row_block = 72;

/// Panels [first, last) of one product for rows [row, row_end).
template <class Kernel, class Arch>
class product {
public:
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
                if (r < rows && p < panels) put(acc[r][p], p0 + p, r0 + r);
    }

    SKALD_INLINE void put(simd<Arch> value, std::size_t panel, std::size_t row) const noexcept {
        const std::size_t first = panel * lanes, n = weight_.rows() - first;
        float* out = job_.out.data() + row * job_.out.strides()[0] + first;
        if (job_.bias != nullptr) value = value + simd<Arch>::load_first(job_.bias + first, n);
        if (job_.accumulate) value = simd<Arch>::load_first(out, n) + value;
        value.store_first(out, n);
    }

    const job& job_;
    const packed_matrix& weight_;
    const activations<Arch>& in_;
};

/// All products of one input in one parallel region.
template <class Arch, class Formats>
class matmul {
public:
    using job = matmul_job<packed_matrix>;

    matmul(activations<Arch>& in, std::span<const job> jobs, compute policy, const workers& w) : in_(in), jobs_(jobs), policy_(policy) {
        std::size_t panels = 0, bytes = 0;
        unsigned encodings = plain;
        for (const job& j : jobs) {
            if (j.weight->cols() != in.cols())
                fail(errc::invalid_argument, "matmul", "rows of ", in.cols(), " values for a matrix of ", j.weight->cols(), " columns");
            panels += round_up(j.weight->panels(), unit);
            bytes += j.weight->bytes();
            with_kernel(j, [&]<class Kernel>(std::type_identity<Kernel>) { encodings |= Kernel::reads; });
        }
        if (in.rows() == 0 || panels == 0) return;
        in.require(encodings, w);

        // Pieces are many enough to even out threads that run at different speeds, and large enough to be worth a call.
        const std::size_t units = panels / unit, blocks = ceil_div(in.rows(), row_block);
        std::size_t chunks = 1;
        if (w.count() > 1) {
            const std::size_t wanted = w.count() * (bytes * blocks > 256 * 1024 * w.count() ? 6 : 1);
            chunks = std::clamp<std::size_t>(ceil_div(wanted, blocks), 1, units);
        }
        w.run(blocks * chunks, [&](std::size_t i) {
            const std::size_t chunk = i / blocks, block = i % blocks;
            run(units * chunk / chunks * unit, units * (chunk + 1) / chunks * unit, block * row_block,
                std::min(in.rows(), (block + 1) * row_block));
        });
    }

private:
    static constexpr std::size_t unit = 2;  // panels that stay together

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
        format::visit(Formats{}, j.weight->type(), "matmul", [&](auto format) {
            using Format = decltype(format);
            if (policy_ == compute::native)
                f(std::type_identity<kernel_of<Arch, Format, compute::native>>{});
            else
                f(std::type_identity<kernel_of<Arch, Format, compute::exact>>{});
        });
    }

    activations<Arch>& in_;
    std::span<const job> jobs_;
    compute policy_;
};

}  // namespace skald::inline SKALD_ISA::kernels
