// SPDX-License-Identifier: MIT
#pragma once
// Panels of quantized weights, for `native` products: 16 rows, one a lane, codes as planes of bits (planes.hpp), then scales. A layout is
// a policy, a few lines a format: how a block of the file is read, how wide the codes are, and the rule of the scales. Formats of
// codebooks keep the rows of the file. What is built from either are the functions of `quantized_panels`; products call those through
// pointers, and are compiled once for all formats. A panel takes the bytes of its rows in the file (iq4_xs: 1.5% more).
//
// The canonical value of an output: from zero, for each group of 32 or 16 columns in order, acc = fma(t, activations' scale, acc), where
// t = Σ code · q · scale, rounded once, and where the format has minima t = fma(minimum, Σq, t).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/panel_scales.hpp>
#include <skald/backend/cpu/planes.hpp>
#include <skald/format/visit.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The layout of a quantized format:
///
/// | member                   | meaning                                                                              |
/// |--------------------------|--------------------------------------------------------------------------------------|
/// | bits, zero               | of codes; a code stands for code - zero                                              |
/// | unpack<Arch>(p, out)     | the codes of 32 columns: out[i] has columns 4i … 4i + 3 of each row                  |
/// | scales                   | the rule of the scales (panel_scales.hpp)                                            |
/// | read(block, out)         | a block of the file                                                                  |
template <class Format>
struct quantized_layout;

/// Whether a format has such a layout.
template <class Format>
inline constexpr bool has_quantized_layout = requires { sizeof(quantized_layout<Format>); };

/// Whether a format has none, and unpacks to codes: its panels keep the rows of the file.
template <class Format>
inline constexpr bool is_coded_format = requires(const std::byte* block, format::detail::coded_block& out) { Format::unpack(block, out); };

namespace detail {

/// Codes that are numbers.
template <unsigned Bits, int Zero>
struct number_codes {
    static constexpr unsigned bits = Bits;
    static constexpr int zero = Zero;
    template <class Arch>
    SKALD_INLINE static void unpack(const std::byte* p, simd_int<Arch> (&out)[8]) noexcept {
        planes<Bits, 8>::unpack(p, out);
    }
};

/// Codes that choose one of 16 levels.
template <const std::int8_t (&Levels)[16]>
struct level_codes {
    static constexpr unsigned bits = 4;
    static constexpr int zero = 128;
    struct raised_levels {
        std::int8_t level[16];
        constexpr raised_levels() noexcept : level{} {
            for (std::size_t i = 0; i < 16; ++i) level[i] = static_cast<std::int8_t>(Levels[i] ^ -128);
        }
    };
    static constexpr raised_levels raised{};
    template <class Arch>
    SKALD_INLINE static void unpack(const std::byte* p, simd_int<Arch> (&out)[8]) noexcept {
        planes<4, 8>::unpack(p, out);
        for (auto& v : out) v = choose(raised.level, v);
    }
};

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
    using scales = small_scales<4, 16, 0, true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::split_nibbles<16>(p, out.small);
        format::detail::two_bit_codes(p + 16, out.code);
        std::memcpy(out.factor, p + 80, 4);
    }
};

template <>
struct quantized_layout<format::q3_k> : detail::number_codes<3, 4> {
    using scales = small_scales<6, 16, 32, false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        for (std::size_t g = 0; g < 16; ++g) out.small[g] = format::detail::q3_k_scale(p, g);
        format::detail::two_bit_codes(p + 32, out.code);
        format::detail::add_bits<4>(p, out.code);
        out.factor[0] = format::detail::read_at<std::uint16_t>(p + 108);
    }
};

template <>
struct quantized_layout<format::q4_k> : detail::number_codes<4, 0> {
    using scales = small_scales<6, 8, 0, true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        std::memcpy(out.factor, p, 4);
        format::detail::six_bit_pairs(p + 4, out.small);
        for (std::size_t j = 0; j < 4; ++j) format::detail::split_nibbles<32>(p + 16 + j * 32, out.code + j * 64);
    }
};

