// SPDX-License-Identifier: MIT
#pragma once
// Latent attention of one layer as a single call: append the step's latents to the cache and attend to them, absorbed or expanded
// (mla.hpp). What comes before, the projections that give queries and latents, and after, the output's, is the model's.
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <tuple>
#include <utility>

#include <skald/attention/layer.hpp>
#include <skald/attention/mla.hpp>
#include <skald/attention/mla_weights.hpp>
#include <skald/attention/variant.hpp>
#include <skald/backend/attention.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/tensor_view.hpp>
#include <skald/format/hadamard.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/codec.hpp>

namespace skald::attention {

/// The operands of one layer in one step.
template <class Backend>
struct mla_call {
    matrix_view<const float> query;       // (rows, heads · (nope_dim + rope_dim)), of each head first what is not rotated
    matrix_view<const float> latent;      // (rows, rank), normalized
    matrix_view<const float> rope_key;    // (rows, rope_dim)
    rope_rows rope;                       // dims: rope_dim
    causal variant;                       // scale: mla_shape::scale(), or the model's
    std::span<const row_range> ranges;    // one a segment, in the order of their rows, as the cache planned them
    std::span<const segment_role> roles;  // one a segment; empty: all decode
    typename Backend::activations* out;   // (rows, heads · value_dim)
};

namespace detail {

/// Segments of a run from `first` on.
template <kv_run Run>
struct later_segments {
    using codec = typename Run::codec;
    Run run;
    std::size_t first;

    position begin(std::size_t segment) const noexcept { return run.begin(first + segment); }
    position end(std::size_t segment) const noexcept { return run.end(first + segment); }
    std::byte* key(std::size_t segment, std::size_t head, position p) const noexcept { return run.key(first + segment, head, p); }
    std::byte* value(std::size_t segment, std::size_t head, position p) const noexcept { return run.value(first + segment, head, p); }
    std::size_t row_bytes() const noexcept { return run.row_bytes(); }
    std::size_t stretch(position p) const noexcept { return run.stretch(p); }
};

/// Keys and values of some heads that were made from a stretch of latents.
struct expanded_run {
    using codec = kv::f32;
    float *keys, *values;  // (heads, restart_size, width)
    position from, to;
    std::size_t width;

    position begin(std::size_t) const noexcept { return from; }
    position end(std::size_t) const noexcept { return to; }
    std::byte* key(std::size_t, std::size_t head, position p) const noexcept { return row(keys, head, p); }
    std::byte* value(std::size_t, std::size_t head, position p) const noexcept { return row(values, head, p); }
    std::size_t row_bytes() const noexcept { return width * sizeof(float); }
    std::size_t stretch(position p) const noexcept { return static_cast<std::size_t>(to - p); }

private:
    std::byte* row(float* rows, std::size_t head, position p) const noexcept {
        return reinterpret_cast<std::byte*>(rows + (head * restart_size + static_cast<std::size_t>(p - from)) * width);
    }
};
static_assert(kv_run<expanded_run>);

template <stretch_backend Backend, class Cache>
class mla_step;

}  // namespace detail

/// The memory of latent attention in steps of up to `rows` rows, taken once from the backend's resource. One serves one forward at a time.
template <stretch_backend Backend>
class mla_workspace {
public:
    mla_workspace(const Backend& backend, const mla_shape& shape, std::size_t rows)
        : shape_(shape),
          rows_(rows),
          query_(rows * query_cols(shape), backend.memory()),
          key_(rows * shape.latent_dim(), backend.memory()),
          row_(kv::cache_shape{.head_dim = shape.latent_dim()}.width(), backend.memory()),
          keys_(expanded_floats(shape), backend.memory()),
          values_(expanded_floats(shape), backend.memory()),
          jobs_(2 * shape.heads_at_once(), backend.memory()),
          in_(backend.make_activations(in_rows(rows), in_cols(shape))),
          attended_(backend.make_activations(rows, attended_cols(shape))),
          absorbed_(backend.make_scratch(shape.absorbed())),
          expanded_(backend.make_scratch(shape.expanded(shape.heads_at_once()))),
          totals_(backend.make_totals(shape.expanded(shape.heads_at_once()), rows)) {
        keys_.zero();
        values_.zero();
    }

