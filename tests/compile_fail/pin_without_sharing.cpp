// expect: skald: this pipeline's cache shares no prefixes, so it has none to pin; use kv::radix
// SPDX-License-Identifier: MIT

#include <skald/backend/cpu/cpu.hpp>
#include <skald/pipeline/pipeline.hpp>

void wrong(skald::pipeline<skald::cpu<>, skald::kv::paged<>>& p) { (void)p.pin("a system message"); }
