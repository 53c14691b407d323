// SPDX-License-Identifier: MIT
#pragma once
// Writing the i-quants of sixteen levels.
#include <array>
#include <cstddef>
#include <cstdint>

#include <skald/format/detail/super_search.hpp>
#include <skald/format/encode_block.hpp>
#include <skald/format/i_quants.hpp>

namespace skald::format {

namespace detail {

/// The levels of iq4_nl and iq4_xs, which stand in order.
struct iq4_order {
    static constexpr auto levels = std::to_array(iq4_levels);
    static constexpr std::array<std::uint8_t, 16> indices{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
};

}  // namespace detail

template <>
struct encoder<iq4_nl> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::level_codes<detail::iq4_order>;
        std::uint8_t q[32];
        detail::put_codes<codes, 32>(x, detail::put_half(block, detail::best_scale<codes, 32, V>(x, w)), 0, q);
        detail::join_nibbles<16>(q, detail::bytes_of(block) + 2);
    }
};

template <>
struct encoder<iq4_xs> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::level_codes<detail::iq4_order>;
        const auto groups = detail::scaled_groups<codes, 32, -32, 31>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.factor);
        std::uint16_t high = 0;
        for (std::size_t i = 4; i < 8; ++i) p[i] = 0;
        for (std::size_t g = 0; g < 8; ++g) {
            const int scale = groups.scales[g] + 32;
            high = static_cast<std::uint16_t>(high | scale >> 4 << (2 * g));
            p[4 + g / 2] = static_cast<std::uint8_t>(p[4 + g / 2] | (scale & 15) << (g % 2 * 4));
            std::uint8_t q[32];
            detail::put_codes<codes, 32>(x + g * 32, groups.scale(g), 0, q);
            detail::join_nibbles<16>(q, p + 8 + g * 16);
        }
        detail::put_at(p + 2, high);
    }
};

}  // namespace skald::format
