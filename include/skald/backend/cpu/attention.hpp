// SPDX-License-Identifier: MIT
#pragma once
// Attention over a cache's runs, in the canonical order of backend/attention.hpp. This file walks over tasks, tiles and segments; what
// happens to a tile is a fold's business, one for each compute policy: attention_floats.hpp, attention_words.hpp.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <span>
#include <tuple>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/attention_shares.hpp>
#include <skald/backend/cpu/attention_source.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/cpu/rope.hpp>
#include <skald/backend/ops.hpp>
#include <skald/format/hadamard.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The tasks of one thread. A `Fold` keeps queries and a tile:
///
/// | member                                       | meaning                                                                              |
/// |----------------------------------------------|--------------------------------------------------------------------------------------|
/// | start(n)                                     | a task of n queries begins                                                           |
/// | load_query(i, x, head_dim, scale)            | query i is x · scale                                                                 |
/// | read(from, to, source, i, n)                 | the tile is positions [from, to) of the source; fold() will be asked for i and n     |
/// | fold(variant, visible, first, n, state)      | the tile goes into the states of queries [first, first + n), as far as each sees it  |
template <class Arch, template <class> class Fold, class Variant, class... Runs>
class attention_task {
    using V = simd<Arch>;
    static constexpr auto step = static_cast<position>(attention::tile_size);
    static constexpr auto segment_size = static_cast<position>(attention::restart_size);
    static constexpr std::size_t piece = 32;  // positions that folds read whole faster than in part
    static constexpr bool selective = (selective_run<Runs> || ...);
    static constexpr bool transformed = (hadamard_run<Runs> || ...);
    static_assert(!transformed || (hadamard_run<Runs> && ...), "a view's runs are all transformed, or none is");

public:
    attention_task(const attention_shape& shape, const Variant& variant, const rope_rows& rope, const std::tuple<Runs...>& runs,
                   float* scratch) noexcept
        : attention_task(shape, variant, rope, runs, scratch, attention_scratch::queries_of(shape), attention_scratch::width_of(shape)) {}

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
    position next_segment(const attention_share& share, position s, position end) const noexcept {
        ++s;
        if constexpr ((selective_run<Runs> && ...)) {
            const attention_rows rows = share.front();
            const auto next = [&](const auto& run) {
                const position_range some = around(rows.rows, [&](std::size_t i) { return seen(run, rows.segment, rows.at(i)); });
                return some.to <= std::max(some.from, s * segment_size) ? end : std::max(s, some.from / segment_size);
            };
            s = std::apply([&](const auto&... run) { return std::min({end, next(run)...}); }, runs_);
        }
        return s;
    }

private:
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
          rotated_(turn_ + width),
          fold_(rotated_ + attention::tile_size * width, queries, width) {}

    std::size_t queries(const attention_share& share) const noexcept { return share.rows * group_; }

    /// From the first position that any of the rows sees to the one after the last.
    position_range span_of(const attention_rows& rows) const noexcept {
        position_range out{variant_.begin(rows.at(0)), rows.at(rows.rows - 1) + 1};
        for (std::size_t i = 1; i < rows.rows; ++i) out.from = std::min(out.from, variant_.begin(rows.at(i)));
        if (rows.in_tree())
            for (std::size_t i = 0; i < rows.rows; ++i) out.to = std::max(out.to, rows.at(i) + 1);
        return out;
    }
    position_range span_of(const attention_share& share) const noexcept {
        position_range out{std::numeric_limits<position>::max(), 0};
        share.each_part([&](const attention_rows& rows, position) { out = both(out, span_of(rows)); });
        return out;
    }
    static position_range both(position_range a, position_range b) noexcept { return {std::min(a.from, b.from), std::max(a.to, b.to)}; }

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

    void fold_at(const readers& who, position_range span, position t, const fold_state& state) noexcept {
        if (who.rows.in_tree() && t + step > who.rows.range->first_position)
            fold_paths(who, span, t, state);
        else
            std::apply([&](const auto&... run) { fold_tile(who, span, t, state, run...); }, runs_);
    }

