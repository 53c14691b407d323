// SPDX-License-Identifier: MIT
#pragma once
// The beginning of a prompt that need not be read: what the sequence holds already, or what the cache knows from earlier ones.
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>

namespace skald::detail {

/// Brings a sequence of committed tokens `cached` to a beginning of the prompt, the longest that the cache has short of its last token;
/// `cached` is then that beginning. A cache that shares remembers the tokens that are given up. The prompt is not empty. Throws
/// std::bad_alloc; `cached` is in any case what the sequence holds.
template <kv::kv_cache Cache>
void keep_known_prefix(Cache& cache, kv::sequence_id& sequence, std::vector<token_id>& cached, std::span<const token_id> prompt) {
    const auto differs = std::mismatch(cached.begin(), cached.end(), prompt.begin(), prompt.end()).first;
    std::size_t kept = std::min(static_cast<std::size_t>(differs - cached.begin()), prompt.size() - 1);
    // What a cache that evicts by what it saw would keep of a shorter text depends on the rest, too.
    const bool any_length = kv::reads_by_position(cache);
    while (kept > 0 && !cache.keeps(sequence, static_cast<position>(kept))) kept = any_length ? kept - 1 : 0;
    cached.reserve(prompt.size());
    if constexpr (kv::prefix_sharing<Cache>) {
        if (kept < cached.size()) cache.remember(sequence, cached);
        if (cache.reusable(prompt) > kept) {
            cache.close(sequence);
            const kv::opened_sequence opened = cache.open_with(prompt);
            sequence = opened.sequence;
            kept = opened.reused;
            cached.assign(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(kept));
        }
    }
    cache.truncate(sequence, static_cast<position>(kept));
    cached.resize(kept);
}

}  // namespace skald::detail
