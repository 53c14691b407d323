// SPDX-License-Identifier: MIT
#pragma once
// From a GGUF file to a model_source: reads the hyperparameters under the architecture's keys and finds every tensor of its
// table. Keys are those of the GGUF specification (ggml, docs/gguf.md).
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/config.hpp>
#include <skald/model/source.hpp>

namespace skald {

namespace detail {

/// The hyperparameters of one architecture: keys without their prefix.
class gguf_keys {
public:
    gguf_keys(const io::metadata& meta, std::string_view architecture) : meta_(meta), prefix_(concat(architecture, ".")) {}

    template <class T>
    T require(std::string_view key) const {
        return meta_.require<T>(prefix_ + std::string(key));
    }
    template <class T>
    std::optional<T> get(std::string_view key) const {
        return meta_.get<T>(prefix_ + std::string(key));
    }

private:
    const io::metadata& meta_;
    std::string prefix_;
};

/// Rows and columns of a GGUF tensor: its first dimension runs along a row, vectors have one row.
inline tensor_shape matrix_shape(const io::tensor_entry& t, std::string_view file) {
    for (std::size_t d = 2; d < t.shape.size(); ++d)
        if (t.shape[d] != 1)
            fail(errc::bad_file, file, "tensor '", t.name, "' has ", t.shape.size(), " dimensions; a matrix or a vector is expected");
    return {static_cast<std::size_t>(t.shape.size() > 1 ? t.shape[1] : 1), static_cast<std::size_t>(t.shape[0])};
}

inline rope_config gguf_rope(const gguf_keys& keys, std::size_t head_dim, std::string_view file) {
    rope_config rope;
    rope.dims = keys.get<std::size_t>("rope.dimension_count").value_or(head_dim);
    rope.base = keys.get<double>("rope.freq_base").value_or(10000.0);
    const auto legacy = keys.get<double>("rope.scale_linear");
    const std::string kind =
        keys.get<std::string>("rope.scaling.type").value_or(legacy || keys.get<double>("rope.scaling.factor") ? "linear" : "none");
    rope.factor = keys.get<double>("rope.scaling.factor").value_or(legacy.value_or(1.0));
    if (kind == "linear") {
        rope.scaling = rope_scaling::linear;
    } else if (kind != "none") {
        fail(errc::unsupported, file, "the rope scaling '", kind,
             "' is not known to this version; it knows none, linear and llama3 (as rope_freqs)");
    }
    return rope;
}

/// Refuses what changes the graph and is not in it: experts, and windows narrower than the context.
inline void refuse_unknown_parts(const gguf_keys& keys, std::size_t context, std::string_view file) {
    if (const auto experts = keys.get<std::int64_t>("expert_count"); experts && *experts != 0) {
        const std::int64_t used = keys.get<std::int64_t>("expert_used_count").value_or(0);
        if (*experts < 0 || used <= 0 || used > *experts)
            fail(errc::bad_file, file, "the model has ", *experts, " experts and uses ", used, "; it must use from 1 to all of them");
        fail(errc::unsupported, file, "the model is a mixture of ", *experts, " experts, which this version cannot compute");
    }
    if (const auto window = keys.get<std::int64_t>("attention.sliding_window")) {
        if (*window <= 0) fail(errc::bad_file, file, "the attention window is ", *window, " tokens; it must be positive");
        if (static_cast<std::uint64_t>(*window) < context)
            fail(errc::unsupported, file, "the model attends through a window of ", *window, " tokens, which this version cannot compute");
    }
}

inline model_config gguf_config(const io::gguf_file& file, const architecture& arch) {
    const gguf_keys keys(file.meta(), arch.name);
    model_config c;
    c.architecture = std::string(arch.name);
    c.name = file.meta().get<std::string>("general.name").value_or("");
    c.layers = keys.require<std::size_t>("block_count");
    c.hidden = keys.require<std::size_t>("embedding_length");
    c.feed_forward = keys.require<std::size_t>("feed_forward_length");
    c.heads = keys.require<std::size_t>("attention.head_count");
    c.kv_heads = keys.get<std::size_t>("attention.head_count_kv").value_or(c.heads);
    c.context = keys.require<std::size_t>("context_length");
    c.norm_eps = keys.require<float>(arch.norm == norm_kind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon");

    const auto key_length = keys.get<std::size_t>("attention.key_length");
    if (!key_length && (c.heads == 0 || c.hidden % c.heads != 0))
        fail(errc::bad_file, file.name(), "the embedding length ", c.hidden, " is no multiple of the number of attention heads, ", c.heads);
    c.head_dim = key_length ? *key_length : c.hidden / c.heads;
    const io::tensor_entry* embedding = file.find(arch.rule(tensor_role::token_embedding)->name);
    if (embedding == nullptr) fail(errc::bad_file, file.name(), "tensor '", arch.rule(tensor_role::token_embedding)->name, "' is missing");
    c.vocabulary = matrix_shape(*embedding, file.name()).rows;
    if (const auto told = keys.get<std::size_t>("vocab_size"); told && *told != c.vocabulary)
        fail(errc::bad_file, file.name(), "key '", arch.name, ".vocab_size' is ", *told, "; tensor '", embedding->name, "' has ",
             c.vocabulary, " rows");
    if (const io::metadata_array* tokens = file.meta().array("tokenizer.ggml.tokens"); tokens != nullptr && tokens->size() != c.vocabulary)
        fail(errc::bad_file, file.name(), "the vocabulary has ", tokens->size(), " tokens; tensor '", embedding->name, "' has ",
             c.vocabulary, " rows");

    if (!arch.learned_positions) c.rope = gguf_rope(keys, c.head_dim, file.name());
    if (c.layers > file.tensors().size())
        fail(errc::bad_file, file.name(), "key '", arch.name, ".block_count' is ", c.layers, "; the file has ", file.tensors().size(),
             " tensors in all");
    validate(c, file.name());
    refuse_unknown_parts(keys, c.context, file.name());
    const std::size_t value_length = keys.get<std::size_t>("attention.value_length").value_or(c.head_dim);
    if (value_length != c.head_dim)
        fail(errc::unsupported, file.name(), "values of ", value_length, " and keys of ", c.head_dim,
             " a head; this version needs them equal");
    return c;
}

/// The rule and layer a tensor's name stands for.
struct tensor_place {
    const tensor_rule* rule = nullptr;
    std::size_t layer = 0;
};

inline tensor_place find_place(const architecture& arch, std::string_view name) {
    for (const tensor_rule& rule : arch.tensors) {
        const std::size_t hole = rule.name.find('#');
        if (hole == std::string_view::npos) {
            if (rule.name == name) return {&rule, 0};
            continue;
        }
        const std::string_view before = rule.name.substr(0, hole), after = rule.name.substr(hole + 1);
        if (!name.starts_with(before) || !name.ends_with(after) || name.size() <= before.size() + after.size()) continue;
        const std::string_view digits = name.substr(before.size(), name.size() - before.size() - after.size());
        tensor_place place{&rule, 0};
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), place.layer);
        const bool canonical = digits.size() == 1 || digits.front() != '0';
        if (status == std::errc{} && end == digits.data() + digits.size() && canonical) return place;
    }
    return {};
}

}  // namespace detail

