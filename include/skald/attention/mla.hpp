// SPDX-License-Identifier: MIT
#pragma once
// Multi-head latent attention (DeepSeek-V2, Liu et al. 2024) as shapes: a token leaves one row in the cache, [rotated key | latent], that
// is the key and the value of all heads. Head h's key is [rotated key | W_k,h · latent], its value W_v,h · latent. Two ways to the same
// result (mla_layer.hpp), which differ in rounding and in what they cost, in multiply-adds:
//
// | form     | what is done                                       | a row and position           | beside that                        |
// |----------|----------------------------------------------------|------------------------------|------------------------------------|
// | absorbed | queries become W_k,hᵀ · q, as wide as latents; the | heads · 2 (rope + rank)      | heads · rank · (nope + value) a    |
// |          | latents are the values, and results go through     |                              | row; a row of the cache is read    |
// |          | W_v,h                                              |                              | once                               |
// | expanded | keys and values are made from the latents, at most | heads · (nope + rope +       | heads · rank · (nope + value) a    |
// |          | restart_size positions and 16 heads at a time      | value)                       | position and step, into 2 · width  |
// |          |                                                    |                              | floats a head                      |
//
// With DeepSeek-V2-Lite's numbers (16 heads, 128 + 64, 128, 512) a pair costs 18432 or 5120, and what is beside it 2.1 million: in long
// contexts expanded is the cheaper one from 158 rows a step on. Which of them a row goes through is its segment's role to say, not the
// step's length: results must not depend on how a prompt is cut.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/backend/ops.hpp>
#include <skald/kv/cache.hpp>

namespace skald::attention {

/// What a segment's rows are: a prompt's, or a sequence's own as they are chosen, drafted and checked.
enum class segment_role : std::uint8_t { prompt, decode };

/// How latents are attended to.
enum class mla_form : std::uint8_t { absorbed, expanded };
constexpr mla_form form_of(segment_role role) noexcept { return role == segment_role::prompt ? mla_form::expanded : mla_form::absorbed; }

/// The numbers of a model's latent attention.
struct mla_shape {
    std::size_t heads = 0;
    std::size_t nope_dim = 0;   ///< of a head's query and key: what is not rotated
    std::size_t rope_dim = 0;   ///< what is; its keys are shared by all heads
    std::size_t value_dim = 0;  ///< of a head's value
    std::size_t rank = 0;       ///< of the latents

    bool operator==(const mla_shape&) const = default;

    std::size_t query_dim() const noexcept { return nope_dim + rope_dim; }
    std::size_t latent_dim() const noexcept { return rope_dim + rank; }  ///< of a row of the cache
    /// Of keys and values when they are expanded; the shorter ones are padded.
    std::size_t expanded_dim() const noexcept { return std::max(query_dim(), value_dim); }

    /// 1 / sqrt(query_dim): the variant's scale, but for models whose rope scaling multiplies it (YaRN's mscale²).
    float scale() const noexcept { return 1.0f / std::sqrt(static_cast<float>(query_dim())); }

    /// What a cache keeps: half the bytes that keys and values of one head as wide would take.
    kv::cache_shape cache(std::size_t layers) const noexcept {
        return {.layers = layers, .kv_heads = 1, .head_dim = latent_dim(), .latent = true};
    }

    attention_shape absorbed() const noexcept { return {heads, 1, latent_dim()}; }
    /// Of so many heads.
    attention_shape expanded(std::size_t some) const noexcept { return {some, some, expanded_dim()}; }
    /// Heads that are expanded at a time: their keys and values take restart_size · 2 · expanded_dim floats each.
    std::size_t heads_at_once() const noexcept { return std::min<std::size_t>(heads, 16); }
};

}  // namespace skald::attention
