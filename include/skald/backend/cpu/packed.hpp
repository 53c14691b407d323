// SPDX-License-Identifier: MIT
#pragma once
// How weights lie in memory for the kernels: panels of 16 output rows. Formats with a kernel of their own have one row a lane,
// columns in order; the others keep the rows of the file. A layout is a policy: where the bytes of a panel are, how they are
// filled from file rows, and their exact decode. Layouts are the same on every target. The last panel of a matrix is padded with
// rows of zero bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include <skald/backend/cpu/simd.hpp>
#include <skald/core/checked.hpp>
#include <skald/format/visit.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The layout of a weight format that has a kernel of its own:
///
/// | member                               | meaning                                                                        |
/// |--------------------------------------|--------------------------------------------------------------------------------|
/// | group                                | columns that one load yields                                                   |
/// | panel_bytes(cols)                    | bytes of a panel                                                               |
/// | pack(w, first, out)                  | rows first … first + 15 of w (fewer at the end) into a zeroed panel            |
/// | at(panel, cols, lane, k)             | one value, exact                                                               |
/// | load<Arch>(panel, cols, k, out)      | the 16 values of each of columns k … k + group - 1; k a multiple of group      |
/// | where(panel, k)                      | the bytes that load() reads for column k                                       |
template <class Format>
struct panel_layout;

namespace detail {

template <class T>
SKALD_INLINE T read_as(const void* p) noexcept {
    T value;
    std::memcpy(static_cast<void*>(&value), p, sizeof value);
    return value;
}

/// Calls f(lane, row bytes) for the rows that a panel holds.
template <class F>
void for_each_lane(const weight_view& w, std::size_t first, F&& f) {
    const std::size_t count = std::min(lanes, w.rows - first);
    for (std::size_t lane = 0; lane < count; ++lane) f(lane, w.row(first + lane));
}

/// Elements of type T as [column][lane]. // (cols, 16)
template <class T>
struct columns {
    static std::size_t panel_bytes(std::size_t cols) noexcept { return round_up(cols * lanes * sizeof(T), 64); }
    SKALD_INLINE static const std::byte* where(const std::byte* panel, std::size_t k) noexcept { return panel + k * lanes * sizeof(T); }
    static void pack(const weight_view& w, std::size_t first, std::byte* out) {
        for_each_lane(w, first, [&](std::size_t lane, const std::byte* row) {
            for (std::size_t k = 0; k < w.cols; ++k) std::memcpy(out + (k * lanes + lane) * sizeof(T), row + k * sizeof(T), sizeof(T));
        });
    }
};

}  // namespace detail

template <>
struct panel_layout<format::f32> : detail::columns<float> {
    static constexpr std::size_t group = 1;
    static float at(const std::byte* panel, std::size_t, std::size_t lane, std::size_t k) noexcept {
        return detail::read_as<float>(panel + (k * lanes + lane) * 4);
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        out[0] = simd<Arch>::load(reinterpret_cast<const float*>(where(panel, k)));
    }
};

template <>
struct panel_layout<format::f16> : detail::columns<half> {
    static constexpr std::size_t group = 1;
    static float at(const std::byte* panel, std::size_t, std::size_t lane, std::size_t k) noexcept {
        return to_float(detail::read_as<half>(panel + (k * lanes + lane) * 2));
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        out[0] = simd<Arch>::load_half(reinterpret_cast<const half*>(where(panel, k)));
    }
};

/// Pairs of columns: [column / 2][lane][2], what vdpbf16ps reads; an odd last column is paired with zeros.
template <>
struct panel_layout<format::bf16> {
    static constexpr std::size_t group = 2;
    static std::size_t panel_bytes(std::size_t cols) noexcept { return round_up(cols, 2) * lanes * 2; }
    SKALD_INLINE static const std::byte* where(const std::byte* panel, std::size_t k) noexcept { return panel + k / 2 * lanes * 4; }
    static std::size_t offset(std::size_t lane, std::size_t k) noexcept { return (k / 2 * lanes + lane) * 4 + k % 2 * 2; }
    static void pack(const weight_view& w, std::size_t first, std::byte* out) {
        detail::for_each_lane(w, first, [&](std::size_t lane, const std::byte* row) {
            for (std::size_t k = 0; k < w.cols; ++k) std::memcpy(out + offset(lane, k), row + k * 2, 2);
        });
    }
    static float at(const std::byte* panel, std::size_t, std::size_t lane, std::size_t k) noexcept {
        return to_float(detail::read_as<bfloat16>(panel + offset(lane, k)));
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        const auto pairs = simd_int<Arch>::load(where(panel, k));
        out[0] = low_bfloat16(pairs);
        out[1] = high_bfloat16(pairs);
    }
};

