// SPDX-License-Identifier: MIT
#pragma once
// What the tensors of a model are for. A file may keep several of these together (one tensor for query, key and value, or for
// all experts); a model_source takes such a tensor apart.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace skald {

/// Layer roles stand once a layer, expert roles once an expert of a layer.
enum class tensor_role : std::uint8_t {
    token_embedding,
    position_embedding,
    output_norm,
    output_norm_bias,
    output,
    rope_factors,  ///< read into the config by the loader, as the two that follow
    rope_short_factors,
    rope_long_factors,
    attention_norm,
    attention_norm_bias,
    query,
    query_bias,
    query_norm,
    key,
    key_bias,
    key_norm,
    value,
    value_bias,
    attention_output,
    attention_output_bias,
    attention_post_norm,
    feed_forward_norm,
    feed_forward_norm_bias,
    feed_forward_post_norm,
    gate,
    gate_bias,
    up,
    up_bias,
    down,
    down_bias,
    router,
    expert_gate,
    expert_up,
    expert_down,
    // Kept together in a file: the rows of each follow one another, expert after expert.
    qkv,
    qkv_bias,
    gate_up,
    expert_gate_up,
};

inline constexpr std::size_t tensor_role_count = static_cast<std::size_t>(tensor_role::expert_gate_up) + 1;

/// True for roles that stand once a layer.
constexpr bool is_layer_role(tensor_role role) noexcept { return role >= tensor_role::attention_norm; }

/// True for roles that stand once an expert of a layer.
constexpr bool is_expert_role(tensor_role role) noexcept {
    return role == tensor_role::expert_gate || role == tensor_role::expert_up || role == tensor_role::expert_down ||
           role == tensor_role::expert_gate_up;
}

/// True for roles whose tensors multiply rows or are looked up in; the others are vectors.
constexpr bool is_matrix_role(tensor_role role) noexcept {
    using enum tensor_role;
    switch (role) {
        case token_embedding:
        case position_embedding:
        case output:
        case query:
        case key:
        case value:
        case attention_output:
        case gate:
        case up:
        case down:
        case router:
        case expert_gate:
        case expert_up:
        case expert_down: return true;
        default: return false;
    }
}

/// The roles that a tensor of role `role` is taken apart into; none: it is not.
inline std::span<const tensor_role> parts_of(tensor_role role) noexcept {
    using enum tensor_role;
    static constexpr std::array of_qkv{query, key, value}, of_bias{query_bias, key_bias, value_bias};
    static constexpr std::array of_gate_up{gate, up}, of_experts{expert_gate, expert_up};
    switch (role) {
        case qkv: return of_qkv;
        case qkv_bias: return of_bias;
        case gate_up: return of_gate_up;
        case expert_gate_up: return of_experts;
        default: return {};
    }
}

}  // namespace skald
