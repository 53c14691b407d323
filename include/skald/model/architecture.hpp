// SPDX-License-Identifier: MIT
#pragma once
// An architecture as data: the kinds of its parts, and which tensors it has under which names and shapes. The loader and the
// forward are written once against this table; a new architecture of known parts is a new table and nothing else.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <skald/backend/ops.hpp>
#include <skald/model/config.hpp>

namespace skald {

/// What a tensor is for. Layer roles stand once a layer.
enum class tensor_role : std::uint8_t {
    token_embedding,
    position_embedding,
    output_norm,
    output_norm_bias,
    output,
    rope_factors,
    attention_norm,
    attention_norm_bias,
    query,
    query_bias,
    key,
    key_bias,
    value,
    value_bias,
    qkv,
    qkv_bias,
    attention_output,
    attention_output_bias,
    feed_forward_norm,
    feed_forward_norm_bias,
    gate,
    gate_bias,
    up,
    up_bias,
    down,
    down_bias,
};

inline constexpr std::size_t tensor_role_count = static_cast<std::size_t>(tensor_role::down_bias) + 1;

/// True for roles that stand once a layer.
constexpr bool is_layer_role(tensor_role role) noexcept { return role >= tensor_role::attention_norm; }

/// One row of an architecture's tensor table. In a layer's tensor name `#` stands for the layer's number.
struct tensor_rule {
    tensor_role role;
    std::string_view name;
    bool required = true;
};

/// Rows and columns a tensor must have; vectors have one row.
struct tensor_shape {
    std::size_t rows = 0, cols = 0;
    friend bool operator==(tensor_shape, tensor_shape) = default;
};

/// The shape a role has in a model of that config.
inline tensor_shape shape_of(tensor_role role, const model_config& c) {
    using enum tensor_role;
    switch (role) {
        case token_embedding:
        case output: return {c.vocabulary, c.hidden};
        case position_embedding: return {c.context, c.hidden};
        case rope_factors: return {1, c.rope.dims / 2};
        case query: return {c.query_width(), c.hidden};
        case query_bias: return {1, c.query_width()};
        case key:
        case value: return {c.kv_width(), c.hidden};
        case key_bias:
        case value_bias: return {1, c.kv_width()};
        case qkv: return {c.query_width() + 2 * c.kv_width(), c.hidden};
        case qkv_bias: return {1, c.query_width() + 2 * c.kv_width()};
        case attention_output: return {c.hidden, c.query_width()};
        case gate:
        case up: return {c.feed_forward, c.hidden};
        case gate_bias:
        case up_bias: return {1, c.feed_forward};
        case down: return {c.hidden, c.feed_forward};
        case output_norm:
        case output_norm_bias:
        case attention_norm:
        case attention_norm_bias:
        case attention_output_bias:
        case feed_forward_norm:
        case feed_forward_norm_bias:
        case down_bias: return {1, c.hidden};
    }
    return {};
}

/// The parts of a family of models. Files name it by `name`.
struct architecture {
    std::string_view name;
    norm_kind norm;
    activation_kind activation;
    bool gated;              ///< feed-forward is down(f(gate) · up), else down(f(up))
    bool learned_positions;  ///< adds a position embedding; else rope
    bool rope_interleaved;
    std::span<const tensor_rule> tensors;

