// expect: skald: latents are kept by storages whose rows all read all they hold: contiguous, paged or radix
// SPDX-License-Identifier: MIT

#include <skald/attention/mla_layer.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/window.hpp>

namespace attention = skald::attention;
using backend = skald::cpu<>;

void run(const backend& b, skald::kv::window<>::cache& cache, const attention::mla_weights<backend>& weights,
         const attention::mla_call<backend>& call, attention::mla_workspace<backend>& workspace) {
    attention::run_layer(b, cache, 0, weights, call, workspace);
}
