// SPDX-License-Identifier: MIT
#pragma once
// The memory of the attention kernels, a piece a thread, and how large a task is.
#include <algorithm>
#include <cstddef>
#include <memory_resource>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// What one thread keeps while it attends: a decoded tile of keys and values, and the queries of a task with their state.
class attention_scratch {
public:
    /// Rows of a task: as many as give some sixty queries, so that decoding a tile costs a twentieth of using it.
    static std::size_t rows_of(const attention_shape& s) noexcept { return std::max<std::size_t>(1, 64 * s.kv_heads / s.heads); }
    static std::size_t queries_of(const attention_shape& s) noexcept { return rows_of(s) * (s.heads / s.kv_heads); }
    static std::size_t width_of(const attention_shape& s) noexcept { return round_up(s.head_dim, lanes); }
    static std::size_t floats_of(const attention_shape& s) noexcept {
        return width_of(s) * (2 * attention::tile_size + 3 * queries_of(s)) + 4 * round_up(queries_of(s), lanes);
    }

    attention_scratch() noexcept = default;
    attention_scratch(const attention_shape& s, std::size_t threads, std::pmr::memory_resource* memory)
        : each_(floats_of(s)), floats_(each_ * threads, memory) {
        floats_.zero();
    }
    static std::size_t bytes(const attention_shape& s, std::size_t threads) noexcept {
        return buffer<float>::bytes_for(floats_of(s) * threads);
    }

    float* of(std::size_t thread) const noexcept { return floats_.data() + each_ * thread; }

private:
    std::size_t each_ = 0;
    buffer<float> floats_;
};

}  // namespace skald::inline SKALD_ISA::kernels
