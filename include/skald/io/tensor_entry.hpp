// SPDX-License-Identifier: MIT
#pragma once
// A row of a model file's tensor table, checked: the numbers agree with each other and with the file's size.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <skald/core/dtype.hpp>

namespace skald::io {

/// Where a tensor lies and what it is.
struct tensor_entry {
    std::string name;
    dtype type = dtype::f32;
    std::uint32_t file_type = 0;       ///< the file's own number of the type (a ggml id)
    std::vector<std::uint64_t> shape;  ///< 1 to 4 positive extents, the fastest varying first
    std::uint64_t offset = 0;          ///< of the first byte, counted from the start of its file
    std::uint64_t bytes = 0;
    std::uint32_t shard = 0;  ///< which file of a split model holds it, counted from 0

    /// Values in a row: a whole number of blocks of `type`.
    std::uint64_t cols() const noexcept { return shape[0]; }

    /// Rows, all further dimensions together.
    std::uint64_t rows() const noexcept {
        std::uint64_t n = 1;
        for (std::size_t d = 1; d < shape.size(); ++d) n *= shape[d];
        return n;
    }
};

}  // namespace skald::io