/// Reads config and tensor table. Throws errc::unsupported for an architecture or tensor format this version does not know, errc::bad_file,
/// naming the key or tensor, where the file contradicts itself. Reads no weights. The file must outlive the source.
inline model_source read_source(const io::gguf_file& file) {
    const auto name = file.meta().require<std::string_view>("general.architecture");
    const architecture* arch = architectures::find(name);
    if (arch == nullptr) {
        std::string known;
        for (const architecture* a : architectures::all) known += concat(known.empty() ? "" : ", ", a->name);
        fail(errc::unsupported, file.name(), "the architecture '", name, "' is not known to this version; it knows ", known);
    }

    model_source source(*arch, detail::gguf_config(file, *arch), file.name(),
                        [&file](std::string_view tensor) { return file.bytes(file.require(tensor)).data(); });
    for (const io::tensor_entry& t : file.tensors()) {
        const auto [rule, layer] = detail::find_place(*arch, t.name);
        if (rule == nullptr) fail(errc::bad_file, file.name(), "tensor '", t.name, "' is not part of the architecture '", name, "'");
        if (is_layer_role(rule->role) && layer >= source.config().layers)
            fail(errc::bad_file, file.name(), "tensor '", t.name, "' belongs to layer ", layer, "; the config says ",
                 source.config().layers, " layers");
        const tensor_shape shape = detail::matrix_shape(t, file.name());
        source.put(rule->role, layer, {.name = t.name, .type = t.type, .rows = shape.rows, .cols = shape.cols});
    }
    for (const tensor_rule& rule : arch->tensors)
        for (std::size_t i = 0; rule.required && i < (is_layer_role(rule.role) ? source.config().layers : 1); ++i)
            if (!source.has(rule.role, i)) fail(errc::bad_file, file.name(), "tensor '", tensor_name(rule, i), "' is missing");
    return source;
}

}  // namespace skald
