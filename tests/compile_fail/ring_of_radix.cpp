// expect: skald: a storage cannot hold another storage; name one, with a codec
// SPDX-License-Identifier: MIT

#include <skald/kv/radix.hpp>
#include <skald/kv/ring.hpp>

namespace kv = skald::kv;

kv::ring<kv::radix<kv::f16>> wrong{{.window = 64}};