    /// What the constructor takes from the backend's memory resource.
    static std::size_t planned_bytes(const Backend& backend, const mla_shape& shape, std::size_t rows) {
        const attention_shape some = shape.expanded(shape.heads_at_once());
        return buffer<float>::bytes_for(rows * query_cols(shape)) + buffer<float>::bytes_for(rows * shape.latent_dim()) +
               buffer<float>::bytes_for(kv::cache_shape{.head_dim = shape.latent_dim()}.width()) +
               2 * buffer<float>::bytes_for(expanded_floats(shape)) + buffer<job>::bytes_for(2 * shape.heads_at_once()) +
               backend.activations_bytes(in_rows(rows), in_cols(shape)) + backend.activations_bytes(rows, attended_cols(shape)) +
               backend.scratch_bytes(shape.absorbed()) + backend.scratch_bytes(some) + backend.totals_bytes(some, rows);
    }

    const mla_shape& shape() const noexcept { return shape_; }
    std::size_t rows() const noexcept { return rows_; }

private:
    template <stretch_backend, class>
    friend class detail::mla_step;
    using job = matmul_job<typename Backend::matrix>;

    static std::size_t query_cols(const mla_shape& s) noexcept { return s.heads * std::max(s.latent_dim(), s.expanded_dim()); }
    static std::size_t attended_cols(const mla_shape& s) noexcept {
        return std::max(s.heads * s.latent_dim(), s.heads_at_once() * s.expanded_dim());
    }
    static std::size_t in_rows(std::size_t rows) noexcept { return std::max(rows, restart_size); }
    static std::size_t in_cols(const mla_shape& s) noexcept { return std::max(s.rank, s.nope_dim); }
    static std::size_t expanded_width(const mla_shape& s) noexcept { return round_up(s.expanded_dim(), kv::lane_count); }
    static std::size_t expanded_floats(const mla_shape& s) noexcept { return s.heads_at_once() * restart_size * expanded_width(s); }

    mla_shape shape_;
    std::size_t rows_;
    buffer<float> query_, key_, row_, keys_, values_;
    buffer<job> jobs_;
    typename Backend::activations in_, attended_;
    typename Backend::scratch absorbed_, expanded_;
    typename Backend::totals totals_;
};

namespace detail {

/// One step of one layer in the making.
template <stretch_backend Backend, class Cache>
class mla_step {
    using V = typename Backend::vector;
    using job = matmul_job<typename Backend::matrix>;

public:
    mla_step(const Backend& backend, Cache& cache, std::size_t layer, const mla_weights<Backend>& weights, const mla_call<Backend>& call,
             mla_workspace<Backend>& w)
        : backend_(backend),
          cache_(cache),
          layer_(layer),
          weights_(weights),
          call_(call),
          w_(w),
          shape_(w.shape_),
          rows_(call.query.extent(0)),
          out_(call.out->values()) {}

    /// All ranges absorbed, by a cache that runs layers itself.
    void run_whole() {
        absorb(0, rows_);
        w_.attended_.resize(rows_, shape_.heads * shape_.latent_dim());
        run_layer(backend_, cache_, layer_,
                  layer_call<Backend>{.q = absorbed_query(),
                                      .k = keys(),
                                      .v = {},
                                      .shape = shape_.absorbed(),
                                      .rope = call_.rope,
                                      .variant = call_.variant,
                                      .ranges = call_.ranges,
                                      .out = &w_.attended_,
                                      .scratch = &w_.absorbed_});
        project(0, rows_);
    }

