// SPDX-License-Identifier: MIT
// tensor: one tensor of any GGUF file as 32-bit floats.
#include <vector>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/gguf.hpp>

#include "commands.hpp"
#include "npy.hpp"

namespace cli {

void tensor(const tensor_command& c) {
    const auto file = skald::io::gguf_file::open(c.path);
    const skald::io::tensor_entry* t = file.find(c.name);
    if (t == nullptr)
        skald::fail(skald::errc::invalid_argument, file.name(), "has no tensor '", c.name, "'; 'skald inspect' lists those it has");
    const skald::weight_view w{.name = t->name, .type = t->type, .rows = t->rows(), .cols = t->cols(), .data = file.bytes(*t).data()};
    std::vector<float> row(w.cols);
    // Refuses a format without a decoder before the file is made.
    const auto decode = skald::format::decoder<skald::format::scalar>(skald::format::all{}, w.type, w.name);

    npy_writer out(c.out, std::vector<std::size_t>(t->shape.rbegin(), t->shape.rend()));
    for (std::size_t r = 0; r < w.rows; ++r) {
        decode(w.row(r), w.cols / skald::info(w.type).block_size, row.data());
        out.write(r * w.cols, row);
    }
    out.finish();
}

}  // namespace cli
