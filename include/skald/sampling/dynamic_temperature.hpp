// SPDX-License-Identifier: MIT
#pragma once
// Dynamic temperature: low where the model is sure, high where it is not. Kalomaze's entropy sampling, as llama.cpp has it.
#include <algorithm>
#include <cmath>

#include <skald/core/error.hpp>
#include <skald/sampling/detail/surprisal.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/sampling/temperature.hpp>

namespace skald::sampling {

/// A temperature between max(0, value - range) and value + range: lowest + (highest - lowest) · h^exponent, where h is the candidates'
/// entropy over that of as many equally likely ones. With a range of 0 and below it is `temperature{value}`; one candidate
/// stays as it is. Throws errc::invalid_argument for values that are not finite, and for a negative exponent.
struct dynamic_temperature {
    float value = 0.8f;
    float range = 0.0f;
    float exponent = 1.0f;

    void operator()(candidates& c) const {
        if (!std::isfinite(value)) fail(errc::invalid_argument, "temperature", "is ", value, "; it must be a finite number");
        if (!std::isfinite(range))
            fail(errc::invalid_argument, "dynamic_temperature", "the range is ", range, "; it must be a finite number");
        if (!std::isfinite(exponent) || exponent < 0)
            fail(errc::invalid_argument, "dynamic_temperature", "the exponent is ", exponent, "; it must be a finite number of 0 or more");
        if (range <= 0) return temperature{value}(c);
        if (c.size() < 2) return;
        const double lowest = std::max(0.0f, value - range), highest = value + range;
        const double share = detail::surprisal(c).entropy(c) / std::log(static_cast<double>(c.size()));
        temperature{static_cast<float>(lowest + (highest - lowest) * std::pow(std::clamp(share, 0.0, 1.0), exponent))}(c);
    }
};

static_assert(processor<dynamic_temperature>);

}  // namespace skald::sampling
