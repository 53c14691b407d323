// SPDX-License-Identifier: MIT
#pragma once
// What tests of radix storage share: texts whose tokens count up, and rows that follow from all tokens up to theirs.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include <skald/kv/radix.hpp>

#include "kv/policies.hpp"

namespace skald::test::radix {

using tokens = std::vector<token_id>;
using cache_type = kv::radix_cache<kv::f32>;

inline constexpr std::size_t block = 4;

inline cache_type make(std::size_t blocks, std::size_t sequences) {
    return kv::radix<kv::f32>{{.tokens = blocks * block, .sequences = sequences, .block = block}}.make(small_shape,
                                                                                                       std::pmr::new_delete_resource());
}

/// `n` tokens counted up from `first`.
inline tokens text(token_id first, std::size_t n) {
    tokens out(n);
    for (std::size_t i = 0; i < n; ++i) out[i] = first + static_cast<token_id>(i);
    return out;
}
inline tokens operator+(tokens a, const tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

/// What a model writes at each position depends on all tokens up to it: a hash of them, which write_rows takes as a writer.
inline std::vector<std::uint32_t> writers_of(const tokens& t) {
    std::vector<std::uint32_t> out;
    std::uint32_t h = 17;
    for (const token_id id : t) out.push_back((h = h * 31 + static_cast<std::uint32_t>(id)) % 251);
    return out;
}

/// Reads the tokens of `t` that follow those in the sequence one row a step, as a model would, and checks what the sequence then reads.
inline void read(cache_type& cache, kv::sequence_id s, const tokens& t) {
    const std::vector<std::uint32_t> writers = writers_of(t);
    for (auto at = static_cast<std::size_t>(cache.length(s)); at < t.size(); ++at) {
        const std::array one{kv::segment{s, 0, 1}};
        write_rows(cache, cache.plan(one), {writers[at]});
        cache.commit(s);
    }
}

/// True when the sequence's committed tokens have the rows of `t`.
inline bool has_rows_of(cache_type& cache, kv::sequence_id s, const tokens& t) {
    cache.select(s);
    return static_cast<std::size_t>(cache.length(s)) == t.size() && holds(cache, 0, writers_of(t));
}

/// Reads a text with a sequence of its own and leaves it to the tree.
inline void leave(cache_type& cache, const tokens& t) {
    const kv::opened_sequence o = cache.open_with(t);
    read(cache, o.sequence, t);
    cache.remember(o.sequence, t);
    cache.close(o.sequence);
}

}  // namespace skald::test::radix
