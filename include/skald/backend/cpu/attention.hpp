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
#include <skald/backend/cpu/rope.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Rows [first, first + rows) of a range, that of segment `segment`, for one kv head; the first is row `row` of the step.
struct attention_rows {
    std::size_t segment, kv_head, row, rows, first;
    const row_range* range;

    position at(std::size_t i) const noexcept { return range->at(first + i); }
    bool in_tree() const noexcept { return range->parents != nullptr; }
};

/// One tile of one kv head, in the runs that have it.
template <class... Runs>
struct tile_source {
    std::tuple<const Runs&...> runs;
    std::size_t segment, kv_head;
    position origin;

    /// f(codec, at, n, rows, held) for what each run holds of the tile's positions [from, to): rows(i, count, out) writes the addresses of
    /// the keys of at + i and following; i + count is at most `held`, which may be more than n and lead to the tiles that are read next.
    template <class F>
    void keys(std::size_t from, std::size_t to, const F& f) const noexcept {
        each<true>(from, to, f);
    }
    /// The same for values.
    template <class F>
    void values(std::size_t from, std::size_t to, const F& f) const noexcept {
        each<false>(from, to, f);
    }

private:
    template <bool Key, class F>
    void each(std::size_t from, std::size_t to, const F& f) const noexcept {
        const auto visit = [&]<class Run>(const Run& run) {
            const position begin = std::max(origin + static_cast<position>(from), run.begin(segment));
            const position end = std::min(origin + static_cast<position>(to), run.end(segment));
            if (begin >= end) return;
            const auto rows = [&](std::size_t i, std::size_t count, const std::byte** out) {
                for (std::size_t done = 0; done < count;) {
                    const position p = begin + static_cast<position>(i + done);
                    const std::byte* at = Key ? run.key(segment, kv_head, p) : run.value(segment, kv_head, p);
                    for (std::size_t left = std::min(count - done, run.stretch(p)); left > 0; --left, at += row_bytes_of<Key>(run))
                        out[done++] = at;
                }
            };
            f(codec_of<Run, Key>{}, static_cast<std::size_t>(begin - origin), static_cast<std::size_t>(end - begin), rows,
              static_cast<std::size_t>(run.end(segment) - begin));
        };
        std::apply([&](const auto&... run) { (visit(run), ...); }, runs);
    }
};

/// The tasks of one thread. A `Fold` keeps queries and a tile:
///
/// | member                                 | meaning                                                                    |
/// |----------------------------------------|----------------------------------------------------------------------------|
/// | start(n)                               | a task of n queries begins                                                 |
/// | load_query(i, x, head_dim, scale)      | query i is x · scale                                                       |
/// | read(from, to, source)                 | the tile is positions [from, to) of the source                             |
/// | fold(variant, visible, queries, state) | the tile goes into each query's state, as far as that sees it              |
template <class Arch, template <class> class Fold, class Variant, class... Runs>
class attention_task {
    using V = simd<Arch>;
    static constexpr auto step = static_cast<position>(attention::tile_size);
    static constexpr auto segment_size = static_cast<position>(attention::restart_size);

public:
    attention_task(const attention_shape& shape, const Variant& variant, const rope_rows& rope, const std::tuple<Runs...>& runs,
                   float* scratch) noexcept
        : attention_task(shape, variant, rope, runs, scratch, attention_scratch::queries_of(shape), attention_scratch::width_of(shape)) {}

    /// All positions that the rows see, and their result.
    void run(matrix_view<const float> q, const attention_rows& rows, matrix_view<float> out) noexcept {
        start(q, rows);
        total_.restart(queries(rows));
        for (position s = first_segment(rows); s < end_segment(rows); s = next_segment(rows, s)) {
            fold_segment(rows, s, now_);
            merge<Arch>(total_, now_, queries(rows));
        }
        store(total_, rows, out);
    }

    /// The positions of one segment; a state for queries(rows).
    void run_segment(matrix_view<const float> q, const attention_rows& rows, position s, const fold_state& out) noexcept {
        start(q, rows);
        fold_segment(rows, s, out);
    }

    /// Merges what run_segment() made of each segment, from left to right, and writes the result after the last.
    void merge_segment(const attention_rows& rows, position s, const fold_state& state, matrix_view<float> out) noexcept {
        if (s == first_segment(rows)) total_.restart(queries(rows));
        merge<Arch>(total_, state, queries(rows));
        if (next_segment(rows, s) == end_segment(rows)) store(total_, rows, out);
    }

