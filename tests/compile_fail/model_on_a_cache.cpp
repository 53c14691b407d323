// expect: skald: a model runs on a backend, as load_model<cpu<>>(path)
// SPDX-License-Identifier: MIT

#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>

void wrong() { (void)skald::load_model<skald::kv::paged<>>("model.gguf"); }
