// expect: skald: only a cache that shows its rows can be restored: it needs select(sequence) and view(layer)
// SPDX-License-Identifier: MIT

#include <skald/kv/paged.hpp>
#include <skald/kv/state.hpp>

namespace kv = skald::kv;

/// A cache of its own kind, which hides what it holds.
struct closed : private kv::paged_cache<kv::f16> {
    using base = kv::paged_cache<kv::f16>;
    using base::base, base::bytes, base::close, base::commit, base::context, base::fork, base::keeps, base::length, base::mark, base::open,
        base::plan, base::rollback, base::schedule_invariant, base::shape, base::truncate, base::window;
};
static_assert(kv::kv_cache<closed>);

void wrong(closed& cache, kv::sequence_id s) { kv::restore(cache, s, kv::state_source()); }
