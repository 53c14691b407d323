// SPDX-License-Identifier: MIT
#pragma once
// The attention variants: which positions a row sees and what happens to a score. The role is described in
// backend/attention.hpp.
#include <algorithm>
#include <limits>

#include <skald/backend/attention.hpp>
#include <skald/core/types.hpp>
#include <skald/format/vector.hpp>

namespace skald::attention {

/// A row sees its own position and every one before it (Vaswani et al. 2017), or the last `window` of these (Beltagy et al. 2020).
struct causal {
    float scale = 1.0f;
    position window = std::numeric_limits<position>::max();

    constexpr position begin(position p) const noexcept { return std::max<position>(0, p - window + 1); }

    template <format::float_vector V>
    static constexpr V score(V s) noexcept {
        return s;
    }
};

/// The same with scores kept inside (-cap, cap) by cap · tanh(s / cap). (Gemma 2)
struct soft_capped : causal {
    float cap = 1.0f;

    template <format::float_vector V>
    constexpr V score(V s) const noexcept {
        return V::broadcast(cap) * tanh(s * V::broadcast(1.0f / cap));
    }
};

static_assert(variant<causal> && variant<soft_capped>);

}  // namespace skald::attention
