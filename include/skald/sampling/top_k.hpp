// SPDX-License-Identifier: MIT
#pragma once
// Top-k: only the k best candidates stay. Fan, Lewis, Dauphin, "Hierarchical neural story generation" (2018).
#include <cstddef>
#include <cstdint>

#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Keeps the `k` candidates of the highest logits, lowest token first among equals; afterwards they are sorted. At 0 and below
/// all stay, as in llama.cpp.
struct top_k {
    std::int32_t k = 40;

    void operator()(candidates& c) const {
        if (k > 0) c.keep_best(static_cast<std::size_t>(k));
    }
};

static_assert(processor<top_k>);

}  // namespace skald::sampling