template <>
struct quantized_layout<format::q5_k> : detail::number_codes<5, 0> {
    using scales = small_scales<6, 8, 0, true>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        std::memcpy(out.factor, p, 4);
        format::detail::six_bit_pairs(p + 4, out.small);
        for (std::size_t j = 0; j < 4; ++j) format::detail::split_nibbles<32>(p + 48 + j * 32, out.code + j * 64);
        format::detail::add_bits<16>(p + 16, out.code);
    }
};

template <>
struct quantized_layout<format::q6_k> : detail::number_codes<6, 32> {
    using scales = small_scales<8, 16, 128, false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        format::detail::six_bit_codes(p, p + 128, out.code);
        for (std::size_t g = 0; g < 16; ++g) out.small[g] = p[192 + g] ^ 128;
        out.factor[0] = format::detail::read_at<std::uint16_t>(p + 208);
    }
};

template <>
struct quantized_layout<format::iq4_nl> : detail::level_codes<format::detail::iq4_levels> {
    using scales = half_scales<false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept { quantized_layout<format::q4_0>::read(p, out); }
};

template <>
struct quantized_layout<format::iq4_xs> : detail::level_codes<format::detail::iq4_levels> {
    using scales = small_scales<8, 8, 32, false>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        out.factor[0] = format::detail::read_at<std::uint16_t>(p);
        for (std::size_t g = 0; g < 8; ++g) {
            out.small[g] = format::detail::iq4_xs_scale(p, g);
            format::detail::split_nibbles<16>(p + 8 + g * 16, out.code + g * 32);
        }
    }
};

template <>
struct quantized_layout<format::mxfp4> : detail::level_codes<format::detail::e2m1_doubled> {
    using scales = byte_scales<1, format::detail::half_of_e8m0>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        out.small[0] = p[0];
        format::detail::split_nibbles<16>(p + 1, out.code);
    }
};

template <>
struct quantized_layout<format::nvfp4> : detail::level_codes<format::detail::e2m1_doubled> {
    using scales = byte_scales<4, format::detail::half_of_ue4m3>;
    static void read(const std::uint8_t* p, file_block& out) noexcept {
        std::memcpy(out.small, p, 4);
        for (std::size_t g = 0; g < 4; ++g) {
            const auto both = format::detail::read_at<std::uint64_t>(p + 4 + g * 8);
            format::detail::store_16(format::detail::pair(both, both >> 4) & 15, out.code + g * 16);
        }
    }
};

/// Some columns of a panel, ready for products: codes a byte each, around 128; scales and minima as floats.
struct unpacked_panel {
    static constexpr std::size_t columns = 512;  // two of them, and the activations of a tile, fit the first cache
    alignas(64) std::uint8_t code[columns / 4][lanes][4];
    float scale[columns / 16][lanes], minimum[columns / 16][lanes];
    float offset[columns / 16][lanes];  // -sums_zero · scale
};

/// scale · the integers that `sum` counted from sums_zero_bits, rounded once. `offset` is -sums_zero · scale, which is exact: scales have
/// at most 19 bits.
template <class Arch>
SKALD_INLINE simd<Arch> scaled(simd_int<Arch> sum, simd<Arch> scale, simd<Arch> offset) noexcept {
    if constexpr (has_fma)
        return fma(as_float(sum), scale, offset);
    else
        return (as_float(sum) - simd<Arch>::broadcast(sums_zero)) * scale;
}

/// The offsets of the first `groups` groups, from their scales.
template <class Arch>
SKALD_INLINE void put_offsets(unpacked_panel& panel, std::size_t groups) noexcept {
    for (std::size_t g = 0; g < groups; ++g) (simd<Arch>::load(panel.scale[g]) * simd<Arch>::broadcast(-sums_zero)).store(panel.offset[g]);
}

