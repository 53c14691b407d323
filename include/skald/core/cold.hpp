// SPDX-License-Identifier: MIT
#pragma once
// Code that runs once a message and is long: between SKALD_COLD_BEGIN and SKALD_COLD_END GCC optimizes at -O1 where the file is compiled
// at more. The words stand around a header's namespace, after its includes; nothing that runs once a token belongs between them. Other
// compilers have no such word for a stretch of a file and compile it as they do the rest.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__) && defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__)
#define SKALD_COLD_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"O1\")")
#define SKALD_COLD_END _Pragma("GCC pop_options")
#else
#define SKALD_COLD_BEGIN
#define SKALD_COLD_END
#endif
