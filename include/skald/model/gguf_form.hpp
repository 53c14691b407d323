// SPDX-License-Identifier: MIT
#pragma once
// A model_source as a GGUF file holds it: the keys that tell its config, and its tensors under their names there. What gguf_config.hpp
// and gguf_source.hpp read, written; whoever writes the file fetches the values. Keys: the GGUF specification (ggml, docs/gguf.md) and
// llama.cpp.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/gguf_writer.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/config.hpp>
#include <skald/model/rope.hpp>
#include <skald/model/source.hpp>
#include <skald/model/tensor_table.hpp>

namespace skald {

/// The rows of query and key heads that rope turns lie in halves in a source, (i, i + turned / 2), and shall lie in pairs. Of a vector,
/// its values. 0: as they are.
struct head_order {
    std::size_t head_dim = 0, turned = 0;

    /// Which row of the source is row r.
    std::size_t operator()(std::size_t r) const noexcept {
        if (turned == 0) return r;
        const std::size_t in_head = r % head_dim;
        return in_head < turned ? r - in_head + in_head % 2 * (turned / 2) + in_head / 2 : r;
    }
};

/// A tensor as a GGUF file holds it: the one of a role, those of all experts one after another, or values that the config tells.
struct gguf_form_tensor {
    std::string name;
    std::vector<std::uint64_t> shape;  ///< the fastest varying extent first
    tensor_role role{};
    std::size_t layer = 0;
    std::size_t matrices = 1;  ///< of as many experts
    head_order order{};
    std::vector<float> values{};  ///< not empty: of no tensor of the source
};

namespace detail {

/// Writes the keys of one architecture.
class gguf_form_keys {
public:
    gguf_form_keys(io::gguf_keys& keys, const model_source& source) : keys_(keys), source_(source), config_(source.config()) {}

    void write() {
        const architecture& arch = source_.architecture();
        keys_.put("general.architecture", arch.name);
        put("block_count", config_.layers);
        put("context_length", config_.context);
        put("embedding_length", config_.hidden);
        put("feed_forward_length", config_.feed_forward);
        put("vocab_size", config_.vocabulary);
        put("attention.head_count", config_.heads);
        put("attention.head_count_kv", config_.kv_heads);
        if (config_.heads * config_.head_dim != config_.hidden) {
            put("attention.key_length", config_.head_dim);
            put("attention.value_length", config_.head_dim);
        }
        put(arch.norm == norm_kind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", config_.norm_eps);
        if (config_.attention_soft_cap != 0 || arch.attention_soft_cap != 0) put("attn_logit_softcapping", config_.attention_soft_cap);
        if (config_.logit_soft_cap != 0 || arch.logit_soft_cap != 0) put("final_logit_softcapping", config_.logit_soft_cap);
        check_scale();
        experts();
        if (arch.learned_positions) return;
        rope(config_.attention_kinds[0].rope);
        windows();
    }

private:
    template <class T>
    void put(std::string_view key, const T& value) {
        const std::string whole = concat(source_.architecture().name, ".", key);
        if constexpr (std::same_as<T, std::size_t>)
            keys_.put(whole, static_cast<std::uint32_t>(value));
        else if constexpr (std::same_as<T, double>)
            keys_.put(whole, static_cast<float>(value));
        else
            keys_.put(whole, value);
    }

    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::unsupported, source_.file(), what, ", which GGUF files of the architecture '", source_.architecture().name,
             "' cannot tell");
    }

    /// Scores are scaled by the width of a head; Gemma's 27B models are known by their layers.
    void check_scale() const {
        if (config_.attention_scale == 0) return;
        model_config plain = config_;
        plain.attention_scale = 0;
        const std::string_view name = source_.architecture().name;
        if ((name == "gemma2" && config_.layers == 46) || (name == "gemma3" && config_.layers == 62))
            plain.attention_scale = 1.0f / std::sqrt(static_cast<float>(config_.hidden / config_.heads));
        const float told = plain.variant(0).scale;
        if (std::abs(config_.attention_scale - told) > 1e-6f * told)
            refuse(concat("attention scores are multiplied by ", config_.attention_scale, " and not by ", told));
    }

