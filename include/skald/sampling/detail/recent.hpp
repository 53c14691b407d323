// SPDX-License-Identifier: MIT
#pragma once
// The end of a sequence, as penalties look at it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling::detail {

/// The last `n` tokens of a history; a negative `n` means all of it.
inline std::span<const token_id> last_of(std::span<const token_id> history, std::int64_t n) noexcept {
    if (n < 0 || static_cast<std::uint64_t>(n) >= history.size()) return history;
    return history.last(static_cast<std::size_t>(n));
}

/// The same in ascending order, in the candidates' scratch memory.
inline std::span<const token_id> sorted_last_of(candidates& c, std::span<const token_id> history, std::int64_t n) {
    const std::span<const token_id> recent = last_of(history, n);
    std::vector<token_id>& sorted = c.scratch();
    sorted.assign(recent.begin(), recent.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

}  // namespace skald::sampling::detail
