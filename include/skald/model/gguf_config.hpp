// SPDX-License-Identifier: MIT
#pragma once
// The hyperparameters of a GGUF file: keys of the GGUF specification (ggml, docs/gguf.md) and of llama.cpp, under the architecture's name.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/config.hpp>

namespace skald::detail {

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
    /// A flag a layer, or nothing where the key is absent or no array.
    std::optional<std::vector<bool>> flags(std::string_view key) const {
        const io::metadata_value* v = meta_.find(prefix_ + std::string(key));
        if (v == nullptr || v->kind != io::value_kind::array) return std::nullopt;
        return meta_.values<bool>(prefix_ + std::string(key));
    }

private:
    const io::metadata& meta_;
    std::string prefix_;
};

/// Rows and columns of a GGUF tensor: its first dimension runs along a row, vectors have one row. Expert after expert is rows after rows.
inline tensor_shape matrix_shape(const io::tensor_entry& t, std::string_view file, std::size_t experts = 1) {
    tensor_shape out{static_cast<std::size_t>(t.shape.size() > 1 ? t.shape[1] : 1), static_cast<std::size_t>(t.shape[0])};
    if (experts != 1 && t.shape.size() == 3 && t.shape[2] == experts) {
        out.rows = (checked_size(out.rows, file) * experts).size();
        return out;
    }
    for (std::size_t d = 2; d < t.shape.size(); ++d)
        if (t.shape[d] != 1)
            fail(errc::bad_file, file, "tensor '", t.name, "' has ", t.shape.size(), " dimensions, the ", d + 1, ". of ", t.shape[d],
                 "; a matrix or a vector is expected, or one matrix for each of ", experts, " experts");
    return out;
}

/// The values of a small vector; nothing where the file has no such tensor.
inline std::vector<float> gguf_vector(const io::gguf_file& file, std::string_view name) {
    const io::tensor_entry* t = file.find(name);
    if (t == nullptr) return {};
    const tensor_shape shape = matrix_shape(*t, file.name());
    if (shape.rows != 1 || !format::contains(format::all_weights{}, t->type))
        fail(errc::bad_file, file.name(), "tensor '", name, "' has ", shape.rows, " rows of ", to_string(t->type),
             "; a vector is expected");
    std::vector<float> out(shape.cols);
    format::decode_row({.name = t->name, .type = t->type, .rows = 1, .cols = shape.cols, .data = file.bytes(*t).data()}, 0, out.data());
    return out;
}

inline rope_config gguf_rope(const io::gguf_file& file, const gguf_keys& keys, const architecture& arch, const model_config& c) {
    rope_config rope;
    rope.dims = keys.get<std::size_t>("rope.dimension_count").value_or(c.head_dim);
    rope.interleaved = arch.interleaved_rope;
    rope.base = keys.get<double>("rope.freq_base").value_or(10000.0);
    rope.original_context = keys.get<std::size_t>("rope.scaling.original_context_length").value_or(c.context);
    rope.magnitude = keys.get<double>("rope.scaling.attn_factor").value_or(1.0);
    rope.long_factors = gguf_vector(file, "rope_factors_long.weight");
    rope.factors = gguf_vector(file, rope.long_factors.empty() ? "rope_freqs.weight" : "rope_factors_short.weight");

    const auto legacy = keys.get<double>("rope.scale_linear");
    const auto factor = keys.get<double>("rope.scaling.factor");
    const std::string kind = keys.get<std::string>("rope.scaling.type")
                                 .value_or(!rope.long_factors.empty() ? "longrope"
                                           : factor || legacy         ? "linear"
                                                                      : "none");
    rope.factor = factor.value_or(legacy.value_or(1.0));
    if (kind == "linear") {
        rope.scaling = rope_scaling::linear;
    } else if (kind == "yarn") {
        rope.scaling = rope_scaling::yarn;
        rope.beta_fast = keys.get<double>("rope.scaling.yarn_beta_fast").value_or(32.0);
        rope.beta_slow = keys.get<double>("rope.scaling.yarn_beta_slow").value_or(1.0);
        rope.extrapolation = keys.get<double>("rope.scaling.yarn_ext_factor").value_or(1.0);
        const double weight = keys.get<double>("rope.scaling.yarn_log_multiplier").value_or(0.0);
        const double stretched = yarn_magnitude(rope.factor) / (weight == 0.0 ? 1.0 : yarn_magnitude(rope.factor, weight));
        rope.magnitude *= keys.get<double>("rope.scaling.yarn_attn_factor").value_or(stretched);
    } else if (kind == "longrope") {
        rope.scaling = rope_scaling::longrope;
    } else if (kind != "none") {
        fail(errc::unsupported, file.name(), "the rope scaling '", kind,
             "' is not known to this version; it knows none, linear, yarn, longrope and llama3 (as rope_freqs)");
    }
    return rope;
}

