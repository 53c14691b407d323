// SPDX-License-Identifier: MIT
#pragma once
// Attention over a cache's runs, in the canonical order of backend/attention.hpp: what a task reads of them at a tile. The walk over
// segments and tiles is attention_task.hpp; what happens to a tile is a fold's business, one for each compute policy:
// attention_floats.hpp, attention_words.hpp.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <limits>
#include <span>
#include <tuple>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/attention_source.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/cpu/attention_task.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// An attention_task over some runs. A `Fold` keeps queries and a tile:
///
/// | member                                       | meaning                                                                              |
/// |----------------------------------------------|--------------------------------------------------------------------------------------|
/// | start(n)                                     | a task of n queries begins                                                           |
/// | load_query(i, x, head_dim, scale)            | query i is x · scale                                                                 |
/// | read(from, to, source, i, n)                 | the tile is positions [from, to) of the source; fold() will be asked for i and n     |
/// | fold(variant, visible, first, n, state)      | the tile goes into the states of queries [first, first + n), as far as each sees it  |
template <class Arch, template <class> class Fold, class Variant, class... Runs>
class task_of_runs final : public attention_task<Arch> {
    using V = simd<Arch>;
    using base = attention_task<Arch>;
    using base::group_, base::rope_, base::rotated_, base::shape_;
    using base::load_queries, base::parts, base::rows_at;
    using base::segment_size, base::step;
    using typename base::part;
    using typename base::readers;
    static constexpr std::size_t piece = 32;  // positions that folds read whole faster than in part
    static constexpr bool selective = (selective_run<Runs> || ...);
    static constexpr bool transformed = (hadamard_run<Runs> || ...);
    static_assert(!transformed || (hadamard_run<Runs> && ...), "a view's runs are all transformed, or none is");

public:
    task_of_runs(const attention_shape& shape, const Variant& variant, const rope_rows& rope, const std::tuple<Runs...>& runs,
                 float* scratch) noexcept
        : base(shape, rope, transformed, scratch),
          variant_(variant),
          runs_(runs),
          fold_(base::fold_memory(), attention_scratch::queries_of(shape), attention_scratch::width_of(shape)) {}

