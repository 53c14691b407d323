// SPDX-License-Identifier: MIT
#pragma once
// The CPU backend: the op set of backend/ops.hpp with SIMD, on an executor's threads. Results do not depend on how many those
// are, nor on which rows are computed together.
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <tuple>

#include <skald/backend/cpu/attention.hpp>
#include <skald/backend/cpu/attention_stretch.hpp>
#include <skald/backend/cpu/attention_weights.hpp>
#include <skald/backend/cpu/matmul.hpp>
#include <skald/backend/cpu/rope.hpp>
#include <skald/backend/cpu/rows.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/once.hpp>
#include <skald/format/visit.hpp>

namespace skald::inline SKALD_ISA {

struct cpu_options {
    executor* pool = nullptr;  ///< who runs the parts of an op; null: the calling thread alone. Must outlive the backend's use
    std::pmr::memory_resource* memory = std::pmr::get_default_resource();  ///< for weights, activations, scratch
    skald::compute policy = skald::compute::native;
};

/// A cheap value. `Arch` is an xsimd architecture tag that the compiler's flags allow, `Formats` the weight formats to
/// instantiate kernels for. The members' meaning is in backend/ops.hpp; operands' shapes are the caller's to match.
template <class Arch = default_arch, class Formats = format::all_weights>
class cpu {
public:
    using options = cpu_options;
    using vector = kernels::simd<Arch>;
    using matrix = kernels::packed_matrix;
    using activations = kernels::activations<Arch>;
    using scratch = kernels::attention_scratch;
    using totals = kernels::attention_totals;

    cpu() = default;
    explicit cpu(options o) : options_(o) {}

    executor* pool() const noexcept { return options_.pool; }
    std::pmr::memory_resource* memory() const noexcept { return options_.memory; }
    skald::compute policy() const noexcept { return options_.policy; }

    static constexpr std::size_t row_unit = kernels::lanes;
    static constexpr std::uint32_t layout = kernels::layout_number;

    /// Throws errc::unsupported for a format outside `Formats`.
    std::size_t packed_bytes(dtype type, std::size_t rows, std::size_t cols, packing how = packing::panels) const {
        return buffer<>::bytes_for(view_bytes({.name = "packed_bytes", .type = type, .rows = rows, .cols = cols}, how));
    }

    /// Throws errc::unsupported, naming the tensor, for a format outside `Formats`; so do view() and view_bytes().
    matrix pack(const weight_view& w, packing how = packing::panels) const;
    matrix view(const weight_view& w, packing how) const { return {w, layout_of(w, how), w.data}; }
    std::size_t view_bytes(const weight_view& w, packing how) const { return layout_of(w, how).bytes(w.rows); }

    std::size_t activations_bytes(std::size_t rows, std::size_t cols) const noexcept {
        return activations::bytes(rows, cols, options_.policy == compute::native);
    }
    activations make_activations(std::size_t rows, std::size_t cols) const {
        return {rows, cols, options_.policy == compute::native, options_.memory};
    }

    std::size_t scratch_bytes(const attention_shape& shape) const noexcept { return scratch::bytes(shape, team().count()); }
    /// For rope_append and attend with this shape, by a backend with no more threads.
    scratch make_scratch(const attention_shape& shape) const { return {shape, team().count(), options_.memory}; }

    /// Tokens must be rows of the table. // out: (tokens, cols)
    void embed(const matrix& table, std::span<const token_id> tokens, matrix_view<float> out, bool accumulate) const;

    void copy_rows(matrix_view<const float> in, std::span<const std::size_t> rows, matrix_view<float> out) const noexcept {
        kernels::copy_rows(in, rows, out);
    }

    void add_rows(matrix_view<const float> in, std::span<const float> weights, std::span<const std::size_t> rows,
                  matrix_view<float> out) const {
        kernels::add_rows<Arch>(in, weights, rows, out, team());
    }

    void scale(matrix_view<float> x, float factor) const { kernels::scale<Arch>(x, factor, team()); }
    void soft_cap(matrix_view<float> x, float cap) const { kernels::soft_cap<Arch>(x, cap, team()); }

    void norm_parts(matrix_view<float> x, std::size_t width, const norm_params& p) const { kernels::norm_parts<Arch>(x, width, p, team()); }
    void add_norm(matrix_view<float> in, const norm_params& p, matrix_view<float> out) const {
        kernels::add_norm<Arch>(in, p, out, team());
    }

