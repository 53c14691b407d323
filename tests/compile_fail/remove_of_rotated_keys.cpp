// expect: skald: tokens can be removed or shifted where keys are kept before rope only, as by kv::paged<kv::unroped<kv::f16>>
// SPDX-License-Identifier: MIT

#include <skald/kv/paged.hpp>

namespace kv = skald::kv;

void wrong(kv::paged_cache<kv::f16>& cache, kv::sequence_id s) { cache.remove(s, 4, 100); }
