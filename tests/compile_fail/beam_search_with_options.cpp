// expect: skald: a cache is chosen by a policy, as kv::paged<>{{.tokens = 4096}}
// SPDX-License-Identifier: MIT

#include <skald/backend/cpu/cpu.hpp>
#include <skald/pipeline/beam_search.hpp>

void wrong(skald::model<skald::cpu<>> m) { skald::beam_search p{m, skald::kv::paged_options{.tokens = 16}}; }
