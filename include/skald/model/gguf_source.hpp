// SPDX-License-Identifier: MIT
#pragma once
// From a GGUF file to a model_source: reads the hyperparameters and finds every tensor of the architecture's table.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/architectures.hpp>
#include <skald/model/gguf_config.hpp>
#include <skald/model/source.hpp>
#include <skald/model/tensor_table.hpp>

namespace skald {

namespace detail {

class gguf_tensors final : public tensor_reader {
public:
    explicit gguf_tensors(const io::gguf_file& file) noexcept : file_(file) {}
    const std::byte* read(std::string_view name) override { return file_.bytes(file_.require(name)).data(); }
    void copy(std::string_view name, std::size_t first, std::span<std::byte> out) const override {
        file_.read(file_.require(name), out, first);
    }
    std::uint64_t stamp() const override { return file_.stamp(); }
    void release(std::string_view name, std::size_t first, std::size_t count) const override {
        file_.release(file_.require(name), first, count);
    }

private:
    const io::gguf_file& file_;
};

}  // namespace detail

/// Reads config and tensor table. Throws errc::unsupported for an architecture or tensor format this version does not know, errc::bad_file,
/// naming the key or tensor, where the file contradicts itself. Reads no weights but rope factors. The file must outlive the source.
inline model_source read_source(const io::gguf_file& file) {
    const architecture& arch = architectures::require(file.meta().require<std::string_view>("general.architecture"), file.name());
    model_source source(arch, detail::gguf_config(file, arch), file.name(), std::make_shared<detail::gguf_tensors>(file));
    for (const io::tensor_entry& t : file.tensors()) {
        const auto [rule, layer, expert] = detail::find_place(arch.tensors, t.name, source);
        if (rule == nullptr) fail(errc::bad_file, file.name(), "tensor '", t.name, "' is not part of the architecture '", arch.name, "'");
        const tensor_shape shape =
            detail::matrix_shape(t, file.name(), is_expert_role(rule->role) && !expert ? source.config().experts.count : 1);
        source.put(rule->role, layer, {.name = t.name, .type = t.type, .rows = shape.rows, .cols = shape.cols}, expert);
    }
    detail::require_tensors(source, arch.tensors);
    return source;
}

}  // namespace skald
