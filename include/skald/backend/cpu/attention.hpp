// SPDX-License-Identifier: MIT
#pragma once
// Attention over a cache's runs, in the canonical order of backend/attention.hpp.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/math.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The rows [first, first + rows) of segment `segment`, for one kv head: runs the fold over all tiles they see.
template <class Arch, class Variant, class... Runs>
class attention_task {
    using V = simd<Arch>;
    static constexpr std::size_t tile_size = attention::tile_size;

    // Queries folded together, and vectors of the head that each gathers at once: accumulators that fit the registers.
    static constexpr std::size_t most_queries = V::parts == 1 ? 4 : 2;
    static constexpr std::size_t most_vectors = V::parts == 1 ? 4 : V::parts == 2 ? 2 : 1;

public:
    attention_task(const attention_shape& shape, const Variant& variant, const std::tuple<Runs...>& runs, float* scratch) noexcept
        : shape_(shape),
          variant_(variant),
          runs_(runs),
          group_(shape.heads / shape.kv_heads),
          width_(attention_scratch::width_of(shape)),
          keys_(scratch),
          values_(keys_ + tile_size * width_) {
        const std::size_t queries = attention_scratch::queries_of(shape), scalars = round_up(queries, lanes);
        queries_ = values_ + tile_size * width_;
        now_ = {queries_ + queries * width_, nullptr, nullptr};
        total_ = {now_.acc + queries * width_, nullptr, nullptr};
        now_.most = total_.acc + queries * width_;
        now_.sum = now_.most + scalars;
        total_.most = now_.sum + scalars;
        total_.sum = total_.most + scalars;
    }

    void run(matrix_view<const float> q, std::size_t segment, std::size_t kv_head, std::size_t row, std::size_t rows, position p,
             float* out, std::size_t out_stride) noexcept {
        segment_ = segment;
        kv_head_ = kv_head;
        rows_ = rows;
        first_position_ = p;
        load_queries(q, row);
        restart(total_);
        restart(now_);
        const position last = p + static_cast<position>(rows) - 1;
        position begin = variant_.begin(p);
        for (std::size_t i = 1; i < rows; ++i) begin = std::min(begin, variant_.begin(p + static_cast<position>(i)));
        constexpr auto step = static_cast<position>(tile_size);
        constexpr auto segment_size = static_cast<position>(attention::restart_size);
        bool merged = false;
        for (position t = begin / step * step; t <= last; t += step) {
            if (t % segment_size == 0 && t > begin) {
                merge();
                merged = true;
            }
            decode_tile(std::max(t, begin), std::min<position>(t + step, last + 1), t);
            fold_tile(t);
        }
        if (merged) merge();
        store(merged ? total_ : now_, row, out, out_stride);
    }

private:
    /// The fold's state of each query: greatest score, sum of weights, weighted values.
    struct state {
        float* acc;   // (queries, width)
        float* most;  // (queries)
        float* sum;   // (queries)
    };

    std::size_t queries() const noexcept { return rows_ * group_; }

    void load_queries(matrix_view<const float> q, std::size_t row) noexcept {
        const V scale = V::broadcast(variant_.scale);
        for (std::size_t i = 0; i < rows_; ++i)
            for (std::size_t g = 0; g < group_; ++g) {
                const float* x = q.data() + (row + i) * q.strides()[0] + (kv_head_ * group_ + g) * shape_.head_dim;
                float* y = queries_ + (i * group_ + g) * width_;
                for (std::size_t d = 0; d < width_; d += lanes) (V::load_first(x + d, shape_.head_dim - d) * scale).store(y + d);
            }
    }

    void restart(state& s) noexcept {
        std::fill_n(s.acc, queries() * width_, 0.0f);
        std::fill_n(s.most, queries(), -std::numeric_limits<float>::infinity());
        std::fill_n(s.sum, queries(), 0.0f);
    }

    /// total = total merged with now; now restarts. A state that saw nothing leaves the other as it is.
    void merge() noexcept {
        for (std::size_t i = 0; i < queries(); ++i) {
            const float most = std::max(total_.most[i], now_.most[i]);
            if (now_.most[i] == -std::numeric_limits<float>::infinity()) continue;
            const V a = exp(V::broadcast(total_.most[i] - most)), b = exp(V::broadcast(now_.most[i] - most));
            float* x = total_.acc + i * width_;
            const float* y = now_.acc + i * width_;
            for (std::size_t d = 0; d < width_; d += lanes) fma(V::load(x + d), a, V::load(y + d) * b).store(x + d);
            V sum = fma(V::broadcast(total_.sum[i]), a, V::broadcast(now_.sum[i]) * b);
            sum.store_first(total_.sum + i, 1);
            total_.most[i] = most;
        }
        restart(now_);
    }

