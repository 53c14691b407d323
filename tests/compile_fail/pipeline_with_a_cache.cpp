// expect: skald: this takes the policy that makes a cache, as kv::paged<>{{.tokens = 4096}}, not a cache made by it
// SPDX-License-Identifier: MIT

#include <skald/backend/cpu/cpu.hpp>
#include <skald/pipeline/pipeline.hpp>

void wrong(skald::model<skald::cpu<>> m, const skald::kv::paged_cache<skald::kv::f16>& cache) { skald::pipeline p{m, cache}; }
