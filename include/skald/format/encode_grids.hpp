// SPDX-License-Identifier: MIT
#pragma once
// Writing the i-quants of grids.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <skald/core/half.hpp>
#include <skald/format/detail/grid_search.hpp>
#include <skald/format/detail/shifted_search.hpp>
#include <skald/format/encode_block.hpp>
#include <skald/format/i_quants.hpp>

namespace skald::format {

namespace detail {

/// Four times seven signs under a scale of four bits: the eighth sign follows from the seven.
template <class Groups>
inline std::uint32_t signs_and_scale(const Groups& groups, std::size_t g) noexcept {
    std::uint32_t word = static_cast<std::uint32_t>(groups.scales[g]) << 28;
    for (std::size_t i = 0; i < 4; ++i) word |= static_cast<std::uint32_t>(groups.signs[g * 4 + i] & 127) << (7 * i);
    return word;
}

/// N scales of four bits as N / 2 bytes, the first in the low bits.
template <std::size_t N, class Groups>
inline void put_scale_nibbles(const Groups& groups, std::uint8_t* p) noexcept {
    for (std::size_t g = 0; g < N; g += 2) p[g / 2] = static_cast<std::uint8_t>(groups.scales[g] | groups.scales[g + 1] << 4);
}

}  // namespace detail

template <>
struct encoder<iq2_xxs> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::grid_groups<detail::iq2_xxs_grid, 32, true, 8>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.stored());
        for (std::size_t g = 0; g < 8; ++g) {
            for (std::size_t i = 0; i < 4; ++i) p[2 + g * 8 + i] = static_cast<std::uint8_t>(groups.entries[g * 4 + i]);
            detail::put_at(p + 6 + g * 8, detail::signs_and_scale(groups, g));
        }
    }
};

template <>
struct encoder<iq2_xs> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::grid_groups<detail::iq2_xs_grid, 16, true, 8>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.stored());
        for (std::size_t i = 0; i < 32; ++i)
            detail::put_at(p + 2 + i * 2, static_cast<std::uint16_t>(groups.entries[i] | (groups.signs[i] & 127) << 9));
        detail::put_scale_nibbles<16>(groups, p + 66);
    }
};

template <>
struct encoder<iq3_xxs> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::grid_groups<detail::iq3_xxs_grid, 32, true, 4>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.stored());
        for (std::size_t i = 0; i < 64; ++i) p[2 + i] = static_cast<std::uint8_t>(groups.entries[i]);
        for (std::size_t g = 0; g < 8; ++g) detail::put_at(p + 66 + g * 4, detail::signs_and_scale(groups, g));
    }
};

template <>
struct encoder<iq2_s> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::grid_groups<detail::iq2_s_grid, 16, false, 8>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.stored());
        for (std::size_t i = 66; i < 74; ++i) p[i] = 0;
        for (std::size_t i = 0; i < 32; ++i) {
            p[2 + i] = static_cast<std::uint8_t>(groups.entries[i]);
            p[34 + i] = groups.signs[i];
            p[66 + i / 4] = static_cast<std::uint8_t>(p[66 + i / 4] | groups.entries[i] >> 8 << (i % 4 * 2));
        }
        detail::put_scale_nibbles<16>(groups, p + 74);
    }
};

template <>
struct encoder<iq3_s> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::grid_groups<detail::iq3_s_grid, 32, false, 1>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.stored());
        for (std::size_t i = 66; i < 74; ++i) p[i] = 0;
        for (std::size_t i = 0; i < 64; ++i) {
            p[2 + i] = static_cast<std::uint8_t>(groups.entries[i]);
            p[66 + i / 8] = static_cast<std::uint8_t>(p[66 + i / 8] | groups.entries[i] >> 8 << (i % 8));
        }
        std::copy_n(groups.signs.data(), 32, p + 74);
        detail::put_scale_nibbles<8>(groups, p + 106);
    }
};

template <>
struct encoder<iq1_s> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::shifted_groups<32, 32>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        detail::put_half(block, groups.factor);
        for (std::size_t g = 0; g < 8; ++g) {
            unsigned word = static_cast<unsigned>(groups.scales[g]) << 12 | static_cast<unsigned>(groups.below[g * 4]) << 15;
            for (std::size_t i = 0; i < 4; ++i) {
                p[2 + g * 4 + i] = static_cast<std::uint8_t>(groups.entries[g * 4 + i]);
                word |= static_cast<unsigned>(groups.entries[g * 4 + i] >> 8) << (3 * i);
            }
            detail::put_at(p + 34 + g * 2, static_cast<std::uint16_t>(word));
        }
    }
};

template <>
struct encoder<iq1_m> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        const auto groups = detail::shifted_groups<16, 8>::best<V>(x, w);
        std::uint8_t* p = detail::bytes_of(block);
        for (std::size_t i = 0; i < 32; i += 2) {
            const auto nibble = [&](std::size_t at) { return groups.entries[at] >> 8 | (groups.below[at] ? 8 : 0); };
            p[i] = static_cast<std::uint8_t>(groups.entries[i]);
            p[i + 1] = static_cast<std::uint8_t>(groups.entries[i + 1]);
            p[32 + i / 2] = static_cast<std::uint8_t>(nibble(i) | nibble(i + 1) << 4);
        }
        const unsigned d = to_half(groups.factor).bits;
        for (std::size_t i = 0; i < 4; ++i) {
            unsigned word = (d >> (4 * i) & 15) << 12;
            for (std::size_t g = 0; g < 4; ++g) word |= static_cast<unsigned>(groups.scales[i * 4 + g]) << (3 * g);
            detail::put_at(p + 48 + i * 2, static_cast<std::uint16_t>(word));
        }
    }
};

}  // namespace skald::format