    const tensor_rule* rule(tensor_role role) const noexcept {
        for (const tensor_rule& r : tensors)
            if (r.role == role) return &r;
        return nullptr;
    }
};

/// The name of a rule's tensor; `layer` fills the `#`.
inline std::string tensor_name(const tensor_rule& rule, std::size_t layer) {
    std::string name(rule.name);
    if (const std::size_t hole = name.find('#'); hole != std::string::npos) name.replace(hole, 1, std::to_string(layer));
    return name;
}

namespace architectures {

// Llama 1, 2, 3, 3.1, 3.2, SmolLM, SmolLM2 and the many that share their graph.
inline constexpr std::array llama_tensors{
    tensor_rule{tensor_role::token_embedding, "token_embd.weight"},
    tensor_rule{tensor_role::output_norm, "output_norm.weight"},
    tensor_rule{tensor_role::output, "output.weight", false},  // absent: tied to the token embedding
    tensor_rule{tensor_role::rope_factors, "rope_freqs.weight", false},
    tensor_rule{tensor_role::attention_norm, "blk.#.attn_norm.weight"},
    tensor_rule{tensor_role::query, "blk.#.attn_q.weight"},
    tensor_rule{tensor_role::query_bias, "blk.#.attn_q.bias", false},
    tensor_rule{tensor_role::key, "blk.#.attn_k.weight"},
    tensor_rule{tensor_role::key_bias, "blk.#.attn_k.bias", false},
    tensor_rule{tensor_role::value, "blk.#.attn_v.weight"},
    tensor_rule{tensor_role::value_bias, "blk.#.attn_v.bias", false},
    tensor_rule{tensor_role::attention_output, "blk.#.attn_output.weight"},
    tensor_rule{tensor_role::attention_output_bias, "blk.#.attn_output.bias", false},
    tensor_rule{tensor_role::feed_forward_norm, "blk.#.ffn_norm.weight"},
    tensor_rule{tensor_role::gate, "blk.#.ffn_gate.weight"},
    tensor_rule{tensor_role::gate_bias, "blk.#.ffn_gate.bias", false},
    tensor_rule{tensor_role::up, "blk.#.ffn_up.weight"},
    tensor_rule{tensor_role::up_bias, "blk.#.ffn_up.bias", false},
    tensor_rule{tensor_role::down, "blk.#.ffn_down.weight"},
    tensor_rule{tensor_role::down_bias, "blk.#.ffn_down.bias", false},
};
inline constexpr architecture llama{.name = "llama",
                                    .norm = norm_kind::rms,
                                    .activation = activation_kind::silu,
                                    .gated = true,
                                    .learned_positions = false,
                                    .rope_interleaved = true,
                                    .tensors = llama_tensors};

inline constexpr std::array gpt2_tensors{
    tensor_rule{tensor_role::token_embedding, "token_embd.weight"},
    tensor_rule{tensor_role::position_embedding, "position_embd.weight"},
    tensor_rule{tensor_role::output_norm, "output_norm.weight"},
    tensor_rule{tensor_role::output_norm_bias, "output_norm.bias"},
    tensor_rule{tensor_role::output, "output.weight", false},
    tensor_rule{tensor_role::attention_norm, "blk.#.attn_norm.weight"},
    tensor_rule{tensor_role::attention_norm_bias, "blk.#.attn_norm.bias"},
    tensor_rule{tensor_role::qkv, "blk.#.attn_qkv.weight"},
    tensor_rule{tensor_role::qkv_bias, "blk.#.attn_qkv.bias"},
    tensor_rule{tensor_role::attention_output, "blk.#.attn_output.weight"},
    tensor_rule{tensor_role::attention_output_bias, "blk.#.attn_output.bias"},
    tensor_rule{tensor_role::feed_forward_norm, "blk.#.ffn_norm.weight"},
    tensor_rule{tensor_role::feed_forward_norm_bias, "blk.#.ffn_norm.bias"},
    tensor_rule{tensor_role::up, "blk.#.ffn_up.weight"},
    tensor_rule{tensor_role::up_bias, "blk.#.ffn_up.bias"},
    tensor_rule{tensor_role::down, "blk.#.ffn_down.weight"},
    tensor_rule{tensor_role::down_bias, "blk.#.ffn_down.bias"},
};
inline constexpr architecture gpt2{.name = "gpt2",
                                   .norm = norm_kind::layer,
                                   .activation = activation_kind::gelu_tanh,
                                   .gated = false,
                                   .learned_positions = true,
                                   .rope_interleaved = false,
                                   .tensors = gpt2_tensors};

inline constexpr std::array all{&llama, &gpt2};

/// The architecture of that name, or null.
constexpr const architecture* find(std::string_view name) noexcept {
    for (const architecture* a : all)
        if (a->name == name) return a;
    return nullptr;
}

}  // namespace architectures

}  // namespace skald
