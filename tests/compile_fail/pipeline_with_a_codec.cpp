// expect: skald: a codec alone is no cache; name a storage with it, as kv::paged<kv::q8>
// SPDX-License-Identifier: MIT

#include <skald/backend/cpu/cpu.hpp>
#include <skald/pipeline/pipeline.hpp>

void wrong(skald::model<skald::cpu<>> m) { skald::pipeline p{m, skald::kv::f16{}}; }
