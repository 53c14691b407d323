// expect: skald: a cache is chosen by a policy, as kv::paged<>{{.tokens = 4096}}
// SPDX-License-Identifier: MIT
// The sampler stands third.

#include <skald/backend/cpu/cpu.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/temperature.hpp>

void wrong(skald::model<skald::cpu<>> m) { skald::pipeline p{m, skald::sampling::chain{skald::sampling::temperature{0.8f}}}; }
