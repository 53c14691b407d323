// SPDX-License-Identifier: MIT
#pragma once
// The weights of attention themselves, for those who look at them (kv/eviction.hpp): scores against a cache's keys, once more after
// attend(), and their softmax. Sums are taken in an order of their own, in f32 whatever the compute policy.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <tuple>

#include <skald/backend/cpu/attention.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/cpu/parallel.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Scores of positions [from, to) to weights, in place; what lies before becomes zero.
template <class Arch>
void normalize_scores(float* x, std::size_t from, std::size_t to) noexcept {
    using V = simd<Arch>;
    const V nothing = V::broadcast(-std::numeric_limits<float>::infinity());
    const std::size_t first = from / lanes * lanes;
    V most = nothing;
    for (std::size_t j = first; j < to; j += lanes)
        most = max(most, choose_part<Arch>(tile_part{from, to}, j, V::load_first(x + j, to - j), nothing));
    const V shift = V::broadcast(reduce_max(most));
    V sum = V::zero();
    for (std::size_t j = first; j < to; j += lanes) {
        const V w = decay(choose_part<Arch>(tile_part{from, to}, j, V::load_first(x + j, to - j), nothing) - shift);
        sum = sum + w;
        w.store_first(x + j, to - j);
    }
    const V by = V::broadcast(1.0f / reduce_add(sum));
    for (std::size_t j = first; j < to; j += lanes) (V::load_first(x + j, to - j) * by).store_first(x + j, to - j);
    std::fill_n(x, first, 0.0f);
}

/// A few rows of one kv head: keys are decoded once for all their queries.
template <class Arch, class Variant, class... Runs>
void weigh_rows(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, const attention_rows& rows,
                const std::tuple<Runs...>& runs, std::size_t first_out, tensor_view<float, 3> out, float* scratch) noexcept {
    using V = simd<Arch>;
    constexpr std::size_t tile = attention::tile_size;
    const std::size_t width = attention_scratch::width_of(shape), group = shape.heads / shape.kv_heads;
    float *keys = scratch, *queries = scratch + tile * width;
    const auto position_of = [&](std::size_t i) { return rows.at(i); };
    const auto row_of = [&](std::size_t i, std::size_t g) { return &out(rows.kv_head * group + g, first_out + i, 0); };
    position begin = position_of(0);
    for (std::size_t i = 0; i < rows.rows; ++i) {
        begin = std::min(begin, variant.begin(position_of(i)));
        for (std::size_t g = 0; g < group; ++g) {
            const float* x = q.data() + (rows.row + i) * q.strides()[0] + (rows.kv_head * group + g) * shape.head_dim;
            for (std::size_t d = 0; d < width; d += lanes)
                (V::load_first(x + d, shape.head_dim - d) * V::broadcast(variant.scale)).store(queries + (i * group + g) * width + d);
        }
    }
    const auto end = static_cast<std::size_t>(position_of(rows.rows - 1)) + 1;
    for (std::size_t t = static_cast<std::size_t>(begin) / tile * tile; t < end; t += tile) {
        const std::size_t here = std::min(tile, end - t);
        const auto references = std::apply([](const auto&... run) { return std::tuple<const Runs&...>(run...); }, runs);
        tile_source<Arch, Runs...>{references, rows.segment, rows.kv_head, static_cast<position>(t)}.keys(
            0, here, [&]<class Codec>(Codec, std::size_t at, std::size_t n, const auto& addresses, std::size_t) {
                const std::byte* bytes[tile];
                addresses(0, n, bytes);
                for (std::size_t j = 0; j < n; ++j)
                    for (std::size_t d = 0; d < width; d += lanes)
                        Codec::template decode<V>(bytes[j], d).store(keys + (at + j) * width + d);
            });
        for (std::size_t i = 0; i < rows.rows; ++i) {
            const auto seen = static_cast<std::size_t>(position_of(i)) + 1;
            for (std::size_t g = 0; g < group && t < seen; ++g)
                for (std::size_t j = 0; j < std::min(here, seen - t); j += lanes) {
                    V part[lanes];
                    for (std::size_t r = 0; r < lanes; ++r) {
                        const float *a = queries + (i * group + g) * width, *k = keys + (j + r) * width;
                        part[r] = V::load(a) * V::load(k);
                        for (std::size_t d = lanes; d < width; d += lanes) part[r] = fma(V::load(a + d), V::load(k + d), part[r]);
                    }
                    const attention::score_place place{
                        .head = rows.kv_head * group + g, .row = position_of(i), .key = static_cast<position>(t + j)};
                    variant.score(sum_rows(part), place).store_first(row_of(i, g) + t + j, seen - t - j);
                }
        }
    }
    for (std::size_t i = 0; i < rows.rows; ++i)
        for (std::size_t g = 0; g < group; ++g)
            normalize_scores<Arch>(row_of(i, g), static_cast<std::size_t>(variant.begin(position_of(i))),
                                   static_cast<std::size_t>(position_of(i)) + 1);
}

/// As backend/ops.hpp says. Cost: each position's key is decoded once for eight rows; a product of head_dim and an exp for each query and
/// position, some half of what attend() does in f32. Each row is one thread's.
template <class Arch, attention::variant Variant, kv_run... Runs>
void attention_weights(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::size_t segment,
                       const row_range& rows, const std::tuple<Runs...>& runs, tensor_view<float, 3> out, attention_scratch& scratch,
                       const workers& w) {
    static_assert(!(selective_run<Runs> || ...), "skald: weights are observed where every row reads all of every run");
    static_assert(!attention::masking<Variant> && !attention::sinking<Variant>, "skald: weights are observed without masks and sinks");
    static_assert(!((unrotated_run<Runs> || hadamard_run<Runs>) || ...), "skald: weights are observed of keys as rope leaves them");
    const std::size_t block = std::min(attention_scratch::least_rows, attention_scratch::rows_of(shape));
    const std::size_t blocks = ceil_div(rows.rows, block);
    w.split(blocks * shape.kv_heads, 1, [&](std::size_t begin, std::size_t end, std::size_t piece) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::size_t first = i % blocks * block;
            const attention_rows part{.segment = segment,
                                      .kv_head = i / blocks,
                                      .row = rows.first_row + first,
                                      .rows = std::min(block, rows.rows - first),
                                      .first = first,
                                      .range = &rows};
            weigh_rows<Arch>(q, shape, variant, part, runs, first, out, scratch.of(piece));
        }
    });
}

}  // namespace skald::inline SKALD_ISA::kernels