    template <kv_run... Runs>
    void run(const std::tuple<Runs...>& runs) {
        constexpr bool whole = sizeof...(Runs) == 1 && !((selective_run<Runs> || sealing_run<Runs, V> || split_run<Runs>) || ...);
        static_assert(whole, "skald: latents are kept by storages whose rows all read all they hold: contiguous, paged or radix");
        if constexpr (whole) run_ranges(std::get<0>(runs));
    }

private:
    /// In their order: those that are absorbed together, those that are expanded one by one.
    template <kv_run Run>
    void run_ranges(const Run& run) {
        for (std::size_t first = 0, last; first < call_.ranges.size(); first = last) {
            last = first + 1;
            if (expanded(first)) {
                expand(later_segments<Run>{run, first}, call_.ranges[first]);
                continue;
            }
            while (last < call_.ranges.size() && !expanded(last)) ++last;
            attend_absorbed(std::tuple(later_segments<Run>{run, first}), call_.ranges.subspan(first, last - first));
        }
    }

    bool expanded(std::size_t range) const noexcept { return !call_.roles.empty() && form_of(call_.roles[range]) == mla_form::expanded; }

    // Views of the workspace, of all rows.
    matrix_view<float> absorbed_query() const noexcept { return {w_.query_.data(), {rows_, shape_.heads * shape_.latent_dim()}}; }
    matrix_view<float> expanded_query() const noexcept { return {w_.query_.data(), {rows_, shape_.heads * shape_.expanded_dim()}}; }
    matrix_view<float> keys() const noexcept { return {w_.key_.data(), {rows_, shape_.latent_dim()}}; }

    /// Columns [first, first + count) of rows.
    template <class T>
    static matrix_view<T> columns(matrix_view<T> m, std::size_t first, std::size_t count) noexcept {
        return {m.data() + first, {m.extent(0), count}, m.strides()};
    }
    static void copy(matrix_view<const float> from, matrix_view<float> to) noexcept {
        for (std::size_t r = 0; r < from.extent(0); ++r) std::copy_n(from.row(r).data(), from.extent(1), to.row(r).data());
    }

    /// out = in · wᵀ
    void multiply(matrix_view<const float> in, const typename Backend::matrix& weight, matrix_view<float> out) {
        w_.in_.resize(in.extent(0), in.extent(1));
        copy(in, w_.in_.values());
        const job product{&weight, nullptr, out, false};
        backend_.matmul(w_.in_, std::span(&product, 1));
    }

    void fill_keys(std::size_t first, std::size_t count) const noexcept {
        const matrix_view<float> to = keys().slice(first, count);
        copy(call_.rope_key.slice(first, count), columns(to, 0, shape_.rope_dim));
        copy(call_.latent.slice(first, count), columns(to, shape_.rope_dim, shape_.rank));
    }

    /// Queries as wide as latents, and keys, of `count` rows.
    void absorb(std::size_t first, std::size_t count) {
        fill_keys(first, count);
        const matrix_view<const float> from = call_.query.slice(first, count);
        const matrix_view<float> to = absorbed_query().slice(first, count);
        for (std::size_t h = 0; h < shape_.heads; ++h) {
            const matrix_view<const float> head = columns(from, h * shape_.query_dim(), shape_.query_dim());
            const matrix_view<float> wide = columns(to, h * shape_.latent_dim(), shape_.latent_dim());
            copy(columns(head, shape_.nope_dim, shape_.rope_dim), columns(wide, 0, shape_.rope_dim));
            multiply(columns(head, 0, shape_.nope_dim), weights_.query(h), columns(wide, shape_.rope_dim, shape_.rank));
        }
    }

    template <class Runs>
    void attend_absorbed(const Runs& runs, std::span<const row_range> ranges) {
        const std::size_t first = ranges.front().first_row, count = ranges.back().first_row + ranges.back().rows - first;
        absorb(first, count);
        backend_.rope_append(absorbed_query(), keys(), {}, shape_.absorbed(), call_.rope, ranges, runs, w_.absorbed_);
        w_.attended_.resize(rows_, shape_.heads * shape_.latent_dim());
        backend_.attend(absorbed_query(), shape_.absorbed(), optionally_capped{call_.variant}, ranges, runs, w_.attended_, w_.absorbed_);
        project(first, count);
    }

