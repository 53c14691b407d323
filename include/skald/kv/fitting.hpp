// SPDX-License-Identifier: MIT
#pragma once
// Policies cut to a number of bytes: storages take all their memory when they are made, so that a hard limit is a matter of how much
// room they are made with. What happens when that room is used up is when_full.hpp's matter.
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory_resource>
#include <string>

#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>

namespace skald::kv {

namespace detail {

/// The tokens that a policy has room for, as its options have them; null where they say nothing of the kind.
template <class Policy>
auto* tokens_of(Policy& p) noexcept {
    if constexpr (requires { p.options.tokens; })
        return &p.options.tokens;
    else if constexpr (requires { p.room.tokens; })
        return &p.room.tokens;
    else
        return static_cast<std::size_t*>(nullptr);
}

/// The sequences of a policy's cache.
template <class Policy>
std::size_t sequences_of(const Policy& p) noexcept {
    if constexpr (requires { p.options.sequences; })
        return p.options.sequences;
    else
        return p.room.sequences;
}

}  // namespace detail

/// The policy with as many of its tokens as `limit` bytes have room for, one at least. Throws errc::memory_limit where not even that fits.
/// Cost: some fifty sums.
template <policy Policy>
Policy fitted(Policy p, const cache_shape& shape, std::size_t limit) {
    std::size_t* const tokens = detail::tokens_of(p);
    const auto fits = [&](std::size_t n) {
        if (tokens != nullptr) *tokens = n;
        return p.bytes(shape) <= limit;
    };
    const std::size_t most = tokens == nullptr ? 0 : *tokens;
    std::size_t least = std::min<std::size_t>(most, 1), next = least;
    if (!fits(least))
        fail(errc::memory_limit, "kv cache", "the least that ", p.name(), " takes is ", p.bytes(shape), " bytes; the budget is ", limit,
             ": raise it, or ask for fewer .sequences");
    while (least < most && fits(next = std::min(most, least * 2))) least = next;  // no size is computed that is much too great
    while (least + 1 < next) {
        const std::size_t middle = least + (next - least) / 2;
        (fits(middle) ? least : next) = middle;
    }
    fits(least);
    return p;
}

/// The policy: `within<paged<q8>>{.limit = 64 << 20, .storage = {{.tokens = 1 << 16}}}`: the storage, with as many of its tokens as so many
/// bytes have room for. What that costs: nothing once it is made. For sequences that go when others need their room: budget.hpp.
template <policy Policy>
struct within {
    using cache = typename Policy::cache;
    std::size_t limit = 0;  ///< bytes
    Policy storage{};

    /// Throw errc::memory_limit as fitted() does.
    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return fitted(storage, shape, limit).make(shape, memory);
    }
    std::size_t bytes(const cache_shape& shape) const { return fitted(storage, shape, limit).bytes(shape); }
    std::size_t max_length(const cache_shape& shape) const { return fitted(storage, shape, limit).max_length(); }
    std::size_t max_length() const { return storage.max_length(); }  ///< whatever the model
    std::size_t max_step() const { return longest_step(storage); }
    std::string name() const { return storage.name(); }
};

}  // namespace skald::kv
