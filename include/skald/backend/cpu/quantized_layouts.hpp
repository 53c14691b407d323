// SPDX-License-Identifier: MIT
#pragma once
// How each quantized format lies in panels (quantized.hpp): a policy of a few lines that says how a block of the file is read, how wide
// the codes are, and the rule of the scales. Formats of grids are taken apart when they are packed: a value becomes a code that chooses
// one of its few levels, so that no product looks anything up but levels. That costs memory, and pays in time: decoding reads 4 bits of
// iq3_xxs faster than it could look up 3.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>

#include <skald/backend/cpu/panel_scales.hpp>
#include <skald/backend/cpu/planes.hpp>
#include <skald/format/visit.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The layout of a quantized format:
///
/// | member                   | meaning                                                                              |
/// |--------------------------|--------------------------------------------------------------------------------------|
/// | bits, zero               | of codes; a code stands for code - zero                                              |
/// | narrow                   | whether that is at most 64 either way                                                |
/// | unpack<Arch>(p, out)     | the codes of 32 columns: out[i] has columns 4i … 4i + 3 of each row                  |
/// | scales                   | the rule of the scales (panel_scales.hpp)                                            |
/// | read(block, out)         | a block of the file                                                                  |
template <class Format>
struct quantized_layout;

/// Whether a format has such a layout.
template <class Format>
inline constexpr bool has_quantized_layout = requires { sizeof(quantized_layout<Format>); };

namespace detail {

/// Codes that are numbers.
template <unsigned Bits, int Zero>
struct number_codes {
    static constexpr unsigned bits = Bits;
    static constexpr int zero = Zero;
    static constexpr bool narrow = Bits < 8;
    template <class Arch>
    SKALD_INLINE static void unpack(const std::byte* p, simd_int<Arch> (&out)[8]) noexcept {
        planes<Bits, 8>::unpack(p, out);
    }
};

/// Codes that choose one of at most 2^Bits levels.
template <unsigned Bits, const auto& Levels>
struct level_codes {
    static_assert(std::size(Levels) <= 1 << Bits && Bits <= 4);
    static constexpr unsigned bits = Bits;
    static constexpr int zero = 128;
    static constexpr bool narrow = std::ranges::all_of(Levels, [](int level) { return level >= -64 && level <= 64; });
    struct tables {
        std::int8_t raised[16] = {};  // levels around 128
        std::uint8_t code[256] = {};  // of a level, as an unsigned byte
        constexpr tables() noexcept {
            for (std::size_t i = 0; i < std::size(Levels); ++i) {
                raised[i] = static_cast<std::int8_t>(Levels[i] ^ -128);
                code[static_cast<std::uint8_t>(Levels[i])] = static_cast<std::uint8_t>(i);
            }
        }
    };
    static constexpr tables table{};
    template <class Arch>
    SKALD_INLINE static void unpack(const std::byte* p, simd_int<Arch> (&out)[8]) noexcept {
        planes<Bits, 8>::unpack(p, out);
        for (auto& v : out) v = choose(table.raised, v);
    }
};

/// What the grids of the i-quants are made of, with the signs beside them; of iq1_m eight times, with the shift by ⅛.
inline constexpr std::int8_t iq1_levels[]{-9, -7, -1, 1, 7, 9};
inline constexpr std::int8_t iq2_levels[]{-43, -25, -8, 8, 25, 43};
inline constexpr std::int8_t iq3_xxs_levels[]{-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr std::int8_t iq3_s_levels[]{-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15};

/// The signed codes of a block of 256.
template <class Format>
inline void signed_codes(const std::uint8_t* p, std::uint8_t (&out)[256]) noexcept {
    format::detail::coded_block block;
    Format::unpack(reinterpret_cast<const std::byte*>(p), block);
    std::memcpy(out, block.code, sizeof out);
}

/// Formats of grids.
template <class Format, unsigned Bits, const auto& Levels>
struct grid_codes : level_codes<Bits, Levels> {
    static void read_codes(const std::uint8_t* p, file_block& out) noexcept {
        signed_codes<Format>(p, out.code);
        for (std::uint8_t& code : out.code) code = level_codes<Bits, Levels>::table.code[code];
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
    }
};

/// N integers of four bits, low nibbles first.
template <std::size_t N>
inline void read_nibbles(const std::uint8_t* p, std::uint8_t* out) noexcept {
    for (std::size_t i = 0; i < N; ++i) out[i] = p[i / 2] >> (i % 2 * 4) & 15;
}

}  // namespace detail

template <>
struct quantized_layout<format::q8_0> : detail::number_codes<8, 128> {
    using scales = half_scales<false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        for (std::size_t i = 0; i < 32; ++i) out.code[i] = p[2 + i] ^ 128;
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
    }
};

