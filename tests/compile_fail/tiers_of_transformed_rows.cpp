// expect: skald: kv::hadamard goes with storage all of whose rows one codec keeps: contiguous, paged, radix, ring and window
// SPDX-License-Identifier: MIT

#include <skald/kv/hadamard.hpp>
#include <skald/kv/tiered.hpp>

namespace kv = skald::kv;
kv::tiered<kv::hadamard<kv::q4>> wrong{{.tokens = 100}};
