// SPDX-License-Identifier: MIT
#pragma once
// The attention variants: which positions a row sees and what happens to a score. The role is described in
// backend/attention.hpp.
#include <skald/backend/attention.hpp>
#include <skald/core/types.hpp>
#include <skald/format/vector.hpp>

namespace skald::attention {

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
