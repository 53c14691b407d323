// SPDX-License-Identifier: MIT
#pragma once
// What a cache under a budget (budget.hpp) does when a step needs more room than is left: refuse it, or let sequences go that take no part
// in it, for good or to other memory. Which ones is a choice, a function of what can go.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

#include <skald/kv/cache.hpp>

namespace skald::kv {

/// A sequence that may go: it takes no part in the step and has no pending tokens.
struct candidate {
    sequence_id sequence;
    std::size_t tokens = 0;
    std::uint64_t last_use = 0;  ///< the number of the step, fork or selection that used it last
};

/// choice(candidates), of which there is one at least: the index of the one that goes next; their number: none, the step is refused.
template <class C>
concept sequence_choice = std::copyable<C> && requires(const C choice, std::span<const candidate> candidates) {
    { choice(candidates) } -> std::convertible_to<std::size_t>;
};

/// The longest unused one.
struct least_recent {
    std::size_t operator()(std::span<const candidate> candidates) const noexcept {
        std::size_t out = 0;
        for (std::size_t i = 1; i < candidates.size(); ++i)
            if (candidates[i].last_use < candidates[out].last_use) out = i;
        return out;
    }
};

/// The step is refused. (What only a tree of prefixes holds is always given up before, the least recently used leaf first.)
struct refuse {};

/// Sequences lose what they hold: all that can be done with them is evicted(s), truncate(s, 0) to begin anew, and close(s).
template <sequence_choice Choice = least_recent>
struct evict_sequences {
    Choice choice{};
};
template <class Choice>
evict_sequences(Choice) -> evict_sequences<Choice>;

/// Sequences go to other memory, and come back, bitwise, when they are used again. `memory` can be files
/// (io/temporary_file_resource.hpp), with a capped_resource (core/memory.hpp) before it.
template <sequence_choice Choice = least_recent>
struct spill_sequences {
    std::pmr::memory_resource* memory = std::pmr::get_default_resource();
    Choice choice{};
};
template <class Choice>
spill_sequences(std::pmr::memory_resource*, Choice) -> spill_sequences<Choice>;
spill_sequences(std::pmr::memory_resource*) -> spill_sequences<>;

namespace detail {

template <class W>
inline constexpr bool lets_go = requires(const W w) { w.choice; };
template <class W>
inline constexpr bool spills = lets_go<W> && requires(const W w) { w.memory; };

}  // namespace detail

static_assert(sequence_choice<least_recent>);

}  // namespace skald::kv
