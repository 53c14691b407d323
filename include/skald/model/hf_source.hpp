// SPDX-License-Identifier: MIT
#pragma once
// From a Hugging Face folder to a model_source: config.json gives the numbers, the family's table finds every tensor.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/safetensors.hpp>
#include <skald/model/hf_config.hpp>
#include <skald/model/hf_family.hpp>
#include <skald/model/source.hpp>
#include <skald/model/tensor_table.hpp>

namespace skald {

namespace hf::detail {

/// A tensor's name without the module that a model for text, or for more than text, keeps it in.
inline std::string_view without_module(std::string_view name) noexcept {
    for (const std::string_view module : {"model.language_model.", "language_model.model.", "language_model.", "model.", "transformer."})
        if (name.starts_with(module)) return name.substr(module.size());
    return name;
}

/// True for tensors that compute nothing here: tables that old files keep, and the parts that see.
inline bool is_ignored(std::string_view name) noexcept {
    for (const std::string_view end : {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"})
        if (name.ends_with(end)) return true;
    for (const std::string_view part : {"vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."})
        if (name.starts_with(part)) return true;
    return false;
}

constexpr bool is_matrix_of_layer(tensor_role role) noexcept {
    using enum tensor_role;
    return role == qkv || role == attention_output || role == up || role == down;
}

constexpr bool is_gain(tensor_role role) noexcept {
    using enum tensor_role;
    constexpr std::array gains{output_norm, attention_norm, attention_post_norm, feed_forward_norm, feed_forward_post_norm,
                               query_norm,  key_norm};
    return std::find(gains.begin(), gains.end(), role) != gains.end();
}

/// Gives the bytes of tensors as the model computes with them. One whose values differ is converted into a buffer of the host's heap, which
/// holds the last such tensor only.
class weights_reader final : public tensor_reader {
public:
    explicit weights_reader(io::safetensors_file file) : file_(std::move(file)) {}

    const io::safetensors_file& file() const noexcept { return file_; }

    /// Names the tensors that lie transposed, and the gains that lack their one.
    void transpose(std::string_view name) { transposed_.emplace_back(name); }
    void add_one(std::string_view name) { less_one_.emplace_back(name); }
    void sort() {
        std::sort(transposed_.begin(), transposed_.end());
        std::sort(less_one_.begin(), less_one_.end());
    }

    bool converts(std::string_view name) const override { return is_turned(name) || lacks_one(name); }

    void copy(std::string_view name, std::size_t first, std::span<std::byte> out) const override {
        const std::span<const std::byte> from = file_.bytes(*file_.find(name)).subspan(first, out.size());
        std::copy(from.begin(), from.end(), out.begin());
    }
    std::uint64_t stamp() const override { return file_.stamp(); }

    void release(std::string_view name, std::size_t first, std::size_t count) const override {
        const io::safetensors_tensor& t = *file_.find(name);
        if (converts(name))
            file_.release(t, 0, t.bytes);
        else
            file_.release(t, first, count);
    }

    const std::byte* read(std::string_view name) override {
        const io::safetensors_tensor& t = *file_.find(name);
        const std::byte* bytes = file_.bytes(t).data();
        if (!converts(name)) return bytes;
        if (converted_name_ == name) return converted_.data();
        converted_name_ = {};
        const std::size_t size = t.type->bits / 8, count = static_cast<std::size_t>(t.bytes) / size;
        if (is_turned(name))
            fill_transposed(bytes, count / t.shape.back(), t.shape.back(), size);
        else
            fill_with_one(bytes, count, *t.type->type);
        converted_name_ = t.name;
        return converted_.data();
    }

private:
    bool is_turned(std::string_view name) const { return std::binary_search(transposed_.begin(), transposed_.end(), name); }
    bool lacks_one(std::string_view name) const { return std::binary_search(less_one_.begin(), less_one_.end(), name); }

    void fill_transposed(const std::byte* in, std::size_t rows, std::size_t cols, std::size_t size) {
        converted_.resize(rows * cols * size);
        constexpr std::size_t tile = 32;  // rows of a tile stay in the first cache
        for (std::size_t first = 0; first < rows; first += tile)
            for (std::size_t c = 0; c < cols; ++c)
                for (std::size_t r = first; r < std::min(rows, first + tile); ++r)
                    std::memcpy(converted_.data() + (c * rows + r) * size, in + (r * cols + c) * size, size);
    }

    void fill_with_one(const std::byte* in, std::size_t count, dtype type) {
        std::vector<float> values(count);
        format::decode_row({.name = {}, .type = type, .rows = 1, .cols = count, .data = in}, 0, values.data());
        for (float& v : values) v += 1.0f;
        converted_.resize(count * sizeof(float));
        std::memcpy(converted_.data(), values.data(), converted_.size());
    }

    io::safetensors_file file_;
    std::vector<std::string_view> transposed_, less_one_;  // names in file_, sorted
    std::vector<std::byte> converted_;
    std::string_view converted_name_;  // of the tensor in converted_
};

/// Rows and columns of a tensor; `stacked`: matrices on top of each other, as experts are.
inline tensor_shape matrix_shape(const io::safetensors_tensor& t, std::string_view file) {
    if (t.shape.empty() || t.shape.size() > 3 || t.bytes == 0)
        fail(errc::bad_file, file, "tensor ", io::detail::in_quotes(t.name), " has the shape ", io::detail::shape_text(t.shape),
             "; a vector or a matrix is expected");
    std::size_t rows = 1;
    for (std::size_t d = 0; d + 1 < t.shape.size(); ++d) rows *= static_cast<std::size_t>(t.shape[d]);
    return {rows, static_cast<std::size_t>(t.shape.back())};
}

/// Puts a tensor into its place.
inline void put(model_source& source, weights_reader& reader, const hf_family& family, const io::safetensors_tensor& t,
                const skald::detail::tensor_place& place) {
    const tensor_role role = place.rule->role;
    const bool stacked = is_expert_role(role) && !place.expert;
    tensor_shape shape = matrix_shape(t, source.file());
    if (!t.type->type)
        fail(errc::unsupported, source.file(), "tensor '", t.name, "' is of the type ", t.type->name,
             ", which this version cannot compute with");
    if (t.shape.size() == 3 && (!stacked || t.shape[0] != source.config().experts.count))
        fail(errc::bad_file, source.file(), "tensor '", t.name, "' has the shape ", io::detail::shape_text(t.shape),
             ", which does not fit the config");
    weight_view w{.name = t.name, .type = *t.type->type, .rows = shape.rows, .cols = shape.cols};
    if (family.transposed && is_matrix_of_layer(role)) {
        std::swap(w.rows, w.cols);
        reader.transpose(t.name);
    }
    if (family.gain_less_one && is_gain(role)) {
        w.type = dtype::f32;
        reader.add_one(t.name);
    }
    source.put(role, place.layer, w, place.expert);
}

}  // namespace hf::detail

/// Reads config.json and the headers of the weights. Throws errc::unsupported for a model_type, part or element type this version does not
/// know, errc::bad_file, naming the key or tensor, where the files contradict themselves. Reads no weights. The source owns the open files.
inline model_source read_source(const io::hf_folder& folder) {
    if (!folder.has("config.json"))
        fail(errc::io, folder.name(), "is no Hugging Face folder: it has no config.json; pass such a folder, or a GGUF file");
    const hf_config config = read_hf_config(folder.read("config.json", {.bytes = 1u << 20}), folder.name_of("config.json"));
    auto reader = std::make_shared<hf::detail::weights_reader>(folder.weights());
    const io::safetensors_file& file = reader->file();
    if (config.config.layers > file.tensors().size())
        fail(errc::bad_file, folder.name_of("config.json"), "the number of layers is ", config.config.layers, "; the weights have ",
             file.tensors().size(), " tensors in all");
    const hf_family& family = *config.family;
    model_source source(*family.architecture, config.config, file.name(), reader);
    for (const io::safetensors_tensor& t : file.tensors()) {
        if (hf::detail::is_ignored(t.name)) continue;
        const auto place = detail::find_place(family.tensors, hf::detail::without_module(t.name), source);
        if (place.rule == nullptr)
            fail(errc::bad_file, file.name(), "tensor ", io::detail::in_quotes(t.name), " is not part of the model_type '",
                 family.model_type, "'");
        if (config.tied && place.rule->role == tensor_role::output) continue;
        hf::detail::put(source, *reader, family, t, place);
    }
    reader->sort();
    detail::require_tensors(source, family.tensors);
    if (!config.tied && !source.has(tensor_role::output))
        fail(errc::bad_file, file.name(), "tensor 'lm_head.weight' is missing, and config.json does not say tie_word_embeddings");
    return source;
}

}  // namespace skald
