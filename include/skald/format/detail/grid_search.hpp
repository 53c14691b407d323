// SPDX-License-Identifier: MIT
#pragma once
// The search for super-blocks of 256 values whose codes name entries of a grid, 4 or 8 magnitudes at a time, with signs beside and a
// scale for each group: factor · (2 s + 1), s from 0 to 15. For a scale the nearest entry is the one with the most of
// 2 · scale · Σ w·x·entry - scale² · Σ w·entry²; both sums are made once for all entries, so that trying a scale costs two operations
// an entry, and every entry is tried.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/format/detail/scale_search.hpp>
#include <skald/format/detail/super_search.hpp>

namespace skald::format::detail {

/// A grid's values by place. // (values, entries)
template <class Grid>
inline constexpr auto grid_columns = [] {
    std::array<std::array<float, Grid::entries.size()>, Grid::values> out{};
    for (std::size_t i = 0; i < Grid::values; ++i)
        for (std::size_t e = 0; e < Grid::entries.size(); ++e)
            out[i][e] = Grid::levels[Grid::entries[e] >> (Grid::bits * i) & ((1u << Grid::bits) - 1)];
    return out;
}();

/// The magnitudes and signs of 256 values, a byte of signs for each eight. Where the number of signs must be even, the value that
/// costs least changes its own: its magnitude is negative then.
struct signed_magnitudes {
    float x[256];
    std::uint8_t signs[32];

    signed_magnitudes(const float* values, const float* w, bool even) noexcept {
        for (std::size_t b = 0; b < 32; ++b) {
            unsigned bits = 0, parity = 0;
            std::size_t least = 0;
            for (std::size_t i = 0; i < 8; ++i) {
                const std::size_t at = b * 8 + i;
                const bool negative = values[at] < 0;
                x[at] = std::abs(values[at]);
                bits |= static_cast<unsigned>(negative) << i;
                parity ^= static_cast<unsigned>(negative);
                if (w[at] * x[at] < w[b * 8 + least] * x[b * 8 + least]) least = i;
            }
            if (even && parity != 0) {
                bits ^= 1u << least;
                x[b * 8 + least] = -x[b * 8 + least];
            }
            signs[b] = static_cast<std::uint8_t>(bits);
        }
    }
};

/// One group's sums over all entries.
template <class Grid, std::size_t Group, float_vector V>
class grid_products {
public:
    static constexpr std::size_t entries = Grid::entries.size(), vectors = Group / Grid::values;

    grid_products(const float* x, const float* w) noexcept {
        for (std::size_t v = 0; v < vectors; ++v) {
            const float *vx = x + v * Grid::values, *vw = w + v * Grid::values;
            for (std::size_t e = 0; e < entries; e += V::size) {
                V xq = V::broadcast(0), qq = xq;
                for (std::size_t i = 0; i < Grid::values; ++i) {
                    const V q = V::load(&grid_columns<Grid>[i][e]), wq = V::broadcast(vw[i]) * q;
                    xq = fma(V::broadcast(vx[i]), wq, xq);
                    qq = fma(q, wq, qq);
                }
                xq.store(&xq_[v][e]);
                qq.store(&qq_[v][e]);
            }
        }
    }

    /// What the best entries under that scale take off Σ w·x².
    float gain(float scale) const noexcept {
        float sum = 0;
        for (std::size_t v = 0; v < vectors; ++v) {
            V most = gains(v, 0, scale);
            for (std::size_t e = V::size; e < entries; e += V::size) most = max(most, gains(v, e, scale));
            sum += reduce_max(most);
        }
        return sum;
    }

