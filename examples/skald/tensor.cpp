// SPDX-License-Identifier: MIT
// tensor: one tensor of any GGUF file as 32-bit floats.
#include <algorithm>
#include <cstring>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/gguf.hpp>

#include "commands.hpp"
#include "npy.hpp"

namespace cli {

namespace {

/// The plain number types that no model computes with, but tables in files have.
template <class T>
void convert(const std::byte* from, std::span<float> to) {
    for (std::size_t i = 0; i < to.size(); ++i) {
        T value;
        std::memcpy(&value, from + i * sizeof(T), sizeof(T));
        to[i] = static_cast<float>(value);
    }
}

void decode(const skald::weight_view& w, std::size_t row, std::span<float> out) {
    switch (w.type) {
        case skald::dtype::f64: return convert<double>(w.row(row), out);
        case skald::dtype::i8: return convert<std::int8_t>(w.row(row), out);
        case skald::dtype::i16: return convert<std::int16_t>(w.row(row), out);
        case skald::dtype::i32: return convert<std::int32_t>(w.row(row), out);
        case skald::dtype::i64: return convert<std::int64_t>(w.row(row), out);
        default: return skald::format::decode_row(w, row, out.data());
    }
}

}  // namespace

void tensor(const tensor_command& c) {
    const auto file = skald::io::gguf_file::open(c.path);
    const skald::io::tensor_entry* t = file.find(c.name);
    if (t == nullptr)
        skald::fail(skald::errc::invalid_argument, file.name(), "has no tensor '", c.name, "'; 'skald inspect' lists those it has");
    const skald::weight_view w{.name = t->name, .type = t->type, .rows = t->rows(), .cols = t->cols(), .data = file.bytes(*t).data()};
    std::vector<float> row(w.cols);
    if (w.rows > 0) decode(w, 0, row);  // refuses a format without a decoder before the file is made

    npy_writer out(c.out, std::vector<std::size_t>(t->shape.rbegin(), t->shape.rend()));
    for (std::size_t r = 0; r < w.rows; ++r) {
        decode(w, r, row);
        out.write(r * w.cols, row);
    }
    out.finish();
}

}  // namespace cli
