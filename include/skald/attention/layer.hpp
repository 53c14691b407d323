// SPDX-License-Identifier: MIT
#pragma once
// The attention part of one layer as a single call: rotate, append to the cache, attend. It is the one place where a model
// meets a cache's view, and so the one call that a cache of a run-time kind (kv/any.hpp) has to make virtual.
#include <cstddef>
#include <span>
#include <tuple>

#include <skald/attention/variant.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/core/tensor_view.hpp>

namespace skald::attention {

/// The operands of one layer's attention in one step.
template <class Backend>
struct layer_call {
    matrix_view<float> q;        // (rows, heads · head_dim), rotated in place
    matrix_view<float> k;        // (rows, kv_heads · head_dim), rotated in place
    matrix_view<const float> v;  // (rows, kv_heads · head_dim)
    attention_shape shape;
    rope_rows rope;
    causal variant;
    float soft_cap = 0.0f;               // of scores; 0: none
    std::span<const row_range> ranges;   // one a segment, as the cache planned them
    typename Backend::activations* out;  // (rows, heads · head_dim)
    typename Backend::scratch* scratch;  // per-thread memory of the kernel

    /// What the kernels are given.
    optionally_capped capped_variant() const noexcept { return {variant, soft_cap}; }
};

namespace detail {

/// Where the rows of the planned step stand in the runs of a layer: as planned, but for caches that number what they keep of a layer anew.
template <class Cache>
std::span<const row_range> ranges_of(const Cache& cache, std::size_t layer, std::span<const row_range> planned) {
    if constexpr (requires { cache.ranges(layer); })
        return cache.ranges(layer);
    else
        return planned;
}

/// Refuses trees of rows where what a row reads of a run depends on how many rows stand before it.
template <class Backend, class... Runs>
void check_trees(std::span<const row_range> ranges, const std::tuple<Runs...>&) {
    if constexpr (((selective_run<Runs> || choosing_run<Runs> || sealing_run<Runs, typename Backend::vector>) || ...))
        for (const row_range& range : ranges)
            if (range.parents != nullptr)
                fail(errc::unsupported, "kv cache", "the step has a tree of ", range.rows,
                     " rows, which a cache that shows rows some of what it holds cannot read; use contiguous, paged or radix storage");
}

}  // namespace detail

/// What comes after the append: the attention of the step's rows over the runs of a layer.
template <class Backend, kv_run... Runs>
void attend_layer(const Backend& backend, const layer_call<Backend>& call, std::span<const row_range> ranges,
                  const std::tuple<Runs...>& runs) {
    backend.attend(call.q, call.shape, call.capped_variant(), ranges, runs, *call.out, *call.scratch, call.rope);
}

/// Runs the call on a cache whose view is known at compile time; attend(ranges, runs) does what attend_layer() would. A cache may have
/// members of its own for it:
///
/// | member                                             | called                                                                     |
/// |----------------------------------------------------|----------------------------------------------------------------------------|
/// | c.run_layer(backend, layer, call)                  | in the place of all that follows                                           |
/// | c.ranges(layer)                                    | for where the step's rows stand in that layer's runs, if not as planned    |
/// | c.require(layer, variant)                          | to refuse a variant it cannot serve, before anything is written            |
/// | c.attend_parts(backend, layer, call, ranges, attend) | to attend the rows part by part, once it has chosen what each reads, or    |
/// |                                                    | to have at hand what they read                                             |
/// | c.observe(backend, layer, q, shape, variant, room) | after the rows were attended, with rotated queries                         |
template <class Backend, class Cache, class Attend>
void run_layer(const Backend& backend, Cache& cache, std::size_t layer, const layer_call<Backend>& call, const Attend& attend) {
    const auto runs = cache.view(layer);
    const std::span<const row_range> ranges = detail::ranges_of(cache, layer, call.ranges);
    detail::check_trees<Backend>(ranges, runs);
    if constexpr (requires { cache.require(layer, call.variant); }) cache.require(layer, call.variant);
    backend.rope_append(call.q, call.k, call.v, call.shape, call.rope, ranges, runs, *call.scratch);
    if constexpr (requires { cache.attend_parts(backend, layer, call, ranges, attend); })
        cache.attend_parts(backend, layer, call, ranges, attend);
    else
        attend(ranges, runs);
    if constexpr (requires { cache.observe(backend, layer, call.q, call.shape, call.capped_variant(), *call.scratch); })
        cache.observe(backend, layer, call.q, call.shape, call.capped_variant(), *call.scratch);
}

/// Runs the call on any cache.
template <class Backend, class Cache>
void run_layer(const Backend& backend, Cache& cache, std::size_t layer, const layer_call<Backend>& call) {
    if constexpr (requires { cache.run_layer(backend, layer, call); })
        cache.run_layer(backend, layer, call);
    else
        run_layer(backend, cache, layer, call,
                  [&](std::span<const row_range> ranges, const auto& runs) { attend_layer(backend, call, ranges, runs); });
}

}  // namespace skald::attention
