// expect: skald: a storage cannot hold another storage; name one, with a codec
// SPDX-License-Identifier: MIT

#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>

namespace kv = skald::kv;

kv::paged<kv::contiguous<kv::f16>> wrong{};