template <>
struct quantized_layout<format::q4_0> : detail::number_codes<4, 8> {
    using scales = half_scales<false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::split_nibbles<16>(p + 2, out.code);
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
    }
};

template <>
struct quantized_layout<format::q4_1> : detail::number_codes<4, 0> {
    using scales = half_scales<true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::split_nibbles<16>(p + 4, out.code);
        std::memcpy(out.factor, p, 4);
    }
};

template <>
struct quantized_layout<format::q5_0> : detail::number_codes<5, 16> {
    using scales = half_scales<false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::five_bit_codes(p + 2, 0, out.code);
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
    }
};

template <>
struct quantized_layout<format::q5_1> : detail::number_codes<5, 0> {
    using scales = half_scales<true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::five_bit_codes(p + 4, 0, out.code);
        std::memcpy(out.factor, p, 4);
    }
};

template <>
struct quantized_layout<format::q2_k> : detail::number_codes<2, 0> {
    using scales = small_scales<4, 16, lowered_by<0>, true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::split_nibbles<16>(p, out.small);
        format::detail::two_bit_codes(p + 16, out.code);
        std::memcpy(out.factor, p + 80, 4);
    }
};

template <>
struct quantized_layout<format::q3_k> : detail::number_codes<3, 4> {
    using scales = small_scales<6, 16, lowered_by<32>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        for (std::size_t g = 0; g < 16; ++g) out.small[g] = format::detail::q3_k_scale(p, g);
        format::detail::two_bit_codes(p + 32, out.code);
        format::detail::add_bits<4>(p, out.code);
        out.factor[0] = format::detail::read_at<std::uint16_t>(p + 108);
    }
};

template <>
struct quantized_layout<format::q4_k> : detail::number_codes<4, 0> {
    using scales = small_scales<6, 8, lowered_by<0>, true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        std::memcpy(out.factor, p, 4);
        format::detail::six_bit_pairs(p + 4, out.small);
        for (std::size_t j = 0; j < 4; ++j) format::detail::split_nibbles<32>(p + 16 + j * 32, out.code + j * 64);
    }
};

template <>
struct quantized_layout<format::q5_k> : detail::number_codes<5, 0> {
    using scales = small_scales<6, 8, lowered_by<0>, true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        std::memcpy(out.factor, p, 4);
        format::detail::six_bit_pairs(p + 4, out.small);
        for (std::size_t j = 0; j < 4; ++j) format::detail::split_nibbles<32>(p + 48 + j * 32, out.code + j * 64);
        format::detail::add_bits<16>(p + 16, out.code);
    }
};

template <>
struct quantized_layout<format::q6_k> : detail::number_codes<6, 32> {
    using scales = small_scales<8, 16, lowered_by<128>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::six_bit_codes(p, p + 128, out.code);
        for (std::size_t g = 0; g < 16; ++g) out.small[g] = p[192 + g] ^ 128;
        out.factor[0] = format::detail::read_at<std::uint16_t>(p + 208);
    }
};

template <>
struct quantized_layout<format::iq4_nl> : detail::level_codes<4, format::detail::iq4_levels> {
    using scales = half_scales<false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept { quantized_layout<format::q4_0>::read(p, out); }
};

template <>
struct quantized_layout<format::iq4_xs> : detail::level_codes<4, format::detail::iq4_levels> {
    using scales = small_scales<8, 8, lowered_by<32>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
        for (std::size_t g = 0; g < 8; ++g) {
            out.small[g] = format::detail::iq4_xs_scale(p, g);
            format::detail::split_nibbles<16>(p + 8 + g * 16, out.code + g * 32);
        }
    }
};

template <>
struct quantized_layout<format::mxfp4> : detail::level_codes<4, format::detail::e2m1_doubled> {
    using scales = power_scales;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        out.small[0] = p[0];
        format::detail::split_nibbles<16>(p + 1, out.code);
    }
};

template <>
struct quantized_layout<format::nvfp4> : detail::level_codes<4, format::detail::e2m1_doubled> {
    using scales = e4m3_scales;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        for (std::size_t g = 0; g < 4; ++g) {
            out.small[g] = p[g] == 0x7f ? 0 : p[g] & 0x7f;  // half_of_ue4m3
            const auto both = format::detail::read_at<std::uint64_t>(p + 4 + g * 8);
            format::detail::store_16(format::detail::pair(both, both >> 4) & 15, out.code + g * 16);
        }
    }
};

template <>
struct quantized_layout<format::iq2_xxs> : detail::grid_codes<format::iq2_xxs, 3, detail::iq2_levels> {
    using scales = small_scales<4, 8, odd_over<8>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        read_codes(p, out);
        for (std::size_t g = 0; g < 8; ++g) out.small[g] = p[9 + g * 8] >> 4;
    }
};

