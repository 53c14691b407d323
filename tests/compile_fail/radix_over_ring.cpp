// expect: skald: a storage cannot hold another storage; name one, with a codec
// SPDX-License-Identifier: MIT
// Prefixes are shared in blocks, which a ring has none of.

#include <skald/kv/radix.hpp>
#include <skald/kv/ring.hpp>

namespace kv = skald::kv;

kv::radix<kv::ring<kv::f16>> wrong{};
