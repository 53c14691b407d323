// SPDX-License-Identifier: MIT
#pragma once
// Writes float32 arrays for numpy: .npy version 1, C order. Rows go to the file as they are computed, in any order; the file
// appears under its name only when it is whole.
#include <cstddef>
#include <span>
#include <string>

#include <skald/io/file_writer.hpp>

namespace cli {

class npy_writer {
public:
    /// Throws skald::error if the file cannot be created.
    npy_writer(const std::string& path, std::span<const std::size_t> shape);

    /// Writes values from the index-th on.
    void write(std::size_t index, std::span<const float> values);

    /// Puts the file in its place; without it nothing is left.
    void finish() { file_.finish(); }

private:
    skald::io::file_writer file_;
    std::size_t data_start_ = 0;
};

}  // namespace cli