/// Which layers have a window, and the rope they have. `c` has its layers and the rope of the others.
inline void gguf_windows(const io::gguf_file& file, const gguf_keys& keys, const architecture& arch, model_config& c) {
    const auto told = keys.get<std::int64_t>("attention.sliding_window");
    if (told && (*told < 0 || (*told == 0 && arch.name != "phi3")))  // Phi-4 says 0 for none
        fail(errc::bad_file, file.name(), "the attention window is ", *told, " tokens; it must be positive");
    const std::size_t window = told ? static_cast<std::size_t>(*told) : arch.window.width;
    if (window == 0) return;

    attention_kind local{.window = window, .rope = c.attention_kinds[0].rope};
    if (!arch.window.scaled_rope) local.rope = {.dims = local.rope.dims, .interleaved = local.rope.interleaved, .base = local.rope.base};
    if (arch.window.rope_base != 0.0) local.rope.base = arch.window.rope_base;
    local.rope.base = keys.get<double>("rope.freq_base_swa").value_or(local.rope.base);

    std::vector<bool> has_window(c.layers);
    if (const auto flags = keys.flags("attention.sliding_window_pattern")) {
        if (flags->size() != c.layers)
            fail(errc::bad_file, file.name(), "key '", arch.name, ".attention.sliding_window_pattern' has ", flags->size(),
                 " flags; there are ", c.layers, " layers");
        has_window = *flags;
    } else {
        const std::size_t period = keys.get<std::uint32_t>("attention.sliding_window_pattern").value_or(arch.window.period);
        for (std::size_t i = 0; i < c.layers; ++i) has_window[i] = period == 0 || i % period + 1 < period;
    }
    c.attention_kinds.push_back(std::move(local));
    c.layer_kinds.assign(has_window.begin(), has_window.end());
}

inline expert_config gguf_experts(const io::gguf_file& file, const gguf_keys& keys, const model_config& c) {
    const auto count = keys.get<std::int64_t>("expert_count").value_or(0), used = keys.get<std::int64_t>("expert_used_count").value_or(0);
    if (count < 0 || used < 0 || used > count)
        fail(errc::bad_file, file.name(), "the model has ", count, " experts and uses ", used, "; it must use from 1 to all of them");
    if (count == 0) return {};
    if (const auto function = keys.get<std::uint32_t>("expert_gating_func"); function && *function != 1)
        fail(errc::unsupported, file.name(), "experts are chosen by function ", *function, "; this version knows 1, softmax");
    for (const char* key : {"expert_shared_count", "leading_dense_block_count"})
        if (keys.get<std::uint32_t>(key).value_or(0) != 0)
            fail(errc::unsupported, file.name(), "key '", c.architecture, ".", key, "' is not 0, which this version cannot compute");
    if (keys.get<std::uint32_t>("expert_group_count").value_or(1) > 1)
        fail(errc::unsupported, file.name(), "experts are chosen in groups, which this version cannot compute");
    expert_config e;
    e.count = static_cast<std::size_t>(count);
    e.used = static_cast<std::size_t>(used);
    e.feed_forward = keys.get<std::size_t>("expert_feed_forward_length").value_or(c.feed_forward);
    e.normalized = keys.get<bool>("expert_weights_norm").value_or(true);
    return e;
}

