// SPDX-License-Identifier: MIT
#include "kv_model/naive_any.hpp"

namespace skald::kv {

template any<reference::naive>::cache any<reference::naive>::make(const cache_shape&, std::pmr::memory_resource*) const;

}  // namespace skald::kv
