// SPDX-License-Identifier: MIT
#pragma once
// What distinguishes one attention from another, as a small closure the kernels inline: the scale, which positions a row
// sees, what happens to a score. This file holds the concept and plain causal attention.
#include <concepts>
#include <type_traits>

#include <skald/core/types.hpp>
#include <skald/format/vector.hpp>

namespace skald::attention {

/// | member               | meaning                                                                              |
/// |----------------------|--------------------------------------------------------------------------------------|
/// | scale                | float; q · k is multiplied by it (the kernel folds it into q)                        |
/// | begin(p)             | the first position that a row at position p sees; it sees [begin(p), p]              |
/// | score(s)             | maps a vector of scaled scores (soft caps and the like)                              |
template <class V>
concept variant = std::is_trivially_copyable_v<V> && requires(const V v, position p, format::scalar s) {
    { v.scale } -> std::convertible_to<float>;
    { v.begin(p) } -> std::same_as<position>;
    { v.score(s) } -> std::same_as<format::scalar>;
};

/// A row sees its own position and every one before it. (Vaswani et al. 2017)
struct causal {
    float scale = 1.0f;

    static constexpr position begin(position) noexcept { return 0; }

    template <format::float_vector V>
    static constexpr V score(V s) noexcept {
        return s;
    }
};

static_assert(variant<causal>);

}  // namespace skald::attention
