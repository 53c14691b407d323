// expect: skald: this storage keeps rotated keys; kv::unroped goes with contiguous, paged and radix storage
// SPDX-License-Identifier: MIT

#include <skald/kv/ring.hpp>
#include <skald/kv/unroped.hpp>

namespace kv = skald::kv;

kv::ring<kv::unroped<kv::f16>> wrong{{.window = 100}};
