// SPDX-License-Identifier: MIT
#pragma once
// Panels of quantized weights, for `native` products: 16 rows, one a lane, codes as planes of bits (planes.hpp), then scales. How a
// format lies in them is a policy (quantized_layouts.hpp); what is built from it are the functions of `quantized_panels`, which products
// call through pointers: they are compiled once for all formats. A panel takes the bytes of its rows in the file (iq4_xs: 1.5% more);
// those of grids take 4.2 bits a value (iq3), 3.2 (iq2, iq1_m) or 2.2 (iq1_s), and the ternary ones 2.1.
//
// The canonical value of an output: from zero, for each 32 columns in order, or each 16 where those have a scale,
// acc = fma(t, activations' scale, acc), where t = Σ code · q · scale, rounded once, and where the format has minima
// t = fma(minimum, Σq, t). Formats in blocks of 256 columns, whose other engines' activations have one scale for those, read activations
// with one scale for 128: from zero, for each group of these, t = fma(Σ code · q, scale, t) and t = fma(minimum, Σq, t).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <skald/backend/cpu/byte_sums.hpp>
#include <skald/backend/cpu/quantized_layouts.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Some columns of a panel, ready for products: codes a byte each, as byte_sums takes them; scales and minima as floats.
struct unpacked_panel {
    static constexpr std::size_t columns = 512;   // two of them, and the activations of a tile, fit the first cache
    const std::uint8_t (*code)[lanes][4] = room;  // (columns / 4)
    alignas(64) std::uint8_t room[columns / 4][lanes][4];
    float scale[columns / 16][lanes], minimum[columns / 16][lanes];
    float offset[columns / 16][lanes];  // -sums_zero · scale, unless activations are int8_wide
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

/// t and scale · those integers.
template <class Arch>
SKALD_INLINE simd<Arch> add_scaled(simd_int<Arch> sum, simd<Arch> scale, simd<Arch> t) noexcept {
    return fma(as_float(sum) - simd<Arch>::broadcast(sums_zero), scale, t);
}

/// Panels that products of one row are asked for.
inline constexpr std::size_t panels_of_row = 4;

/// What a format's panels can do.
struct quantized_panels {
    bool halves;  ///< groups of 16 columns, not 32
    bool minima;
    bool wide;               ///< activations are int8_wide
    bool narrow;             ///< codes for byte_sums<Arch, true>
    std::size_t code_bytes;  ///< of 32 columns; those of the next follow
    std::size_t (*panel_bytes)(std::size_t cols) noexcept;
    /// Rows first … first + 15 of w (fewer at the end) into a zeroed panel.
    void (*pack)(const weight_view& w, std::size_t first, std::byte* panel);
    /// Columns k … k + n - 1; k a multiple of unpacked_panel::columns / 2, n at most unpacked_panel::columns. Codes that are such bytes
    /// already stay where they are if `in_place`: for few reads, since many are faster from a copy.
    void (*unpack)(const std::byte* panel, std::size_t cols, std::size_t k, std::size_t n, bool in_place, unpacked_panel& out) noexcept;
    /// The products of one row of activations, whose blocks lie `stride` apart, with panels that follow one another (the last ones may be
    /// the same).
    void (*one_row)(const std::byte* const (&panel)[panels_of_row], std::size_t cols, const int8_block* x, std::size_t stride,
                    float (&out)[panels_of_row][lanes]) noexcept;
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
    static constexpr bool wide = columns == 256;
    static_assert(columns / scales::groups == (halves ? 16 : 32) && unpacked_panel::columns / 2 % columns == 0);

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
    static void unpack(const std::byte* panel, std::size_t cols, std::size_t k, std::size_t n, [[maybe_unused]] bool in_place,
                       unpacked_panel& out) noexcept {
        for (std::size_t i = 0; i < n; i += columns)
            scales::template read<Arch>(scales_at(panel, cols, k + i), out.scale + i / columns * scales::groups,
                                        out.minimum + i / columns * scales::groups);
        for (std::size_t g = 0; !wide && g < n / columns * scales::groups; ++g)
            (simd<Arch>::load(out.scale[g]) * simd<Arch>::broadcast(-sums_zero)).store(out.offset[g]);
        constexpr int zero = byte_sums<Arch, layout::narrow>::zero;
        if constexpr (layout::bits == 8 && layout::zero == zero)
            if (in_place) {
                out.code = reinterpret_cast<const std::uint8_t(*)[lanes][4]>(codes_at(panel, k));
                return;
            }
        out.code = out.room;
        for (std::size_t i = 0; i < n; i += block) {
            simd_int<Arch> w[8];
            layout::unpack(codes_at(panel, k + i), w);
            for (std::size_t j = 0; j < 8; ++j) moved<zero>(w[j]).store(out.room[i / 4 + j]);
        }
    }

    template <class Arch>
    static void one_row(const std::byte* const (&panel)[panels_of_row], std::size_t cols, const int8_block* x, std::size_t stride,
                        float (&out)[panels_of_row][lanes]) noexcept {
        for (std::size_t p = 0; p < panels_of_row; p += together) side_by_side<Arch>(panel + p, cols, x, stride, out + p);
    }

private:
    /// Panels that are read side by side, two streams of memory, their codes fetched ahead; but bytes, four streams with so little to do in
    /// between that the processor fetches what comes by itself. Each is faster than the other's way (Zen 5).
    static constexpr bool fetches = layout::bits < 8;
    static constexpr std::size_t together = fetches ? 2 : panels_of_row;
    static constexpr std::size_t ahead = 2816;  // bytes of a panel's codes; 2048 and 4096 lost up to a tenth