    /// Positions [from, to) of the tile at `origin` into f32; what no run holds reads as zero.
    void decode_tile(position from, position to, position origin) noexcept {
        position found = 0;
        const auto count = [&](const auto& run) {
            found += std::max<position>(0, std::min(to, run.end(segment_)) - std::max(from, run.begin(segment_)));
        };
        std::apply([&](const auto&... run) { (count(run), ...); }, runs_);
        if (found < to - from) std::fill_n(keys_, 2 * tile_size * width_, 0.0f);
        const auto read = [&]<class Run>(const Run& run) {
            const position end = std::min(to, run.end(segment_));
            for (position j = std::max(from, run.begin(segment_)); j < end; ++j) {
                const std::byte* key = run.key(segment_, kv_head_, j);
                const std::byte* value = run.value(segment_, kv_head_, j);
                const std::size_t at = static_cast<std::size_t>(j - origin) * width_;
                for (std::size_t d = 0; d < width_; d += lanes) {
                    Run::codec::template decode<V>(key, d).store(keys_ + at + d);
                    Run::codec::template decode<V>(value, d).store(values_ + at + d);
                }
            }
        };
        std::apply([&](const auto&... run) { (read(run), ...); }, runs_);
    }

    /// All queries over the decoded tile at `origin`. Those that see the same part of it go together.
    void fold_tile(position origin) noexcept {
        const auto visible = [&](std::size_t row) {
            const position at = first_position_ + static_cast<position>(row);
            const position from = std::max(variant_.begin(at), origin), to = std::min(at + 1, origin + static_cast<position>(tile_size));
            return std::pair(static_cast<std::size_t>(from - origin), static_cast<std::size_t>(std::max(from, to) - origin));
        };
        for (std::size_t i = 0, end; i < rows_; i = end) {
            const auto [from, to] = visible(i);
            for (end = i + 1; end < rows_ && visible(end) == std::pair(from, to);) ++end;
            if (from == to) continue;
            std::size_t query = i * group_, left = (end - i) * group_;
            for (; left >= most_queries; query += most_queries, left -= most_queries) fold<most_queries>(query, from, to);
            if constexpr (most_queries == 4) {
                if (left == 3) fold<3>(query, from, to);
                if (left == 2) fold<2>(query, from, to);
            }
            if (left == 1) fold<1>(query, from, to);
        }
    }

    /// Q queries over positions [from, to) of the decoded tile.
    template <std::size_t Q>
    void fold(std::size_t query, std::size_t from, std::size_t to) noexcept {
        constexpr float infinity = std::numeric_limits<float>::infinity();
        const V nothing = V::broadcast(-infinity);
        const std::size_t first = from / lanes * lanes;
        alignas(64) float weight[Q][tile_size];
        float most[Q];
        for (std::size_t q = 0; q < Q; ++q) {
            V greatest = nothing;
            for (std::size_t j = first; j < to; j += lanes) {
                V s = variant_.score(scores(queries_ + (query + q) * width_, j));
                if (to - j < lanes) s = choose_first(to - j, s, nothing);
                if (j < from) s = choose_first(from - j, nothing, s);
                greatest = max(greatest, s);
                s.store(weight[q] + j);
            }
            most[q] = reduce_max(greatest);
        }
        V rescale[Q];
        for (std::size_t q = 0; q < Q; ++q) {
            const float before = now_.most[query + q], now = std::max(before, most[q]);
            const V shift = V::broadcast(now == -infinity ? 0.0f : now);  // weights are zero then, not NaN
            rescale[q] = exp(V::broadcast(before) - shift);
            V sum = V::zero();
            for (std::size_t j = first; j < to; j += lanes) {
                const V w = exp(V::load(weight[q] + j) - shift);
                sum = sum + w;
                w.store(weight[q] + j);
            }
            now_.most[query + q] = now;
            fma(V::broadcast(now_.sum[query + q]), rescale[q], V::broadcast(reduce_add(sum))).store_first(now_.sum + query + q, 1);
        }
        std::size_t d = 0;
        for (; d + most_vectors * lanes <= width_; d += most_vectors * lanes) gather<Q, most_vectors>(weight, from, to, rescale, query, d);
        for (; d < width_; d += lanes) gather<Q, 1>(weight, from, to, rescale, query, d);
    }

