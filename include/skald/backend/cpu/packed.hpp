// SPDX-License-Identifier: MIT
#pragma once
// How weights lie in memory for the kernels: panels of 16 output rows. Unquantized formats, and for `native` products the quantized
// ones (quantized.hpp), have one row a lane, columns in order; the others keep the rows of the file. Layouts are the same on every
// target. The last panel of a matrix is padded with rows of zero bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include <skald/backend/cpu/quantized.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/checked.hpp>
#include <skald/format/visit.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The layout of an unquantized format:
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
        return format::detail::read_at<float>(panel + (k * lanes + lane) * 4);
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
        return to_float(format::detail::read_at<half>(panel + (k * lanes + lane) * 2));
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
        return to_float(format::detail::read_at<bfloat16>(panel + offset(lane, k)));
    }
    template <class Arch>
    SKALD_INLINE static void load(const std::byte* panel, std::size_t, std::size_t k, simd<Arch> (&out)[group]) noexcept {
        const auto pairs = simd_int<Arch>::load(where(panel, k));
        out[0] = low_bfloat16(pairs);
        out[1] = high_bfloat16(pairs);
    }
};

/// Whether a format has such a layout.
template <class Format>
inline constexpr bool has_panel_layout = requires { sizeof(panel_layout<Format>); };

namespace detail {
template <class... Formats>
auto with_panel_layout(format::list<Formats...>)
    -> decltype((format::list<>{} + ... + std::conditional_t<has_panel_layout<Formats>, format::list<Formats>, format::list<>>{}));
}

/// The formats of a list that have a panel layout.
template <class Formats>
using panel_formats = decltype(detail::with_panel_layout(Formats{}));

namespace detail {
/// Panels that keep the rows of the file, one after another: their bytes, and how they are filled.
inline std::size_t file_rows_bytes(dtype type, std::size_t cols) noexcept { return round_up(lanes * row_bytes(type, cols), 64); }
inline void pack_file_rows(const weight_view& w, std::size_t first, std::byte* panel) {
    std::memcpy(panel, w.row(first), std::min(lanes, w.rows - first) * row_bytes(w.type, w.cols));
}
}  // namespace detail

/// How a matrix of a run-time format is packed.
struct packing {
    format::block_decoder decode = nullptr;       ///< of rows in file layout; null where panels have a layout of their own
    const quantized_panels* quantized = nullptr;  ///< where they are those of quantized.hpp
    std::size_t panel_bytes = 0;
    void (*pack)(const weight_view& w, std::size_t first, std::byte* panel) = nullptr;  ///< into a zeroed panel
};

/// Throws errc::unsupported, naming `place`, for a format outside the list.
template <class Arch, class Formats>
packing packing_of(dtype type, std::size_t cols, compute policy, std::string_view place) {
    if (const quantized_panels* q = quantized_panels_of<Arch>(Formats{}, type); q != nullptr && policy == compute::native)
        return {nullptr, q, q->panel_bytes(cols), q->pack};
    if (format::contains(panel_formats<Formats>{}, type))
        return format::visit(panel_formats<Formats>{}, type, place, [&](auto format) -> packing {
            using layout = panel_layout<decltype(format)>;
            return {nullptr, nullptr, layout::panel_bytes(cols), layout::pack};
        });
    return {format::decoder<simd<Arch>>(Formats{}, type, place), nullptr, detail::file_rows_bytes(type, cols), detail::pack_file_rows};
}

}  // namespace skald::inline SKALD_ISA::kernels