namespace detail {

/// Blocks of 32 columns with `Scales` binary16 a row: first all codes, [block][CodeBytes], then all scales,
/// [block][Scales][lane]; so that codes are aligned to cache lines.
template <std::size_t CodeBytes, std::size_t Scales>
struct blocks {
    static constexpr std::size_t group = 4;
    static constexpr std::size_t block = 32;
    static constexpr std::size_t code_bytes = CodeBytes;            // a block of a panel
    static constexpr std::size_t scale_bytes = Scales * lanes * 2;  // a block of a panel

    static std::size_t panel_bytes(std::size_t cols) noexcept { return round_up(cols / block * (code_bytes + scale_bytes), 64); }

    SKALD_INLINE static const std::byte* codes(const std::byte* panel, std::size_t b) noexcept { return panel + b * code_bytes; }
    SKALD_INLINE static const std::byte* scales(const std::byte* panel, std::size_t cols, std::size_t b) noexcept {
        return panel + cols / block * code_bytes + b * scale_bytes;
    }
    /// Scale s of 16 rows.
    template <class Arch>
    SKALD_INLINE static simd<Arch> scale(const std::byte* panel, std::size_t cols, std::size_t b, std::size_t s = 0) noexcept {
        return simd<Arch>::load_half(reinterpret_cast<const half*>(scales(panel, cols, b)) + s * lanes);
    }
    static float scale_at(const std::byte* panel, std::size_t cols, std::size_t b, std::size_t lane, std::size_t s = 0) noexcept {
        return format::detail::half_at(scales(panel, cols, b) + (s * lanes + lane) * 2);
    }

protected:
    /// `word(block bytes, i)` gives the i-th four bytes of codes.
    template <class Word>
    static void pack_blocks(const weight_view& w, std::size_t first, std::byte* out, Word word) {
        const std::size_t file_block = info(w.type).block_bytes;
        for_each_lane(w, first, [&](std::size_t lane, const std::byte* row) {
            for (std::size_t b = 0; b < w.cols / block; ++b, row += file_block) {
                for (std::size_t s = 0; s < Scales; ++s)
                    std::memcpy(const_cast<std::byte*>(scales(out, w.cols, b)) + (s * lanes + lane) * 2, row + s * 2, 2);
                for (std::size_t i = 0; i < code_bytes / (lanes * 4); ++i) {
                    const std::uint32_t four = word(row + Scales * 2, i);
                    std::memcpy(out + b * code_bytes + (i * lanes + lane) * 4, &four, 4);
                }
            }
        });
    }

    template <class Arch>
    SKALD_INLINE static void spread(simd_int<Arch> codes, simd<Arch> (&out)[group]) noexcept {
        out[0] = codes.template byte_to_float<0>();
        out[1] = codes.template byte_to_float<1>();
        out[2] = codes.template byte_to_float<2>();
        out[3] = codes.template byte_to_float<3>();
    }
};

/// Nibbles as [4][lane][4] bytes a block: the low ones are columns 0 … 15, the high ones 16 … 31, as in the file.
template <std::size_t Scales>
struct nibbles : blocks<256, Scales> {
    using base = blocks<256, Scales>;
    static void pack(const weight_view& w, std::size_t first, std::byte* out) {
        base::pack_blocks(w, first, out, [](const std::byte* q, std::size_t i) { return read_as<std::uint32_t>(q + i * 4); });
    }
    SKALD_INLINE static const std::byte* where(const std::byte* panel, std::size_t k) noexcept {
        return base::codes(panel, k / 32) + k % 16 / 4 * 64;
    }
    static float code_at(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        const std::size_t in_block = k % 32, i = in_block % 16;
        const int byte = std::to_integer<int>(base::codes(panel, k / 32)[(i / 4 * lanes + lane) * 4 + i % 4]);
        return static_cast<float>(in_block < 16 ? byte & 15 : byte >> 4);
    }
    /// The codes of four columns, a byte each.
    template <class Arch>
    SKALD_INLINE static simd_int<Arch> four_codes(const std::byte* panel, std::size_t k) noexcept {
        const auto both = simd_int<Arch>::load(where(panel, k));
        return k % 32 < 16 ? low_nibbles(both) : high_nibbles(both);
    }
};

}  // namespace detail

