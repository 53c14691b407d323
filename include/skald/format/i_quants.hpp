// SPDX-License-Identifier: MIT
#pragma once
// The i-quants: values from codebooks. iq4 formats have one of 16 levels a value; the others, in super-blocks of 256, name whole
// groups of 8 or 4 values by an index into a grid, with signs beside. Every index is narrower than its grid or masked to it.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/format/block.hpp>
#include <skald/format/detail/codebooks_table.hpp>

namespace skald::format {

namespace detail {

/// A grid's entries as bytes in memory order, which is what decoders copy. Values times Factor.
template <class Grid, int Factor = 1>
inline constexpr auto grid_bytes = [] {
    using word = std::conditional_t<Grid::values == 8, std::uint64_t, std::uint32_t>;
    std::array<word, Grid::entries.size()> out{};
    for (std::size_t e = 0; e < out.size(); ++e)
        for (std::size_t i = 0; i < Grid::values; ++i) {
            const std::size_t level = Grid::entries[e] >> (Grid::bits * i) & ((1u << Grid::bits) - 1);
            out[e] |= static_cast<word>(static_cast<std::uint8_t>(Factor * Grid::levels[level])) << (8 * i);
        }
    return out;
}();

/// Entry `index` of a grid of 8 values.
template <class Grid>
inline std::uint64_t eight(std::size_t index) noexcept {
    return grid_bytes<Grid>[index];
}

/// Two entries of a grid of 4 values.
template <class Grid>
inline std::uint64_t eight(std::size_t first, std::size_t second) noexcept {
    return grid_bytes<Grid>[first] | static_cast<std::uint64_t>(grid_bytes<Grid>[second]) << 32;
}

/// Eight bytes of 1 … 127, negated where `signs` has a bit.
inline void put_signed(std::uint64_t values, std::uint8_t signs, std::uint8_t* q) noexcept {
    const std::uint64_t negative = spread_bits(signs), signed_values = (values ^ negative * 255) + negative;
    std::memcpy(static_cast<void*>(q), &signed_values, sizeof signed_values);
}

/// Seven sign bits and an eighth that makes their number even.
inline std::uint8_t even_signs(std::uint32_t seven) noexcept {
    seven &= 127;
    const std::uint32_t folded = seven ^ seven >> 4;  // its low four bits have the parity of the seven
    return static_cast<std::uint8_t>(seven | (0x6996u >> (folded & 15) & 1) << 7);
}

/// The 6-bit scale of a group of iq4_xs: nibbles in bytes 4 … 7 of the block, under pairs in bytes 2 and 3.
inline std::uint8_t iq4_xs_scale(const std::uint8_t* block, std::size_t g) noexcept {
    return static_cast<std::uint8_t>((block[4 + g / 2] >> (g % 2 * 4) & 15) | (block[2 + g / 4] >> (g % 4 * 2) & 3) << 4);
}

}  // namespace detail

/// 32 values: d, 16 bytes of nibbles: low ones first. value = d · levels[q].
struct iq4_nl {
    static constexpr dtype id = dtype::iq4_nl;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::split_nibbles<16>(detail::bytes_of(block) + 2, q);
        detail::scale_levels<32, V>(detail::half_at(block), detail::iq4_levels, q, out);
    }
};

/// d, eight 6-bit scales (2 bytes of high pairs, 4 of nibbles), 128 bytes of nibbles, groups of 32 as in iq4_nl.
/// value = d · (scale - 32) · levels[q].
struct iq4_xs {
    static constexpr dtype id = dtype::iq4_xs;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p);
        std::uint8_t q[256];
        for (std::size_t g = 0; g < 8; ++g) detail::split_nibbles<16>(p + 8 + g * 16, q + g * 32);
        for (std::size_t g = 0; g < 8; ++g) {
            const float scale = d * static_cast<float>(detail::iq4_xs_scale(p, g) - 32);
            detail::scale_levels<32, V>(scale, detail::iq4_levels, q + g * 32, out + g * 32);
        }
    }
};

/// d, eight groups of 32 values: four bytes of indices, four bytes with 4 × 7 signs and a scale s. value = d · (s + ½) / 4 · grid.
struct iq2_xxs : detail::coded_format<iq2_xxs, 32> {
    static constexpr dtype id = dtype::iq2_xxs;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p) * 0.25f;
        for (std::size_t g = 0; g < 8; ++g) {
            const std::uint8_t* indices = p + 2 + g * 8;
            const auto rest = detail::read_at<std::uint32_t>(indices + 4);
            s.scale[g] = d * (0.5f + static_cast<float>(rest >> 28));
            for (std::size_t i = 0; i < 4; ++i)
                detail::put_signed(detail::eight<detail::iq2_xxs_grid>(indices[i]), detail::even_signs(rest >> (7 * i)),
                                   s.code + g * 32 + i * 8);
        }
    }
};

/// d, 32 words of a 9-bit index and 7 signs, 16 nibbles of scales. value = d · (s + ½) / 4 · grid, groups of 16.
struct iq2_xs : detail::coded_format<iq2_xs, 16> {
    static constexpr dtype id = dtype::iq2_xs;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p) * 0.25f;
        for (std::size_t i = 0; i < 32; ++i) {
            const unsigned word = detail::read_at<std::uint16_t>(p + 2 + i * 2);
            detail::put_signed(detail::eight<detail::iq2_xs_grid>(word & 511), detail::even_signs(word >> 9), s.code + i * 8);
        }
        for (std::size_t g = 0; g < 16; ++g) s.scale[g] = d * (0.5f + static_cast<float>(p[66 + g / 2] >> (g % 2 * 4) & 15));
    }
};

