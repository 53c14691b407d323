// SPDX-License-Identifier: MIT
#pragma once
// The one source file that holds what other files of a program leave out when SKALD_SEPARATE is defined for all of them (core/once.hpp).
// Include it there before any other header of skald:
//
//     #include <skald/separate.hpp>
//
// The file must be compiled for the same processor (-march) as the others: kernels are among what it holds.
#define SKALD_SEPARATE_UNIT

#include <skald/backend/cpu/cpu.hpp>
#include <skald/io/packed_file.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/model/load.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/tokenizer.hpp>
