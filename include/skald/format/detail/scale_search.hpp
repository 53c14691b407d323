// SPDX-License-Identifier: MIT
#pragma once
// The searches that encoders share: the scale (and minimum) by which small whole numbers, or levels of a codebook, come nearest to
// N values, "nearest" being the least Σ weight · error². For a given choice of codes the best scale is a weighted least-squares
// fit; the search tries many scales to get codes, fits each, and keeps the best.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/format/vector.hpp>

namespace skald::format::detail {

/// The nearest whole number, ties to even, for magnitudes below 2²²: 1.5 · 2²³ + x has no bits for a fraction.
template <float_vector V>
inline V rounded(V x) noexcept {
    const V shift = V::broadcast(12582912.0f);
    return (x + shift) - shift;
}

/// Codes that are the whole numbers from Lowest to Highest.
template <int Lowest, int Highest>
struct whole_codes {
    static constexpr float lowest = Lowest, highest = Highest;
    static constexpr float step = 1;  // between neighbours, at the ends

    template <float_vector V>
    static V nearest(V x) noexcept {
        return min(max(rounded(min(max(x, V::broadcast(lowest - 1)), V::broadcast(highest + 1))), V::broadcast(lowest)),
                   V::broadcast(highest));
    }
    /// The code of nearest(x) as a number from 0.
    static std::uint8_t index(float x) noexcept { return static_cast<std::uint8_t>(nearest(scalar{x}).value - lowest); }
};

/// Codes that are sixteen levels. `Levels` has them ascending in `levels`, and in `indices` their places in the format's table.
template <class Levels>
struct level_codes {
    static constexpr float lowest = Levels::levels[0], highest = Levels::levels[Levels::levels.size() - 1];
    static constexpr float step = (highest - lowest) / Levels::levels.size();

    /// The lowest level, and a step more for each border that x is past: (x - border) · 10³⁰ within [0, 1] is 0 or 1.
    template <float_vector V>
    static V nearest(V x) noexcept {
        V out = V::broadcast(lowest);
        for (std::size_t i = 0; i + 1 < Levels::levels.size(); ++i) {
            const float low = Levels::levels[i], high = Levels::levels[i + 1];
            const V past = (x - V::broadcast((low + high) / 2)) * V::broadcast(1e30f);
            out = fma(min(max(past, V::broadcast(0)), V::broadcast(1)), V::broadcast(high - low), out);
        }
        return out;
    }
    static std::uint8_t index(float x) noexcept { return Levels::indices[place(x)]; }

private:
    // The border between two levels is a multiple of ½, so the nearest level is a function of ⌊2x⌋.
    static constexpr int first = static_cast<int>(2 * lowest), count = static_cast<int>(2 * highest) - first + 1;
    static constexpr auto places = [] {
        std::array<std::uint8_t, static_cast<std::size_t>(count)> out{};
        std::size_t at = 0;
        for (int i = 0; i < count; ++i) {
            while (at + 1 < Levels::levels.size() && first + i >= Levels::levels[at] + Levels::levels[at + 1]) ++at;
            out[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(at);
        }
        return out;
    }();
    static std::size_t place(float x) noexcept {
        const float twice = std::floor(2 * std::clamp(x, lowest, highest));
        return places[static_cast<std::size_t>(static_cast<int>(twice) - first)];
    }
};

/// Sums over values x and their codes q under a scale.
struct scale_fit {
    float xq = 0, qq = 0;  // Σ w·x·q, Σ w·q²

