// SPDX-License-Identifier: MIT
#pragma once
// kv::any on the CPU: with SKALD_SEPARATE (core/once.hpp) its caches and their kernels, a minute's work for a compiler, are compiled once a
// program.
#include <memory_resource>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/once.hpp>
#include <skald/kv/any.hpp>

namespace skald::kv {

SKALD_ONCE(any<cpu<>>::cache any<cpu<>>::make(const cache_shape&, std::pmr::memory_resource*) const)

}  // namespace skald::kv