    /// `out` must have been resized to the shape of `in`, as in activate() and gate().
    void norm(matrix_view<const float> in, const norm_params& p, activations& out) const { kernels::norm(in, p, out, team()); }

    /// Throws errc::invalid_argument when a weight's columns are not those of `in`.
    void matmul(activations& in, std::span<const matmul_job<matrix>> jobs) const;

    template <kv_run... Runs>
    void rope_append(matrix_view<float> q, matrix_view<float> k, matrix_view<const float> v, const attention_shape& shape,
                     const rope_rows& rope, std::span<const row_range> ranges, const std::tuple<Runs...>& runs, scratch& room) const {
        kernels::rope_append<Arch>(q, k, v, shape, rope, ranges, runs, room, team());
    }

    // q, out: (rows, heads · head_dim)
    template <attention::variant Variant, kv_run... Runs>
    void attend(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
                const std::tuple<Runs...>& runs, activations& out, scratch& room, const rope_rows& rope = {}) const {
        kernels::attend<Arch>(q, shape, variant, ranges, runs, out, room, rope, options_.policy, team());
    }

    std::size_t totals_bytes(const attention_shape& shape, std::size_t rows) const noexcept { return totals::bytes(shape, rows); }
    /// For attend_stretch with this shape and ranges of at most so many rows.
    totals make_totals(const attention_shape& shape, std::size_t rows) const { return {shape, rows, options_.memory}; }

    // q, out: (rows, heads · head_dim)
    template <attention::variant Variant, kv_run... Runs>
    void attend_stretch(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, const row_range& range,
                        position stretch, const std::tuple<Runs...>& runs, totals& sums, matrix_view<float> out, scratch& room) const {
        kernels::attend_stretch<Arch>(q, shape, variant, range, stretch, runs, sums, out, room, options_.policy, team());
    }

    // q: (rows, heads · head_dim); out: (heads, rows observed, positions)
    template <attention::variant Variant, kv_run... Runs>
    void attention_weights(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::size_t segment,
                           const row_range& rows, const std::tuple<Runs...>& runs, tensor_view<float, 3> out, scratch& room) const {
        kernels::attention_weights<Arch>(q, shape, variant, segment, rows, runs, out, room, team());
    }

    void activate(matrix_view<const float> x, activation_kind kind, activations& out) const {
        kernels::activate<Arch>(x, {}, kind, out, team());
    }
    void gate(matrix_view<const float> g, matrix_view<const float> up, activation_kind kind, activations& out) const {
        kernels::activate<Arch>(g, up, kind, out, team());
    }

private:
    kernels::workers team() const noexcept { return {options_.pool}; }
    kernels::matrix_layout layout_of(const weight_view& w, packing how) const;

    options options_;
};

template <class Arch, class Formats>
kernels::matrix_layout cpu<Arch, Formats>::layout_of(const weight_view& w, packing how) const {
    return kernels::layout_of<Arch, Formats>(w.type, w.cols, options_.policy, how, w.name);
}

template <class Arch, class Formats>
auto cpu<Arch, Formats>::pack(const weight_view& w, packing how) const -> matrix {
    return {w, layout_of(w, how), options_.memory, team()};
}

template <class Arch, class Formats>
void cpu<Arch, Formats>::embed(const matrix& table, std::span<const token_id> tokens, matrix_view<float> out, bool accumulate) const {
    kernels::embed<Arch, Formats>(table, tokens, out, accumulate, team());
}

template <class Arch, class Formats>
void cpu<Arch, Formats>::matmul(activations& in, std::span<const matmul_job<matrix>> jobs) const {
    kernels::matmul<Arch, Formats>(in, jobs, options_.policy, team());
}

static_assert(viewing_backend<cpu<>>);

SKALD_ONCE(kernels::matrix_layout cpu<>::layout_of(const weight_view&, packing) const)
SKALD_ONCE(cpu<>::matrix cpu<>::pack(const weight_view&, packing) const)
SKALD_ONCE(void cpu<>::embed(const matrix&, std::span<const token_id>, matrix_view<float>, bool) const)
SKALD_ONCE(void cpu<>::matmul(activations&, std::span<const matmul_job<matrix>>) const)

}  // namespace skald::inline SKALD_ISA
