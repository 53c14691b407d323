// expect: compile without -ffast-math
// SPDX-License-Identifier: MIT
// -ffast-math defines this macro; the CPU backend refuses it.

#define __FAST_MATH__ 1
#include <skald/backend/cpu/isa.hpp>
