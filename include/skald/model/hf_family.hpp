// SPDX-License-Identifier: MIT
#pragma once
// The families of models that Hugging Face's transformers names by `model_type`, as data: which architecture they are, what their
// tensors are called, how their values differ from what the architecture computes with, and what a config.json leaves unsaid.
// Names and defaults: the configuration and modeling files of transformers 5.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/architectures.hpp>

namespace skald {

/// The values of keys that a config.json need not have.
struct hf_defaults {
    std::size_t vocabulary, hidden, feed_forward, layers, heads;
    std::size_t kv_heads = 0;  ///< 0: as many as heads
    std::size_t head_dim = 0;  ///< 0: hidden / heads
    std::size_t context = 0;
    double norm_eps = 1e-6;
    double rope_base = 10000.0;
    bool tied = false;       ///< the output head is the token embedding
    std::size_t window = 0;  ///< 0: none
    std::size_t experts = 0, experts_used = 0, expert_feed_forward = 0;
};

/// Which layers have the window, where `layer_types` does not say.
enum class hf_window : std::uint8_t {
    none,      ///< no layer, whatever the config says
    all,       ///< every layer, if there is a window
    switched,  ///< the same, if `use_sliding_window` says so
    upper,     ///< the same, from layer `max_window_layers` on
    pattern,   ///< all but every period-th
};

/// A family of models.
struct hf_family {
    std::string_view model_type;
    const skald::architecture* architecture;
    std::span<const tensor_rule> tensors;  ///< names without the prefix of the module they stand in
    hf_defaults defaults;
    hf_window window = hf_window::none;
    bool transposed = false;     ///< matrices of layers lie as (inputs, outputs)
    bool gain_less_one = false;  ///< norms multiply by 1 + gain
};

namespace hf {

namespace detail {

using enum tensor_role;
using enum presence;
using rule = tensor_rule;
using architectures::detail::join;

inline constexpr std::array outside{
    rule{token_embedding, "embed_tokens.weight"}, rule{output_norm, "norm.weight"},
    rule{output, "lm_head.weight", optional},  // required where it is not tied to the token embedding
};
inline constexpr std::array norms_before{
    rule{attention_norm, "layers.#.input_layernorm.weight"},
    rule{feed_forward_norm, "layers.#.post_attention_layernorm.weight"},
};
inline constexpr std::array norms_around{
    rule{attention_norm, "layers.#.input_layernorm.weight"},
    rule{attention_post_norm, "layers.#.post_attention_layernorm.weight"},
    rule{feed_forward_norm, "layers.#.pre_feedforward_layernorm.weight"},
    rule{feed_forward_post_norm, "layers.#.post_feedforward_layernorm.weight"},
};
inline constexpr std::array norms_after{
    rule{attention_post_norm, "layers.#.post_attention_layernorm.weight"},
    rule{feed_forward_post_norm, "layers.#.post_feedforward_layernorm.weight"},
};
inline constexpr std::array head_norms{
    rule{query_norm, "layers.#.self_attn.q_norm.weight"},
    rule{key_norm, "layers.#.self_attn.k_norm.weight"},
};
inline constexpr std::array attention{
    rule{query, "layers.#.self_attn.q_proj.weight"},
    rule{query_bias, "layers.#.self_attn.q_proj.bias", optional},
    rule{key, "layers.#.self_attn.k_proj.weight"},
    rule{key_bias, "layers.#.self_attn.k_proj.bias", optional},
    rule{value, "layers.#.self_attn.v_proj.weight"},
    rule{value_bias, "layers.#.self_attn.v_proj.bias", optional},
    rule{attention_output, "layers.#.self_attn.o_proj.weight"},
    rule{attention_output_bias, "layers.#.self_attn.o_proj.bias", optional},
};
inline constexpr std::array feed_forward{
    rule{gate, "layers.#.mlp.gate_proj.weight", dense}, rule{gate_bias, "layers.#.mlp.gate_proj.bias", optional},
    rule{up, "layers.#.mlp.up_proj.weight", dense},     rule{up_bias, "layers.#.mlp.up_proj.bias", optional},
    rule{down, "layers.#.mlp.down_proj.weight", dense}, rule{down_bias, "layers.#.mlp.down_proj.bias", optional},
};
inline constexpr std::array mixtral_experts{
    rule{router, "layers.#.block_sparse_moe.gate.weight"},
    rule{expert_gate, "layers.#.block_sparse_moe.experts.@.w1.weight", experts},
    rule{expert_down, "layers.#.block_sparse_moe.experts.@.w2.weight", experts},
    rule{expert_up, "layers.#.block_sparse_moe.experts.@.w3.weight", experts},
};
inline constexpr std::array experts_of_mlp{
    rule{router, "layers.#.mlp.gate.weight"},
    rule{expert_gate, "layers.#.mlp.experts.@.gate_proj.weight", experts},
    rule{expert_up, "layers.#.mlp.experts.@.up_proj.weight", experts},
    rule{expert_down, "layers.#.mlp.experts.@.down_proj.weight", experts},
};
/// As transformers 5 holds the experts in memory, and saves them if asked to.
inline constexpr std::array stacked_experts{
    rule{expert_gate_up, "layers.#.mlp.experts.gate_up_proj", optional},
    rule{expert_down, "layers.#.mlp.experts.down_proj", optional},
};
inline constexpr std::array phi3_more{
    rule{qkv, "layers.#.self_attn.qkv_proj.weight"},
    rule{attention_output, "layers.#.self_attn.o_proj.weight"},
    rule{gate_up, "layers.#.mlp.gate_up_proj.weight"},
    rule{down, "layers.#.mlp.down_proj.weight"},
};

inline constexpr auto llama_tensors = join(outside, norms_before, attention, feed_forward);
inline constexpr auto qwen3_tensors = join(llama_tensors, head_norms);
inline constexpr auto mixtral_tensors = join(outside, norms_before, attention, mixtral_experts);
inline constexpr auto qwen3_moe_tensors = join(qwen3_tensors, experts_of_mlp, stacked_experts);
inline constexpr auto phi3_tensors = join(outside, norms_before, phi3_more);
inline constexpr auto gemma2_tensors = join(outside, norms_around, attention, feed_forward);
inline constexpr auto gemma3_tensors = join(gemma2_tensors, head_norms);
inline constexpr auto olmo2_tensors = join(outside, norms_after, attention, head_norms, feed_forward);
inline constexpr std::array gpt2_tensors{
    rule{token_embedding, "wte.weight"},
    rule{position_embedding, "wpe.weight"},
    rule{output_norm, "ln_f.weight"},
    rule{output_norm_bias, "ln_f.bias"},
    rule{output, "lm_head.weight", optional},
    rule{attention_norm, "h.#.ln_1.weight"},
    rule{attention_norm_bias, "h.#.ln_1.bias"},
    rule{qkv, "h.#.attn.c_attn.weight"},
    rule{qkv_bias, "h.#.attn.c_attn.bias"},
    rule{attention_output, "h.#.attn.c_proj.weight"},
    rule{attention_output_bias, "h.#.attn.c_proj.bias"},
    rule{feed_forward_norm, "h.#.ln_2.weight"},
    rule{feed_forward_norm_bias, "h.#.ln_2.bias"},
    rule{up, "h.#.mlp.c_fc.weight"},
    rule{up_bias, "h.#.mlp.c_fc.bias"},
    rule{down, "h.#.mlp.c_proj.weight"},
    rule{down_bias, "h.#.mlp.c_proj.bias"},
};

}  // namespace detail

inline constexpr std::array families{
    hf_family{.model_type = "llama",
              .architecture = &architectures::llama,
              .tensors = detail::llama_tensors,
              .defaults = {.vocabulary = 32000, .hidden = 4096, .feed_forward = 11008, .layers = 32, .heads = 32, .context = 2048}},
    hf_family{.model_type = "mistral",
              .architecture = &architectures::llama,
              .tensors = detail::llama_tensors,
              .defaults = {.vocabulary = 32000,
                           .hidden = 4096,
                           .feed_forward = 14336,
                           .layers = 32,
                           .heads = 32,
                           .kv_heads = 8,
                           .context = 131072,
                           .window = 4096},
              .window = hf_window::all},
    hf_family{.model_type = "mixtral",
              .architecture = &architectures::llama,
              .tensors = detail::mixtral_tensors,
              .defaults = {.vocabulary = 32000,
                           .hidden = 4096,
                           .feed_forward = 14336,
                           .layers = 32,
                           .heads = 32,
                           .kv_heads = 8,
                           .context = 131072,
                           .norm_eps = 1e-5,
                           .rope_base = 1e6,
                           .experts = 8,
                           .experts_used = 2},
              .window = hf_window::all},
    hf_family{.model_type = "qwen2",
              .architecture = &architectures::qwen2,
              .tensors = detail::llama_tensors,
              .defaults = {.vocabulary = 151936,
                           .hidden = 4096,
                           .feed_forward = 22016,
                           .layers = 32,
                           .heads = 32,
                           .kv_heads = 32,
                           .context = 32768,
                           .window = 4096},
              .window = hf_window::upper},
    hf_family{.model_type = "qwen3",
              .architecture = &architectures::qwen3,
              .tensors = detail::qwen3_tensors,
              .defaults = {.vocabulary = 151936,
                           .hidden = 4096,
                           .feed_forward = 22016,
                           .layers = 32,
                           .heads = 32,
                           .kv_heads = 32,
                           .head_dim = 128,
                           .context = 32768,
                           .window = 4096},
              .window = hf_window::upper},
    hf_family{.model_type = "qwen3_moe",
              .architecture = &architectures::qwen3moe,
              .tensors = detail::qwen3_moe_tensors,
              .defaults = {.vocabulary = 151936,
                           .hidden = 2048,
                           .feed_forward = 6144,
                           .layers = 24,
                           .heads = 32,
                           .kv_heads = 4,
                           .context = 32768,
                           .window = 4096,
                           .experts = 128,
                           .experts_used = 8,
                           .expert_feed_forward = 768},
              .window = hf_window::switched},
    hf_family{.model_type = "phi3",
              .architecture = &architectures::phi3,
              .tensors = detail::phi3_tensors,
              .defaults =
                  {.vocabulary = 32064, .hidden = 3072, .feed_forward = 8192, .layers = 32, .heads = 32, .context = 4096, .norm_eps = 1e-5},
              .window = hf_window::all},
    hf_family{.model_type = "gemma",
              .architecture = &architectures::gemma,
              .tensors = detail::llama_tensors,
              .defaults = {.vocabulary = 256000,
                           .hidden = 3072,
                           .feed_forward = 24576,
                           .layers = 28,
                           .heads = 16,
                           .kv_heads = 16,
                           .head_dim = 256,
                           .context = 8192,
                           .tied = true},
              .gain_less_one = true},
    hf_family{.model_type = "gemma2",
              .architecture = &architectures::gemma2,
              .tensors = detail::gemma2_tensors,
              .defaults = {.vocabulary = 256000,
                           .hidden = 2304,
                           .feed_forward = 9216,
                           .layers = 26,
                           .heads = 8,
                           .kv_heads = 4,
                           .head_dim = 256,
                           .context = 8192,
                           .tied = true,
                           .window = 4096},
              .window = hf_window::pattern,
              .gain_less_one = true},
    hf_family{.model_type = "gemma3_text",
              .architecture = &architectures::gemma3,
              .tensors = detail::gemma3_tensors,
              .defaults = {.vocabulary = 262208,
                           .hidden = 2304,
                           .feed_forward = 9216,
                           .layers = 26,
                           .heads = 8,
                           .kv_heads = 4,
                           .head_dim = 256,
                           .context = 131072,
                           .rope_base = 1e6,
                           .tied = true,
                           .window = 4096},
              .window = hf_window::pattern,
              .gain_less_one = true},
    hf_family{
        .model_type = "olmo2",
        .architecture = &architectures::olmo2,
        .tensors = detail::olmo2_tensors,
        .defaults =
            {.vocabulary = 50304, .hidden = 4096, .feed_forward = 11008, .layers = 32, .heads = 32, .context = 2048, .norm_eps = 1e-5}},
    hf_family{.model_type = "olmo3",
              .architecture = &architectures::olmo2,
              .tensors = detail::olmo2_tensors,
              .defaults = {.vocabulary = 50304,
                           .hidden = 4096,
                           .feed_forward = 11008,
                           .layers = 32,
                           .heads = 32,
                           .context = 2048,
                           .norm_eps = 1e-5,
                           .rope_base = 500000.0,
                           .window = 4096},
              .window = hf_window::pattern},
    hf_family{.model_type = "gpt2",
              .architecture = &architectures::gpt2,
              .tensors = detail::gpt2_tensors,
              .defaults = {.vocabulary = 50257,
                           .hidden = 768,
                           .feed_forward = 0,
                           .layers = 12,
                           .heads = 12,
                           .context = 1024,
                           .norm_eps = 1e-5,
                           .tied = true},
              .transposed = true},
};

/// The family of that model_type; throws errc::unsupported, naming `file` and the known ones, for an unknown one.
inline const hf_family& require_family(std::string_view model_type, std::string_view file) {
    for (const hf_family& family : families)
        if (family.model_type == model_type) return family;
    std::string known;
    for (const hf_family& family : families) known += concat(known.empty() ? "" : ", ", family.model_type);
    fail(errc::unsupported, file, "the model_type ", io::detail::in_quotes(model_type), " is not known to this version; it knows ", known);
}

}  // namespace hf

}  // namespace skald
