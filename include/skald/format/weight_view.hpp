// SPDX-License-Identifier: MIT
#pragma once
// A matrix of a model as it lies in a file: rows of blocks of a run-time dtype. What a backend makes of it (packing) is the
// backend's business.
#include <cstddef>
#include <string_view>

#include <skald/core/dtype.hpp>

namespace skald {

/// A row-major matrix in file layout that somebody else owns. Loaders check that `cols` is a whole number of blocks.
struct weight_view {
    std::string_view name;  ///< the tensor's name, for messages
    dtype type = dtype::f32;
    std::size_t rows = 0;             ///< output features; 1 for a vector
    std::size_t cols = 0;             ///< input features
    const std::byte* data = nullptr;  ///< (rows, row_bytes(type, cols)), of any alignment

    std::size_t bytes() const noexcept { return rows * row_bytes(type, cols); }
    const std::byte* row(std::size_t r) const noexcept { return data + r * row_bytes(type, cols); }
};

}  // namespace skald
