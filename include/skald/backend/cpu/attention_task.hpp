// SPDX-License-Identifier: MIT
#pragma once
// One thread's walk over the positions that tasks of attention read: segment after segment, tile after tile, their states merged in the
// canonical order of backend/attention.hpp. What runs hold and how a tile is folded is another's business (attention.hpp), so that this
// much is compiled once for all caches.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>
#include <span>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/attention_shares.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/cpu/parallel.hpp>
#include <skald/backend/cpu/rope.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/executor.hpp>
#include <skald/format/hadamard.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// From the first position in any of two ranges to the one after the last.
constexpr position_range both(position_range a, position_range b) noexcept { return {std::min(a.from, b.from), std::max(a.to, b.to)}; }
inline constexpr position_range no_positions{std::numeric_limits<position>::max(), 0};

/// The tasks of one thread.
template <class Arch>
class attention_task {
    using V = simd<Arch>;

public:
    attention_task(const attention_task&) = delete;
    attention_task& operator=(const attention_task&) = delete;

    /// All positions that the rows see, and their result.
    void run(matrix_view<const float> q, const attention_share& share, matrix_view<float> out) noexcept {
        start(q, share);
        total_.restart(queries(share));
        const position end = end_segment(share);
        for (position s = first_segment(share); s < end; s = next_segment(share, s, end)) {
            fold_segment(s, now_);
            merge<Arch>(total_, now_, queries(share));
        }
        store(total_, share, out);
    }

    /// The positions of one segment; a state for queries(share).
    void run_segment(matrix_view<const float> q, const attention_share& share, position s, const fold_state& out) noexcept {
        start(q, share);
        fold_segment(s, out);
    }

    /// Merges what run_segment() made of each segment, from the first to the last, and writes the result after that.
    void merge_segment(const attention_share& share, bool first, bool last, const fold_state& state, matrix_view<float> out) noexcept {
        if (first) total_.restart(queries(share));
        merge<Arch>(total_, state, queries(share));
        if (last) store(total_, share, out);
    }

    /// The positions of one segment, merged into what earlier calls left in `total`; the last that the rows see writes the result. Of
    /// segments they see nothing of nothing happens.
    void add_segment(matrix_view<const float> q, const attention_share& share, position s, const fold_state& total,
                     matrix_view<float> out) noexcept {
        if (s < first_segment(share) || s >= end_segment(share)) return;
        if (s == first_segment(share)) total.restart(queries(share));
        start(q, share);
        fold_segment(s, now_);
        merge<Arch>(total, now_, queries(share));
        if (s + 1 == end_segment(share)) store(total, share, out);
    }

    /// Stretches of restart_size positions that the rows see something of.
    position first_segment(const attention_share& share) const noexcept { return span_of(share).from / segment_size; }
    position end_segment(const attention_share& share) const noexcept { return (span_of(share).to - 1) / segment_size + 1; }
    /// The one after s, but for what no run shows the rows; end: end_segment(share).
    virtual position next_segment(const attention_share& share, position s, position end) const noexcept = 0;

protected:
    static constexpr auto step = static_cast<position>(attention::tile_size);
    static constexpr auto segment_size = static_cast<position>(attention::restart_size);

    /// Rows of the task that belong to one sequence.
    struct part {
        attention_rows rows;
        std::size_t first;  // of them in the task
        position shared;    // what they have in common with the part before
        position from, to;  // between what any of them sees
    };
    /// Rows [first, first + count) of the task, which read the same tile.
    struct readers {
        const attention_rows& rows;  // of the first part of them, whose places they read
        std::size_t first, count;
    };

    /// transformed: whether all runs are.
    attention_task(const attention_shape& shape, const rope_rows& rope, bool transformed, float* scratch) noexcept
        : attention_task(shape, rope, transformed, scratch, attention_scratch::queries_of(shape), attention_scratch::width_of(shape)) {}
    ~attention_task() = default;

    /// The first position that a row at p sees.
    virtual position begin(position p) const noexcept = 0;
    /// All that is known of the task's rows is; queries come next.
    virtual void prepare() noexcept = 0;
    /// A head of a query, as it reads what the task folds next. // head: (head_dim)
    virtual void load_query(std::size_t query, const float* head) noexcept = 0;
    /// Positions `span` of the tile at t go into the states of some rows.
    virtual void fold_at(const readers& who, position_range span, position t, const fold_state& state) noexcept = 0;
    /// A score that belongs to no position, where heads have one.
    virtual void add_sink(const fold_state& state, std::size_t query, std::size_t head) const noexcept = 0;

