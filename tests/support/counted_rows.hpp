// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <memory_resource>
#include <span>
#include <utility>

#include <skald/kv/cache.hpp>

namespace skald::test {

/// A policy whose cache counts the rows that are computed: `counted_rows{kv::radix<kv::f32>{{…}}, &rows}`.
template <class Policy>
struct counted_rows : Policy {
    std::size_t* rows = nullptr;

    struct cache : Policy::cache {
        cache(typename Policy::cache made, std::size_t* counter) : Policy::cache(std::move(made)), rows(counter) {}
        std::size_t* rows;
        std::span<const row_range> plan(std::span<const kv::segment> segments) {
            const auto ranges = Policy::cache::plan(segments);
            for (const kv::segment& s : segments) *rows += s.rows;
            return ranges;
        }
    };
    cache make(const kv::cache_shape& shape, std::pmr::memory_resource* memory) const { return {Policy::make(shape, memory), rows}; }
};
template <class Policy>
counted_rows(Policy, std::size_t*) -> counted_rows<Policy>;

}  // namespace skald::test