    /// Where rows of a tree see different keys at the same positions: row after row.
    void fold_paths(const readers& who, position_range span, position t, const fold_state& state) noexcept {
        if constexpr (!((selective_run<Runs> || choosing_run<Runs>) || ...)) {
            const auto visible = visible_to(who, all_seen{}, t);
            const row_range& range = *who.rows.range;
            for (std::size_t i = 0; i < who.count; ++i) {
                const std::size_t query = (who.first + i) * group_;
                const auto seen = visible(query);
                if (seen.from == seen.to) continue;
                position where[attention::tile_size];
                range.each_ancestor(who.rows.first + i, [&](position p, position stored) {
                    if (p >= t && p < t + step) where[p - t] = stored;
                });
                const position last = at_[who.first + i];
                std::apply(
                    [&](const auto&... run) {
                        read(who, {span.from, std::min(span.to, last + 1)}, t, query, group_,
                             path_run<Runs>{run, where, t, range.first_position, last}...);
                    },
                    runs_);
                fold_.fold(variant_, visible, query, group_, state);
            }
        }
    }

    template <class... Some>
    void read(const readers& who, position_range span, position t, std::size_t first, std::size_t queries, const Some&... some) noexcept {
        fold_.read(
            static_cast<std::size_t>(span.from - t), static_cast<std::size_t>(span.to - t),
            tile_source<Arch, Some...>{{some...}, who.rows.segment, who.rows.kv_head, t, {&rope_, shape_.head_dim, total_.width, rotated_}},
            first, queries);
    }

    /// Positions `span` of the tile at t: of all runs together, or one after another where not all rows read all of them.
    void fold_tile(const readers& who, position_range span, position t, const fold_state& state, const Runs&... run) noexcept {
        if constexpr (selective) {
            const position_range(*shown)[attention_scratch::most_rows] = shown_.data();
            (fold_run(who, span, t, state, run, *shown++), ...);
        } else if constexpr ((choosing_run<Runs> || ...))
            (fold_part(who, span, t, state, chosen_of(run, who.rows.segment, who.rows.kv_head), run), ...);
        else
            fold_part(who, span, t, state, all_seen{}, run...);
    }

    /// shown: what each row of the task reads of the run.
    template <class Run>
    void fold_run(const readers& who, position_range span, position t, const fold_state& state, const Run& run,
                  const position_range* shown) noexcept {
        static_assert(selective_run<Run>, "each run of a view says what rows read of it, or none does");
        const position_range some = around(who.count, [&](std::size_t i) { return shown[who.first + i]; });
        span = {std::max(span.from, some.from), std::min(span.to, some.to)};
        if (span.from >= span.to) return;
        // Whole pieces of groups are read faster; what nobody sees of one is there all the same.
        if constexpr (attention::woven_codec<codec_of<Run, true>>) span.from -= span.from % static_cast<position>(piece);
        const bool turn = turns(run);
        if (turn) load_queries(run);
        fold_part(who, span, t, state, seen_rows{shown, standing(run, std::numeric_limits<position>::max())}, run);
        if (turn) load_queries(unturned{});
    }

    /// From the first position in any of so many ranges to the one after the last.
    template <class Range>
    static position_range around(std::size_t ranges, const Range& range) noexcept {
        position_range some{std::numeric_limits<position>::max(), 0};
        for (std::size_t i = 0; i < ranges; ++i) {
            const position_range here = range(i);
            if (here.from < here.to) some = both(some, here);
        }
        return some;
    }

    /// Whether some of the rows stand elsewhere when they read a run.
    template <class Run>
    bool turns(const Run& run) const noexcept {
        return rope_.dims != 0 && standing(run, span_.to - 1) != span_.to - 1;
    }

    template <class Seen>
    auto visible_to(const readers& who, const Seen& seen, position t) const noexcept {
        return visible_part<Variant, Seen>{variant_, seen, who.rows.kv_head, group_, at_, t};
    }

    template <class Seen, class... Some>
    void fold_part(const readers& who, position_range span, position t, const fold_state& state, const Seen& seen,
                   const Some&... some) noexcept {
        const auto visible = visible_to(who, seen, t);
        if constexpr (decltype(visible)::masks) {
            std::uint64_t any = 0;
            for (std::size_t row = 0; row < who.count; ++row) any |= visible((who.first + row) * group_).bits;
            if (any == 0) return;
            const auto first = static_cast<std::size_t>(std::countr_zero(any)),
                       last = attention::tile_size - static_cast<std::size_t>(std::countl_zero(any));
            span = {std::max(span.from, t + static_cast<position>(first / piece * piece)),
                    std::min(span.to, t + static_cast<position>(round_up(last, piece)))};
        }
        read(who, span, t, who.first * group_, who.count * group_, some...);
        fold_.fold(variant_, visible, who.first * group_, who.count * group_, state);
    }