    position next_segment(const attention_share& share, position s, position end) const noexcept override {
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
    position begin(position p) const noexcept override { return variant_.begin(p); }

    void prepare() noexcept override {
        fold_.start(rows_at().size() * group_);
        if constexpr (selective) {
            for (const part& some : parts()) {
                position_range(*shown)[attention_scratch::most_rows] = shown_.data();
                const auto show = [&](const auto& run, position_range* out) {
                    for (std::size_t i = 0; i < some.rows.rows; ++i) out[some.first + i] = seen(run, some.rows.segment, some.rows.at(i));
                };
                std::apply([&](const auto&... run) { (show(run, *shown++), ...); }, runs_);
            }
        }
    }

    void load_query(std::size_t query, const float* head) noexcept override {
        fold_.load_query(query, head, shape_.head_dim, V::broadcast(variant_.scale));
    }

    void add_sink([[maybe_unused]] const fold_state& state, [[maybe_unused]] std::size_t query,
                  [[maybe_unused]] std::size_t head) const noexcept override {
        if constexpr (attention::sinking<Variant>) kernels::add_sink<Arch>(state, query, variant_.sink(head));
    }

    void fold_at(const readers& who, position_range span, position t, const fold_state& state) noexcept override {
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
                const auto seen = visible.of_row(who.first + i);
                if (seen.from == seen.to) continue;
                position where[attention::tile_size];
                range.each_ancestor(who.rows.first + i, [&](position p, position stored) {
                    if (p >= t && p < t + step) where[p - t] = stored;
                });
                const position last = rows_at()[who.first + i];
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
            tile_source<Arch, Some...>{
                {some...}, who.rows.segment, who.rows.kv_head, t, {&rope_, shape_.head_dim, attention_scratch::width_of(shape_), rotated_}},
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
        const position farthest = standing(run, std::numeric_limits<position>::max());
        const bool turn = rope_.dims != 0 && base::span().to - 1 > farthest;  // some rows stand elsewhere when they read the run
        if (turn) load_queries(farthest);
        fold_part(who, span, t, state, seen_rows{shown, farthest}, run);
        if (turn) load_queries();
    }

    /// From the first position in any of so many ranges to the one after the last.
    template <class Range>
    static position_range around(std::size_t ranges, const Range& range) noexcept {
        position_range some = no_positions;
        for (std::size_t i = 0; i < ranges; ++i) {
            const position_range here = range(i);
            if (here.from < here.to) some = both(some, here);
        }
        return some;
    }

    template <class Seen>
    auto visible_to(const readers& who, const Seen& seen, position t) const noexcept {
        return visible_part<Variant, Seen>{variant_, seen, who.rows.kv_head, group_, rows_at().data(), t};
    }

    template <class Seen, class... Some>
    void fold_part(const readers& who, position_range span, position t, const fold_state& state, const Seen& seen,
                   const Some&... some) noexcept {
        const auto visible = visible_to(who, seen, t);
        if constexpr (decltype(visible)::masks) {
            std::uint64_t any = 0;
            for (std::size_t row = 0; row < who.count; ++row) any |= visible.of_row(who.first + row).bits;
            if (any == 0) return;
            const auto first = static_cast<std::size_t>(std::countr_zero(any)),
                       last = attention::tile_size - static_cast<std::size_t>(std::countl_zero(any));
            span = {std::max(span.from, t + static_cast<position>(first / piece * piece)),
                    std::min(span.to, t + static_cast<position>(round_up(last, piece)))};
        }
        read(who, span, t, who.first * group_, who.count * group_, some...);
        fold_.fold(variant_, visible, who.first * group_, who.count * group_, state);
    }

    const Variant& variant_;
    const std::tuple<Runs...>& runs_;
    std::array<position_range[attention_scratch::most_rows], selective ? sizeof...(Runs) : 0> shown_;  // (runs, rows), what is read of each
    Fold<Arch> fold_;
};

/// What the segments share, where one run has all they read.
template <class... Runs>
std::span<const shared_prefix> shared_prefixes(const std::tuple<Runs...>& runs, std::size_t segments) noexcept {
    std::span<const shared_prefix> out;
    if constexpr (sizeof...(Runs) == 1 && ((sharing_run<Runs> && !selective_run<Runs> && !choosing_run<Runs>) && ...))
        out = std::get<0>(runs).sharing();
    return out.size() == segments ? out : std::span<const shared_prefix>{};
}

template <class Arch, template <class> class Fold, attention::variant Variant, kv_run... Runs>
void attend_runs(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
                 const std::tuple<Runs...>& runs, matrix_view<float> out, attention_scratch& scratch, const rope_rows& rope,
                 const workers& w) {
    const auto with_task = [&](std::size_t thread, function_ref<void(attention_task<Arch>&)> f) {
        task_of_runs<Arch, Fold, Variant, Runs...> task(shape, variant, rope, runs, scratch.of(thread));
        f(task);
    };
    attend_by<Arch>(q, {shape, ranges, shared_prefixes(runs, ranges.size()), w.count()}, out, with_task, scratch, w);
}

template <class Arch, attention::variant Variant, kv_run... Runs>
void attend(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
            const std::tuple<Runs...>& runs, activations<Arch>& out, attention_scratch& scratch, const rope_rows& rope, compute policy,
            const workers& w) {
    if (policy == compute::native && attention_scratch::width_of(shape) <= word_fold<Arch>::most_width)
        attend_runs<Arch, word_fold>(q, shape, variant, ranges, runs, out.values(), scratch, rope, w);
    else
        attend_runs<Arch, float_fold>(q, shape, variant, ranges, runs, out.values(), scratch, rope, w);
}

}  // namespace skald::inline SKALD_ISA::kernels
