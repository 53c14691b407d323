// SPDX-License-Identifier: MIT
#pragma once
// From a matrix of floats to a weight of any format that can be written, the library's own among them:
//
//     const auto w = skald::format::encode_matrix(skald::dtype::w4z_g64, "ffn_up", {values, {rows, cols}});
//     const skald::cpu<> backend;
//     const auto matrix = backend.pack(w.view());  // for backend.matmul()
#include <cstddef>
#include <memory_resource>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/tensor_view.hpp>
#include <skald/format/encode.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::format {

/// The library's own formats and those of files that have an encoder.
using all_written = decltype(written{} + own_weights{});

/// A matrix in file layout that owns its bytes. Move-only.
class encoded_matrix {
public:
    encoded_matrix(dtype type, std::size_t rows, std::size_t cols, std::pmr::memory_resource* memory)
        : bytes_(rows * row_bytes(type, cols), memory), type_(type), rows_(rows), cols_(cols) {}

    std::byte* row(std::size_t r) const noexcept { return bytes_.data() + r * row_bytes(type_, cols_); }
    /// Valid while this lives and is not moved from. `name` is for messages of those who use it, and must live as long.
    weight_view view(std::string_view name = "matrix") const noexcept { return {name, type_, rows_, cols_, bytes_.data()}; }

private:
    buffer<> bytes_;
    dtype type_;
    std::size_t rows_, cols_;
};

/// Encodes each row, to the nearest codes by the format's own rule (encode.hpp). Throws errc::unsupported for a format that cannot be
/// written, errc::invalid_argument for rows that are not whole blocks, naming `place`. // w: (rows, cols)
template <float_vector V = scalar, class Formats = all_written>
encoded_matrix encode_matrix(dtype type, std::string_view place, matrix_view<const float> w,
                             std::pmr::memory_resource* memory = std::pmr::get_default_resource(), Formats formats = {}) {
    const auto encode = encoder_of<V>(formats, type, place);
    const std::size_t rows = w.extent(0), cols = w.extent(1);
    if (cols % info(type).block_size != 0)
        fail(errc::invalid_argument, place, "rows of ", cols, " values for blocks of ", info(type).block_size, " (", to_string(type), ")");
    encoded_matrix out(type, rows, cols, memory);
    for (std::size_t r = 0; r < rows; ++r) encode(w.row(r).data(), cols, nullptr, out.row(r));
    return out;
}

}  // namespace skald::format
