// SPDX-License-Identifier: MIT
#pragma once
// The numbers that describe a model, whatever file they came from, and the checks that make them safe to compute with.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <skald/attention/variant.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>

namespace skald {

/// How rope frequencies are stretched for contexts longer than the model was first trained on.
enum class rope_scaling : std::uint8_t {
    none,
    linear,  ///< every frequency divided by `factor` (Chen et al. 2023)
    llama3,  ///< long wavelengths divided by `factor`, short ones kept, a ramp between (Llama 3.1)
};

/// Rotary embedding. No rope: dims = 0.
struct rope_config {
    std::size_t dims = 0;
    double base = 10000.0;
    rope_scaling scaling = rope_scaling::none;
    double factor = 1.0;
    double low_freq_factor = 1.0;         ///< llama3: wavelengths above original_context / low_freq_factor are divided whole
    double high_freq_factor = 4.0;        ///< llama3: wavelengths below original_context / high_freq_factor are kept
    std::size_t original_context = 8192;  ///< llama3: the context of the first training
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
    rope_config rope;

    std::size_t query_width() const noexcept { return heads * head_dim; }
    std::size_t kv_width() const noexcept { return kv_heads * head_dim; }
    attention_shape attention() const noexcept { return {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim}; }
    kv::cache_shape cache() const noexcept { return {.layers = layers, .kv_heads = kv_heads, .head_dim = head_dim}; }
    attention::causal variant() const noexcept { return {.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)))}; }
};

/// Throws errc::bad_file, naming `file`, the hyperparameter and its value, for a config that no model can have. Sizes are kept below
/// 2^31, so that products of two of them fit 64 bits.
inline void validate(const model_config& c, std::string_view file) {
    const auto in_range = [&](std::string_view what, std::size_t value, std::size_t most = std::numeric_limits<std::int32_t>::max()) {
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
    if (c.rope.dims == 0) return;
    if (c.rope.dims % 2 != 0 || c.rope.dims > c.head_dim)
        fail(errc::bad_file, file, "the rope dimension count is ", c.rope.dims, "; it must be even and at most the head dimension, ",
             c.head_dim);
    if (!std::isfinite(c.rope.base) || c.rope.base <= 0.0)
        fail(errc::bad_file, file, "the rope base is ", c.rope.base, "; it must be positive");
    if (!std::isfinite(c.rope.factor) || c.rope.factor <= 0.0)
        fail(errc::bad_file, file, "the rope scaling factor is ", c.rope.factor, "; it must be positive");
    if (c.rope.scaling == rope_scaling::llama3) {
        if (!(c.rope.low_freq_factor > 0.0) || !(c.rope.high_freq_factor > c.rope.low_freq_factor) || c.rope.original_context == 0)
            fail(errc::bad_file, file, "llama3 rope scaling needs 0 < low_freq_factor < high_freq_factor and an original context; found ",
                 c.rope.low_freq_factor, ", ", c.rope.high_freq_factor, " and ", c.rope.original_context);
    }
}

}  // namespace skald
