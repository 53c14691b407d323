// SPDX-License-Identifier: MIT
#pragma once
// The canonical order of attention, as numbers and rules every kernel keeps, so that prompt rows, decode rows, chunks, paged
// blocks and restored caches agree bitwise within a backend:
//
// - keys in ascending logical position, in tiles of `tile_size` absolute positions;
// - a score is q · k summed in one fixed lane order over head_dim, scaled through q;
// - per tile: one maximum over the row's visible positions; then the state is rescaled once, the weights exp(s - m) are summed
//   in a fixed lane order, and acc gains weight · value position after position;
// - a row's invisible positions contribute nothing: what a row does in a tile depends on its own position only;
// - the state restarts every `restart_size` positions; the segments' states merge from left to right.
//
// The fold is the online softmax of Milakov & Gimelshein (2018), as used by FlashAttention (Dao et al. 2022).
#include <cstddef>

namespace skald::attention {

inline constexpr std::size_t tile_size = 64;
inline constexpr std::size_t restart_size = 1024;
static_assert(restart_size % tile_size == 0);

}  // namespace skald::attention
