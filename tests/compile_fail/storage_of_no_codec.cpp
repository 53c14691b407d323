// expect: skald: the rows of a storage are kept by a codec, as kv::f16 or kv::q8
// SPDX-License-Identifier: MIT

#include <skald/kv/contiguous.hpp>

skald::kv::contiguous<float> wrong{{.tokens = 16}};