    /// The positions of one segment, merged into what earlier calls left in `total`; the last that the rows see writes the result. Of
    /// segments they see nothing of nothing happens.
    void add_segment(matrix_view<const float> q, const attention_rows& rows, position s, const fold_state& total,
                     matrix_view<float> out) noexcept {
        if (s < first_segment(rows) || s >= end_segment(rows)) return;
        if (s == first_segment(rows)) total.restart(queries(rows));
        start(q, rows);
        fold_segment(rows, s, now_);
        merge<Arch>(total, now_, queries(rows));
        if (s + 1 == end_segment(rows)) store(total, rows, out);
    }

    /// Stretches of restart_size positions that the rows see something of.
    position first_segment(const attention_rows& rows) const noexcept { return begin(rows) / segment_size; }
    position end_segment(const attention_rows& rows) const noexcept { return (end(rows) - 1) / segment_size + 1; }
    /// The one after s, but for what no run shows the rows.
    position next_segment(const attention_rows& rows, position s) const noexcept {
        ++s;
        if constexpr ((selective_run<Runs> && ...)) {
            const auto next = [&](const auto& run) {
                const position_range some = seen_by_any(rows, run);
                return some.to <= std::max(some.from, s * segment_size) ? end_segment(rows) : std::max(s, some.from / segment_size);
            };
            s = std::apply([&](const auto&... run) { return std::min({end_segment(rows), next(run)...}); }, runs_);
        }
        return s;
    }

private:
    attention_task(const attention_shape& shape, const Variant& variant, const rope_rows& rope, const std::tuple<Runs...>& runs,
                   float* scratch, std::size_t queries, std::size_t width) noexcept
        : shape_(shape),
          variant_(variant),
          rope_(rope),
          runs_(runs),
          group_(shape.heads / shape.kv_heads),
          now_(fold_state::at(scratch, queries, width)),
          total_(fold_state::at(scratch + fold_state::floats_of(queries, width), queries, width)),
          turned_(scratch + 2 * fold_state::floats_of(queries, width)),
          turn_(turned_ + width),
          fold_(turn_ + width, queries, width) {}

    std::size_t queries(const attention_rows& rows) const noexcept { return rows.rows * group_; }
    position end(const attention_rows& rows) const noexcept {
        position last = rows.at(rows.rows - 1);
        if (rows.in_tree())
            for (std::size_t i = 0; i < rows.rows; ++i) last = std::max(last, rows.at(i));
        return last + 1;
    }
    position begin(const attention_rows& rows) const noexcept {
        position first = variant_.begin(rows.at(0));
        for (std::size_t i = 1; i < rows.rows; ++i) first = std::min(first, variant_.begin(rows.at(i)));
        return first;
    }

    void fold_segment(const attention_rows& rows, position s, const fold_state& state) noexcept {
        state.restart(queries(rows));
        const position from = std::max(begin(rows), s * segment_size), to = std::min(end(rows), (s + 1) * segment_size);
        for (position t = from / step * step; t < to; t += step) {
            const position_range part{std::max(t, from), std::min(t + step, to)};
            if (rows.in_tree() && t + step > rows.range->first_position)
                fold_paths(rows, part, t, state);
            else
                std::apply([&](const auto&... run) { fold_tile(rows, part, t, state, run...); }, runs_);
        }
    }

    /// The same where rows of a tree see different keys at the same positions: row after row.
    void fold_paths(const attention_rows& rows, position_range part, position t, const fold_state& state) noexcept {
        if constexpr (!(selective_run<Runs> || ...)) {
            const visible_part<Variant, all_seen> visible{variant_, {}, rows.kv_head, group_, *rows.range, rows.first, t};
            for (std::size_t i = 0; i < rows.rows; ++i) {
                const auto seen = visible(i * group_);
                if (seen.from == seen.to) continue;
                position where[attention::tile_size];
                rows.range->each_ancestor(rows.first + i, [&](position p, position stored) {
                    if (p >= t && p < t + step) where[p - t] = stored;
                });
                std::apply(
                    [&](const auto&... run) {
                        read(rows, {part.from, std::min(part.to, rows.at(i) + 1)}, t,
                             path_run<Runs>{run, where, t, rows.range->first_position, rows.at(i)}...);
                    },
                    runs_);
                fold_.fold(variant_, visible_row<visible_part<Variant, all_seen>>{visible, i}, queries(rows), state);
            }
        }
    }

    template <class... Some>
    void read(const attention_rows& rows, position_range part, position t, const Some&... some) noexcept {
        fold_.read(static_cast<std::size_t>(part.from - t), static_cast<std::size_t>(part.to - t),
                   tile_source<Some...>{{some...}, rows.segment, rows.kv_head, t});
    }