/// Panels that keep the rows of the file, one after another: their bytes, and how they are filled.
inline std::size_t file_rows_bytes(dtype type, std::size_t cols) noexcept { return round_up(lanes * row_bytes(type, cols), 64); }
inline void pack_file_rows(const weight_view& w, std::size_t first, std::byte* panel) {
    std::memcpy(panel, w.row(first), std::min(lanes, w.rows - first) * row_bytes(w.type, w.cols));
}

/// What a format's panels can do.
struct quantized_panels {
    bool halves;  ///< groups of 16 columns, not 32
    bool minima;
    std::size_t code_bytes;  ///< of 32 columns; those of the next follow
    std::size_t (*panel_bytes)(std::size_t cols) noexcept;
    /// Rows first … first + 15 of w (fewer at the end) into a zeroed panel.
    void (*pack)(const weight_view& w, std::size_t first, std::byte* panel);
    /// Columns k … k + n - 1; k a multiple of unpacked_panel::columns, n at most that.
    void (*unpack)(const std::byte* panel, std::size_t cols, std::size_t k, std::size_t n, unpacked_panel& out) noexcept;
    /// The products of one row of activations, whose blocks lie `stride` apart; null where they need unpack(). // out: (16)
    void (*one_row)(const std::byte* panel, std::size_t cols, const int8_block* x, std::size_t stride, float* out) noexcept;
};

namespace detail {

template <class Format>
struct quantized_functions {
    using layout = quantized_layout<Format>;
    using scales = typename layout::scales;
    using codes = planes<layout::bits, 8>;
    static constexpr std::size_t block = int8_block::size;
    static constexpr std::size_t columns = info(Format::id).block_size;  // a block of the file
    static constexpr bool halves = columns / scales::groups == 16;
    static_assert(columns / scales::groups == (halves ? 16 : 32) && unpacked_panel::columns % columns == 0);

    static std::size_t panel_bytes(std::size_t cols) noexcept {
        return round_up(cols / block * codes::bytes + cols / columns * scales::bytes, 64);
    }
    SKALD_INLINE static const std::byte* codes_at(const std::byte* panel, std::size_t k) noexcept {
        return panel + k / block * codes::bytes;
    }
    SKALD_INLINE static const std::byte* scales_at(const std::byte* panel, std::size_t cols, std::size_t k) noexcept {
        return codes_at(panel, cols) + k / columns * scales::bytes;
    }

    static void pack(const weight_view& w, std::size_t first, std::byte* panel) {
        for (std::size_t lane = 0; lane < std::min(lanes, w.rows - first); ++lane) {
            const auto* row = reinterpret_cast<const std::uint8_t*>(w.row(first + lane));
            std::byte* to = panel + lane * 4;
            for (std::size_t k = 0; k < w.cols; k += columns, row += info(Format::id).block_bytes) {
                file_block from;
                layout::read(row, from);
                for (std::size_t i = 0; i < columns / 4; ++i)
                    codes::put(to + (k + i * 4) / block * codes::bytes, i % 8, format::detail::read_at<std::uint32_t>(from.code + i * 4));
                scales::put(from, lane, const_cast<std::byte*>(scales_at(panel, w.cols, k)));
            }
        }
    }

    template <class Arch>
    static void unpack(const std::byte* panel, std::size_t cols, std::size_t k, std::size_t n, unpacked_panel& out) noexcept {
        for (std::size_t i = 0; i < n; i += columns)
            scales::template read<Arch>(scales_at(panel, cols, k + i), out.scale + i / columns * scales::groups,
                                        out.minimum + i / columns * scales::groups);
        put_offsets<Arch>(out, n / columns * scales::groups);
        for (std::size_t i = 0; i < n; i += block) {
            simd_int<Arch> w[8];
            layout::unpack(codes_at(panel, k + i), w);
            for (std::size_t j = 0; j < 8; ++j) {
                if constexpr (layout::zero != 128) w[j] = add_bytes(w[j], 128 - layout::zero);
                w[j].store(out.code[i / 4 + j]);
            }
        }
    }

