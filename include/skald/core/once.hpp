// SPDX-License-Identifier: MIT
#pragma once
// Compiling what is no template once a program instead of once a source file. The library is header-only; a program that defines
// SKALD_SEPARATE for all its files compiles faster: they see declarations, and one file, which includes skald/separate.hpp, has the
// definitions. A header `name.hpp` with much to define declares it with SKALD_FUNCTION and ends with
//
//     #if SKALD_DEFINES
//     #include <skald/…/name_impl.hpp>
//     #endif
//
// Templates that most programs instantiate alike are named there too, by SKALD_ONCE.

#if defined(SKALD_SEPARATE_UNIT)
/// How a function is declared that has one definition in a program; goes before the declaration and the definition.
#define SKALD_FUNCTION
/// Whether this file is to hold definitions.
#define SKALD_DEFINES 1
/// Around an explicit instantiation: the instantiation itself, a promise that another file has it, or nothing.
#define SKALD_ONCE(...) template __VA_ARGS__;
#elif defined(SKALD_SEPARATE)
#define SKALD_FUNCTION
#define SKALD_DEFINES 0
#define SKALD_ONCE(...) extern template __VA_ARGS__;
#else
#define SKALD_FUNCTION inline
#define SKALD_DEFINES 1
#define SKALD_ONCE(...)
#endif
