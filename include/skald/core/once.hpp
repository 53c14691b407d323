// SPDX-License-Identifier: MIT
#pragma once
// Compiling the large functions without template parameters once a program instead of once a source file. A program that
// defines SKALD_SEPARATE for all its files includes skald/separate.hpp in exactly one of them; without the macro nothing changes: the
// library is header-only. What is compiled once is text and files (tokenizers, templates, readers), never kernels.

namespace skald {

/// The parameter of functions that are templates for no other reason than that they can be compiled once.
struct once {};

}  // namespace skald

/// Around an explicit instantiation: a promise that another file has it, or the instantiation itself, or nothing.
#if defined(SKALD_SEPARATE_UNIT)
#define SKALD_ONCE(...) template __VA_ARGS__;
#elif defined(SKALD_SEPARATE)
#define SKALD_ONCE(...) extern template __VA_ARGS__;
#else
#define SKALD_ONCE(...)
#endif