    /// The sums of the best entries under that scale, and which they are. // chosen: (vectors)
    scale_fit fit(float scale, std::uint16_t* chosen) const noexcept {
        scale_fit out;
        for (std::size_t v = 0; v < vectors; ++v) {
            float most = reduce_max(gains(v, 0, scale));
            std::size_t block = 0;
            for (std::size_t e = V::size; e < entries; e += V::size)
                if (const float now = reduce_max(gains(v, e, scale)); now > most) most = now, block = e;
            float values[V::size];
            gains(v, block, scale).store(values);
            const std::size_t best = block + static_cast<std::size_t>(std::max_element(values, values + V::size) - values);
            out.xq += xq_[v][best];
            out.qq += qq_[v][best];
            chosen[v] = static_cast<std::uint16_t>(best);
        }
        return out;
    }

private:
    V gains(std::size_t v, std::size_t e, float scale) const noexcept {
        return V::broadcast(scale) * fma(V::broadcast(-scale), V::load(&qq_[v][e]), V::broadcast(2) * V::load(&xq_[v][e]));
    }

    float xq_[vectors][entries], qq_[vectors][entries];
};

/// Groups of values as ± factor · (2 s + 1) · entry. The factor is a binary16 over `Divisor`.
template <class Grid, std::size_t Group, bool EvenSigns, int Divisor>
struct grid_groups {
    static constexpr std::size_t count = 256 / Group, vectors = Group / Grid::values;
    static constexpr int highest = 15;

    float factor = 0;
    std::array<int, count> scales{};
    std::array<std::uint16_t, 256 / Grid::values> entries{};
    std::array<std::uint8_t, 32> signs{};

    /// The binary16 number of the block.
    float stored() const noexcept { return factor * Divisor; }

    template <float_vector V>
    static grid_groups best(const float* values, const float* w) noexcept {
        const signed_magnitudes m(values, w, EvenSigns);
        std::array<float, count> own;
        for (std::size_t g = 0; g < count; ++g) own[g] = own_scale<V>(m.x + g * Group, w + g * Group);
        grid_groups found;
        std::copy_n(m.signs, 32, found.signs.begin());
        float most = 0;
        take_turns(found, most, *std::max_element(own.begin(), own.end()) / (2 * highest + 1), [&](float factor) {
            grid_groups now = found;
            now.factor = as_half(factor * Divisor) / Divisor;
            return now.template choose<V>(m.x, w, own);
        });
        return found;
    }

private:
    /// The best scale of a group by itself: of some by which the greatest magnitude lies about the greatest of the grid, then fitted.
    template <float_vector V>
    static float own_scale(const float* x, const float* w) noexcept {
        const float unit = std::abs(extreme_of<Group>(x)) / Grid::levels.back();
        if (inverse_of(unit) == 0) return 0;
        const grid_products<Grid, Group, V> products(x, w);
        float scale = 0, most = 0;
        for (int k = 0; k < 16; ++k) {
            const float tried = unit * (0.6f + 0.06f * static_cast<float>(k));
            if (const float gain = products.gain(tried); gain > most) most = gain, scale = tried;
        }
        std::uint16_t chosen[vectors];
        return products.fit(scale, chosen).scale();
    }

    /// Sets scales and entries: for each group the best of the three scales about its own.
    template <float_vector V>
    search_turn<grid_groups, float, float> choose(const float* x, const float* w, const std::array<float, count>& own) noexcept {
        float gain = 0, xq = 0, qq = 0;
        for (std::size_t g = 0; g < count; ++g) {
            const grid_products<Grid, Group, V> products(x + g * Group, w + g * Group);
            const int near = quotient(own[g] - factor, 2 * factor, 0, highest);
            float most = 0;
            bool first = true;
            for (int s = std::max(near - 1, 0); s <= std::min(near + 1, highest); ++s)
                if (const float now = products.gain(scale(s)); first || now > most) first = false, most = now, scales[g] = s;
            const scale_fit fit = products.fit(scale(scales[g]), entries.data() + g * vectors);
            const auto s = static_cast<float>(2 * scales[g] + 1);
            gain += most;
            xq += s * fit.xq;
            qq += s * s * fit.qq;
        }
        return {*this, gain, qq > 0 ? std::max(xq / qq, 0.0f) : 0};
    }

    float scale(int s) const noexcept { return factor * static_cast<float>(2 * s + 1); }
};

}  // namespace skald::format::detail
