// SPDX-License-Identifier: MIT
// The part of skald/separate.hpp that tests of kernels need, for programs that are compiled for one instruction set each.
#define SKALD_SEPARATE_UNIT

#include <skald/backend/cpu/cpu.hpp>
