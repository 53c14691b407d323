// expect: skald: the rows of a storage are kept by a codec, as kv::f16 or kv::q8
// SPDX-License-Identifier: MIT

#include <skald/kv/ring.hpp>

struct mine {};

skald::kv::ring<mine> wrong{};
