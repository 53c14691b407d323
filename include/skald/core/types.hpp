// SPDX-License-Identifier: MIT
#pragma once
// The vocabulary types that every layer shares.
#include <cstdint>

namespace skald {

using token_id = std::int32_t;  ///< index into a vocabulary
using position = std::int32_t;  ///< place of a token in its sequence, counted from 0

}  // namespace skald
