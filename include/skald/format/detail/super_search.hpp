// SPDX-License-Identifier: MIT
#pragma once
// The search for super-blocks of 256 values in groups, where a group's scale (and minimum) is itself a small whole number times a
// binary16 of the super-block. First each group's own best; then, in turns, the whole numbers for given factors and the factors
// for given whole numbers, each the least-squares choice, as long as the error falls.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/core/half.hpp>
#include <skald/format/detail/scale_search.hpp>

namespace skald::format::detail {

inline float as_half(float value) noexcept { return to_float(to_half(value)); }

/// round(value / unit) within [lowest, highest], and 0 for a unit of 0.
inline int quotient(float value, float unit, int lowest, int highest) noexcept {
    return static_cast<int>(std::clamp(std::nearbyint(value * inverse_of(unit)), static_cast<float>(lowest), static_cast<float>(highest)));
}

/// What a turn of a search leads to: groups under given factors, what they take off Σ w·x², and the best factors for their scales.
template <class Groups, class Gain, class Factors>
struct search_turn {
    Groups groups;
    Gain gain;
    Factors next;
};

/// Takes up to four turns, each with the factors that the one before led to, as long as the gain grows. The best groups go to `found`
/// where they gain more than `most`.
template <class Groups, class Gain, class Factors, class Turn>
inline void take_turns(Groups& found, Gain& most, Factors factors, Turn turn) noexcept {
    Gain before = -1;
    for (int i = 0; i < 4; ++i) {
        const search_turn<Groups, Gain, Factors> made = turn(factors);
        if (made.gain > most) most = made.gain, found = made.groups;
        if (made.gain <= before) break;
        before = made.gain;
        factors = made.next;
    }
}

/// Groups of N values as factor · scale · code, scales whole numbers from Lowest to Highest.
template <class Codes, std::size_t N, int Lowest, int Highest>
struct scaled_groups {
    static constexpr std::size_t count = 256 / N;
    float factor = 0;  // a binary16
    std::array<int, count> scales{};

    template <float_vector V>
    static scaled_groups best(const float* x, const float* w) noexcept {
        std::array<float, count> own;
        for (std::size_t g = 0; g < count; ++g) own[g] = best_scale<Codes, N, V>(x + g * N, w + g * N);
        const float extreme = extreme_of<count>(own.data());
        scaled_groups found;
        float most = 0;
        for (const float end : {static_cast<float>(Lowest), static_cast<float>(Highest), Lowest * 0.9f})
            take_turns(found, most, extreme / end, [&](float factor) { return under<V>(factor, x, w, own); });
        return found;
    }

    float scale(std::size_t g) const noexcept { return factor * static_cast<float>(scales[g]); }

private:
    /// The groups under a factor: for each the best of the three whole numbers about its own scale.
    template <float_vector V>
    static search_turn<scaled_groups, float, float> under(float wanted, const float* x, const float* w,
                                                          const std::array<float, count>& own) noexcept {
        scaled_groups out;
        out.factor = as_half(wanted);
        float gain = 0, xq = 0, qq = 0;
        for (std::size_t g = 0; g < count; ++g) {
            const int near = quotient(own[g], out.factor, Lowest, Highest);
            float most = 0;
            scale_fit best;
            for (int s = std::max(near - 1, Lowest); s <= std::min(near + 1, Highest); ++s) {
                const float scale = out.factor * static_cast<float>(s);
                const scale_fit fit = fit_scale<Codes, N, V>(x + g * N, w + g * N, inverse_of(scale));
                if (const float now = scale * (2 * fit.xq - scale * fit.qq); now > most) most = now, best = fit, out.scales[g] = s;
            }
            const auto s = static_cast<float>(out.scales[g]);
            gain += most;
            xq += s * best.xq;
            qq += s * s * best.qq;
        }
        return {out, gain, qq > 0 ? xq / qq : 0};
    }
};

/// Groups of N values as factor · scale · code - minimum_factor · minimum; scales and minima whole numbers from 0 to Highest.
template <class Codes, std::size_t N, int Highest>
struct lined_groups {
    static constexpr std::size_t count = 256 / N;
    float factor = 0, minimum_factor = 0;  // binary16
    std::array<int, count> scales{}, minima{};

    template <float_vector V>
    static lined_groups best(const float* x, const float* w) noexcept {
        std::array<line, count> own;
        float scale = 0, depth = 0;
        for (std::size_t g = 0; g < count; ++g) {
            own[g] = best_line<Codes, N, V>(x + g * N, w + g * N, true);
            scale = std::max(scale, own[g].scale);
            depth = std::max(depth, -own[g].minimum);
        }
        lined_groups found;
        double most = 0;
        take_turns(found, most, factors{scale / Highest, depth / Highest}, [&](factors f) { return under<V>(f, x, w, own); });
        return found;
    }

    float scale(std::size_t g) const noexcept { return factor * static_cast<float>(scales[g]); }
    float minimum(std::size_t g) const noexcept { return -minimum_factor * static_cast<float>(minima[g]); }

private:
    struct factors {
        float scale, minimum;
    };

    /// Sums over all groups for the factors: a = scale · code, b = -minimum.
    struct sums {
        double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    };

    /// The groups under two factors: for each the best of the nine pairs about its own line.
    template <float_vector V>
    static search_turn<lined_groups, double, factors> under(factors wanted, const float* x, const float* w,
                                                            const std::array<line, count>& own) noexcept {
        lined_groups out;
        out.factor = as_half(wanted.scale);
        out.minimum_factor = as_half(wanted.minimum);
        double gain = 0;
        factors next{out.factor, out.minimum_factor};
        sums s;
        for (std::size_t g = 0; g < count; ++g) {
            const float *gx = x + g * N, *gw = w + g * N;
            const line_solver solver = line_solver::of<N>(gx, gw, true);
            const int near_scale = quotient(own[g].scale, out.factor, 0, Highest);
            const int near_minimum = quotient(-own[g].minimum, out.minimum_factor, 0, Highest);
            float most = 0;
            line_fit best;
            for (int a = std::max(near_scale - 1, 0); a <= std::min(near_scale + 1, Highest); ++a)
                for (int b = std::max(near_minimum - 1, 0); b <= std::min(near_minimum + 1, Highest); ++b) {
                    const line l{out.factor * static_cast<float>(a), -out.minimum_factor * static_cast<float>(b)};
                    const line_fit fit = fit_line<Codes, N, V>(gx, gw, inverse_of(l.scale), l.minimum);
                    if (const float now = solver.gain(fit, l); now > most) most = now, best = fit, out.scales[g] = a, out.minima[g] = b;
                }
            const double a = out.scales[g], b = -out.minima[g];
            gain += static_cast<double>(most);
            s.aa += a * a * static_cast<double>(best.qq);
            s.ab += a * b * static_cast<double>(best.q);
            s.bb += b * b * static_cast<double>(solver.weight());
            s.xa += a * static_cast<double>(best.xq);
            s.xb += b * static_cast<double>(solver.sum());
        }
        if (const double determinant = s.aa * s.bb - s.ab * s.ab; determinant > 1e-9 * s.aa * s.bb) {
            next.scale = static_cast<float>((s.bb * s.xa - s.ab * s.xb) / determinant);
            next.minimum = static_cast<float>((s.aa * s.xb - s.ab * s.xa) / determinant);
        }
        return {out, gain, next};
    }
};

}  // namespace skald::format::detail
