// SPDX-License-Identifier: MIT
#pragma once
// A cache with a sequence of its own, which watches that failures on the way into it leave everything as it was.
#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>

#include <skald/core/memory.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/state.hpp>

#include "kv/streams.hpp"

namespace skald::test {

struct watched_cache {
    static constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 1, .head_dim = 4};

    counting_resource memory;
    kv::paged_cache<kv::f16> cache = kv::paged<kv::f16>{{.tokens = 24, .sequences = 3, .block = 4}}.make(shape, &memory);
    kv::sequence_id other = cache.open();
    bytes before;
    std::size_t held = 0, free = 0;

    watched_cache() {
        const std::array six{kv::segment{other, 0, 6}};
        cache.plan(six);
        unsigned next = 9;
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            for (position p = 0; p < 6; ++p) {
                const auto run = std::get<0>(cache.view(layer));
                for (std::byte* row : {run.key(0, 0, p), run.value(0, 0, p)})
                    for (std::size_t b = 0; b < run.row_bytes(); ++b)
                        row[b] = static_cast<std::byte>((next = next * 1103515245u + 12345u) >> 16);
            }
        cache.commit(other);
        before = kept();
        held = memory.bytes();
        free = cache.free_blocks();
    }

    bytes kept() {
        bytes out;
        kv::save(cache, other, some_tokens(6), into(out));
        return out;
    }
    /// And the sequences that were opened besides `opened` of them are closed.
    bool as_it_was(std::uint32_t opened = 1) {
        const kv::sequence_id next = cache.open();
        const bool same = next.index == other.index + opened && cache.length(next) == 0;
        cache.close(next);
        return same && kept() == before && memory.bytes() == held && cache.free_blocks() == free;
    }
};

}  // namespace skald::test