    template <class Arch>
    static void one_row(const std::byte* panel, std::size_t cols, const int8_block* x, std::size_t stride, float* out) noexcept {
        using V = simd<Arch>;
        constexpr std::size_t ahead = 2048;  // bytes of codes that are prefetched: some tens of lines, past the hardware's own
        alignas(64) float scale[scales::groups][lanes], minimum[scales::groups][lanes];
        V acc = V::zero();
        for (std::size_t k = 0; k < cols; k += columns) {
            const std::byte* record = scales_at(panel, cols, k);
            scales::template read<Arch>(record, scale, minimum);
            for (std::size_t i = 0; i < columns; i += block, x += stride) {
                const std::byte* p = codes_at(panel, k + i);
                for (std::size_t line = 0; line < codes::bytes; line += 64) __builtin_prefetch(p + ahead + line);
                simd_int<Arch> w[8];
                layout::unpack(p, w);
                if constexpr (halves) {
                    acc = add_group<0, 4>(w, *x, 1, scale[i / 16], minimum[i / 16], acc);
                    acc = add_group<4, 8>(w, *x, 2, scale[i / 16 + 1], minimum[i / 16 + 1], acc);
                } else {
                    acc = add_group<0, 8>(w, *x, 0, scale[i / 32], minimum[i / 32], acc);
                }
            }
        }
        acc.store(out);
    }

private:
    /// acc and the group of columns that is in vectors Begin … End - 1; its sums are number `part` of the block's.
    template <std::size_t Begin, std::size_t End, class Arch>
    SKALD_INLINE static simd<Arch> add_group(const simd_int<Arch> (&w)[8], const int8_block& x, std::size_t part,
                                             const float (&scale)[lanes], const float (&minimum)[lanes], simd<Arch> acc) noexcept {
        using V = simd<Arch>;
        auto sum = simd_int<Arch>::broadcast(sums_zero_bits + (x.start[part] - sums_zero_bits) / 128 * layout::zero);
#pragma GCC unroll 8
        for (std::size_t i = Begin; i < End; ++i)
            sum = dot(sum, w[i], simd_int<Arch>::broadcast(format::detail::read_at<std::int32_t>(x.q + i * 4)));
        const V s = V::load(scale);
        V t = scaled(sum, s, s * V::broadcast(-sums_zero));
        if constexpr (scales::minima) t = fma(V::load(minimum), V::broadcast(x.sum[part]), t);
        return fma(t, V::broadcast(x.scale), acc);
    }
};

/// Formats of codebooks and the like: a row of the file after another.
template <class Format>
struct coded_functions {
    static constexpr std::size_t columns = 256, block_bytes = info(Format::id).block_bytes;
    static_assert(info(Format::id).block_size == columns);

    static std::size_t panel_bytes(std::size_t cols) noexcept { return file_rows_bytes(Format::id, cols); }

    template <class Arch>
    static void unpack(const std::byte* panel, std::size_t cols, std::size_t k, std::size_t n, unpacked_panel& out) noexcept {
        format::detail::coded_block from[4];
        for (std::size_t i = 0; i < n; i += columns)
            for (std::size_t lane = 0; lane < lanes; lane += 4) {
                for (std::size_t l = 0; l < 4; ++l) {
                    Format::unpack(panel + ((lane + l) * (cols / columns) + (k + i) / columns) * block_bytes, from[l]);
                    for (std::size_t g = 0; g < groups; ++g) out.scale[i / Format::group + g][lane + l] = from[l].scale[g];
                }
                for (std::size_t j = 0; j < columns; j += 16) transpose(from, j, out.code[(i + j) / 4][lane]);
            }
        put_offsets<Arch>(out, n / Format::group);
    }

private:
    static constexpr std::size_t groups = columns / Format::group;