    /// Positions `part` of the tile at t: of all runs together, or one after another where not all rows read all of them.
    void fold_tile(const attention_rows& rows, position_range part, position t, const fold_state& state, const Runs&... run) noexcept {
        if constexpr ((selective_run<Runs> || ...))
            (fold_run(rows, part, t, state, run), ...);
        else
            fold_part(rows, part, t, state, all_seen{}, run...);
    }

    template <class Run>
    void fold_run(const attention_rows& rows, position_range part, position t, const fold_state& state, const Run& run) noexcept {
        static_assert(selective_run<Run>, "each run of a view says what rows read of it, or none does");
        const position_range some = seen_by_any(rows, run);
        part = {std::max(part.from, some.from), std::min(part.to, some.to)};
        if (part.from >= part.to) return;
        const bool turn = turns(rows, run);
        if (turn) load_queries(rows, run);
        fold_part(rows, part, t, state, seen_of(run, rows.segment), run);
        if (turn) load_queries(rows, unturned{});
    }

    /// What any of the rows reads of a run, and between.
    template <class Run>
    position_range seen_by_any(const attention_rows& rows, const Run& run) const noexcept {
        position_range some{std::numeric_limits<position>::max(), 0};
        for (std::size_t i = 0; i < rows.rows; ++i) {
            const position_range here = seen(run, rows.segment, rows.at(i));
            if (here.from < here.to) some = {std::min(some.from, here.from), std::max(some.to, here.to)};
        }
        return some;
    }

    /// Whether some of the rows stand elsewhere when they read a run.
    template <class Run>
    bool turns(const attention_rows& rows, const Run& run) const noexcept {
        return rope_.dims != 0 && standing(run, end(rows) - 1) != end(rows) - 1;
    }

    template <class Seen, class... Some>
    void fold_part(const attention_rows& rows, position_range part, position t, const fold_state& state, const Seen& seen,
                   const Some&... some) noexcept {
        const visible_part<Variant, Seen> visible{variant_, seen, rows.kv_head, group_, *rows.range, rows.first, t};
        if constexpr (attention::masking<Variant>) {
            bool any = false;
            for (std::size_t row = 0; row < rows.rows && !any; ++row) any = visible(row * group_).bits != 0;
            if (!any) return;
        }
        read(rows, part, t, some...);
        fold_.fold(variant_, visible, queries(rows), state);
    }

    void start(matrix_view<const float> q, const attention_rows& rows) noexcept {
        q_ = q;
        fold_.start(queries(rows));
        load_queries(rows, unturned{});
    }

    struct unturned {};

