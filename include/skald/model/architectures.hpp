// SPDX-License-Identifier: MIT
#pragma once
// The architectures this version knows. Tensor names are those of GGUF files (ggml, docs/gguf.md).
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/model/architecture.hpp>

namespace skald::architectures {

namespace detail {

using enum tensor_role;
using enum presence;
using rule = tensor_rule;

/// Tables one after another.
template <std::size_t... N>
constexpr auto join(const std::array<rule, N>&... tables) {
    std::array<rule, (N + ...)> out{};
    auto at = out.begin();
    ((at = std::copy(tables.begin(), tables.end(), at)), ...);
    return out;
}

inline constexpr std::array outside{
    rule{token_embedding, "token_embd.weight"}, rule{output_norm, "output_norm.weight"},
    rule{output, "output.weight", optional},  // absent: tied to the token embedding
};
inline constexpr std::array norms_before{
    rule{attention_norm, "blk.#.attn_norm.weight"},
    rule{feed_forward_norm, "blk.#.ffn_norm.weight"},
};
inline constexpr std::array norms_after{
    rule{attention_post_norm, "blk.#.post_attention_norm.weight"},
    rule{feed_forward_post_norm, "blk.#.post_ffw_norm.weight"},
};
inline constexpr std::array head_norms{
    rule{query_norm, "blk.#.attn_q_norm.weight"},
    rule{key_norm, "blk.#.attn_k_norm.weight"},
};
inline constexpr std::array attention{
    rule{query, "blk.#.attn_q.weight"},
    rule{query_bias, "blk.#.attn_q.bias", optional},
    rule{key, "blk.#.attn_k.weight"},
    rule{key_bias, "blk.#.attn_k.bias", optional},
    rule{value, "blk.#.attn_v.weight"},
    rule{value_bias, "blk.#.attn_v.bias", optional},
    rule{qkv, "blk.#.attn_qkv.weight", optional},  // instead of the three
    rule{qkv_bias, "blk.#.attn_qkv.bias", optional},
    rule{attention_output, "blk.#.attn_output.weight"},
    rule{attention_output_bias, "blk.#.attn_output.bias", optional},
};
inline constexpr std::array gated_feed_forward{
    rule{gate, "blk.#.ffn_gate.weight", dense}, rule{gate_bias, "blk.#.ffn_gate.bias", optional},
    rule{up, "blk.#.ffn_up.weight", dense},     rule{up_bias, "blk.#.ffn_up.bias", optional},
    rule{down, "blk.#.ffn_down.weight", dense}, rule{down_bias, "blk.#.ffn_down.bias", optional},
};
inline constexpr std::array expert_feed_forward{
    rule{router, "blk.#.ffn_gate_inp.weight", experts},
    rule{expert_gate, "blk.#.ffn_gate_exps.weight", experts},
    rule{expert_up, "blk.#.ffn_up_exps.weight", experts},
    rule{expert_down, "blk.#.ffn_down_exps.weight", experts},
    // Instead of these: gate and up in one, or experts in tensors of their own.
    rule{expert_gate_up, "blk.#.ffn_gate_up_exps.weight", optional},
    rule{expert_gate, "blk.#.ffn_gate.@.weight", optional},
    rule{expert_up, "blk.#.ffn_up.@.weight", optional},
    rule{expert_down, "blk.#.ffn_down.@.weight", optional},
};
inline constexpr std::array long_rope{
    rule{rope_short_factors, "rope_factors_short.weight", optional},
    rule{rope_long_factors, "rope_factors_long.weight", optional},
};
inline constexpr std::array one_rope{rule{rope_factors, "rope_freqs.weight", optional}};
inline constexpr std::array fused_attention{
    rule{qkv, "blk.#.attn_qkv.weight"},
    rule{attention_output, "blk.#.attn_output.weight"},
};
inline constexpr std::array fused_feed_forward{
    rule{gate_up, "blk.#.ffn_up.weight"},
    rule{down, "blk.#.ffn_down.weight"},
};
inline constexpr std::array gpt2_more{
    rule{position_embedding, "position_embd.weight"},
    rule{output_norm_bias, "output_norm.bias"},
    rule{attention_norm_bias, "blk.#.attn_norm.bias"},
    rule{qkv_bias, "blk.#.attn_qkv.bias"},
    rule{attention_output_bias, "blk.#.attn_output.bias"},
    rule{feed_forward_norm_bias, "blk.#.ffn_norm.bias"},
    rule{up, "blk.#.ffn_up.weight"},
    rule{up_bias, "blk.#.ffn_up.bias"},
    rule{down, "blk.#.ffn_down.weight"},
    rule{down_bias, "blk.#.ffn_down.bias"},
};

inline constexpr auto plain_tensors = join(outside, norms_before, attention, gated_feed_forward);
inline constexpr auto llama_tensors = join(plain_tensors, one_rope, long_rope, expert_feed_forward);
inline constexpr auto qwen3_tensors = join(plain_tensors, head_norms);
inline constexpr auto qwen3moe_tensors = join(qwen3_tensors, expert_feed_forward);
inline constexpr auto phi3_tensors = join(outside, norms_before, fused_attention, fused_feed_forward, long_rope);
inline constexpr auto gemma2_tensors = join(plain_tensors, norms_after);
inline constexpr auto gemma3_tensors = join(plain_tensors, head_norms, norms_after);
inline constexpr auto olmo2_tensors = join(outside, attention, head_norms, gated_feed_forward, norms_after);
inline constexpr auto gpt2_tensors = join(outside, norms_before, fused_attention, gpt2_more);

}  // namespace detail

/// Llama 1 to 3.2, Mistral, Mixtral, SmolLM and the many that share their graph.
inline constexpr architecture llama{.name = "llama",
                                    .norm = norm_kind::rms,
                                    .activation = activation_kind::silu,
                                    .interleaved_rope = true,
                                    .tensors = detail::llama_tensors};

/// Ministral 3 and Mistral Small 3.
inline constexpr architecture mistral3{.name = "mistral3",
                                       .norm = norm_kind::rms,
                                       .activation = activation_kind::silu,
                                       .interleaved_rope = true,
                                       .tensors = detail::llama_tensors};

/// Qwen 2 and 2.5.
inline constexpr architecture qwen2{
    .name = "qwen2", .norm = norm_kind::rms, .activation = activation_kind::silu, .tensors = detail::plain_tensors};

inline constexpr architecture qwen3{
    .name = "qwen3", .norm = norm_kind::rms, .activation = activation_kind::silu, .tensors = detail::qwen3_tensors};

inline constexpr architecture qwen3moe{
    .name = "qwen3moe", .norm = norm_kind::rms, .activation = activation_kind::silu, .tensors = detail::qwen3moe_tensors};

/// Phi-3, 3.5 and 4.
inline constexpr architecture phi3{
    .name = "phi3", .norm = norm_kind::rms, .activation = activation_kind::silu, .tensors = detail::phi3_tensors};

inline constexpr architecture gemma{.name = "gemma",
                                    .norm = norm_kind::rms,
                                    .activation = activation_kind::gelu_tanh,
                                    .scaled_embedding = true,
                                    .tensors = detail::plain_tensors};

/// Every second layer sees everything.
inline constexpr architecture gemma2{.name = "gemma2",
                                     .norm = norm_kind::rms,
                                     .activation = activation_kind::gelu_tanh,
                                     .scaled_embedding = true,
                                     .attention_soft_cap = 50.0f,
                                     .logit_soft_cap = 30.0f,
                                     .window = {.period = 2, .width = 4096},
                                     .tensors = detail::gemma2_tensors};

/// Every sixth layer sees everything, with a rope of its own.
inline constexpr architecture gemma3{.name = "gemma3",
                                     .norm = norm_kind::rms,
                                     .activation = activation_kind::gelu_tanh,
                                     .scaled_embedding = true,
                                     .window = {.period = 6, .rope_base = 10000.0, .scaled_rope = false},
                                     .tensors = detail::gemma3_tensors};

/// OLMo 2, and OLMo 3, of which every fourth layer sees everything.
inline constexpr architecture olmo2{.name = "olmo2",
                                    .norm = norm_kind::rms,
                                    .activation = activation_kind::silu,
                                    .whole_query_norm = true,
                                    .window = {.period = 4, .scaled_rope = false},
                                    .tensors = detail::olmo2_tensors};

inline constexpr architecture gpt2{.name = "gpt2",
                                   .norm = norm_kind::layer,
                                   .activation = activation_kind::gelu_tanh,
                                   .gated = false,
                                   .learned_positions = true,
                                   .tensors = detail::gpt2_tensors};

inline constexpr std::array all{&llama, &mistral3, &qwen2, &qwen3, &qwen3moe, &phi3, &gemma, &gemma2, &gemma3, &olmo2, &gpt2};

/// The architecture of that name, or null.
constexpr const architecture* find(std::string_view name) noexcept {
    for (const architecture* a : all)
        if (a->name == name) return a;
    return nullptr;
}

/// The same; throws errc::unsupported, naming `file` and the known architectures, for an unknown one.
inline const architecture& require(std::string_view name, std::string_view file) {
    if (const architecture* a = find(name)) return *a;
    std::string known;
    for (const architecture* a : all) known += concat(known.empty() ? "" : ", ", a->name);
    fail(errc::unsupported, file, "the architecture '", name, "' is not known to this version; it knows ", known);
}

}  // namespace skald::architectures
