// SPDX-License-Identifier: MIT
#pragma once
// Evicting storage beside what its papers say, written plainly: weights that are recorded instead of computed, and what each policy keeps
// of the tokens of one layer when steps are committed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <skald/backend/ops.hpp>
#include <skald/kv/evicting.hpp>

#include "kv/policies.hpp"

namespace skald::test {

inline constexpr std::size_t recorded_kv_heads = 2, recorded_group = 3, recorded_heads = recorded_kv_heads * recorded_group;

/// What a row at p, written as `writer`, gave a token: a multiple of 1/4096, so that sums are exact in any order.
inline float recorded(std::uint32_t writer, std::size_t layer, std::size_t head, position p, position token) {
    std::uint32_t x = writer * 2654435761u + static_cast<std::uint32_t>(layer * 40503 + head * 9973 + 17);
    for (const position next : {p, token}) x = (x ^ static_cast<std::uint32_t>(next)) * 2246822519u, x ^= x >> 13;
    return static_cast<float>((x >> 7) % 1024) / 4096;
}
inline float recorded_sum(std::uint32_t writer, std::size_t layer, std::size_t first, std::size_t count, position p, position token) {
    float sum = 0;
    for (std::size_t h = first; h < first + count; ++h) sum += recorded(writer, layer, h, p, token);
    return sum;
}

/// A sequence as the tests know it: who wrote each token, and how many are committed.
struct recorded_sequence {
    kv::sequence_id id;
    std::vector<std::uint32_t> writers;
    std::size_t committed = 0;
};

/// A backend that gives recorded weights for rows of `stepped`, the segments of the step.
template <class Cache>
struct recorder {
    struct scratch {};
    const Cache& cache;
    std::size_t layer;
    std::vector<const recorded_sequence*> stepped;

    template <class Variant, class Runs>
    void attention_weights(matrix_view<const float>, const attention_shape&, const Variant&, std::size_t segment, const row_range& rows,
                           const Runs&, tensor_view<float, 3> out, scratch&) const {
        const recorded_sequence& s = *stepped[segment];
        const std::size_t kept = cache.positions(s.id, layer, 0).size();
        const auto at = [&](std::size_t head, std::size_t slot) {
            return slot < kept ? cache.positions(s.id, layer, head / recorded_group)[slot]
                               : static_cast<position>(s.committed + slot - kept);
        };
        for (std::size_t h = 0; h < recorded_heads; ++h)
            for (std::size_t i = 0; i < rows.rows; ++i) {
                const std::size_t last = static_cast<std::size_t>(rows.first_position) + i;
                const position p = at(h, last);
                for (std::size_t j = 0; j <= last; ++j)
                    out(h, i, j) = recorded(s.writers[static_cast<std::size_t>(p)], layer, h, p, at(h, j));
            }
    }
};

/// One planned step of pending rows: positions [first, planned), of which those before `last` were not rolled back.
struct pending_step {
    std::size_t first, planned, last;
};

struct head_reference {
    std::vector<position> kept;
    std::vector<float> score;

