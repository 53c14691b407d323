// SPDX-License-Identifier: MIT
#pragma once
// The rotations of all positions that sequences of a cache can reach, for caches that keep keys before rope (unroped.hpp). The forward
// fills it as far as sequences have come, which is once a position; attention reads it.
#include <cstddef>
#include <memory_resource>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>

namespace skald::kv {

/// Cosines and sines of positions [0, positions()), a table for each rope of the model, which together have `pairs` frequencies.
class rotation_table {
public:
    rotation_table(std::size_t positions, std::size_t pairs, std::pmr::memory_resource* memory)
        : positions_(positions), pairs_(pairs), values_(size(positions, pairs), memory) {}

    static std::size_t bytes(std::size_t positions, std::size_t pairs) {
        const std::size_t n = size(positions, pairs);
        return n == 0 ? 0 : buffer<float>::bytes_for(n);
    }
    std::size_t bytes() const noexcept { return values_.bytes(); }
    std::size_t positions() const noexcept { return positions_; }

    /// Of the rope whose first frequency is number `first` of all. // (positions, that rope's frequencies)
    float* cosine(std::size_t first) const noexcept { return values_.data() + first * positions_; }
    float* sine(std::size_t first) const noexcept { return values_.data() + (pairs_ + first) * positions_; }

    std::size_t filled() const noexcept { return filled_; }  ///< positions whose rotations are there
    void fill(std::size_t positions) noexcept { filled_ = positions; }

private:
    static std::size_t size(std::size_t positions, std::size_t pairs) { return (checked_size(positions, "kv cache") * pairs * 2).size(); }

    std::size_t positions_, pairs_, filled_ = 0;
    buffer<float> values_;
};

/// The table of a cache that keeps keys before rope; null: keys are rotated.
template <class Cache>
auto rotations_of(Cache& cache) noexcept {
    if constexpr (requires { cache.rotations(); })
        return cache.rotations();
    else
        return static_cast<rotation_table*>(nullptr);
}

/// Whether it has one.
template <class Cache>
bool keeps_before_rope(const Cache& cache) noexcept {
    return rotations_of(cache) != nullptr;
}

}  // namespace skald::kv