    /// Columns j … j + 15 of four rows, to their lanes of four vectors. Signed codes become codes around 128.
    static void transpose(const format::detail::coded_block (&from)[4], std::size_t j, std::uint8_t* to) noexcept {
        const auto row = [&](std::size_t l) {
            return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from[l].code + j)), _mm_set1_epi8(-128));
        };
        const __m128i a = row(0), b = row(1), c = row(2), d = row(3);
        const __m128i low_ab = _mm_unpacklo_epi32(a, b), low_cd = _mm_unpacklo_epi32(c, d);
        const __m128i high_ab = _mm_unpackhi_epi32(a, b), high_cd = _mm_unpackhi_epi32(c, d);
        const auto put = [&](std::size_t i, __m128i four) { _mm_store_si128(reinterpret_cast<__m128i*>(to + i * lanes * 4), four); };
        put(0, _mm_unpacklo_epi64(low_ab, low_cd));
        put(1, _mm_unpackhi_epi64(low_ab, low_cd));
        put(2, _mm_unpacklo_epi64(high_ab, high_cd));
        put(3, _mm_unpackhi_epi64(high_ab, high_cd));
    }
};

template <class Arch, class Format>
inline constexpr quantized_panels coded_panels_of{Format::group == 16,
                                                  false,
                                                  0,
                                                  coded_functions<Format>::panel_bytes,
                                                  pack_file_rows,
                                                  coded_functions<Format>::template unpack<Arch>,
                                                  nullptr};

template <class Arch, class Format>
inline constexpr quantized_panels panels_of{quantized_functions<Format>::halves,
                                            quantized_functions<Format>::scales::minima,
                                            quantized_functions<Format>::codes::bytes,
                                            quantized_functions<Format>::panel_bytes,
                                            quantized_functions<Format>::pack,
                                            quantized_functions<Format>::template unpack<Arch>,
                                            quantized_functions<Format>::template one_row<Arch>};

}  // namespace detail

/// The products of one row of activations, for any format: as quantized_panels::one_row. Such formats have no minima.
template <class Arch>
void unpacked_one_row(const quantized_panels& format, const std::byte* panel, std::size_t cols, const int8_block* x, std::size_t stride,
                      float* out) noexcept {
    using V = simd<Arch>;
    const std::size_t group = format.halves ? 4 : 8;
    unpacked_panel some;
    V acc = V::zero();
    for (std::size_t k = 0, n; k < cols; k += n) {
        n = std::min(unpacked_panel::columns, cols - k);
        format.unpack(panel, cols, k, n, some);
        for (std::size_t i = 0; i < n / 4; i += group) {
            const int8_block& a = x[(k / 4 + i) / 8 * stride];
            auto sum = simd_int<Arch>::broadcast(a.start[format.halves ? 1 + i % 8 / 4 : 0]);
            for (std::size_t j = i; j < i + group; ++j)
                sum = dot(sum, simd_int<Arch>::load(some.code[j]),
                          simd_int<Arch>::broadcast(format::detail::read_at<std::int32_t>(a.q + j % 8 * 4)));
            acc = fma(scaled(sum, V::load(some.scale[i / group]), V::load(some.offset[i / group])), V::broadcast(a.scale), acc);
        }
    }
    acc.store(out);
}

/// The functions for a format of the list; null where it has no such layout.
template <class Arch, class... Formats>
const quantized_panels* quantized_panels_of(format::list<Formats...>, dtype type) noexcept {
    const quantized_panels* found = nullptr;
    const auto look = [&]<class Format>(Format) {
        if constexpr (has_quantized_layout<Format>)
            if (Format::id == type) found = &detail::panels_of<Arch, Format>;
        if constexpr (is_coded_format<Format>)
            if (Format::id == type) found = &detail::coded_panels_of<Arch, Format>;
    };
    (look(Formats{}), ...);
    return found;
}

}  // namespace skald::inline SKALD_ISA::kernels