    void experts() {
        const expert_config& e = config_.experts;
        if (e.count == 0) return;
        put("expert_count", e.count);
        put("expert_used_count", e.used);
        if (e.feed_forward != config_.feed_forward) put("expert_feed_forward_length", e.feed_forward);
        if (!e.normalized) put("expert_weights_norm", false);
    }

    void rope(const rope_config& r) {
        put("rope.dimension_count", r.dims);
        put("rope.freq_base", r.base);
        switch (r.scaling) {
            case rope_scaling::none: break;
            case rope_scaling::llama3: require(tensor_role::rope_factors, "the rope scaling is llama3"); break;
            case rope_scaling::linear: scaling("linear", r); break;
            case rope_scaling::yarn: {
                if (!r.truncate) refuse("yarn's ramp does not begin and end at whole dimensions (truncate is false)");
                scaling("yarn", r);
                put("rope.scaling.original_context_length", r.original_context);
                if (r.beta_fast != 32.0) put("rope.scaling.yarn_beta_fast", r.beta_fast);
                if (r.beta_slow != 1.0) put("rope.scaling.yarn_beta_slow", r.beta_slow);
                const double paper = yarn_magnitude(r.factor);
                if (r.magnitude != paper) put("rope.scaling.attn_factor", r.magnitude / paper);
                break;
            }
            case rope_scaling::longrope:
                require(tensor_role::rope_long_factors, "the rope scaling is longrope");
                put("rope.scaling.original_context_length", r.original_context);
                put("rope.scaling.attn_factor", r.magnitude);
                break;
        }
    }

    void scaling(std::string_view type, const rope_config& r) {
        put("rope.scaling.type", type);
        put("rope.scaling.factor", r.factor);
    }

    /// The architecture's table must have a place for the factors.
    void require(tensor_role role, std::string_view what) const {
        const auto& table = source_.architecture().tensors;
        if (std::none_of(table.begin(), table.end(), [&](const tensor_rule& rule) { return rule.role == role; })) refuse(what);
    }

    void windows() {
        const window_rule& rule = source_.architecture().window;
        std::vector<std::uint8_t> narrow(config_.layers), usual(config_.layers);
        for (std::size_t i = 0; i < config_.layers; ++i) {
            narrow[i] = static_cast<std::uint8_t>(config_.kind_of(i));
            usual[i] = rule.period == 0 || i % rule.period + 1 < rule.period;
        }
        const bool any = std::find(narrow.begin(), narrow.end(), 1) != narrow.end();
        if (!any && rule.width == 0) return;
        if (any) {
            const attention_kind& local = config_.attention_kinds[1];
            if (local.window == 0) refuse("some layers have a rope of their own and no window");
            const rope_config& wide = config_.attention_kinds[0].rope;
            rope_config told = wide;
            if (!rule.scaled_rope) told = {.dims = wide.dims, .interleaved = wide.interleaved, .base = wide.base};
            if (rule.rope_base != 0.0) told.base = rule.rope_base;
            if (local.rope.base != told.base) put("rope.freq_base_swa", local.rope.base);
            told.base = local.rope.base;
            if (!(local.rope == told)) refuse("layers with a window have a rope scaling of their own");
        }
        put("attention.sliding_window", any ? config_.attention_kinds[1].window : config_.context);
        if (narrow == usual) return;
        const io::metadata_array flags(io::value_kind::boolean, std::as_bytes(std::span(narrow)));
        keys_.set(concat(source_.architecture().name, ".attention.sliding_window_pattern"), {io::value_kind::array, &flags});
    }

