// SPDX-License-Identifier: MIT
#pragma once
// The selector without chance.
#include <skald/core/types.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Chooses the highest logit; among equals the lowest token. Throws as candidates::best() does. O(size).
struct greedy {
    token_id operator()(const candidates& c) const { return c.best().token; }
};

static_assert(selector<greedy>);

}  // namespace skald::sampling
