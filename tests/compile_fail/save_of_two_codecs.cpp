// expect: skald: a cache that keeps rows in several codecs cannot be saved
// SPDX-License-Identifier: MIT

#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/state.hpp>

namespace kv = skald::kv;

struct two : kv::paged_cache<kv::f16> {
    std::tuple<kv::paged_run<kv::f16>, kv::paged_run<kv::f32>> view(std::size_t) const;
};

void wrong(two& cache, kv::sequence_id s) { kv::save(cache, s, {}, kv::state_sink()); }
