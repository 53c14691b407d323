// SPDX-License-Identifier: MIT
#pragma once
// Attention of one sequence's rows a stretch of positions at a time: for keys and values that do not exist all at once. What remains of
// the stretches so far is kept for every query; the results are those of attention.hpp, bit for bit.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <tuple>

#include <skald/backend/cpu/attention.hpp>
#include <skald/core/buffer.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// States of all queries of a range. // (kv_heads, rows, group, {width, greatest, sum})
class attention_totals {
public:
    attention_totals(const attention_shape& s, std::size_t rows, std::pmr::memory_resource* memory)
        : rows_(rows),
          group_(s.heads / s.kv_heads),
          width_(attention_scratch::width_of(s)),
          acc_(rows * s.heads * width_, memory),
          most_(rows * s.heads, memory),
          sum_(rows * s.heads, memory) {}
    static std::size_t bytes(const attention_shape& s, std::size_t rows) noexcept {
        return buffer<float>::bytes_for(rows * s.heads * attention_scratch::width_of(s)) + 2 * buffer<float>::bytes_for(rows * s.heads);
    }

    std::size_t rows() const noexcept { return rows_; }
    /// Of a share of the range.
    fold_state of(const attention_share& share) const noexcept {
        const std::size_t first = (share.kv_head * rows_ + share.first) * group_;
        return {width_, acc_.data() + first * width_, most_.data() + first, sum_.data() + first};
    }

private:
    std::size_t rows_, group_, width_;
    buffer<float> acc_, most_, sum_;
};

template <class Arch, template <class> class Fold, attention::variant Variant, kv_run... Runs>
void attend_stretch_by(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, const row_range& range,
                       position stretch, const std::tuple<Runs...>& runs, const attention_totals& totals, matrix_view<float> out,
                       const attention_scratch& scratch, const workers& w) {
    static_assert(!(selective_run<Runs> || ...), "skald: stretches are read where every row reads all of every run");
    const rope_rows unturned{};
    const attention_tasks tasks(shape, std::span(&range, 1), {}, w.count());
    std::atomic<std::size_t> next{0};
    w.run(std::min(tasks.size(), w.count()), [&](std::size_t thread) {
        task_of_runs<Arch, Fold, Variant, Runs...> task(shape, variant, unturned, runs, scratch.of(thread));
        for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();)
            task.add_segment(q, tasks[i], stretch, totals.of(tasks[i]), out);
    });
}

/// As backend/ops.hpp says. The range is no tree and has no more rows than the totals.
template <class Arch, attention::variant Variant, kv_run... Runs>
void attend_stretch(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, const row_range& range,
                    position stretch, const std::tuple<Runs...>& runs, attention_totals& totals, matrix_view<float> out,
                    attention_scratch& scratch, compute policy, const workers& w) {
    if (policy == compute::native && attention_scratch::width_of(shape) <= word_fold<Arch>::most_width)
        attend_stretch_by<Arch, word_fold>(q, shape, variant, range, stretch, runs, totals, out, scratch, w);
    else
        attend_stretch_by<Arch, float_fold>(q, shape, variant, range, stretch, runs, totals, out, scratch, w);
}

}  // namespace skald::inline SKALD_ISA::kernels
