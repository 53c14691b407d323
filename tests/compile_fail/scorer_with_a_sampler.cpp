// expect: skald: a cache is chosen by a policy, as kv::paged<>{{.tokens = 4096}}
// SPDX-License-Identifier: MIT

#include <skald/backend/cpu/cpu.hpp>
#include <skald/pipeline/scorer.hpp>
#include <skald/sampling/greedy.hpp>

void wrong(skald::model<skald::cpu<>> m) { skald::scorer p{m, skald::sampling::greedy{}}; }
