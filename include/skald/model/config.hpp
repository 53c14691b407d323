// SPDX-License-Identifier: MIT
#pragma once
// The numbers that describe a model, whatever file they came from, and the checks that make them safe to compute with.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/model/rope.hpp>

namespace skald {

/// How the layers of one kind attend.
struct attention_kind {
    std::size_t window = 0;  ///< a row sees the last `window` positions, its own included; 0: all
    rope_config rope;
};

/// A feed-forward block of experts, of which each row uses a few. (Shazeer et al. 2017)
struct expert_config {
    std::size_t count = 0;  ///< 0: no experts
    std::size_t used = 0;
    std::size_t feed_forward = 0;  ///< width inside an expert
    bool normalized = true;        ///< the weights of the used experts are divided by their sum
};

/// A decoder-only transformer's hyperparameters.
struct model_config {
    std::string architecture;
    std::string name;
    std::size_t layers = 0;
    std::size_t hidden = 0;        ///< width of the residual stream
    std::size_t feed_forward = 0;  ///< width inside the feed-forward block
    std::size_t heads = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    std::size_t vocabulary = 0;
    std::size_t context = 0;  ///< tokens the model was trained for; a hard limit with learned positions
    float norm_eps = 1e-5f;
    float embedding_scale = 1.0f;     ///< token embeddings are multiplied by it
    float attention_scale = 0.0f;     ///< q · k is multiplied by it; 0: 1 / sqrt(head_dim)
    float attention_soft_cap = 0.0f;  ///< of q · k; 0: none
    float logit_soft_cap = 0.0f;      ///< of the logits; 0: none
    expert_config experts;
    std::vector<attention_kind> attention_kinds{attention_kind{}};  ///< at least one
    std::vector<std::uint8_t> layer_kinds{};                        ///< (layers), indices of attention_kinds; empty: all are of the first

    std::size_t kind_of(std::size_t layer) const noexcept { return layer_kinds.empty() ? 0 : layer_kinds[layer]; }
    std::size_t query_width() const noexcept { return heads * head_dim; }
    std::size_t kv_width() const noexcept { return kv_heads * head_dim; }
    /// The widest that a row gets inside a feed-forward block or an expert.
    std::size_t inner_width() const noexcept { return std::max(feed_forward, experts.feed_forward); }
    attention_shape attention() const noexcept { return {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim}; }
    kv::cache_shape cache() const noexcept {
        return {.layers = layers, .kv_heads = kv_heads, .head_dim = head_dim, .rope_pairs = rope_pairs()};
    }
    /// Frequencies of the ropes of all kinds of attention together.
    std::size_t rope_pairs() const noexcept {
        std::size_t pairs = 0;
        for (const attention_kind& kind : attention_kinds) pairs += kind.rope.dims / 2;
        return pairs;
    }
    attention::causal variant(std::size_t layer) const noexcept {
        attention::causal out;
        out.scale = attention_scale != 0.0f ? attention_scale : static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
        if (const std::size_t window = attention_kinds[kind_of(layer)].window; window != 0) out.window = static_cast<position>(window);
        return out;
    }
};

namespace detail {

inline constexpr std::size_t most_values = std::numeric_limits<std::int32_t>::max();

inline void validate_experts(const model_config& c, std::string_view file) {
    const expert_config& e = c.experts;
    if (e.count == 0) return;
    if (e.count > 65536 || e.used == 0 || e.used > e.count)
        fail(errc::bad_file, file, "the model has ", e.count, " experts and uses ", e.used,
             "; it may have 65536 and must use from 1 to all of them");
    if (e.feed_forward == 0 || e.feed_forward > most_values)
        fail(errc::bad_file, file, "the feed-forward length of an expert is ", e.feed_forward, "; it must be from 1 to ", most_values);
}

inline void validate_attention(const model_config& c, std::string_view file) {
    if (c.attention_kinds.empty() || (!c.layer_kinds.empty() && c.layer_kinds.size() != c.layers))
        fail(errc::bad_file, file, "there are ", c.attention_kinds.size(), " kinds of attention, chosen for ", c.layer_kinds.size(), " of ",
             c.layers, " layers");
    for (const std::uint8_t kind : c.layer_kinds)
        if (kind >= c.attention_kinds.size())
            fail(errc::bad_file, file, "a layer is of kind ", int{kind}, " of ", c.attention_kinds.size(), " kinds of attention");
    for (const attention_kind& kind : c.attention_kinds) {
        if (kind.window > most_values)
            fail(errc::bad_file, file, "the attention window is ", kind.window, " tokens; it must be from 1 to ", most_values);
        validate(kind.rope, c.head_dim, file);
    }
}

}  // namespace detail

/// Throws errc::bad_file, naming `file`, the hyperparameter and its value, for a config that no model can have. Sizes are kept below
/// 2^31, so that products of two of them fit 64 bits.
inline void validate(const model_config& c, std::string_view file) {
    const auto in_range = [&](std::string_view what, std::size_t value, std::size_t most = detail::most_values) {
        if (value == 0 || value > most) fail(errc::bad_file, file, what, " is ", value, "; it must be from 1 to ", most);
    };
    in_range("the number of layers", c.layers, 65536);
    in_range("the embedding length", c.hidden);
    in_range("the feed-forward length", c.feed_forward);
    in_range("the number of attention heads", c.heads, 65536);
    in_range("the number of key/value heads", c.kv_heads, 65536);
    in_range("the head dimension", c.head_dim, 65536);
    in_range("the vocabulary size", c.vocabulary);
    in_range("the context length", c.context);
    if (c.heads % c.kv_heads != 0)
        fail(errc::bad_file, file, "the number of key/value heads, ", c.kv_heads, ", does not divide the number of attention heads, ",
             c.heads);
    if (!std::isfinite(c.norm_eps) || c.norm_eps < 0.0f || c.norm_eps > 1.0f)
        fail(errc::bad_file, file, "the norm's epsilon is ", c.norm_eps, "; it must be from 0 to 1");
    const auto not_negative = [&](std::string_view what, float value) {
        if (!std::isfinite(value) || value < 0.0f) fail(errc::bad_file, file, what, " is ", value, "; it must be 0 or positive");
    };
    not_negative("the embedding scale", c.embedding_scale);
    not_negative("the attention scale", c.attention_scale);
    not_negative("the soft cap of attention scores", c.attention_soft_cap);
    not_negative("the soft cap of logits", c.logit_soft_cap);
    detail::validate_experts(c, file);
    detail::validate_attention(c, file);
}

}  // namespace skald
