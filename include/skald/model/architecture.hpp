// SPDX-License-Identifier: MIT
#pragma once
// An architecture as data: the kinds of its parts, and which tensors it has under which names and shapes. The loader and the
// forward are written once against this table; a new architecture of known parts is a new table and nothing else.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <skald/backend/ops.hpp>
#include <skald/model/config.hpp>
#include <skald/model/tensor_role.hpp>

namespace skald {

/// When a file must have a tensor.
enum class presence : std::uint8_t {
    required,
    optional,
    dense,    ///< in each layer without experts
    experts,  ///< in each layer with experts; the router decides which these are
};

/// One row of an architecture's tensor table: a name in GGUF files. In it `#` stands for the layer's number and `@` for the expert's.
struct tensor_rule {
    tensor_role role;
    std::string_view name;
    presence when = presence::required;
};

/// What layers with a window differ in. Of every `period` layers the last sees everything; 0: all layers have the window.
struct window_rule {
    std::size_t period = 0;
    std::size_t width = 0;    ///< where the file does not say; 0: no window then
    double rope_base = 0.0;   ///< where the file does not say; 0: as in the other layers
    bool scaled_rope = true;  ///< the rope scaling holds for layers with a window too
};

/// The parts of a family of models. Files name it by `name`.
struct architecture {
    std::string_view name;
    norm_kind norm;
    activation_kind activation;
    bool gated = true;                ///< feed-forward is down(f(gate) · up), else down(f(up))
    bool learned_positions = false;   ///< adds a position embedding; else rope
    bool interleaved_rope = false;    ///< in GGUF files
    bool scaled_embedding = false;    ///< embeddings are multiplied by sqrt(hidden)
    bool whole_query_norm = false;    ///< query and key norms run over all heads together, else over each head
    float attention_soft_cap = 0.0f;  ///< where the file does not say
    float logit_soft_cap = 0.0f;      ///< where the file does not say
    window_rule window{};
    std::span<const tensor_rule> tensors;
};

/// A config with what the architecture implies; a file's values come over it.
inline model_config implied_config(const architecture& a, std::size_t hidden) {
    model_config c;
    c.architecture = std::string(a.name);
    c.hidden = hidden;
    if (a.scaled_embedding) c.embedding_scale = std::sqrt(static_cast<float>(hidden));
    c.attention_soft_cap = a.attention_soft_cap;
    c.logit_soft_cap = a.logit_soft_cap;
    return c;
}

/// Rows and columns a tensor must have; vectors have one row. All experts together.
struct tensor_shape {
    std::size_t rows = 0, cols = 0;
    friend bool operator==(tensor_shape, tensor_shape) = default;
};

/// The shape a role has in a model of that architecture and config.
inline tensor_shape shape_of(tensor_role role, const architecture& a, const model_config& c) {
    using enum tensor_role;
    const std::size_t qkv_width = c.query_width() + 2 * c.kv_width();
    switch (role) {
        case token_embedding:
        case output: return {c.vocabulary, c.hidden};
        case position_embedding: return {c.context, c.hidden};
        case rope_factors:
        case rope_short_factors:
        case rope_long_factors: return {1, c.attention_kinds[0].rope.dims / 2};
        case query: return {c.query_width(), c.hidden};
        case query_bias: return {1, c.query_width()};
        case query_norm: return {1, a.whole_query_norm ? c.query_width() : c.head_dim};
        case key:
        case value: return {c.kv_width(), c.hidden};
        case key_bias:
        case value_bias: return {1, c.kv_width()};
        case key_norm: return {1, a.whole_query_norm ? c.kv_width() : c.head_dim};
        case qkv: return {qkv_width, c.hidden};
        case qkv_bias: return {1, qkv_width};
        case attention_output: return {c.hidden, c.query_width()};
        case gate:
        case up: return {c.feed_forward, c.hidden};
        case gate_up: return {2 * c.feed_forward, c.hidden};
        case gate_bias:
        case up_bias: return {1, c.feed_forward};
        case down: return {c.hidden, c.feed_forward};
        case router: return {c.experts.count, c.hidden};
        case expert_gate:
        case expert_up: return {c.experts.count * c.experts.feed_forward, c.hidden};
        case expert_gate_up: return {c.experts.count * 2 * c.experts.feed_forward, c.hidden};
        case expert_down: return {c.experts.count * c.hidden, c.experts.feed_forward};
        case output_norm:
        case output_norm_bias:
        case attention_norm:
        case attention_norm_bias:
        case attention_output_bias:
        case attention_post_norm:
        case feed_forward_norm:
        case feed_forward_norm_bias:
        case feed_forward_post_norm:
        case down_bias: return {1, c.hidden};
    }
    return {};
}

}  // namespace skald