    io::gguf_keys& keys_;
    const model_source& source_;
    const model_config& config_;
};

/// The factors that divide a plain rope's frequencies and give the scaled ones: the float whose quotient is nearest.
inline std::vector<float> gguf_rope_factors(const rope_config& rope) {
    rope_config plain = rope;
    plain.scaling = rope_scaling::none;
    std::vector<float> unscaled(rope.dims / 2), scaled(rope.dims / 2), out(rope.dims / 2);
    rope_frequencies(plain, 0, unscaled);
    rope_frequencies(rope, 0, scaled);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const float near = unscaled[i] / scaled[i];
        out[i] = near;
        for (const float f : {near, std::nextafter(near, 0.0f), std::nextafter(near, 2 * near)})
            if (std::abs(unscaled[i] / f - scaled[i]) < std::abs(unscaled[i] / out[i] - scaled[i])) out[i] = f;
    }
    return out;
}

/// The tensor of a rule in a layer, or none where the source lacks it.
inline void add_gguf_tensor(std::vector<gguf_form_tensor>& out, const model_source& source, const tensor_rule& rule, std::size_t layer) {
    using enum tensor_role;
    const model_config& c = source.config();
    const auto parts = parts_of(rule.role);
    if (rule.name.find('@') != rule.name.npos) return;              // experts go together
    if (!parts.empty() && rule.when == presence::optional) return;  // parts go alone
    const tensor_role role = parts.empty() ? rule.role : parts.front();
    if (!source.has(role, layer)) return;
    for (const tensor_role part : parts)  // they are taken from one tensor that holds them all
        if (source(part, layer).name != source(role, layer).name)
            fail(errc::unsupported, source.file(), "tensor '", source(part, layer).name, "' stands alone; '", rule.name,
                 "' of a GGUF file is made from one tensor for all its parts only");
    const tensor_shape shape = shape_of(rule.role, source.architecture(), c);
    gguf_form_tensor t{.name = tensor_name(rule, layer), .shape = {shape.cols}, .role = role, .layer = layer};
    if (is_expert_role(role)) {
        t.matrices = c.experts.count;
        t.shape = {shape.cols, shape.rows / t.matrices, t.matrices};
    } else if (is_matrix_role(role)) {
        t.shape.push_back(shape.rows);
    }
    const rope_config& rope = c.attention_kinds[0].rope;
    const bool heads = role == query || role == key || role == query_bias || role == key_bias;
    if (heads && parts.empty() && source.architecture().interleaved_rope && !rope.interleaved) t.order = {c.head_dim, rope.dims};
    out.push_back(std::move(t));
}

}  // namespace detail

/// Sets the keys of a source's config. Throws errc::unsupported, naming it, for what GGUF files of its architecture cannot tell.
inline void put_config(io::gguf_keys& keys, const model_source& source) { detail::gguf_form_keys(keys, source).write(); }

/// The tensors of a source in the order of its architecture's table, layer by layer. Throws errc::unsupported as put_config.
inline std::vector<gguf_form_tensor> gguf_tensors_of(const model_source& source) {
    using enum tensor_role;
    std::vector<gguf_form_tensor> out;
    const rope_config& rope = source.config().attention_kinds[0].rope;
    for (const tensor_rule& rule : source.architecture().tensors) {
        if (is_layer_role(rule.role)) continue;
        std::vector<float> values;
        if (rule.role == rope_factors && rope.scaling == rope_scaling::llama3) values = detail::gguf_rope_factors(rope);
        if (rule.role == rope_short_factors && rope.scaling == rope_scaling::longrope) values = rope.factors;
        if (rule.role == rope_long_factors) values = rope.long_factors;
        if (!values.empty())
            out.push_back({.name = std::string(rule.name), .shape = {values.size()}, .role = rule.role, .values = std::move(values)});
        else
            detail::add_gguf_tensor(out, source, rule, 0);
    }
    for (std::size_t i = 0; i < source.config().layers; ++i)
        for (const tensor_rule& rule : source.architecture().tensors)
            if (is_layer_role(rule.role)) detail::add_gguf_tensor(out, source, rule, i);
    return out;
}

}  // namespace skald
