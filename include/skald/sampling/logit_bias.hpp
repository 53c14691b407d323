// SPDX-License-Identifier: MIT
#pragma once
// Logit bias: chosen tokens become more or less likely, up to forced and forbidden.
#include <cmath>
#include <initializer_list>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

struct token_bias {
    token_id token;
    float bias;  ///< added to the logit; -inf forbids the token, +inf leaves only tokens of +inf
};

/// Adds biases to logits: `logit_bias{{5, 2.0f}, {17, -1.5f}}`. Biases of one token add up; a token that is no candidate is
/// passed over, as in llama.cpp. Throws errc::invalid_argument for a bias of NaN.
class logit_bias {
public:
    logit_bias() = default;
    logit_bias(std::initializer_list<token_bias> biases) : logit_bias(std::vector<token_bias>(biases)) {}
    explicit logit_bias(std::vector<token_bias> biases) : biases_(std::move(biases)) {
        for (const token_bias& b : biases_)
            if (b.bias != b.bias) fail(errc::invalid_argument, "logit_bias", "of token ", b.token, " is NaN; it must be a number");
    }

    void operator()(candidates& c) const {
        for (const token_bias& b : biases_)
            if (candidate* const found = c.find(b.token)) found->logit = std::isinf(b.bias) ? b.bias : found->logit + b.bias;
    }

private:
    std::vector<token_bias> biases_;
};

static_assert(processor<logit_bias>);

}  // namespace skald::sampling