    void start(matrix_view<const float> q, const attention_share& share) noexcept {
        q_ = q;
        share_ = share;
        parts_ = rows_ = 0;
        span_ = {std::numeric_limits<position>::max(), 0};
        share.each_part([&](const attention_rows& rows, position shared) {
            const position_range span = span_of(rows);
            part_[parts_++] = {rows, rows_, shared, span.from, span.to};
            span_ = both(span_, span);
            for (std::size_t i = 0; i < rows.rows; ++i) at_[rows_++] = rows.at(i);
            if constexpr (selective) {
                position_range(*shown)[attention_scratch::most_rows] = shown_.data();
                const auto show = [&](const auto& run, position_range* out) {
                    for (std::size_t i = rows_ - rows.rows; i < rows_; ++i) out[i] = seen(run, rows.segment, at_[i]);
                };
                std::apply([&](const auto&... run) { (show(run, *shown++), ...); }, runs_);
            }
        });
        fold_.start(queries(share));
        load_queries(unturned{});
    }

    struct unturned {};

    /// The queries as they read a run.
    template <class Run>
    void load_queries(const Run& run) noexcept {
        const V scale = V::broadcast(variant_.scale);
        std::size_t query = 0;
        share_.each_part([&](const attention_rows& rows, position) {
            for (std::size_t i = 0; i < rows.rows; ++i)
                for (std::size_t g = 0; g < group_; ++g, ++query) {
                    const std::size_t row = rows.row + i;
                    const float* head = q_.data() + row * q_.strides()[0] + (rows.kv_head * group_ + g) * shape_.head_dim;
                    if constexpr (turning_run<Run>) {
                        const position p = rows.at(i);
                        if (standing(run, p) != p) head = turned(head, row, g == 0);
                    }
                    if constexpr (transformed) {
                        if (head != turned_) std::copy_n(head, shape_.head_dim, turned_);
                        format::hadamard(turned_, shape_.head_dim);
                        head = turned_;
                    }
                    fold_.load_query(query, head, shape_.head_dim, scale);
                }
        });
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
                    if constexpr (attention::sinking<Variant>) add_sink<Arch>(s, query, variant_.sink(head));
                    float* y = out.data() + (rows.row + i) * out.strides()[0] + head * shape_.head_dim;
                    const V sum = V::broadcast(s.sum[query]);
                    for (std::size_t d = 0; d < shape_.head_dim; d += lanes)
                        (V::load(s.acc + query * s.width + d) / sum).store_first(y + d, shape_.head_dim - d);
                    if constexpr (transformed) format::hadamard(y, shape_.head_dim);
                }
        });
    }

    const attention_shape& shape_;
    const Variant& variant_;
    const rope_rows& rope_;
    const std::tuple<Runs...>& runs_;
    std::size_t group_;
    matrix_view<const float> q_;
    attention_share share_{};
    std::size_t parts_ = 0, rows_ = 0;
    position_range span_;
    part part_[attention_scratch::most_rows];
    position at_[attention_scratch::most_rows];                                                        // (rows)
    std::array<position_range[attention_scratch::most_rows], selective ? sizeof...(Runs) : 0> shown_;  // (runs, rows), what is read of each
    fold_state now_, total_;
    float *turned_, *turn_, *rotated_;  // (width), (width), (tile_size, width)
    Fold<Arch> fold_;
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
        bool first, last;  // of its task
    };
    constexpr std::size_t most = 128;
    piece list[most];
    Task merger = make(0);
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
            Task work = make(thread);
            for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;)
                work.run_segment(q, tasks[list[i].task], list[i].segment, scratch.state(i, tasks.most_rows()));
        });
        for (std::size_t i = 0; i < pieces; ++i)
            merger.merge_segment(tasks[list[i].task], list[i].first, list[i].last, scratch.state(i, tasks.most_rows()), out);
    }
}

/// What the segments share, where one run has all they read.
template <class... Runs>
std::span<const shared_prefix> shared_prefixes(const std::tuple<Runs...>& runs, std::size_t segments) noexcept {
    std::span<const shared_prefix> out;
    if constexpr (sizeof...(Runs) == 1 && ((sharing_run<Runs> && !selective_run<Runs> && !choosing_run<Runs>) && ...))
        out = std::get<0>(runs).sharing();
    return out.size() == segments ? out : std::span<const shared_prefix>{};
}

template <class Arch, template <class> class Fold, attention::variant Variant, kv_run... Runs>
void attend_by(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
               const std::tuple<Runs...>& runs, matrix_view<float> out, attention_scratch& scratch, const rope_rows& rope,
               const workers& w) {
    using task = attention_task<Arch, Fold, Variant, Runs...>;
    const attention_tasks tasks(shape, ranges, shared_prefixes(runs, ranges.size()), w.count());
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