    /// None from the position `stay` on before all others.
    void drop(std::vector<float> worth, std::size_t budget, position stay) {
        for (std::size_t i = 0; i < kept.size(); ++i)
            if (kept[i] >= stay) worth[i] = 1e9f;
        while (kept.size() > budget) {
            const auto least = std::min_element(worth.begin(), worth.end()) - worth.begin();  // the oldest of equals
            kept.erase(kept.begin() + least), score.erase(score.begin() + least), worth.erase(worth.begin() + least);
        }
    }
};
using reference_heads = std::array<head_reference, recorded_kv_heads>;

inline constexpr position none_stay = std::numeric_limits<position>::max();

// The papers' formulas for the heads of one layer when pending steps are committed; tokens from `stay` on are worth most.

inline void reference_commit(const kv::recent& p, reference_heads& all, const recorded_sequence& s, std::span<const pending_step> steps,
                             std::size_t, std::size_t budget, position stay = none_stay) {
    (void)s;
    for (head_reference& h : all) {
        for (const pending_step& step : steps)
            for (std::size_t i = step.first; i < step.last; ++i) h.kept.push_back(static_cast<position>(i)), h.score.push_back(0);
        while (h.kept.size() > budget) {
            std::size_t victim = 0;
            while (victim < h.kept.size() && static_cast<std::size_t>(h.kept[victim]) < p.sinks) ++victim;
            if (victim == h.kept.size() || h.kept[victim] >= stay) victim = 0;
            h.kept.erase(h.kept.begin() + static_cast<std::ptrdiff_t>(victim));
            h.score.pop_back();
        }
    }
}

/// Zhang et al. 2023, algorithm 1: F(token) = Σ over rows of the attention it had; the last half of the cache is local.
inline void reference_commit(const kv::h2o&, reference_heads& all, const recorded_sequence& s, std::span<const pending_step> steps,
                             std::size_t layer, std::size_t budget, position stay = none_stay) {
    for (std::size_t k = 0; k < all.size(); ++k) {
        head_reference& h = all[k];
        for (const pending_step& step : steps)
            for (std::size_t i = step.first; i < step.last; ++i) {
                h.kept.push_back(static_cast<position>(i));
                h.score.push_back(0);
                for (std::size_t j = 0; j < h.kept.size(); ++j)
                    h.score[j] +=
                        recorded_sum(s.writers[i], layer, k * recorded_group, recorded_group, static_cast<position>(i), h.kept[j]);
            }
        std::vector<float> worth = h.score;
        for (std::size_t j = worth.size() - std::min(worth.size(), budget / 2); j < worth.size(); ++j) worth[j] = 1e9f;
        h.drop(worth, budget, stay);
    }
}

/// Oren et al. 2024: the tokens that the last row's weights, of all heads of the layer (or the head's own), are least for.
inline void reference_commit(const kv::tova& p, reference_heads& all, const recorded_sequence& s, std::span<const pending_step> steps,
                             std::size_t layer, std::size_t budget, position stay = none_stay) {
    for (std::size_t k = 0; k < all.size(); ++k) {
        head_reference& h = all[k];
        for (const pending_step& step : steps)
            for (std::size_t i = step.first; i < step.last; ++i) {
                h.kept.push_back(static_cast<position>(i));
                h.score.push_back(0);
            }
        const std::size_t last = s.writers.size() - 1;
        for (std::size_t j = 0; j < h.kept.size(); ++j)
            h.score[j] = p.each_head ? recorded_sum(s.writers[last], layer, k * recorded_group, recorded_group, static_cast<position>(last),
                                                    h.kept[j])
                                     : recorded_sum(s.writers[last], layer, 0, recorded_heads, static_cast<position>(last), h.kept[j]);
        h.drop(h.score, budget, stay);
    }
}

/// Li et al. 2024, listing 1: sums over the window's rows, pooled over the tokens before the window, which stays itself.
inline void reference_commit(const kv::snapkv& p, reference_heads& all, const recorded_sequence& s, std::span<const pending_step> steps,
                             std::size_t layer, std::size_t budget, position stay = none_stay) {
    for (std::size_t k = 0; k < all.size(); ++k) {
        head_reference& h = all[k];
        for (const pending_step& step : steps) {
            for (std::size_t i = step.first; i < step.last; ++i) h.kept.push_back(static_cast<position>(i)), h.score.push_back(1e9f);
            if (step.last != step.planned || step.planned - step.first < p.window) continue;
            const std::size_t before = h.kept.size() - p.window;
            std::vector<float> sum(before, 0.0f);
            for (std::size_t j = 0; j < before; ++j)
                for (std::size_t i = step.last - p.window; i < step.last; ++i)
                    sum[j] += recorded_sum(s.writers[i], layer, k * recorded_group, recorded_group, static_cast<position>(i), h.kept[j]);
            for (std::size_t j = 0; j < h.kept.size(); ++j) {
                h.score[j] = 1e9f;
                if (j >= before) continue;
                h.score[j] = 0;
                for (std::size_t n = j - std::min(j, p.pool / 2); n <= std::min(j + p.pool / 2, before - 1); ++n)
                    h.score[j] = std::max(h.score[j], sum[n]);
            }
        }
        h.drop(h.score, budget, stay);
    }
}

/// Makes the groups that the planned rows complete.
template <class Cache>
void seal_rows(const Cache& cache, std::size_t layer) {
    const auto seal = [&]<class Run>(const Run& run) {
        if constexpr (sealing_run<Run, format::scalar>)
            for (std::size_t s = 0; const row_range& range : cache.ranges(layer)) {
                for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
                    run.template seal<format::scalar>(s, h, range.first_position, range.first_position + static_cast<position>(range.rows));
                ++s;
            }
    };
    std::apply([&](const auto&... run) { (seal(run), ...); }, cache.view(layer));
}

/// Writes marks into the planned rows of the segments, in slots of the last run, and what others make of them.
template <class Cache>
void write_marks(Cache& cache, const std::vector<const recorded_sequence*>& stepped) {
    std::vector<float> row(cache.shape().width());
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const auto view = cache.view(layer);
        const auto& run = std::get<std::tuple_size_v<std::remove_cvref_t<decltype(view)>> - 1>(view);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        const auto ranges = cache.ranges(layer);
        for (std::size_t s = 0; s < ranges.size(); ++s)
            for (std::size_t i = 0; i < ranges[s].rows; ++i)
                for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
                    const std::size_t p = stepped[s]->writers.size() - ranges[s].rows + i;
                    const auto slot = ranges[s].first_position + static_cast<position>(i);
                    row.assign(row.size(), mark_of(stepped[s]->writers[p], static_cast<position>(p), layer, h));
                    codec::template encode<format::scalar>(row.data(), row.size(), run.key(s, h, slot));
                    for (float& x : row) x = -x;
                    codec::template encode<format::scalar>(row.data(), row.size(), run.value(s, h, slot));
                }
        seal_rows(cache, layer);
    }
}

/// Shows the policy the recorded weights of the planned step.
template <class Cache>
void observe_recorded(Cache& cache, const std::vector<const recorded_sequence*>& stepped) {
    if constexpr (kv::observing_policy<std::remove_cvref_t<decltype(cache.policy())>>)
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
            typename recorder<Cache>::scratch room;
            const recorder<Cache> backend{cache, layer, stepped};
            cache.observe(backend, layer, matrix_view<const float>{},
                          attention_shape{recorded_heads, recorded_kv_heads, cache.shape().head_dim}, 0, room);
        }
}

/// Appends rows to sequences in one step, with weights recorded.
template <class Cache>
void take_step(Cache& cache, const std::vector<recorded_sequence*>& sequences, const std::vector<std::size_t>& rows,
               std::uint32_t& writer) {
    std::vector<kv::segment> segments;
    std::vector<const recorded_sequence*> stepped;
    std::size_t row = 0;
    for (std::size_t i = 0; i < sequences.size(); row += rows[i++]) segments.push_back({sequences[i]->id, row, rows[i]});
    cache.plan(segments);
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        sequences[i]->writers.insert(sequences[i]->writers.end(), rows[i], ++writer);
        stepped.push_back(sequences[i]);
    }
    write_marks(cache, stepped);
    observe_recorded(cache, stepped);
}

}  // namespace skald::test