template <>
struct quantized_layout<format::iq2_xs> : detail::grid_codes<format::iq2_xs, 3, detail::iq2_levels> {
    using scales = small_scales<4, 16, odd_over<8>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        read_codes(p, out);
        detail::read_nibbles<16>(p + 66, out.small);
    }
};

template <>
struct quantized_layout<format::iq2_s> : detail::grid_codes<format::iq2_s, 3, detail::iq2_levels> {
    using scales = small_scales<4, 16, odd_over<8>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        read_codes(p, out);
        detail::read_nibbles<16>(p + 74, out.small);
    }
};

template <>
struct quantized_layout<format::iq3_xxs> : detail::grid_codes<format::iq3_xxs, 4, detail::iq3_xxs_levels> {
    using scales = small_scales<4, 8, odd_over<4>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        read_codes(p, out);
        for (std::size_t g = 0; g < 8; ++g) out.small[g] = p[69 + g * 4] >> 4;
    }
};

template <>
struct quantized_layout<format::iq3_s> : detail::grid_codes<format::iq3_s, 4, detail::iq3_s_levels> {
    using scales = small_scales<4, 8, odd_over<1>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        read_codes(p, out);
        detail::read_nibbles<8>(p + 106, out.small);
    }
};

/// Codes of the grid alone: the shift is a minimum.
template <>
struct quantized_layout<format::iq1_s> : detail::number_codes<2, 1> {
    using scales = shifted_scales<8>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        detail::signed_codes<format::iq1_s>(p, out.code);
        for (std::uint8_t& code : out.code) code = static_cast<std::uint8_t>(code + 9) >> 3;
        for (std::size_t g = 0; g < 8; ++g) out.small[g] = p[35 + g * 2] >> 4;
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
    }
};

/// Every eight values have a shift of their own, which is in their codes.
template <>
struct quantized_layout<format::iq1_m> : detail::grid_codes<format::iq1_m, 3, detail::iq1_levels> {
    using scales = small_scales<4, 16, odd_over<8>>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        read_codes(p, out);
        unsigned factor = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            const unsigned word = format::detail::read_at<std::uint16_t>(p + 48 + i * 2);
            for (std::size_t j = 0; j < 4; ++j) out.small[i * 4 + j] = word >> (3 * j) & 7;
            factor |= word >> 12 << (4 * i);
        }
        out.factor[0] = static_cast<std::uint16_t>(factor);
    }
};

namespace detail {

template <class Format, std::size_t FactorAt>
struct ternary_layout : number_codes<2, 1> {
    using scales = half_scales<false, 8>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        signed_codes<Format>(p, out.code);
        for (std::uint8_t& code : out.code) ++code;
        out.factor[0] = format::detail::read_at<std::uint16_t>(p + FactorAt);
    }
};

}  // namespace detail

template <>
struct quantized_layout<format::tq1_0> : detail::ternary_layout<format::tq1_0, 52> {};
template <>
struct quantized_layout<format::tq2_0> : detail::ternary_layout<format::tq2_0, 64> {};

namespace detail {

/// N codes, nibbles by 32.
template <std::size_t N>
inline void read_groups(const std::uint8_t* p, file_block& out) noexcept {
    for (std::size_t i = 0; i < N; i += 32) format::detail::split_nibbles<16>(p + i / 2, out.code + i);
}

template <std::size_t Group>
struct symmetric_layout : number_codes<4, 8> {
    using scales = half_scales<false, Group / 32>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
        read_groups<Group>(p + 2, out);
    }
};

template <std::size_t Group>
struct asymmetric_layout : number_codes<4, 0> {
    using scales = zero_point_scales<Group / 32>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
        out.small[0] = p[2] & 15;
        read_groups<Group>(p + 3, out);
    }
};

}  // namespace detail

template <>
struct quantized_layout<format::w4_g32> : detail::symmetric_layout<32> {};
template <>
struct quantized_layout<format::w4_g64> : detail::symmetric_layout<64> {};
template <>
struct quantized_layout<format::w4_g128> : detail::symmetric_layout<128> {};
template <>
struct quantized_layout<format::w4z_g32> : detail::asymmetric_layout<32> {};
template <>
struct quantized_layout<format::w4z_g64> : detail::asymmetric_layout<64> {};
template <>
struct quantized_layout<format::w4z_g128> : detail::asymmetric_layout<128> {};

template <>
struct quantized_layout<format::nf4> : detail::level_codes<4, format::detail::normal_levels> {
    using scales = half_scales<false, 2>;
    static void read(const std::uint8_t* p, file_block& out) noexcept { detail::symmetric_layout<64>::read(p, out); }
};

}  // namespace skald::inline SKALD_ISA::kernels