/// The size of the vocabulary, which the embedding, a key and the tokenizer may all tell.
inline std::size_t gguf_vocabulary(const io::gguf_file& file, const gguf_keys& keys, const architecture& arch) {
    const io::tensor_entry& embedding = file.require("token_embd.weight");
    const std::size_t rows = matrix_shape(embedding, file.name()).rows;
    if (const auto told = keys.get<std::size_t>("vocab_size"); told && *told != rows)
        fail(errc::bad_file, file.name(), "key '", arch.name, ".vocab_size' is ", *told, "; tensor '", embedding.name, "' has ", rows,
             " rows");
    if (const io::metadata_array* tokens = file.meta().array("tokenizer.ggml.tokens"); tokens != nullptr && tokens->size() != rows)
        fail(errc::bad_file, file.name(), "the vocabulary has ", tokens->size(), " tokens; tensor '", embedding.name, "' has ", rows,
             " rows");
    return rows;
}

inline model_config gguf_config(const io::gguf_file& file, const architecture& arch) {
    const gguf_keys keys(file.meta(), arch.name);
    model_config c = implied_config(arch, keys.require<std::size_t>("embedding_length"));
    c.name = file.meta().get<std::string>("general.name").value_or("");
    c.layers = keys.require<std::size_t>("block_count");
    c.feed_forward = keys.require<std::size_t>("feed_forward_length");
    c.heads = keys.require<std::size_t>("attention.head_count");
    c.kv_heads = keys.get<std::size_t>("attention.head_count_kv").value_or(c.heads);
    c.context = keys.require<std::size_t>("context_length");
    c.norm_eps = keys.require<float>(arch.norm == norm_kind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon");
    c.attention_soft_cap = keys.get<float>("attn_logit_softcapping").value_or(c.attention_soft_cap);
    c.logit_soft_cap = keys.get<float>("final_logit_softcapping").value_or(c.logit_soft_cap);
    if (!keys.get<bool>("attention.causal").value_or(true))
        fail(errc::unsupported, file.name(), "the model attends to later tokens, which this version cannot compute");
    if (keys.get<float>("attention.temperature_scale").value_or(0.0f) != 0.0f)
        fail(errc::unsupported, file.name(), "attention scores are scaled by their position, which this version cannot compute");

    const auto key_length = keys.get<std::size_t>("attention.key_length");
    if (!key_length && (c.heads == 0 || c.hidden % c.heads != 0))
        fail(errc::bad_file, file.name(), "the embedding length ", c.hidden, " is no multiple of the number of attention heads, ", c.heads);
    c.head_dim = key_length ? *key_length : c.hidden / c.heads;
    // Gemma's 27B models, known by their layers as llama.cpp knows them, scale by another width than that of a head.
    if ((arch.name == "gemma2" && c.layers == 46) || (arch.name == "gemma3" && c.layers == 62))
        c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.hidden / std::max<std::size_t>(c.heads, 1)));
    c.vocabulary = gguf_vocabulary(file, keys, arch);
    if (c.layers > file.tensors().size())
        fail(errc::bad_file, file.name(), "key '", arch.name, ".block_count' is ", c.layers, "; the file has ", file.tensors().size(),
             " tensors in all");
    c.experts = gguf_experts(file, keys, c);
    if (!arch.learned_positions) {
        c.attention_kinds[0].rope = gguf_rope(file, keys, arch, c);
        gguf_windows(file, keys, arch, c);
    }
    validate(c, file.name());
    const std::size_t value_length = keys.get<std::size_t>("attention.value_length").value_or(c.head_dim);
    if (value_length != c.head_dim)
        fail(errc::unsupported, file.name(), "values of ", value_length, " and keys of ", c.head_dim,
             " a head; this version needs them equal");
    return c;
}

}  // namespace skald::detail
