// SPDX-License-Identifier: MIT
#pragma once
// kv::any on the CPU: with SKALD_SEPARATE (core/once.hpp) its caches and their kernels, a minute's work for a compiler, are compiled once a
// program.
#include <cstddef>
#include <memory_resource>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/once.hpp>
#include <skald/kv/any.hpp>

#if !defined(SKALD_ONCE_OF_ANY)  // skald/separate.hpp, in two parts
#define SKALD_ONCE_OF_ANY(...) SKALD_ONCE(__VA_ARGS__)
#endif

namespace skald::kv {

SKALD_ONCE_OF_ANY(any<cpu<>>::cache any<cpu<>>::make(const cache_shape&, std::pmr::memory_resource*) const)
SKALD_ONCE_OF_ANY(std::size_t any<cpu<>>::bytes(const cache_shape&) const)
SKALD_ONCE_OF_ANY(std::size_t any<cpu<>>::max_length() const)
SKALD_ONCE_OF_ANY(std::size_t any<cpu<>>::max_step() const)
SKALD_ONCE_OF_ANY(std::string any<cpu<>>::name() const)

}  // namespace skald::kv
