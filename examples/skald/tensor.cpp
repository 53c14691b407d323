// SPDX-License-Identifier: MIT
// tensor: one tensor of any GGUF or safetensors file as 32-bit floats.
#include <string>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/safetensors.hpp>

#include "commands.hpp"
#include "npy.hpp"

namespace cli {

namespace {

struct stored_tensor {
    skald::weight_view values;
    std::vector<std::size_t> shape;  // the slowest varying extent first
};

stored_tensor find(const skald::io::gguf_file& file, const std::string& name) {
    const skald::io::tensor_entry* t = file.find(name);
    if (t == nullptr) return {};
    return {{.name = t->name, .type = t->type, .rows = t->rows(), .cols = t->cols(), .data = file.bytes(*t).data()},
            {t->shape.rbegin(), t->shape.rend()}};
}

stored_tensor find(const skald::io::safetensors_file& file, const std::string& name) {
    const skald::io::safetensors_tensor* t = file.find(name);
    if (t == nullptr) return {};
    if (!t->type->type)
        skald::fail(skald::errc::unsupported, file.name(), "tensor '", t->name, "' is of the type ", t->type->name,
                    ", which has no decoder here");
    const std::size_t cols = t->shape.empty() ? 1 : t->shape.back();
    const std::size_t rows = cols == 0 ? 0 : t->bytes / skald::row_bytes(*t->type->type, cols);
    return {{.name = t->name, .type = *t->type->type, .rows = rows, .cols = cols, .data = file.bytes(*t).data()},
            {t->shape.begin(), t->shape.end()}};
}

void write_tensor(const auto& file, const tensor_command& c) {
    const auto [w, shape] = find(file, c.name);
    if (w.name.empty())
        skald::fail(skald::errc::invalid_argument, file.name(), "has no tensor '", c.name, "'; 'skald inspect' lists those it has");
    std::vector<float> row(w.cols);
    // Refuses a format without a decoder before the file is made.
    const auto decode = skald::format::decoder<skald::format::scalar>(skald::format::all{}, w.type, w.name);

    npy_writer out(c.out, shape);
    for (std::size_t r = 0; r < w.rows; ++r) {
        decode(w.row(r), w.cols / skald::info(w.type).block_size, row.data());
        out.write(r * w.cols, row);
    }
    out.finish();
}

}  // namespace

void tensor(const tensor_command& c) {
    if (skald::io::hf_folder::accepts(c.path))
        write_tensor(skald::io::hf_folder::open(c.path).weights(), c);
    else
        write_tensor(skald::io::gguf_file::open(c.path), c);
}

}  // namespace cli
