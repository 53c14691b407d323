// SPDX-License-Identifier: MIT
#pragma once
// The search for super-blocks of 256 values whose codes name entries of a grid of -1, 0 and 1, eight at a time, each shifted up or down
// by an eighth, with a scale for each group: factor · (2 s + 1), s from 0 to 7. As the search over grids of magnitudes, every entry
// is tried under every scale; here under both shifts.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/format/detail/codebooks_table.hpp>
#include <skald/format/detail/grid_search.hpp>

namespace skald::format::detail {

/// The grid of the iq1 formats, each value shifted by so many eighths.
template <int Eighths>
struct shifted_grid : iq1_grid {
    static constexpr std::array levels{iq1_grid::levels[0] + Eighths / 8.0f, iq1_grid::levels[1] + Eighths / 8.0f,
                                       iq1_grid::levels[2] + Eighths / 8.0f};
};

/// Groups of values as factor · (2 s + 1) · (entry ± ⅛). The factor is a binary16; `Shared` values have the sign of the eighth together.
template <std::size_t Group, std::size_t Shared>
struct shifted_groups {
    static constexpr std::size_t count = 256 / Group, vectors = Group / 8, shared = Shared / 8;
    static constexpr int highest = 7;

    float factor = 0;
    std::array<int, count> scales{};
    std::array<std::uint16_t, 32> entries{};
    std::array<bool, 32> below{};  // shifted down

    template <float_vector V>
    static shifted_groups best(const float* x, const float* w) noexcept {
        std::array<float, count> own;
        for (std::size_t g = 0; g < count; ++g) own[g] = own_scale<V>(x + g * Group, w + g * Group);
        const float widest = *std::max_element(own.begin(), own.end());
        shifted_groups found;
        float most = 0;
        take_turns(found, most, widest / (2 * highest + 1), [&](float wanted) {
            shifted_groups now;
            now.factor = as_half(wanted);
            return now.template choose<V>(x, w, own);
        });
        return found;
    }

private:
    template <int Eighths, float_vector V>
    using products = grid_products<shifted_grid<Eighths>, 8, V>;

    /// What the best shifts and entries under some scales take off a group's Σ w·x², and which shifts those are. // down: (N, vectors)
    template <float_vector V, std::size_t N>
    static std::array<float, N> gains(const float* x, const float* w, const std::array<float, N>& scales,
                                      std::array<std::array<bool, vectors>, N>& down) noexcept {
        std::array<float, N> all{}, up_gain{}, down_gain{};
        for (std::size_t v = 0; v < vectors; ++v) {
            const products<1, V> up(x + v * 8, w + v * 8);
            const products<-1, V> lower(x + v * 8, w + v * 8);
            for (std::size_t n = 0; n < N; ++n) {
                up_gain[n] += up.gain(scales[n]);
                down_gain[n] += lower.gain(scales[n]);
                if ((v + 1) % shared != 0) continue;
                const bool is_down = down_gain[n] > up_gain[n];
                all[n] += is_down ? down_gain[n] : up_gain[n];
                std::fill(down[n].begin() + static_cast<std::ptrdiff_t>(v + 1 - shared),
                          down[n].begin() + static_cast<std::ptrdiff_t>(v + 1), is_down);
                up_gain[n] = down_gain[n] = 0;
            }
        }
        return all;
    }

    /// The sums of a group's best entries under a scale and shifts, and which they are. // down, chosen: (vectors)
    template <float_vector V>
    static scale_fit fit(const float* x, const float* w, float scale, const bool* down, std::uint16_t* chosen) noexcept {
        scale_fit all;
        for (std::size_t v = 0; v < vectors; ++v) {
            const scale_fit one = down[v] ? products<-1, V>(x + v * 8, w + v * 8).fit(scale, chosen + v)
                                          : products<1, V>(x + v * 8, w + v * 8).fit(scale, chosen + v);
            all.xq += one.xq;
            all.qq += one.qq;
        }
        return all;
    }

    /// The best scale of a group by itself: of some by which the greatest magnitude lies from once to four times the greatest of the
    /// grid, then fitted.
    template <float_vector V>
    static float own_scale(const float* x, const float* w) noexcept {
        const float unit = std::abs(extreme_of<Group>(x)) / shifted_grid<1>::levels.back();
        if (inverse_of(unit) == 0) return 0;
        std::array<float, 12> tried;
        for (std::size_t k = 0; k < tried.size(); ++k) tried[k] = unit * (0.25f + 0.07f * static_cast<float>(k));
        std::array<std::array<bool, vectors>, tried.size()> down;
        const std::array<float, tried.size()> gained = gains<V>(x, w, tried, down);
        const auto k = static_cast<std::size_t>(std::max_element(gained.begin(), gained.end()) - gained.begin());
        std::uint16_t chosen[vectors];
        return std::max(fit<V>(x, w, tried[k], down[k].data(), chosen).scale(), 0.0f);
    }

    /// Sets scales, shifts and entries: for each group the best of the three scales about its own.
    template <float_vector V>
    search_turn<shifted_groups, float, float> choose(const float* x, const float* w, const std::array<float, count>& own) noexcept {
        float gain = 0, xq = 0, qq = 0;
        for (std::size_t g = 0; g < count; ++g) {
            const int near = quotient(own[g] - factor, 2 * factor, 0, highest), first = std::clamp(near - 1, 0, highest - 2);
            std::array<float, 3> tried;
            for (int k = 0; k < 3; ++k) tried[static_cast<std::size_t>(k)] = scale(first + k);
            std::array<std::array<bool, vectors>, 3> down;
            const std::array<float, 3> gained = gains<V>(x + g * Group, w + g * Group, tried, down);
            const auto k = static_cast<std::size_t>(std::max_element(gained.begin(), gained.end()) - gained.begin());
            scales[g] = first + static_cast<int>(k);
            std::copy(down[k].begin(), down[k].end(), below.begin() + static_cast<std::ptrdiff_t>(g * vectors));
            const scale_fit sums = fit<V>(x + g * Group, w + g * Group, tried[k], down[k].data(), entries.data() + g * vectors);
            const auto s = static_cast<float>(2 * scales[g] + 1);
            gain += gained[k];
            xq += s * sums.xq;
            qq += s * s * sums.qq;
        }
        return {*this, gain, qq > 0 ? std::max(xq / qq, 0.0f) : 0};
    }

    float scale(int s) const noexcept { return factor * static_cast<float>(2 * s + 1); }
};

}  // namespace skald::format::detail
