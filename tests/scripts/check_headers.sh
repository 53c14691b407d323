#!/bin/sh
# Compiles every header alone, by clang (CXX names another one), as many at once as there are processors.
cd "$(dirname "$0")/../../include" || exit
find skald -name '*.hpp' | sort | xargs -P "$(nproc)" -n 1 "${CXX:-clang++-19}" -std=c++20 -fsyntax-only -march=x86-64-v3 -DSKALD_SEPARATE \
    -Wall -Wextra -Wpedantic -Werror -I. -isystem /usr/include/eigen3 -x c++ /dev/null -include
