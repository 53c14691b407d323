// SPDX-License-Identifier: MIT
#pragma once
// Attention over a cache's runs, in the canonical order of backend/attention.hpp. This file walks over tasks, tiles and segments; what
// happens to a tile is a fold's business, one for each compute policy: attention_floats.hpp, attention_words.hpp.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <span>
#include <tuple>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Rows [row, row + rows) of segment `segment`, the first at position `first`, for one kv head.
struct attention_rows {
    std::size_t segment, kv_head, row, rows;
    position first;
};

/// One tile of one kv head in the cache.
template <class... Runs>
struct tile_source {
    const std::tuple<Runs...>& runs;
    std::size_t segment, kv_head;
    position origin;

    /// f(codec, at, n, row) for what each run holds of the tile's positions [from, to): row(i) is the address of the key of at + i.
    template <class F>
    void keys(std::size_t from, std::size_t to, const F& f) const noexcept {
        each(from, to, f, [this](const auto& run, position p) { return run.key(segment, kv_head, p); });
    }
    /// The same for values.
    template <class F>
    void values(std::size_t from, std::size_t to, const F& f) const noexcept {
        each(from, to, f, [this](const auto& run, position p) { return run.value(segment, kv_head, p); });
    }

private:
    template <class F, class Address>
    void each(std::size_t from, std::size_t to, const F& f, const Address& address) const noexcept {
        const auto visit = [&]<class Run>(const Run& run) {
            const position begin = std::max(origin + static_cast<position>(from), run.begin(segment));
            const position end = std::min(origin + static_cast<position>(to), run.end(segment));
            if (begin < end)
                f(typename Run::codec{}, static_cast<std::size_t>(begin - origin), static_cast<std::size_t>(end - begin),
                  [&](std::size_t i) { return address(run, begin + static_cast<position>(i)); });
        };
        std::apply([&](const auto&... run) { (visit(run), ...); }, runs);
    }
};

/// The tasks of one thread. A `Fold` keeps queries and a tile:
///
/// | member                                 | meaning                                                                    |
/// |----------------------------------------|----------------------------------------------------------------------------|
/// | load_query(i, x, head_dim, scale)      | query i is x · scale                                                       |
/// | read(from, to, source)                 | the tile is positions [from, to) of the source                             |
/// | fold(variant, visible, queries, state) | the tile goes into each query's state, as far as that sees it              |
template <class Arch, template <class> class Fold, class Variant, class... Runs>
class attention_task {
    using V = simd<Arch>;
    static constexpr auto step = static_cast<position>(attention::tile_size);

public:
    attention_task(const attention_shape& shape, const Variant& variant, const std::tuple<Runs...>& runs, float* scratch) noexcept
        : shape_(shape), variant_(variant), runs_(runs), group_(shape.heads / shape.kv_heads) {
        const std::size_t queries = attention_scratch::queries_of(shape), width = attention_scratch::width_of(shape);
        now_ = fold_state::at(scratch, queries, width);
        scratch += fold_state::floats_of(queries, width);
        total_ = fold_state::at(scratch, queries, width);
        fold_ = Fold<Arch>(scratch + fold_state::floats_of(queries, width), queries, width);
    }

    void run(matrix_view<const float> q, const attention_rows& rows, matrix_view<float> out) noexcept {
        load_queries(q, rows);
        const position last = rows.first + static_cast<position>(rows.rows);
        position begin = variant_.begin(rows.first);
        for (std::size_t i = 1; i < rows.rows; ++i) begin = std::min(begin, variant_.begin(rows.first + static_cast<position>(i)));
        total_.restart(queries(rows));
        now_.restart(queries(rows));
        bool merged = false;
        for (position t = begin / step * step; t < last; t += step) {
            if (t % static_cast<position>(attention::restart_size) == 0 && t > begin) {
                merge<Arch>(total_, now_, queries(rows));
                now_.restart(queries(rows));
                merged = true;
            }
            fold_.read(static_cast<std::size_t>(std::max(t, begin) - t), static_cast<std::size_t>(std::min(t + step, last) - t),
                       tile_source<Runs...>{runs_, rows.segment, rows.kv_head, t});
            fold_.fold(variant_, visible_part<Variant>{variant_, group_, rows.first, t}, queries(rows), now_);
        }
        if (merged) merge<Arch>(total_, now_, queries(rows));
        store(merged ? total_ : now_, rows, out);
    }

private:
    std::size_t queries(const attention_rows& rows) const noexcept { return rows.rows * group_; }

