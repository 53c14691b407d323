// SPDX-License-Identifier: MIT
#pragma once
// Run-time caches of the naive backend, which are compiled once for all tests.
#include <memory_resource>

#include <skald/kv/any.hpp>

#include "reference/naive.hpp"

namespace skald::kv {

extern template any<reference::naive>::cache any<reference::naive>::make(const cache_shape&, std::pmr::memory_resource*) const;

}  // namespace skald::kv
