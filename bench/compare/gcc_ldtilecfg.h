/* SPDX-License-Identifier: MIT
 * Forced into the build of llama.cpp (compiler option -include) by compare.py. GCC before 12.4 and 13.3 tells its optimizer that
 * _tile_loadconfig reads 8 bytes of the 64 (GCC bug 114098), drops the stores to the rest, and llama.cpp's AMX kernels then die of a
 * general protection fault. Nothing changes for other compilers and for processors without AMX. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__)
#if __GNUC__ < 12 || (__GNUC__ == 12 && __GNUC_MINOR__ < 4) || (__GNUC__ == 13 && __GNUC_MINOR__ < 3)
#include <immintrin.h>
#undef _tile_loadconfig
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\t%0" ::"m"(*(const char(*)[64])(config)))
#endif
#endif