    /// The least-squares scale for these codes.
    float scale() const noexcept { return qq > 0 ? xq / qq : 0; }
    /// What that scale takes off Σ w·x².
    float gain() const noexcept { return qq > 0 ? xq * xq / qq : 0; }
};

template <class Codes, std::size_t N, float_vector V>
inline scale_fit fit_scale(const float* x, const float* w, float inverse) noexcept {
    V xq = V::broadcast(0), qq = V::broadcast(0);
    const V by = V::broadcast(inverse);
    for (std::size_t i = 0; i < N; i += V::size) {
        const V value = V::load(x + i), q = Codes::nearest(value * by), wq = V::load(w + i) * q;
        xq = fma(wq, value, xq);
        qq = fma(wq, q, qq);
    }
    return {reduce_add(xq), reduce_add(qq)};
}

/// 1 / scale, and 0 for a scale of 0 or one whose inverse is beyond a float.
inline float inverse_of(float scale) noexcept {
    const float inverse = 1 / scale;
    return std::isfinite(inverse) ? inverse : 0;
}

/// The value of the greatest magnitude, with its sign.
template <std::size_t N>
inline float extreme_of(const float* x) noexcept {
    float extreme = 0;
    for (std::size_t i = 0; i < N; ++i)
        if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
    return extreme;
}

/// A scale, of either sign, for N values as scale · code; 0 if all are (nearly) 0. Tries, at both ends of the codes, scales by which
/// the extreme value falls from one step inside the last code to two steps outside, then improves the best.
template <class Codes, std::size_t N, float_vector V>
inline float best_scale(const float* x, const float* w) noexcept {
    const float inverse = inverse_of(extreme_of<N>(x));
    if (inverse == 0) return 0;
    scale_fit best;
    for (const float end : {Codes::lowest, Codes::highest})
        for (int k = -8; k <= 16; ++k) {
            const float at = end + std::copysign(Codes::step, end) * static_cast<float>(k) / 8;
            const scale_fit fit = fit_scale<Codes, N, V>(x, w, at * inverse);
            if (fit.gain() > best.gain()) best = fit;
        }
    for (int i = 0; i < 4; ++i) {
        const scale_fit fit = fit_scale<Codes, N, V>(x, w, inverse_of(best.scale()));
        if (fit.gain() <= best.gain()) break;
        best = fit;
    }
    return best.scale();
}

/// Values as scale · code + minimum.
struct line {
    float scale = 0, minimum = 0;
};

/// Sums over values x and their codes q under a line.
struct line_fit {
    float q = 0, qq = 0, xq = 0;  // Σ w·q, Σ w·q², Σ w·x·q
};

template <class Codes, std::size_t N, float_vector V>
inline line_fit fit_line(const float* x, const float* w, float inverse, float minimum) noexcept {
    V sum = V::broadcast(0), squares = sum, products = sum;
    const V by = V::broadcast(inverse), low = V::broadcast(minimum);
    for (std::size_t i = 0; i < N; i += V::size) {
        const V value = V::load(x + i), q = Codes::nearest((value - low) * by), wq = V::load(w + i) * q;
        sum = sum + wq;
        squares = fma(wq, q, squares);
        products = fma(wq, value, products);
    }
    return {reduce_add(sum), reduce_add(squares), reduce_add(products)};
}

/// The least-squares line for codes, and what it takes off Σ w·x².
class line_solver {
public:
    template <std::size_t N>
    static line_solver of(const float* x, const float* w, bool not_above_zero) noexcept {
        line_solver out;
        out.not_above_zero_ = not_above_zero;
        for (std::size_t i = 0; i < N; ++i) out.weight_ += w[i], out.x_ += w[i] * x[i];
        return out;
    }

    line solve(const line_fit& f) const noexcept {
        const float determinant = weight_ * f.qq - f.q * f.q;
        line out;
        if (determinant > 0) out = {(weight_ * f.xq - x_ * f.q) / determinant, (f.qq * x_ - f.q * f.xq) / determinant};
        if (determinant <= 0 || (not_above_zero_ && out.minimum > 0)) out = {f.qq > 0 ? f.xq / f.qq : 0, 0};
        return out;
    }

    float gain(const line_fit& f, const line& l) const noexcept {
        return 2 * (l.scale * f.xq + l.minimum * x_) - l.scale * l.scale * f.qq - 2 * l.scale * l.minimum * f.q -
               l.minimum * l.minimum * weight_;
    }

    float weight() const noexcept { return weight_; }  // Σ w
    float sum() const noexcept { return x_; }          // Σ w·x

private:
    float weight_ = 0, x_ = 0;
    bool not_above_zero_ = false;
};

/// A line for N values, with codes from 0; `not_above_zero` bounds its minimum. The scale is not negative.
template <class Codes, std::size_t N, float_vector V>
inline line best_line(const float* x, const float* w, bool not_above_zero) noexcept {
    auto [low, high] = std::pair(*std::min_element(x, x + N), *std::max_element(x, x + N));
    if (not_above_zero) low = std::min(low, 0.0f);
    const float inverse = inverse_of(high - low);
    if (inverse == 0) return {0, low};
    const line_solver solver = line_solver::of<N>(x, w, not_above_zero);
    line best{(high - low) / Codes::highest, low};
    float most = -1;
    const auto attempt = [&](float by, float minimum) {
        const line_fit fit = fit_line<Codes, N, V>(x, w, by, minimum);
        const line l = solver.solve(fit);
        const float gain = solver.gain(fit, l);
        if (l.scale < 0 || (most >= 0 && gain <= most)) return false;
        best = l, most = gain;
        return true;
    };
    for (int pass = 0; pass < 2; ++pass) {  // the second about the first one's minimum
        const float from = best.minimum, by = inverse_of(high - from);
        for (int k = -8; k <= 12; ++k) attempt((Codes::highest + static_cast<float>(k) / 8) * by, from);
        for (int i = 0; i < 4 && attempt(inverse_of(best.scale), best.minimum); ++i) {
        }
    }
    return best;
}

}  // namespace skald::format::detail
