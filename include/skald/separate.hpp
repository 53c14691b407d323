// SPDX-License-Identifier: MIT
#pragma once
// The one source file that holds what other files of a program leave out when SKALD_SEPARATE is defined for all of them (core/once.hpp).
// Include it there before any other header of skald:
//
//     #include <skald/separate.hpp>
//
// The file must be compiled for the same processor (-march) as the others: kernels are among what it holds. Two files that define
// SKALD_SEPARATE_PART as 1 and as 2 before they include it have a half each, for two compilers at once.
#if defined(SKALD_SEPARATE_PART) && SKALD_SEPARATE_PART == 2
#undef SKALD_SEPARATE
#define SKALD_SEPARATE
#define SKALD_ONCE_OF_ANY(...) template __VA_ARGS__;
#else
#define SKALD_SEPARATE_UNIT
#if defined(SKALD_SEPARATE_PART)
#define SKALD_ONCE_OF_ANY(...) extern template __VA_ARGS__;
#endif
#endif

#include <skald/backend/cpu/cpu.hpp>
#include <skald/io/packed_file.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/model/load.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/tokenizer.hpp>