/// Codes as [8][lane][4] unsigned bytes a block, q + 128.
template <>
struct panel_layout<format::q8_0> : detail::blocks<512, 1> {
    static constexpr int zero = 128;
    SKALD_INLINE static const std::byte* where(const std::byte* panel, std::size_t k) noexcept {
        return codes(panel, k / block) + k % block / 4 * 64;
    }
    static void pack(const weight_view& w, std::size_t first, std::byte* out) {
        pack_blocks(w, first, out,
                    [](const std::byte* q, std::size_t i) { return detail::read_as<std::uint32_t>(q + i * 4) ^ 0x80808080u; });
    }
    static float at(const std::byte* panel, std::size_t cols, std::size_t lane, std::size_t k) noexcept {
        const std::size_t b = k / block, i = k % block;
        const int code = std::to_integer<int>(codes(panel, b)[(i / 4 * lanes + lane) * 4 + i % 4]);
        return scale_at(panel, cols, b, lane) * static_cast<float>(code - zero);
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t cols, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        spread(simd_int<Arch>::load(where(panel, k)), out);
        const auto d = scale<Arch>(panel, cols, k / block);
        for (auto& v : out) v = d * (v - simd<Arch>::broadcast(zero));
    }
};

template <>
struct panel_layout<format::q4_0> : detail::nibbles<1> {
    static constexpr int zero = 8;
    static float at(const std::byte* panel, std::size_t cols, std::size_t lane, std::size_t k) noexcept {
        return scale_at(panel, cols, k / block, lane) * (code_at(panel, lane, k) - zero);
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t cols, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        spread(four_codes<Arch>(panel, k), out);
        const auto d = scale<Arch>(panel, cols, k / block);
        for (auto& v : out) v = d * (v - simd<Arch>::broadcast(zero));
    }
};

template <>
struct panel_layout<format::q4_1> : detail::nibbles<2> {
    static constexpr int zero = 0;
    static float at(const std::byte* panel, std::size_t cols, std::size_t lane, std::size_t k) noexcept {
        const std::size_t b = k / block;  // the product is exact, so that the sum is rounded once, fused or not
        return scale_at(panel, cols, b, lane) * code_at(panel, lane, k) + scale_at(panel, cols, b, lane, 1);
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t cols, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        spread(four_codes<Arch>(panel, k), out);
        const auto d = scale<Arch>(panel, cols, k / block), m = scale<Arch>(panel, cols, k / block, 1);
        for (auto& v : out) v = fma(d, v, m);
    }
};

/// Whether matrices of the format are kept as in the file.
template <class Format>
inline constexpr bool keeps_file_layout = !requires { sizeof(panel_layout<Format>); };

namespace detail {
template <class... Formats>
auto with_panel_layout(format::list<Formats...>)
    -> decltype((format::list<>{} + ... + std::conditional_t<keeps_file_layout<Formats>, format::list<>, format::list<Formats>>{}));
}

/// The formats of a list that have a panel layout.
template <class Formats>
using panel_formats = decltype(detail::with_panel_layout(Formats{}));

/// How a matrix of a run-time format is packed.
struct packing {
    std::size_t (*panel_bytes)(dtype type, std::size_t cols) noexcept;
    void (*pack)(const weight_view& w, std::size_t first, std::byte* panel);  ///< into a zeroed panel
    format::block_decoder decode;                                             ///< of rows in file layout; else null
};

/// Throws errc::unsupported, naming `place`, for a format outside the list.
template <class Arch, class Formats>
packing packing_of(dtype type, std::string_view place) {
    if (format::contains(panel_formats<Formats>{}, type))
        return format::visit(panel_formats<Formats>{}, type, place, [](auto format) -> packing {
            using layout = panel_layout<decltype(format)>;
            return {[](dtype, std::size_t cols) noexcept { return layout::panel_bytes(cols); }, layout::pack, nullptr};
        });
    return {[](dtype t, std::size_t cols) noexcept { return round_up(lanes * row_bytes(t, cols), 64); },
            [](const weight_view& w, std::size_t first, std::byte* panel) {
                std::memcpy(panel, w.row(first), std::min(lanes, w.rows - first) * row_bytes(w.type, w.cols));
            },
            format::decoder<simd<Arch>>(Formats{}, type, place)};
}

}  // namespace skald::inline SKALD_ISA::kernels