    template <class Arch>
    SKALD_INLINE static void side_by_side(const std::byte* const* panel, std::size_t cols, const int8_block* x, std::size_t stride,
                                          float (*out)[lanes]) noexcept {
        using V = simd<Arch>;
        const std::size_t all_codes = cols / block * codes::bytes, next_panels = together * panel_bytes(cols);
        alignas(64) float scale[together][scales::groups][lanes], minimum[together][scales::groups][lanes];
        V acc[together];
        for (V& a : acc) a = V::zero();
        for (std::size_t k = 0; k < cols; k += columns) {
            for (std::size_t p = 0; p < together; ++p) {
                const std::byte* record = scales_at(panel[p], cols, k);
                for (std::size_t line = 0; line < scales::bytes; line += 64) __builtin_prefetch(record + next_panels + line);
                scales::template read<Arch>(record, scale[p], minimum[p]);
            }
            V t[together];
            for (V& some : t) some = V::zero();
            for (std::size_t i = 0; i < columns; i += block, x += stride) {
                const std::size_t at = (k + i) / block * codes::bytes;
                const std::size_t next = at + ahead < all_codes ? at + ahead : at + ahead - all_codes + next_panels;
                const V by = V::broadcast(x->scale);
                for (std::size_t p = 0; p < together; ++p) {
                    if constexpr (fetches)
                        for (std::size_t line = 0; line < codes::bytes; line += 64) __builtin_prefetch(panel[p] + next + line);
                    simd_int<Arch> w[8];
                    layout::unpack(panel[p] + at, w);
                    if constexpr (halves) {
                        t[p] = add_group<0, 4>(w, *x, 1, scale[p][i / 16], minimum[p][i / 16], t[p]);
                        if constexpr (!wide) acc[p] = fma(t[p], by, acc[p]);
                        t[p] = add_group<4, 8>(w, *x, 2, scale[p][i / 16 + 1], minimum[p][i / 16 + 1], t[p]);
                    } else {
                        t[p] = add_group<0, 8>(w, *x, 0, scale[p][i / 32], minimum[p][i / 32], t[p]);
                    }
                    if (wide && i / block % int8_block::wide != int8_block::wide - 1) continue;
                    acc[p] = fma(t[p], by, acc[p]);
                    t[p] = V::zero();
                }
            }
        }
        for (std::size_t p = 0; p < together; ++p) acc[p].store(out[p]);
    }

    /// Codes that have their zero at To.
    template <int To, class Arch>
    SKALD_INLINE static simd_int<Arch> moved(simd_int<Arch> code) noexcept {
        if constexpr (To == layout::zero)
            return code;
        else
            return add_bytes(code, static_cast<std::uint8_t>(To - layout::zero));
    }

    /// The products with the group of columns that is in vectors Begin … End - 1, added to t where activations are wide; the sums of its
    /// activations are number `part` of the block's.
    template <std::size_t Begin, std::size_t End, class Arch>
    SKALD_INLINE static simd<Arch> add_group(const simd_int<Arch> (&w)[8], const int8_block& x, std::size_t part,
                                             const float (&scale)[lanes], const float (&minimum)[lanes], simd<Arch> t) noexcept {
        using V = simd<Arch>;
        using products = byte_sums<Arch, layout::narrow>;
        constexpr int zero = layout::zero == 128 ? products::zero : layout::zero;  // below 128 codes do as they are
        auto sum = products::template start<zero>(x, part);
#pragma GCC unroll 8
        for (std::size_t i = Begin; i < End; ++i)
            sum = products::add(sum, moved<zero>(w[i]), simd_int<Arch>::broadcast(format::detail::read_at<std::int32_t>(x.q + i * 4)));
        const V s = V::load(scale);
        if constexpr (wide)
            t = add_scaled(sum, s, t);
        else
            t = scaled(sum, s, s * V::broadcast(-sums_zero));
        if constexpr (scales::minima) t = fma(V::load(minimum), V::broadcast(x.sum[part]), t);
        return t;
    }
};

template <class Arch, class Format>
inline constexpr quantized_panels panels_of{quantized_functions<Format>::halves,
                                            quantized_functions<Format>::scales::minima,
                                            quantized_functions<Format>::wide,
                                            quantized_layout<Format>::narrow,
                                            quantized_functions<Format>::codes::bytes,
                                            quantized_functions<Format>::panel_bytes,
                                            quantized_functions<Format>::pack,
                                            quantized_functions<Format>::template unpack<Arch>,
                                            quantized_functions<Format>::template one_row<Arch>};

}  // namespace detail

/// The functions for a format of the list; null where it has no such layout.
template <class Arch, class... Formats>
const quantized_panels* quantized_panels_of(format::list<Formats...>, dtype type) noexcept {
    const quantized_panels* found = nullptr;
    const auto look = [&]<class Format>(Format) {
        if constexpr (has_quantized_layout<Format>)
            if (Format::id == type) found = &detail::panels_of<Arch, Format>;
    };
    (look(Formats{}), ...);
    return found;
}

}  // namespace skald::inline SKALD_ISA::kernels
