// expect: skald: only caches that read by position alone can be saved
// SPDX-License-Identifier: MIT

#include <skald/kv/paged.hpp>
#include <skald/kv/state.hpp>

namespace kv = skald::kv;

struct evicting : kv::paged_cache<kv::f16> {
    static constexpr bool schedule_invariant = false;
};

void wrong(evicting& cache, kv::sequence_id s) { kv::save(cache, s, {}, kv::state_sink()); }