    /// q · k of 16 keys.
    SKALD_INLINE V scores(const float* q, std::size_t j) const noexcept {
        switch (width_) {
            case 4 * lanes: return scores<4>(q, j);
            case 8 * lanes: return scores<8>(q, j);
            default: return scores<0>(q, j);
        }
    }
    /// The same for heads of N vectors; 0: of any width.
    template <std::size_t N>
    SKALD_INLINE V scores(const float* q, std::size_t j) const noexcept {
        V part[lanes];
        const std::size_t width = N == 0 ? width_ : N * lanes;
        const float* k = keys_ + j * width;
#pragma GCC unroll 16
        for (std::size_t i = 0; i < lanes; ++i) {
            part[i] = V::load(q) * V::load(k + i * width);
            if constexpr (N != 0) {
#pragma GCC unroll 8
                for (std::size_t n = 1; n < N; ++n) part[i] = fma(V::load(q + n * lanes), V::load(k + i * width + n * lanes), part[i]);
            } else {
                for (std::size_t d = lanes; d < width; d += lanes) part[i] = fma(V::load(q + d), V::load(k + i * width + d), part[i]);
            }
        }
        return sum_rows(part);
    }

    /// acc = acc · rescale + Σ weight · value, position after position, for N vectors of the head from d.
    template <std::size_t Q, std::size_t N>
    SKALD_INLINE void gather(const float (&weight)[Q][tile_size], std::size_t from, std::size_t to, const V (&rescale)[Q],
                             std::size_t query, std::size_t d) noexcept {
        V a[Q][N];
        float* acc = now_.acc + query * width_ + d;
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 4
            for (std::size_t n = 0; n < N; ++n) a[q][n] = V::load(acc + q * width_ + n * lanes) * rescale[q];
        const float* values = values_ + d;
        for (std::size_t j = from; j < to; ++j) {
            V v[N];
#pragma GCC unroll 4
            for (std::size_t n = 0; n < N; ++n) v[n] = V::load(values + j * width_ + n * lanes);
#pragma GCC unroll 4
            for (std::size_t q = 0; q < Q; ++q) {
                const V w = V::broadcast(weight[q][j]);
#pragma GCC unroll 4
                for (std::size_t n = 0; n < N; ++n) a[q][n] = fma(w, v[n], a[q][n]);
            }
        }
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 4
            for (std::size_t n = 0; n < N; ++n) a[q][n].store(acc + q * width_ + n * lanes);
    }

    void store(const state& s, std::size_t row, float* out, std::size_t stride) const noexcept {
        for (std::size_t i = 0; i < rows_; ++i)
            for (std::size_t g = 0; g < group_; ++g) {
                const std::size_t query = i * group_ + g;
                float* y = out + (row + i) * stride + (kv_head_ * group_ + g) * shape_.head_dim;
                const V sum = V::broadcast(s.sum[query]);
                for (std::size_t d = 0; d < shape_.head_dim; d += lanes)
                    (V::load(s.acc + query * width_ + d) / sum).store_first(y + d, shape_.head_dim - d);
            }
    }

    const attention_shape& shape_;
    const Variant& variant_;
    const std::tuple<Runs...>& runs_;
    std::size_t group_, width_;
    float *keys_, *values_, *queries_;  // (tile_size, width), (tile_size, width), (queries, width)
    state now_, total_;
    std::size_t segment_ = 0, kv_head_ = 0, rows_ = 0;
    position first_position_ = 0;
};

template <class Arch, attention::variant Variant, kv_run... Runs>
void attend(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
            const std::tuple<Runs...>& runs, activations<Arch>& out, attention_scratch& scratch, const workers& w) {
    const std::size_t block = attention_scratch::rows_of(shape), stride = out.cols();
    float* y = out.begin();
    std::size_t tasks = 0;
    for (const row_range& range : ranges) tasks += ceil_div(range.rows, block) * shape.kv_heads;
    std::atomic<std::size_t> next{0};
    w.run(std::min(tasks, w.count()), [&](std::size_t thread) {
        attention_task<Arch, Variant, Runs...> task(shape, variant, runs, scratch.of(thread));
        for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
            std::size_t left = tasks - 1 - i, s = 0;  // from the end, where rows see most
            for (std::size_t here; left >= (here = ceil_div(ranges[s].rows, block) * shape.kv_heads); ++s) left -= here;
            const row_range& range = ranges[s];
            const std::size_t first = left / shape.kv_heads * block;
            task.run(q, s, left % shape.kv_heads, range.first_row + first, std::min(block, range.rows - first),
                     range.first_position + static_cast<position>(first), y, stride);
        }
    });
}

}  // namespace skald::inline SKALD_ISA::kernels