/// d, 32 low index bytes, 32 bytes of signs, 8 bytes of four 2-bit index tops, 16 nibbles of scales. Else as iq2_xs.
struct iq2_s : detail::coded_format<iq2_s, 16> {
    static constexpr dtype id = dtype::iq2_s;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p) * 0.25f;
        for (std::size_t i = 0; i < 32; ++i) {
            const std::size_t top = p[66 + i / 4] >> (i % 4 * 2) & 3;
            detail::put_signed(detail::eight<detail::iq2_s_grid>(p[2 + i] | top << 8), p[34 + i], s.code + i * 8);
        }
        for (std::size_t g = 0; g < 16; ++g) s.scale[g] = d * (0.5f + static_cast<float>(p[74 + g / 2] >> (g % 2 * 4) & 15));
    }
};

/// d, 64 indices of four values, eight words of 4 × 7 signs and a scale s. value = d · (s + ½) / 2 · grid, groups of 32.
struct iq3_xxs : detail::coded_format<iq3_xxs, 32> {
    static constexpr dtype id = dtype::iq3_xxs;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p) * 0.5f;
        for (std::size_t g = 0; g < 8; ++g) {
            const std::uint8_t* indices = p + 2 + g * 8;
            const auto rest = detail::read_at<std::uint32_t>(p + 66 + g * 4);
            s.scale[g] = d * (0.5f + static_cast<float>(rest >> 28));
            for (std::size_t i = 0; i < 4; ++i)
                detail::put_signed(detail::eight<detail::iq3_xxs_grid>(indices[2 * i], indices[2 * i + 1]),
                                   detail::even_signs(rest >> (7 * i)), s.code + g * 32 + i * 8);
        }
    }
};

/// d, 64 low index bytes, 64 index tops, 32 bytes of signs, 8 nibbles of scales. value = d · (2 s + 1) · grid, groups of 32.
struct iq3_s : detail::coded_format<iq3_s, 32> {
    static constexpr dtype id = dtype::iq3_s;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p);
        for (std::size_t i = 0; i < 32; ++i) {
            const std::size_t tops = p[66 + i / 4] >> (i % 4 * 2);
            detail::put_signed(detail::eight<detail::iq3_s_grid>(p[2 + 2 * i] | (tops & 1) << 8, p[3 + 2 * i] | (tops >> 1 & 1) << 8),
                               p[74 + i], s.code + i * 8);
        }
        for (std::size_t g = 0; g < 8; ++g) s.scale[g] = d * static_cast<float>(2 * (p[106 + g / 2] >> (g % 2 * 4) & 15) + 1);
    }
};

namespace detail {

/// Eight times (grid ± ⅛) of the iq1 formats: whole numbers.
inline void put_shifted(std::size_t index, bool minus, std::uint8_t* q) noexcept {
    const std::uint64_t value = grid_bytes<iq1_grid, 8>[index];
    std::memcpy(static_cast<void*>(q), &value, sizeof value);
    for (std::size_t i = 0; i < 8; ++i) q[i] = static_cast<std::uint8_t>(q[i] + (minus ? 255 : 1));
}

}  // namespace detail

/// d, 32 low index bytes, eight words: 4 × 3 index tops, a scale s of 3 bits, the sign of ⅛. value = d · (2 s + 1) · (grid ± ⅛).
struct iq1_s : detail::coded_format<iq1_s, 32> {
    static constexpr dtype id = dtype::iq1_s;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        const float d = detail::half_at(p) * 0.125f;
        for (std::size_t g = 0; g < 8; ++g) {
            const unsigned word = detail::read_at<std::uint16_t>(p + 34 + g * 2);
            s.scale[g] = d * static_cast<float>(2 * (word >> 12 & 7) + 1);
            for (std::size_t i = 0; i < 4; ++i)
                detail::put_shifted(p[2 + g * 4 + i] | (word >> (3 * i) & 7) << 8, word >> 15 != 0, s.code + g * 32 + i * 8);
        }
    }
};

/// 32 low index bytes, 32 nibbles of 3 index tops and the sign of ⅛, four words of 4 × 3 bits of scales whose high nibbles
/// together are d. value = d · (2 s + 1) · (grid ± ⅛), groups of 16.
struct iq1_m : detail::coded_format<iq1_m, 16> {
    static constexpr dtype id = dtype::iq1_m;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        unsigned words[4], bits = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            words[i] = detail::read_at<std::uint16_t>(p + 48 + i * 2);
            bits |= words[i] >> 12 << (4 * i);
        }
        const float d = to_float(half{static_cast<std::uint16_t>(bits)}) * 0.125f;
        for (std::size_t i = 0; i < 32; ++i) {
            const std::size_t nibble = p[32 + i / 2] >> (i % 2 * 4) & 15;
            detail::put_shifted(p[i] | (nibble & 7) << 8, nibble > 7, s.code + i * 8);
        }
        for (std::size_t g = 0; g < 16; ++g) s.scale[g] = d * (static_cast<float>(2 * (words[g / 4] >> (g % 4 * 3) & 7) + 1));
    }
};

}  // namespace skald::format