    std::span<const part> parts() const noexcept { return {part_, parts_}; }
    std::span<const position> rows_at() const noexcept { return {at_, rows_}; }
    /// Between what any row sees.
    position_range span() const noexcept { return span_; }
    /// Memory for a fold, after that of the walk.
    float* fold_memory() const noexcept { return rotated_ + attention::tile_size * total_.width; }

    /// Queries as they stand, or turned to `farthest` where a row stands further on; hadamard-transformed where runs are.
    void load_queries(position farthest = std::numeric_limits<position>::max()) noexcept {
        std::size_t query = 0;
        share_.each_part([&](const attention_rows& rows, position) {
            for (std::size_t i = 0; i < rows.rows; ++i)
                for (std::size_t g = 0; g < group_; ++g, ++query) {
                    const std::size_t row = rows.row + i;
                    const float* head = q_.data() + row * q_.strides()[0] + (rows.kv_head * group_ + g) * shape_.head_dim;
                    if (rows.at(i) > farthest) head = turned(head, row, g == 0);
                    if (transformed_) {
                        if (head != turned_) std::copy_n(head, shape_.head_dim, turned_);
                        format::hadamard(turned_, shape_.head_dim);
                        head = turned_;
                    }
                    load_query(query, head);
                }
        });
    }

private:
    attention_task(const attention_shape& shape, const rope_rows& rope, bool transformed, float* scratch, std::size_t queries,
                   std::size_t width) noexcept
        : shape_(shape),
          rope_(rope),
          group_(shape.heads / shape.kv_heads),
          transformed_(transformed),
          now_(fold_state::at(scratch, queries, width)),
          total_(fold_state::at(scratch + fold_state::floats_of(queries, width), queries, width)),
          turned_(scratch + 2 * fold_state::floats_of(queries, width)),
          turn_(turned_ + width),
          rotated_(turn_ + width) {}

    std::size_t queries(const attention_share& share) const noexcept { return share.rows * group_; }

    position_range span_of(const attention_rows& rows) const noexcept {
        position_range out{begin(rows.at(0)), rows.at(rows.rows - 1) + 1};
        for (std::size_t i = 1; i < rows.rows; ++i) out.from = std::min(out.from, begin(rows.at(i)));
        if (rows.in_tree())
            for (std::size_t i = 0; i < rows.rows; ++i) out.to = std::max(out.to, rows.at(i) + 1);
        return out;
    }
    position_range span_of(const attention_share& share) const noexcept {
        position_range out = no_positions;
        share.each_part([&](const attention_rows& rows, position) { out = both(out, span_of(rows)); });
        return out;
    }

    void start(matrix_view<const float> q, const attention_share& share) noexcept {
        q_ = q;
        share_ = share;
        parts_ = rows_ = 0;
        span_ = no_positions;
        share.each_part([&](const attention_rows& rows, position shared) {
            const position_range span = span_of(rows);
            part_[parts_++] = {rows, rows_, shared, span.from, span.to};
            span_ = both(span_, span);
            for (std::size_t i = 0; i < rows.rows; ++i) at_[rows_++] = rows.at(i);
        });
        prepare();
        load_queries();
    }

    /// Tile after tile; those that parts have in common are read once for all of them.
    void fold_segment(position s, const fold_state& state) noexcept {
        state.restart(rows_ * group_);
        const position from = std::max(span_.from, s * segment_size), to = std::min(span_.to, (s + 1) * segment_size);
        for (position t = from / step * step; t < to; t += step)
            for (std::size_t i = 0, next; i < parts_; i = next) {
                position_range span{part_[i].from, part_[i].to};
                std::size_t count = part_[i].rows.rows;
                for (next = i + 1; next < parts_ && part_[next].shared >= t + step; ++next) {
                    span = both(span, {part_[next].from, part_[next].to});
                    count += part_[next].rows.rows;
                }
                span = {std::max({t, from, span.from}), std::min({t + step, to, span.to})};
                if (span.from < span.to) fold_at(readers{part_[i].rows, part_[i].first, count}, span, t, state);
            }
    }

    /// A copy of a head, turned; `first`: of its row.
    const float* turned(const float* head, std::size_t row, bool first) noexcept {
        float *cosine = turn_, *sine = turn_ + rope_.dims / 2;
        if (first) detail::turn_of<Arch>(rope_, row, cosine, sine);
        std::copy_n(head, shape_.head_dim, turned_);
        detail::rotate<Arch>(turned_, 1, shape_.head_dim, rope_, cosine, sine);
        return turned_;
    }