    /// What latents were weighted to becomes values, head by head.
    void project(std::size_t first, std::size_t count) {
        const matrix_view<const float> from = std::as_const(w_.attended_).values().slice(first, count);
        const matrix_view<float> to = out_.slice(first, count);
        for (std::size_t h = 0; h < shape_.heads; ++h)
            multiply(columns(from, h * shape_.latent_dim() + shape_.rope_dim, shape_.rank), weights_.value(h),
                     columns(to, h * shape_.value_dim, shape_.value_dim));
    }

    template <class Run>
    void expand(const Run& run, const row_range& range) {
        if (range.parents != nullptr)
            fail(errc::unsupported, "attention", "a tree of ", range.rows, " rows as a prompt; its segment's role is decode");
        const std::size_t all = shape_.heads, dim = shape_.expanded_dim(), at_once = shape_.heads_at_once();
        const matrix_view<float> query = expanded_query();
        for (std::size_t h = 0; h < all; ++h) {
            const matrix_view<const float> head =
                columns(call_.query.slice(range.first_row, range.rows), h * shape_.query_dim(), shape_.query_dim());
            const matrix_view<float> to = columns(query.slice(range.first_row, range.rows), h * dim, dim);
            copy(columns(head, shape_.nope_dim, shape_.rope_dim), columns(to, 0, shape_.rope_dim));
            copy(columns(head, 0, shape_.nope_dim), columns(to, shape_.rope_dim, shape_.nope_dim));
            for (std::size_t r = 0; r < range.rows; ++r) std::fill_n(to.row(r).data() + shape_.query_dim(), dim - shape_.query_dim(), 0.0f);
        }
        const std::span<const row_range> ranges(&range, 1);
        fill_keys(range.first_row, range.rows);
        backend_.rope_append(query, {}, {}, {all, 0, dim}, call_.rope, ranges, std::tuple<>(), w_.expanded_);
        backend_.rope_append({}, keys(), {}, {0, 1, shape_.latent_dim()}, call_.rope, ranges, std::tuple(run), w_.absorbed_);
        for (std::size_t first = 0; first < all; first += at_once) attend_expanded(run, range, first, std::min(at_once, all - first));
    }

    /// Heads [first, first + count), stretch after stretch.
    template <class Run>
    void attend_expanded(const Run& run, const row_range& range, std::size_t first, std::size_t count) {
        constexpr auto stretch = static_cast<position>(restart_size);
        const std::size_t dim = shape_.expanded_dim();
        const position end = range.first_position + static_cast<position>(range.rows);
        const attention_shape heads = shape_.expanded(count);
        w_.attended_.resize(rows_, count * dim);
        const matrix_view<float> attended = w_.attended_.values();
        for (position s = call_.variant.begin(range.first_position) / stretch; s * stretch < end; ++s) {
            const expanded_run some{.keys = w_.keys_.data(),
                                    .values = w_.values_.data(),
                                    .from = s * stretch,
                                    .to = std::min(end, (s + 1) * stretch),
                                    .width = w_.expanded_width(shape_)};
            make_keys(run, some, first, count);
            backend_.attend_stretch(columns(expanded_query(), first * dim, count * dim), heads, call_.variant, range, s, std::tuple(some),
                                    w_.totals_, attended, w_.expanded_);
        }
        for (std::size_t h = 0; h < count; ++h)
            copy(columns<const float>(attended.slice(range.first_row, range.rows), h * dim, shape_.value_dim),
                 columns(out_.slice(range.first_row, range.rows), (first + h) * shape_.value_dim, shape_.value_dim));
    }

