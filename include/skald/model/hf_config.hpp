// SPDX-License-Identifier: MIT
#pragma once
// config.json of a Hugging Face folder as a model_config: what transformers 5 writes (rope_parameters) and what came before
// (rope_theta, rope_scaling), with transformers' own defaults for what is not there.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/json_file.hpp>
#include <skald/model/config.hpp>
#include <skald/model/hf_family.hpp>

namespace skald {

namespace hf::detail {

using io::json_object;

/// A config.json, from whose keys the family's own spelling is chosen.
struct config_reader {
    const json_object& file;
    const hf_family& family;
    bool gpt2 = family.model_type == "gpt2";

    std::size_t size(std::string_view key, std::string_view gpt2_key, std::size_t otherwise) const {
        return file.get<std::size_t>(gpt2 ? gpt2_key : key).value_or(otherwise);
    }

    /// As size(), but `null` stands for `absent`, where a missing key stands for `otherwise`.
    std::size_t size_or_null(std::string_view key, std::size_t otherwise, std::size_t absent) const {
        if (file.value().contains(std::string(key)) && !file.contains(key)) return absent;
        return file.get<std::size_t>(key).value_or(otherwise);
    }
};

/// The parameters of a rope as far as they stand in `from`: rope_parameters of transformers 5, or the older rope_scaling.
inline rope_config read_rope(const json_object& from, const json_object& config, const hf_family& family, const model_config& c,
                             double base) {
    rope_config rope;
    rope.base = from.get<double>("rope_theta").value_or(base);
    const auto part = [&](const json_object& o) { return o.get<double>("partial_rotary_factor"); };
    const double partial = part(from).value_or(part(config).value_or(1.0));
    if (!(partial > 0.0 && partial <= 1.0))
        fail(errc::bad_file, config.file(), "the partial_rotary_factor is ", partial, "; it must be above 0 and at most 1");
    rope.dims = static_cast<std::size_t>(static_cast<double>(c.head_dim) * partial);

    std::string kind = from.get<std::string>("rope_type").value_or(from.get<std::string>("type").value_or("default"));
    const bool phi3 = family.model_type == "phi3";
    if (kind == "su" || (phi3 && kind == "yarn")) kind = "longrope";
    if (kind == "default") return rope;

    const auto own = config.get<std::size_t>("original_max_position_embeddings");
    rope.original_context = own    ? *own
                            : phi3 ? family.defaults.context
                                   : from.get<std::size_t>("original_max_position_embeddings").value_or(c.context);
    const auto context_ratio = [&] { return static_cast<double>(c.context) / static_cast<double>(rope.original_context); };
    const auto attention_factor = from.get<double>("attention_factor");
    if (kind == "linear") {
        rope.scaling = rope_scaling::linear;
        rope.factor = from.require<double>("factor");
    } else if (kind == "llama3") {
        rope.scaling = rope_scaling::llama3;
        rope.factor = from.require<double>("factor");
        rope.low_freq_factor = from.require<double>("low_freq_factor");
        rope.high_freq_factor = from.require<double>("high_freq_factor");
    } else if (kind == "yarn") {
        rope.scaling = rope_scaling::yarn;
        rope.factor = from.get<double>("factor").value_or(context_ratio());
        rope.beta_fast = from.get<double>("beta_fast").value_or(rope.beta_fast);
        rope.beta_slow = from.get<double>("beta_slow").value_or(rope.beta_slow);
        rope.truncate = from.get<bool>("truncate").value_or(true);
        const double scale = from.get<double>("mscale").value_or(0.0), all = from.get<double>("mscale_all_dim").value_or(0.0);
        const bool both = scale != 0.0 && all != 0.0;
        const double paper = both ? yarn_magnitude(rope.factor, scale) / yarn_magnitude(rope.factor, all) : yarn_magnitude(rope.factor);
        rope.magnitude = attention_factor.value_or(paper);
    } else if (kind == "longrope") {
        rope.scaling = rope_scaling::longrope;
        rope.factors = from.values<float>("short_factor");
        rope.long_factors = from.values<float>("long_factor");
        const double factor = from.get<double>("factor").value_or(context_ratio());
        rope.magnitude = attention_factor.value_or(longrope_magnitude(factor, static_cast<double>(rope.original_context)));
    } else {
        fail(errc::unsupported, from.file(), "the rope scaling ", io::detail::in_quotes(kind),
             " is not known to this version; it knows default, linear, llama3, yarn and longrope");
    }
    return rope;
}

/// The ropes of layers that see everything and of those with a window.
inline std::pair<rope_config, rope_config> read_ropes(const json_object& config, const hf_family& family, const model_config& c) {
    const nlohmann::json none = nlohmann::json::object();
    const json_object empty(none, config.file());
    const auto scaling = config.object("rope_scaling"), parameters = config.object("rope_parameters");
    const double base = config.get<double>("rope_theta").value_or(family.defaults.rope_base);
    const auto read = [&](const std::optional<json_object>& from, double theta) {
        return read_rope(from ? *from : empty, config, family, c, theta);
    };
    const window_rule& window = family.architecture->window;
    const auto narrow_base = [&](double wide_base) {
        return config.get<double>("rope_local_base_freq").value_or(window.rope_base != 0.0 ? window.rope_base : wide_base);
    };
    if (parameters && (parameters->contains("full_attention") || parameters->contains("sliding_attention")))
        return {read(parameters->object("full_attention"), base), read(parameters->object("sliding_attention"), narrow_base(base))};
    const rope_config wide = read(scaling && !scaling->value().empty() ? scaling : parameters, base);
    return {wide, window.scaled_rope ? wide : read(std::nullopt, narrow_base(wide.base))};
}

/// True for the layers with a window.
inline std::vector<bool> read_windows(const config_reader& in, const model_config& c) {
    std::vector<bool> out(c.layers, in.family.window == hf_window::all || in.family.window == hf_window::switched);
    const bool by_layer = in.family.window == hf_window::upper || in.family.window == hf_window::pattern;
    if (by_layer && in.file.contains("layer_types")) {
        const std::vector<std::string> types = in.file.values<std::string>("layer_types");
        if (types.size() != c.layers)
            fail(errc::bad_file, in.file.file(), in.file.where("layer_types"), " has ", types.size(), " elements for ", c.layers,
                 " layers");
        for (std::size_t i = 0; i < types.size(); ++i) {
            if (types[i] != "full_attention" && types[i] != "sliding_attention")
                fail(errc::unsupported, in.file.file(), in.file.where("layer_types"), ": element ", i, " is ",
                     io::detail::in_quotes(types[i]), "; this version knows full_attention and sliding_attention");
            out[i] = types[i] == "sliding_attention";
        }
    } else if (in.family.window == hf_window::upper) {
        const std::size_t first = in.file.get<std::size_t>("max_window_layers").value_or(28);
        for (std::size_t i = first; i < c.layers; ++i) out[i] = true;
    } else if (in.family.window == hf_window::pattern) {
        const std::size_t usual = in.family.architecture->window.period;
        const std::size_t period = in.file.get<std::size_t>("sliding_window_pattern")
                                       .value_or(in.file.get<std::size_t>("_sliding_window_pattern").value_or(usual));
        if (period == 0) in.file.refuse("sliding_window_pattern", "a number from 1 on");
        for (std::size_t i = 0; i < c.layers; ++i) out[i] = (i + 1) % period != 0;
    }
    return out;
}

inline void read_attention(const config_reader& in, model_config& c) {
    if (in.family.architecture->learned_positions) return;
    const auto [wide, narrow] = read_ropes(in.file, in.family, c);
    const bool switched = in.family.window == hf_window::switched || in.family.window == hf_window::upper;
    const bool on = in.family.window != hf_window::none && (!switched || in.file.get<bool>("use_sliding_window").value_or(false));
    const std::size_t window = on ? in.size_or_null("sliding_window", in.family.defaults.window, 0) : 0;
    if (on && window == 0 && in.file.contains("sliding_window"))
        fail(errc::bad_file, in.file.file(), in.file.where("sliding_window"), " is 0; a window has at least one token");
    c.attention_kinds = {{.window = 0, .rope = wide}};
    const bool two_ropes = in.family.window != hf_window::none && !in.family.architecture->window.scaled_rope;
    if (window == 0 && !two_ropes) return;
    const std::vector<bool> narrow_layers = read_windows(in, c);
    c.attention_kinds.push_back({.window = window, .rope = narrow});
    c.layer_kinds.assign(narrow_layers.begin(), narrow_layers.end());
}

inline void read_experts(const config_reader& in, model_config& c) {
    const hf_defaults& d = in.family.defaults;
    if (d.experts == 0) return;
    const auto count = in.file.get<std::size_t>("num_local_experts");
    c.experts.count = count ? *count : in.file.get<std::size_t>("num_experts").value_or(d.experts);
    c.experts.used = in.file.get<std::size_t>("num_experts_per_tok").value_or(d.experts_used);
    const bool mixtral = d.expert_feed_forward == 0;
    c.experts.feed_forward = mixtral ? c.feed_forward : in.file.get<std::size_t>("moe_intermediate_size").value_or(d.expert_feed_forward);
    c.experts.normalized = mixtral || in.file.get<bool>("norm_topk_prob").value_or(false);
    if (c.experts.count == 0) fail(errc::bad_file, in.file.file(), "the number of experts is 0; it must be positive");
}

/// What Gemma 2 and 3 do to scores and logits. A cap of null is none.
inline void read_gemma(const config_reader& in, model_config& c) {
    const double scalar = in.file.get<double>("query_pre_attn_scalar").value_or(256.0);
    c.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
    const auto cap = [&](const char* key, float otherwise) {
        return in.file.value().contains(key) ? in.file.get<float>(key).value_or(0.0f) : otherwise;
    };
    const bool second = in.family.architecture == &architectures::gemma2;  // Gemma 3 has the key and no use for it
    if (second) c.attention_soft_cap = cap("attn_logit_softcapping", c.attention_soft_cap);
    c.logit_soft_cap = cap("final_logit_softcapping", c.logit_soft_cap);
}

/// The activation's name must be the one that the architecture computes.
inline void check_activation(const config_reader& in) {
    const std::string_view key = in.gpt2                                 ? "activation_function"
                                 : in.file.contains("hidden_activation") ? "hidden_activation"
                                                                         : "hidden_act";
    const auto name = in.file.get<std::string>(key);
    if (!name) return;
    const bool gelu = in.family.architecture->activation == activation_kind::gelu_tanh;
    const bool gemma1 = in.family.model_type == "gemma" && *name == "gelu";  // its first configs say so and mean gelu_pytorch_tanh
    const bool known =
        gelu ? *name == "gelu_new" || *name == "gelu_pytorch_tanh" || *name == "gelu_fast" || gemma1 : *name == "silu" || *name == "swish";
    if (!known)
        fail(errc::unsupported, in.file.file(), in.file.where(key), " is ", io::detail::in_quotes(*name), "; this version computes ",
             in.family.model_type, " with ", gelu ? "gelu_pytorch_tanh" : "silu", " only");
}

/// Refuses switches that change the graph and are not in it.
inline void refuse_unknown_parts(const config_reader& in) {
    const auto refuse_if = [&](std::string_view key, bool value) {
        if (const auto found = in.file.get<bool>(key); found && *found == value)
            fail(errc::unsupported, in.file.file(), in.file.where(key), " is ", value, ", which this version cannot compute");
    };
    if (in.gpt2) {
        refuse_if("scale_attn_weights", false);
        refuse_if("scale_attn_by_inverse_layer_idx", true);
        refuse_if("add_cross_attention", true);
    }
    if (in.family.model_type == "qwen3_moe") {
        if (in.file.get<std::size_t>("decoder_sparse_step").value_or(1) != 1 || !in.file.values<std::size_t>("mlp_only_layers").empty())
            fail(errc::unsupported, in.file.file(), "some layers have experts and some have not, which this version cannot compute");
    }
    if (const auto* bidirectional = in.file.find("use_bidirectional_attention"); bidirectional != nullptr && *bidirectional != false)
        fail(errc::unsupported, in.file.file(), in.file.where("use_bidirectional_attention"), " is ", io::describe(*bidirectional),
             ", which this version cannot compute");
    if (const auto quantization = in.file.object("quantization_config"))
        fail(errc::unsupported, in.file.file(), "the weights are quantized by ",
             io::detail::in_quotes(quantization->get<std::string>("quant_method").value_or("a method without a name")),
             ", which this version cannot read; use the model's plain weights, or a GGUF file");
}

}  // namespace hf::detail

/// What a config.json says.
struct hf_config {
    const hf_family* family = nullptr;
    model_config config;
    bool tied = false;  ///< the output head is the token embedding
};

/// Reads a config.json. Throws errc::unsupported for a model_type or a part that this version does not know, errc::bad_file, naming the
/// key, for values that no model can have.
inline hf_config read_hf_config(const nlohmann::json& json, const std::string& file) {
    const io::json_object whole(json, file);
    const auto nested = whole.object("text_config");  // of models that also see or hear
    const io::json_object& in = nested ? *nested : whole;
    std::string type = in.get<std::string>("model_type").value_or(nested ? whole.require<std::string>("model_type") : "");
    if (type.empty()) in.missing("model_type");
    const hf_family& family = hf::require_family(type, file);
    const hf_defaults& d = family.defaults;
    const hf::detail::config_reader read{in, family};
    hf::detail::refuse_unknown_parts({whole, family});
    hf::detail::refuse_unknown_parts(read);
    hf::detail::check_activation(read);

    hf_config out;
    out.family = &family;
    model_config& c = out.config = implied_config(*family.architecture, read.size("hidden_size", "n_embd", d.hidden));
    c.name = whole.get<std::string>("_name_or_path").value_or("");
    c.layers = read.size("num_hidden_layers", "n_layer", d.layers);
    c.feed_forward = read.size("intermediate_size", "n_inner", read.gpt2 ? 4 * c.hidden : d.feed_forward);
    c.heads = read.size("num_attention_heads", "n_head", d.heads);
    c.kv_heads = read.gpt2 ? c.heads : read.size_or_null("num_key_value_heads", d.kv_heads == 0 ? c.heads : d.kv_heads, c.heads);
    c.vocabulary = in.get<std::size_t>("vocab_size").value_or(d.vocabulary);
    c.context = read.size("max_position_embeddings", "n_positions", d.context);
    c.norm_eps = in.get<float>(read.gpt2 ? "layer_norm_epsilon" : "rms_norm_eps").value_or(static_cast<float>(d.norm_eps));
    const auto head_dim = in.get<std::size_t>("head_dim");
    if (!head_dim && d.head_dim == 0 && (c.heads == 0 || c.hidden % c.heads != 0))
        fail(errc::bad_file, file, "the embedding length ", c.hidden, " is no multiple of the number of attention heads, ", c.heads);
    c.head_dim = head_dim ? *head_dim : d.head_dim != 0 ? d.head_dim : c.hidden / c.heads;
    if (c.layers > 65536) fail(errc::bad_file, file, "the number of layers is ", c.layers, "; it must be from 1 to 65536");
    if (family.architecture == &architectures::gemma2 || family.architecture == &architectures::gemma3) hf::detail::read_gemma(read, c);
    hf::detail::read_experts(read, c);
    hf::detail::read_attention(read, c);
    validate(c, file);
    const auto tied = in.get<bool>("tie_word_embeddings");
    out.tied = tied ? *tied : whole.get<bool>("tie_word_embeddings").value_or(d.tied);
    return out;
}

}  // namespace skald