    void store(const fold_state& s, const attention_share& share, matrix_view<float> out) const noexcept {
        std::size_t query = 0;
        share.each_part([&](const attention_rows& rows, position) {
            for (std::size_t i = 0; i < rows.rows; ++i)
                for (std::size_t g = 0; g < group_; ++g, ++query) {
                    const std::size_t head = rows.kv_head * group_ + g;
                    add_sink(s, query, head);
                    float* y = out.data() + (rows.row + i) * out.strides()[0] + head * shape_.head_dim;
                    const V sum = V::broadcast(s.sum[query]);
                    for (std::size_t d = 0; d < shape_.head_dim; d += lanes)
                        (V::load(s.acc + query * s.width + d) / sum).store_first(y + d, shape_.head_dim - d);
                    if (transformed_) format::hadamard(y, shape_.head_dim);
                }
        });
    }

protected:
    const attention_shape& shape_;
    const rope_rows& rope_;
    std::size_t group_;

private:
    bool transformed_;
    matrix_view<const float> q_;
    attention_share share_{};
    std::size_t parts_ = 0, rows_ = 0;
    position_range span_;
    part part_[attention_scratch::most_rows];
    position at_[attention_scratch::most_rows];  // (rows)
    fold_state now_, total_;
    float *turned_, *turn_;  // (width), (width)

protected:
    float* rotated_;  // (tile_size, width), room for keys
};

/// with_task(thread, f): f(a task that is that thread's).
template <class Arch>
using task_maker = function_ref<void(std::size_t, function_ref<void(attention_task<Arch>&)>)>;

/// Threads share tasks.
template <class Arch>
void attend_tasks(matrix_view<const float> q, const attention_tasks& tasks, matrix_view<float> out, task_maker<Arch> with_task,
                  const workers& w) {
    std::atomic<std::size_t> next{0};
    w.run(std::min(tasks.size(), w.count()), [&](std::size_t thread) {
        with_task(thread, [&](attention_task<Arch>& task) {
            for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();) task.run(q, tasks[i], out);
        });
    });
}

/// Threads share the segments of few tasks, as many at a time as there are states for; these merge in order.
template <class Arch>
void attend_segments(matrix_view<const float> q, const attention_tasks& tasks, matrix_view<float> out, attention_task<Arch>& merger,
                     task_maker<Arch> with_task, attention_scratch& scratch, const workers& w) {
    struct piece {
        std::size_t task;
        position segment;
        bool first, last;  // of its task
    };
    constexpr std::size_t most = 128;
    piece list[most];
    const std::size_t room = std::min(most, scratch.states(tasks.most_rows()));
    position segment = merger.first_segment(tasks[0]), end = merger.end_segment(tasks[0]);
    bool first = true;
    for (std::size_t task = 0; task < tasks.size();) {
        std::size_t pieces = 0;
        while (task < tasks.size() && pieces < room) {
            const position next = merger.next_segment(tasks[task], segment, end);
            list[pieces++] = {task, segment, first, next == end};
            segment = next;
            first = next == end;
            if (first && ++task < tasks.size()) {
                segment = merger.first_segment(tasks[task]);
                end = merger.end_segment(tasks[task]);
            }
        }
        std::atomic<std::size_t> next{0};
        w.run(std::min(pieces, w.count()), [&](std::size_t thread) {
            with_task(thread, [&](attention_task<Arch>& work) {
                for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;)
                    work.run_segment(q, tasks[list[i].task], list[i].segment, scratch.state(i, tasks.most_rows()));
            });
        });
        for (std::size_t i = 0; i < pieces; ++i)
            merger.merge_segment(tasks[list[i].task], list[i].first, list[i].last, scratch.state(i, tasks.most_rows()), out);
    }
}

/// All tasks of a step.
template <class Arch>
void attend_by(matrix_view<const float> q, const attention_tasks& tasks, matrix_view<float> out, task_maker<Arch> with_task,
               attention_scratch& scratch, const workers& w) {
    if (tasks.few() && w.count() > 1)
        with_task(0, [&](attention_task<Arch>& merger) { attend_segments<Arch>(q, tasks, out, merger, with_task, scratch, w); });
    else
        attend_tasks<Arch>(q, tasks, out, with_task, w);
}

}  // namespace skald::inline SKALD_ISA::kernels
