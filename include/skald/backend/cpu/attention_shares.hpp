// SPDX-License-Identifier: MIT
#pragma once
// How the rows of a step are divided into tasks of attention: blocks of rows of one sequence, or of several that share a prefix, for one
// kv head each.
#include <algorithm>
#include <cstddef>
#include <span>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Rows [first, first + rows) of a range, that of segment `segment`, for one kv head; the first is row `row` of the step.
struct attention_rows {
    std::size_t segment, kv_head, row, rows, first;
    const row_range* range;

    position at(std::size_t i) const noexcept { return range->at(first + i); }
    bool in_tree() const noexcept { return range->parents != nullptr; }
};

/// The segments of a step, such that those which share a prefix stand together.
class attention_order {
public:
    /// No order: segments as they come, none of which shares anything.
    attention_order(std::span<const row_range> ranges, std::span<const shared_prefix> order) noexcept : ranges_(ranges), order_(order) {}

    std::size_t size() const noexcept { return ranges_.size(); }
    bool shares() const noexcept { return !order_.empty(); }
    std::size_t segment(std::size_t i) const noexcept { return shares() ? order_[i].segment : i; }
    const row_range& range(std::size_t i) const noexcept { return ranges_[segment(i)]; }
    /// Positions that number i has in common with the one before it, in whole tiles; none where they are less than a quarter of what it
    /// reads, which is better shared out among threads.
    position shared(std::size_t i) const noexcept {
        if (!shares()) return 0;
        const position whole = order_[i].length / tile * tile;
        return whole >= range(i).first_position / 4 ? whole : 0;
    }
    /// After the last of those that share something with number i.
    std::size_t end_of_group(std::size_t i) const noexcept {
        for (++i; i < size() && shared(i) > 0;) ++i;
        return i;
    }

private:
    static constexpr auto tile = static_cast<position>(attention::tile_size);

    std::span<const row_range> ranges_;
    std::span<const shared_prefix> order_;
};

/// What a task computes for one kv head: `rows` rows of segments that follow one another in the order, from row `first` of number `at` on.
struct attention_share {
    const attention_order* order;
    std::size_t kv_head, at, first, rows;

    /// f(attention_rows, what these have in common with those before them).
    template <class F>
    void each_part(const F& f) const noexcept {
        std::size_t left = rows, from = first;
        for (std::size_t i = at; left > 0; ++i, from = 0) {
            const row_range& range = order->range(i);
            const std::size_t here = std::min(left, range.rows - from);
            f(attention_rows{.segment = order->segment(i),
                             .kv_head = kv_head,
                             .row = range.first_row + from,
                             .rows = here,
                             .first = from,
                             .range = &range},
              order->shared(i));
            left -= here;
        }
    }
    attention_rows front() const noexcept {
        attention_share one = *this;
        one.rows = 1;
        attention_rows out;
        one.each_part([&](attention_rows part, position) { out = part; });
        out.rows = std::min(rows, out.range->rows - first);
        return out;
    }
};

/// The tasks of a step: blocks of at most `block` rows of one sequence, or of several that share a prefix, for one kv head each.
class attention_tasks {
public:
    attention_tasks(const attention_shape& shape, std::span<const row_range> ranges, std::span<const shared_prefix> order,
                    std::size_t threads) noexcept
        : kv_heads_(shape.kv_heads),
          order_(ranges, order),
          block_(attention_scratch::rows_of(shape)),
          wanted_(threads > 1 ? 4 * threads : 1) {
        count();
        while (block_ > attention_scratch::least_rows && count_ < wanted_ && !(pieces() && block_ <= attention_scratch::most_shared_rows)) {
            block_ = std::max(attention_scratch::least_rows, ceil_div(block_, 2));
            count();
        }
    }

    std::size_t size() const noexcept { return count_; }
    /// Of any task, at most.
    std::size_t most_rows() const noexcept { return std::min(block_, most_); }
    /// Whether threads may be idle that could share what a task reads.
    bool few() const noexcept { return count_ < wanted_ && block_ <= attention_scratch::most_shared_rows; }

    /// Those whose rows stand last, and see most, first.
    attention_share operator[](std::size_t i) const noexcept {
        std::size_t left = count_ - 1 - i, at = 0, end = 0, rows = 0;
        for (;; at = end) {
            end = order_.end_of_group(at);
            rows = rows_of(at, end);
            const std::size_t here = ceil_div(rows, block_) * kv_heads_;
            if (left < here) break;
            left -= here;
        }
        std::size_t first = left / kv_heads_ * block_;
        const std::size_t some = std::min(block_, rows - first);
        for (; first >= order_.range(at).rows; ++at) first -= order_.range(at).rows;
        return {.order = &order_, .kv_head = left % kv_heads_, .at = at, .first = first, .rows = some};
    }

private:
    std::size_t rows_of(std::size_t at, std::size_t end) const noexcept {
        std::size_t rows = 0;
        for (; at < end; ++at) rows += order_.range(at).rows;
        return rows;
    }
    /// f(its first number in the order, its rows, its tasks).
    template <class F>
    void each_group(const F& f) const noexcept {
        for (std::size_t at = 0, end; at < order_.size(); at = end) {
            end = order_.end_of_group(at);
            const std::size_t rows = rows_of(at, end);
            f(at, rows, ceil_div(rows, block_) * kv_heads_);
        }
    }
    void count() noexcept {
        count_ = most_ = 0;
        each_group([&](std::size_t, std::size_t rows, std::size_t tasks) {
            count_ += tasks;
            most_ = std::max(most_, rows);
        });
    }
    /// Whether prefixes are shared and tasks have segments enough for all threads, so that they need not read less at once.
    bool pieces() const noexcept {
        if (!order_.shares()) return false;
        std::size_t pieces = 0;
        each_group([&](std::size_t at, std::size_t, std::size_t tasks) {
            pieces += tasks * (static_cast<std::size_t>(order_.range(at).first_position) / attention::restart_size + 1);
        });
        return pieces >= wanted_;
    }

    std::size_t kv_heads_;
    attention_order order_;
    std::size_t block_, wanted_, count_ = 0, most_ = 0;
};

}  // namespace skald::inline SKALD_ISA::kernels