    void load_queries(matrix_view<const float> q, const attention_rows& rows) noexcept {
        const V scale = V::broadcast(variant_.scale);
        for (std::size_t i = 0; i < queries(rows); ++i) {
            const float* heads = q.data() + (rows.row + i / group_) * q.strides()[0];
            fold_.load_query(i, heads + (rows.kv_head * group_ + i % group_) * shape_.head_dim, shape_.head_dim, scale);
        }
    }

    void store(const fold_state& s, const attention_rows& rows, matrix_view<float> out) const noexcept {
        for (std::size_t i = 0; i < queries(rows); ++i) {
            float* y = out.data() + (rows.row + i / group_) * out.strides()[0] + (rows.kv_head * group_ + i % group_) * shape_.head_dim;
            const V sum = V::broadcast(s.sum[i]);
            for (std::size_t d = 0; d < shape_.head_dim; d += lanes)
                (V::load(s.acc + i * s.width + d) / sum).store_first(y + d, shape_.head_dim - d);
        }
    }

    const attention_shape& shape_;
    const Variant& variant_;
    const std::tuple<Runs...>& runs_;
    std::size_t group_;
    fold_state now_, total_;
    Fold<Arch> fold_;
};

template <class Arch, template <class> class Fold, attention::variant Variant, kv_run... Runs>
void attend_by(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
               const std::tuple<Runs...>& runs, matrix_view<float> out, attention_scratch& scratch, const workers& w) {
    std::size_t block = attention_scratch::rows_of(shape);
    const auto tasks_of = [&] {
        std::size_t tasks = 0;
        for (const row_range& range : ranges) tasks += ceil_div(range.rows, block) * shape.kv_heads;
        return tasks;
    };
    while (block > 8 && tasks_of() < 4 * w.count()) block = ceil_div(block, 2);
    const std::size_t tasks = tasks_of();
    std::atomic<std::size_t> next{0};
    w.run(std::min(tasks, w.count()), [&](std::size_t thread) {
        attention_task<Arch, Fold, Variant, Runs...> task(shape, variant, runs, scratch.of(thread));
        for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
            std::size_t left = tasks - 1 - i, s = 0;  // from the end, where rows see most
            for (std::size_t here; left >= (here = ceil_div(ranges[s].rows, block) * shape.kv_heads); ++s) left -= here;
            const row_range& range = ranges[s];
            const std::size_t first = left / shape.kv_heads * block;
            task.run(q,
                     {.segment = s,
                      .kv_head = left % shape.kv_heads,
                      .row = range.first_row + first,
                      .rows = std::min(block, range.rows - first),
                      .first = range.first_position + static_cast<position>(first)},
                     out);
        }
    });
}

template <class Arch, attention::variant Variant, kv_run... Runs>
void attend(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
            const std::tuple<Runs...>& runs, activations<Arch>& out, attention_scratch& scratch, compute policy, const workers& w) {
    if (policy == compute::native && attention_scratch::width_of(shape) <= word_fold<Arch>::most_width)
        attend_by<Arch, word_fold>(q, shape, variant, ranges, runs, out.values(), scratch, w);
    else
        attend_by<Arch, float_fold>(q, shape, variant, ranges, runs, out.values(), scratch, w);
}

}  // namespace skald::inline SKALD_ISA::kernels
