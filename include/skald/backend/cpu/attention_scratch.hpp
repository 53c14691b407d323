// SPDX-License-Identifier: MIT
#pragma once
// The memory of the attention kernels, a piece a thread, and how large a task is.
#include <algorithm>
#include <cstddef>
#include <memory_resource>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/attention_floats.hpp>
#include <skald/backend/cpu/attention_words.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// What one thread keeps while it attends: a fold (a decoded tile of keys and values, and the queries of a task), two states, and a head
/// with the cosines and sines that turn it; and rotated keys of a tile, for caches that keep them before rope.
class attention_scratch {
public:
    /// Rows of a task at most: as many as give some two hundred queries, so that decoding a tile costs a tenth of using it.
    static std::size_t rows_of(const attention_shape& s) noexcept { return std::max<std::size_t>(1, most_rows * s.kv_heads / s.heads); }
    static constexpr std::size_t most_rows = 192;
    static std::size_t queries_of(const attention_shape& s) noexcept { return rows_of(s) * (s.heads / s.kv_heads); }
    static std::size_t width_of(const attention_shape& s) noexcept { return round_up(s.head_dim, lanes); }
    static std::size_t floats_of(const attention_shape& s) noexcept {
        const std::size_t queries = queries_of(s), width = width_of(s);
        return 2 * fold_state::floats_of(queries, width) + 2 * width + attention::tile_size * width +
               std::max(float_fold<default_arch>::floats_of(queries, width), word_fold<default_arch>::floats_of(queries, width));
    }

    /// Rows of a task at least, and at most of one whose segments are shared among threads.
    static constexpr std::size_t least_rows = 8;
    /// The same where sequences share a prefix.
    static constexpr std::size_t most_shared_rows = 4 * least_rows;

    attention_scratch() noexcept = default;
    attention_scratch(const attention_shape& s, std::size_t threads, std::pmr::memory_resource* memory)
        : each_(each(s)),
          group_(s.heads / s.kv_heads),
          width_(width_of(s)),
          floats_(each_ * threads + floats_of_states(s, threads), memory),
          shared_(floats_.data() + each_ * threads) {
        floats_.zero();
    }
    static std::size_t bytes(const attention_shape& s, std::size_t threads) noexcept {
        return buffer<float>::bytes_for(each(s) * threads + floats_of_states(s, threads));
    }

    float* of(std::size_t thread) const noexcept { return floats_.data() + each_ * thread; }

    /// States that threads fill for one another, each of a task of `rows` rows.
    std::size_t states(std::size_t rows) const noexcept {
        return static_cast<std::size_t>(floats_.data() + floats_.size() - shared_) / fold_state::floats_of(rows * group_, width_);
    }
    fold_state state(std::size_t i, std::size_t rows) const noexcept {
        return fold_state::at(shared_ + i * fold_state::floats_of(rows * group_, width_), rows * group_, width_);
    }

private:
    static std::size_t each(const attention_shape& s) noexcept { return round_up(floats_of(s), lanes); }
    /// Of sixteen tasks of least_rows rows a thread.
    static std::size_t floats_of_states(const attention_shape& s, std::size_t threads) noexcept {
        const std::size_t queries = std::min(least_rows, rows_of(s)) * (s.heads / s.kv_heads);
        return threads > 1 ? 16 * threads * fold_state::floats_of(queries, width_of(s)) : 0;
    }

    std::size_t each_ = 0, group_ = 0, width_ = 0;
    buffer<float> floats_;
    float* shared_ = nullptr;
};

}  // namespace skald::inline SKALD_ISA::kernels