    /// Keys and values of heads [first, first + count) at the run's positions, from the latents there.
    template <class Run>
    void make_keys(const Run& latents, const expanded_run& to, std::size_t first, std::size_t count) {
        const auto rows = static_cast<std::size_t>(to.to - to.from);
        w_.in_.resize(rows, shape_.rank);
        const matrix_view<float> in = w_.in_.values();
        const std::size_t head = restart_size * to.width;
        for (std::size_t r = 0; r < rows;) {
            const position p = to.from + static_cast<position>(r);
            const std::byte* bytes = latents.key(0, 0, p);
            for (std::size_t left = std::min(rows - r, latents.stretch(p)); left > 0; --left, ++r, bytes += latents.row_bytes()) {
                for (std::size_t d = 0; d < w_.row_.size(); d += V::size)
                    Run::codec::template decode<V>(bytes, d).store(w_.row_.data() + d);
                if constexpr (hadamard_run<Run>) format::hadamard(w_.row_.data(), shape_.rope_dim + shape_.rank);
                std::copy_n(w_.row_.data() + shape_.rope_dim, shape_.rank, in.row(r).data());
                for (std::size_t h = 0; h < count; ++h) std::copy_n(w_.row_.data(), shape_.rope_dim, to.keys + h * head + r * to.width);
            }
        }
        for (std::size_t h = 0; h < count; ++h) {
            const std::array<std::size_t, 2> strides{to.width, 1};
            w_.jobs_[2 * h] = {&weights_.key(first + h), nullptr, {to.keys + h * head + shape_.rope_dim, {rows, shape_.nope_dim}, strides}};
            w_.jobs_[2 * h + 1] = {&weights_.value(first + h), nullptr, {to.values + h * head, {rows, shape_.value_dim}, strides}};
        }
        backend_.matmul(w_.in_, std::span<const job>(w_.jobs_.data(), 2 * count));
    }

    const Backend& backend_;
    Cache& cache_;
    std::size_t layer_;
    const mla_weights<Backend>& weights_;
    const mla_call<Backend>& call_;
    mla_workspace<Backend>& w_;
    const mla_shape& shape_;
    std::size_t rows_;
    matrix_view<float> out_;
};

}  // namespace detail

/// Appends the latents of the step's rows to the cache, which has planned it, and attends to them. A cache of a run-time kind (kv::any)
/// has all of them absorbed, whatever their role.
///
/// Throws errc::invalid_argument for a cache or weights of another shape and for more rows than the workspace has room for;
/// errc::unsupported for a tree that is a prompt; what the backend's matmul throws. What was planned is then the caller's to roll back.
template <stretch_backend Backend, kv::kv_cache Cache>
void run_layer(const Backend& backend, Cache& cache, std::size_t layer, const mla_weights<Backend>& weights, const mla_call<Backend>& call,
               mla_workspace<Backend>& w) {
    const kv::cache_shape kept = cache.shape();
    const mla_shape& shape = w.shape();
    if (!kept.latent || kept.kv_heads != 1 || kept.head_dim != shape.latent_dim())
        fail(errc::invalid_argument, "kv cache", "keeps ", kept.kv_heads, " × ", kept.head_dim,
             kept.latent ? " latents" : " keys and values", " a token; latent attention of this shape takes one latent of ",
             shape.latent_dim(), ", as mla_shape::cache() says");
    if (weights.shape() != shape) fail(errc::invalid_argument, "attention", "weights and workspace are of different shapes");
    if (call.query.extent(0) > w.rows())
        fail(errc::invalid_argument, "attention", call.query.extent(0), " rows, in a workspace for ", w.rows());
    if (!call.roles.empty() && call.roles.size() != call.ranges.size())
        fail(errc::invalid_argument, "attention", call.roles.size(), " roles for ", call.ranges.size(), " segments");
    if (call.ranges.empty()) return;
    detail::mla_step<Backend, Cache> step(backend, cache, layer, weights, call, w);
    if constexpr (requires(layer_call<Backend> whole) { cache.run_layer(backend, layer, whole); })
        step.run_whole();
    else
        step.run(cache.view(layer));
}

}  // namespace skald::attention
