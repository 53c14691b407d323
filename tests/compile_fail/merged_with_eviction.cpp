// expect: skald: merging across layers is a storage of its own, and one that drops tokens keeps others in every layer; name a codec
// SPDX-License-Identifier: MIT

#include <skald/kv/evicting.hpp>
#include <skald/kv/eviction_policies.hpp>
#include <skald/kv/merged.hpp>

namespace kv = skald::kv;

kv::merged<kv::evicting<kv::h2o>> wrong{};
