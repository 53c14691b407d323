// SPDX-License-Identifier: MIT
#include "npy.hpp"

#include <bit>

#include <skald/core/error.hpp>

namespace cli {

static_assert(std::endian::native == std::endian::little, "the header says little endian");

namespace {

std::string npy_header(std::span<const std::size_t> shape) {
    std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (std::size_t i = 0; i < shape.size(); ++i) dictionary += skald::concat(i == 0 ? "" : " ", shape[i], ",");
    if (shape.size() > 1) dictionary.pop_back();  // (2, 3), but (2,)
    dictionary += "), }";
    while ((10 + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
    dictionary += '\n';
    std::string header("\x93NUMPY\x01\x00", 8);
    header += static_cast<char>(dictionary.size() & 0xFF);
    header += static_cast<char>(dictionary.size() >> 8);
    return header + dictionary;
}

}  // namespace

npy_writer::npy_writer(const std::string& path, std::span<const std::size_t> shape) : file_(path) {
    const std::string header = npy_header(shape);
    data_start_ = header.size();
    file_.write(header);
}

void npy_writer::write(std::size_t index, std::span<const float> values) {
    file_.seek(data_start_ + index * sizeof(float));
    file_.write(std::as_bytes(values));
}

}  // namespace cli
