// SPDX-License-Identifier: MIT
#pragma once
// The oracle of the 8- and 16-bit float formats: every code's value from the definition of the format, in double, and the
// nearest code found by search.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace skald::test {

/// A binary format: sign, exponent, fraction, and the code of its highest finite number.
struct float_format {
    int exponent_bits, fraction_bits;
    unsigned highest;

    int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    unsigned sign() const { return 1u << (exponent_bits + fraction_bits); }

    /// The value of a finite code.
    double value(unsigned code) const {
        const unsigned magnitude = code & (sign() - 1);
        const int exponent = static_cast<int>(magnitude >> fraction_bits);
        const double fraction = std::ldexp(magnitude & ((1u << fraction_bits) - 1), -fraction_bits);
        const double absolute = exponent == 0 ? std::ldexp(fraction, 1 - bias()) : std::ldexp(1 + fraction, exponent - bias());
        return (code & sign()) != 0 ? -absolute : absolute;
    }

    /// The code of the finite number nearest to a non-negative `x`, the even one of two; `overflow` where x lies half a step or
    /// more above the highest.
    unsigned nearest(double x, unsigned overflow) const {
        if (x >= value(highest)) {
            const double half_step = std::ldexp(1.0, static_cast<int>(highest >> fraction_bits) - bias() - fraction_bits - 1);
            const bool above = (highest & 1u) != 0 ? x >= value(highest) + half_step : x > value(highest) + half_step;
            return above ? overflow : highest;
        }
        unsigned low = 0, high = highest;  // value(low) <= x < value(high)
        while (high - low > 1) {
            const unsigned middle = (low + high) / 2;
            (value(middle) <= x ? low : high) = middle;
        }
        const double below = x - value(low), above = value(high) - x;
        if (below != above) return below < above ? low : high;
        return (low & 1u) == 0 ? low : high;
    }
};

/// Floats of all magnitudes: random bits, and for every code of the format its value, the middle to the next one, and the
/// floats on both sides of these. Non-negative and finite.
inline std::vector<float> probing_floats(const float_format& format, std::uint32_t seed, std::size_t random_count) {
    std::vector<float> out{0.0f, 0x1p-149f, 0x1.fffffep127f};
    std::mt19937 random(seed);
    while (out.size() < random_count) {
        const float f = std::bit_cast<float>(static_cast<std::uint32_t>(random() & 0x7fffffffu));
        if (std::isfinite(f)) out.push_back(f);
    }
    for (unsigned code = 0; code <= format.highest; ++code) {
        const double here = format.value(code), next = format.value(code + 1);  // past the highest: where it would go on
        for (const double x : {here, (here + next) / 2}) {
            const float f = static_cast<float>(x);
            out.push_back(f);
            out.push_back(std::nextafter(f, 0.0f));
            const float up = std::nextafter(f, 1e38f);
            if (std::isfinite(up)) out.push_back(up);
        }
    }
    std::erase_if(out, [](float f) { return !std::isfinite(f); });
    return out;
}

}  // namespace skald::test
