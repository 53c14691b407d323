// SPDX-License-Identifier: MIT
#pragma once
// Embeddings: a text as one vector, pooled from the model's states after the last norm. Any decoder gives them; models tuned for
// embedding say which pooling they want (most decoders: last).
#include <cmath>
#include <cstddef>
#include <span>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/pipeline/pooling.hpp>
#include <skald/pipeline/reader.hpp>

namespace skald {

struct embedding_options {
    skald::pooling pooling = skald::pooling::mean;
    bool normalize = true;  ///< to Euclidean length 1
    std::stop_token cancel{};
};

/// Makes embeddings, one text at a time. Vectors do not depend on the chunk or on texts before.
template <class Backend, class Policy = kv::contiguous<kv::f32>>
class embedder {
    static_assert(kv::require_policy<Policy>());

public:
    explicit embedder(model<Backend> m, const Policy& policy = {}, const reader_options& options = {})
        : reader_(std::move(m), policy, options) {}

    /// The vector of a text. Throws errc::invalid_argument for no tokens, errc::cache_full for more than the policy holds,
    /// errc::cancelled. // (hidden)
    std::vector<float> embed(std::string_view text, const embedding_options& options = {}) {
        const text::tokenizer& t = reader_.get_model().tokenizer();
        return embed(t.encode(text, {.add_bos = t.add_bos(), .add_eos = t.add_eos()}), options);
    }

    std::vector<float> embed(std::span<const token_id> tokens, const embedding_options& options = {}) {
        if (tokens.empty()) fail(errc::invalid_argument, "text", "has no tokens; an embedding needs at least one");
        const std::size_t first = options.pooling == pooling::last ? tokens.size() - 1 : 0;
        const std::span<const token_id> read = options.pooling == pooling::cls ? tokens.first(1) : tokens;
        std::vector<double> sum(reader_.get_model().config().hidden);
        reader_.hidden(read, first, options.cancel, [&](std::size_t, std::span<const float> state) {
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(state[i]);
        });
        double square = 0;
        for (const double x : sum) square += x * x;
        const double scale = !options.normalize ? 1.0 / static_cast<double>(read.size() - first)
                             : square > 0       ? 1.0 / std::sqrt(square)
                                                : 0.0;
        std::vector<float> out(sum.size());
        for (std::size_t i = 0; i < sum.size(); ++i) out[i] = static_cast<float>(sum[i] * scale);
        return out;
    }

    const model<Backend>& get_model() const noexcept { return reader_.get_model(); }

private:
    detail::reader<Backend, Policy> reader_;
};

}  // namespace skald
