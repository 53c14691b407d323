// SPDX-License-Identifier: MIT
#pragma once
// How much of a cold tier (tiered.hpp) is in memory at a time: what a layer reads, and as much as there is room for besides of what the
// next one will. The rest is with a pager (core/pager.hpp). It knows neither groups nor layers, only where bytes lie.
#include <algorithm>
#include <cstddef>
#include <span>

#include <skald/core/error.hpp>
#include <skald/core/executor.hpp>
#include <skald/core/pager.hpp>

namespace skald::kv {

/// Who pages a cold tier, and how many bytes of it may be in memory: those of one layer at least, better of two. They count a layer's pages
/// that are mapped and those that are fetched for the next, not what the system caches of its own accord.
struct cold_paging {
    pager* by = nullptr;  ///< which outlives the cache; it gave out the memory of the tier; null: nobody, all may be in memory
    std::size_t resident = 0;
};

namespace detail {

/// Throws errc::invalid_argument where the tier has no memory of its own or a layer's bytes have no room.
inline void check_paging(const cold_paging& how, bool own_memory, std::size_t layer_bytes) {
    if (how.by == nullptr) return;
    if (!own_memory) fail(errc::invalid_argument, "kv cache", "a cold tier is paged that has no memory of its own; set .cold, too");
    const std::size_t slack = how.by->slack();
    if (how.resident < slack || how.resident - slack < layer_bytes)
        fail(errc::invalid_argument, "kv cache", "a layer of the cold tier takes ", layer_bytes, " bytes and up to ", slack,
             " around them, and ", how.resident, " may be in memory; raise .paging.resident or lower .tokens");
}

/// Lets the threads of `pool`, or the calling one where it is null, fetch the first `room` bytes of what each(f) gives to f, a span each.
template <class Each>
void fetch(pager& by, executor* pool, std::size_t room, const Each& each) {
    constexpr std::size_t piece = std::size_t{1} << 20;
    const std::size_t threads = pool == nullptr ? 1 : pool->concurrency();
    const auto share = [&](std::size_t thread) {
        std::size_t left = room, count = 0;
        each([&](std::span<const std::byte> some) {
            some = some.first(std::min(some.size(), left));
            left -= some.size();
            for (; !some.empty(); some = some.subspan(std::min(some.size(), piece)))
                if (count++ % threads == thread) by.will_need(some.first(std::min(some.size(), piece)));
        });
    };
    if (threads == 1)
        share(0);
    else
        pool->run(threads, share);
}

}  // namespace detail

}  // namespace skald::kv