    /// The queries as they read a run.
    template <class Run>
    void load_queries(const attention_rows& rows, const Run& run) noexcept {
        const V scale = V::broadcast(variant_.scale);
        for (std::size_t i = 0; i < queries(rows); ++i) {
            const std::size_t row = rows.row + i / group_;
            const float* head = q_.data() + row * q_.strides()[0] + (rows.kv_head * group_ + i % group_) * shape_.head_dim;
            if constexpr (turning_run<Run>) {
                const position p = rows.at(i / group_);
                if (standing(run, p) != p) head = turned(head, row, i % group_ == 0);
            }
            fold_.load_query(i, head, shape_.head_dim, scale);
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

    void store(const fold_state& s, const attention_rows& rows, matrix_view<float> out) const noexcept {
        for (std::size_t i = 0; i < queries(rows); ++i) {
            if constexpr (attention::sinking<Variant>) add_sink<Arch>(s, i, variant_.sink(rows.kv_head * group_ + i % group_));
            float* y = out.data() + (rows.row + i / group_) * out.strides()[0] + (rows.kv_head * group_ + i % group_) * shape_.head_dim;
            const V sum = V::broadcast(s.sum[i]);
            for (std::size_t d = 0; d < shape_.head_dim; d += lanes)
                (V::load(s.acc + i * s.width + d) / sum).store_first(y + d, shape_.head_dim - d);
        }
    }

    const attention_shape& shape_;
    const Variant& variant_;
    const rope_rows& rope_;
    const std::tuple<Runs...>& runs_;
    std::size_t group_;
    matrix_view<const float> q_;
    fold_state now_, total_;
    float *turned_, *turn_;  // (width), (width)
    Fold<Arch> fold_;
};

/// The tasks of a step: blocks of at most `block` rows of one sequence, for one kv head each.
class attention_tasks {
public:
    attention_tasks(const attention_shape& shape, std::span<const row_range> ranges, std::size_t threads) noexcept
        : kv_heads_(shape.kv_heads), ranges_(ranges), block_(attention_scratch::rows_of(shape)), wanted_(4 * threads) {
        count();
        while (block_ > attention_scratch::least_rows && count_ < wanted_) {
            block_ = std::max(attention_scratch::least_rows, ceil_div(block_, 2));
            count();
        }
    }

    std::size_t size() const noexcept { return count_; }
    /// Whether threads may be idle that could share what a task reads.
    bool few() const noexcept { return count_ < wanted_ && block_ <= attention_scratch::least_rows; }

    /// Those whose rows stand last, and see most, first.
    attention_rows operator[](std::size_t i) const noexcept {
        std::size_t left = count_ - 1 - i, s = 0;
        for (std::size_t here; left >= (here = ceil_div(ranges_[s].rows, block_) * kv_heads_); ++s) left -= here;
        const std::size_t first = left / kv_heads_ * block_;
        return {.segment = s,
                .kv_head = left % kv_heads_,
                .row = ranges_[s].first_row + first,
                .rows = std::min(block_, ranges_[s].rows - first),
                .first = first,
                .range = &ranges_[s]};
    }

private:
    void count() noexcept {
        count_ = 0;
        for (const row_range& range : ranges_) count_ += ceil_div(range.rows, block_) * kv_heads_;
    }

    std::size_t kv_heads_;
    std::span<const row_range> ranges_;
    std::size_t block_, wanted_, count_ = 0;
};

/// Threads share tasks.
template <class Task, class MakeTask>
void attend_tasks(matrix_view<const float> q, const attention_tasks& tasks, matrix_view<float> out, const MakeTask& make,
                  const workers& w) {
    std::atomic<std::size_t> next{0};
    w.run(std::min(tasks.size(), w.count()), [&](std::size_t thread) {
        Task task = make(thread);
        for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();) task.run(q, tasks[i], out);
    });
}

/// Threads share the segments of few tasks, as many at a time as there are states for; these merge in order.
template <class Task, class MakeTask>
void attend_segments(matrix_view<const float> q, const attention_tasks& tasks, matrix_view<float> out, const MakeTask& make,
                     attention_scratch& scratch, const workers& w) {
    struct piece {
        std::size_t task;
        position segment;
    };
    Task merger = make(0);
    const auto step = [&](piece& p) {
        p.segment = merger.next_segment(tasks[p.task], p.segment);
        if (p.segment < merger.end_segment(tasks[p.task])) return;
        if (++p.task < tasks.size()) p.segment = merger.first_segment(tasks[p.task]);
    };
    for (piece first{0, merger.first_segment(tasks[0])}; first.task < tasks.size();) {
        std::size_t pieces = 0;
        for (piece p = first; p.task < tasks.size() && pieces < scratch.states(); step(p)) ++pieces;
        std::atomic<std::size_t> next{0};
        w.run(std::min(pieces, w.count()), [&](std::size_t thread) {
            Task task = make(thread);
            piece p = first;
            for (std::size_t at = 0, i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
                for (; at < i; ++at) step(p);
                task.run_segment(q, tasks[p.task], p.segment, scratch.state(i));
            }
        });
        for (std::size_t i = 0; i < pieces; ++i, step(first)) merger.merge_segment(tasks[first.task], first.segment, scratch.state(i), out);
    }
}

template <class Arch, template <class> class Fold, attention::variant Variant, kv_run... Runs>
void attend_by(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
               const std::tuple<Runs...>& runs, matrix_view<float> out, attention_scratch& scratch, const rope_rows& rope,
               const workers& w) {
    using task = attention_task<Arch, Fold, Variant, Runs...>;
    const attention_tasks tasks(shape, ranges, w.count());
    const auto make = [&](std::size_t thread) { return task(shape, variant, rope, runs, scratch.of(thread)); };
    if (tasks.few() && w.count() > 1)
        attend_segments<task>(q, tasks, out, make, scratch, w);
    else
        attend_tasks<task>(q, tasks, out, make, w);
}

template <class Arch, attention::variant Variant, kv_run... Runs>
void attend(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
            const std::tuple<Runs...>& runs, activations<Arch>& out, attention_scratch& scratch, const rope_rows& rope, compute policy,
            const workers& w) {
    if (policy == compute::native && attention_scratch::width_of(shape) <= word_fold<Arch>::most_width)
        attend_by<Arch, word_fold>(q, shape, variant, ranges, runs, out.values(), scratch, rope, w);
    else
        attend_by<Arch, float_fold>(q, shape, variant, ranges, runs, out.values(), scratch, rope, w);
}

}  // namespace skald::inline SKALD_ISA::kernels
