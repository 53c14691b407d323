// SPDX-License-Identifier: MIT
#pragma once
// How weights lie in memory for the kernels: panels of 16 output rows. Unquantized formats, and for `native` products the quantized
// ones (quantized.hpp), have one row a lane, columns in order; the others keep the rows of the file. Layouts are the same on every
// target. The last panel of a matrix is padded with rows of zero bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <string_view>
#include <type_traits>

#include <skald/backend/cpu/quantized.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/large_pages.hpp>
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

/// Changes with every layout of this header and of quantized.hpp: files of packed weights of another number are packed anew.
inline constexpr std::uint32_t layout_number = 1;

/// How a matrix of a run-time format lies in memory.
struct matrix_layout {
    format::block_decoder decode = nullptr;       ///< of rows in file layout; null where panels have a layout of their own
    const quantized_panels* quantized = nullptr;  ///< where they are those of quantized.hpp
    std::size_t panel_bytes = 0;
    void (*pack)(const weight_view& w, std::size_t first, std::byte* panel) = nullptr;  ///< into a zeroed panel; rows: null

    /// Rows of a file are as many as there are; panels are whole.
    std::size_t bytes(std::size_t rows) const noexcept {
        return decode != nullptr ? rows * (panel_bytes / lanes) : ceil_div(rows, lanes) * panel_bytes;
    }
};

/// Throws errc::unsupported, naming `place`, for a format outside the list.
template <class Arch, class Formats>
matrix_layout layout_of(dtype type, std::size_t cols, compute policy, packing how, std::string_view place) {
    const bool panels = how == packing::panels;
    if (const quantized_panels* q = quantized_panels_of<Arch>(Formats{}, type); q != nullptr && panels && policy == compute::native)
        return {nullptr, q, q->panel_bytes(cols), q->pack};
    if (panels && format::contains(panel_formats<Formats>{}, type))
        return format::visit(panel_formats<Formats>{}, type, place, [&](auto format) -> matrix_layout {
            using layout = panel_layout<decltype(format)>;
            return {nullptr, nullptr, layout::panel_bytes(cols), layout::pack};
        });
    if (info(type).row_header != 0)
        fail(errc::unsupported, place, "rows of the format ", to_string(type),
             " have scales of their own, and are multiplied in panels only");
    return {format::decoder<simd<Arch>>(Formats{}, type, place), nullptr, lanes * row_bytes(type, cols), nullptr};
}

/// A packed weight, in memory of its own or in somebody else's. Move-only; an empty one has no rows. // (rows, cols)
class packed_matrix {
public:
    packed_matrix() noexcept = default;

    /// w, packed into memory of its own by `team`.
    template <class Workers>
    packed_matrix(const weight_view& w, const matrix_layout& layout, std::pmr::memory_resource* memory, const Workers& team)
        : packed_matrix(w, layout, nullptr) {
        bytes_ = buffer<>(layout.bytes(rows_), memory);
        data_ = bytes_.data();
        prefer_large_pages(bytes_.span());
        team.split(panels(), 16, [&](std::size_t begin, std::size_t end) {
            if (layout.pack == nullptr) {
                const std::size_t first = begin * lanes, rows = std::min(end * lanes, rows_) - first;
                std::memcpy(bytes_.data() + begin * panel_bytes_, w.row(first), layout.bytes(rows));
                return;
            }
            for (std::size_t p = begin; p < end; ++p) {
                std::byte* const panel = bytes_.data() + p * panel_bytes_;
                std::memset(panel, 0, panel_bytes_);
                layout.pack(w, p * lanes, panel);
            }
        });
    }

    /// A matrix of w's shape over bytes that are packed already and outlive it.
    packed_matrix(const weight_view& w, const matrix_layout& layout, const std::byte* packed) noexcept
        : type_(w.type),
          decode_(layout.decode),
          quantized_(layout.quantized),
          rows_(w.rows),
          cols_(w.cols),
          panel_bytes_(layout.panel_bytes),
          size_(buffer<>::bytes_for(layout.bytes(w.rows))),
          data_(packed) {}

    dtype type() const noexcept { return type_; }
    std::size_t rows() const noexcept { return rows_; }
    std::size_t cols() const noexcept { return cols_; }
    std::size_t bytes() const noexcept { return size_; }
    std::size_t panels() const noexcept { return ceil_div(rows_, lanes); }
    std::size_t panel_bytes() const noexcept { return panel_bytes_; }
    const std::byte* data() const noexcept { return data_; }
    const std::byte* panel(std::size_t p) const noexcept { return data_ + p * panel_bytes_; }
    /// Of rows in file layout; null where panels have a layout of their own.
    format::block_decoder decode() const noexcept { return decode_; }
    /// Null for other panels than those of quantized.hpp.
    const quantized_panels* quantized() const noexcept { return quantized_; }

private:
    dtype type_ = dtype::f32;
    format::block_decoder decode_ = nullptr;
    const quantized_panels* quantized_ = nullptr;
    std::size_t rows_ = 0, cols_ = 0, panel_bytes_ = 0, size_ = 0;
    const std::byte* data_ = nullptr;
    buffer<> bytes_;  // empty where they are somebody else's
};

}  // namespace skald::inline SKALD_ISA::kernels
