// SPDX-License-Identifier: MIT
#pragma once
// The rules by which quantized formats scale groups of columns, and how a panel keeps what they need: a record for each block of
// the file, of 16 rows.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/backend/cpu/planes.hpp>
#include <skald/format/block.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// A block of a file on the way into a panel: unsigned codes; small integers of the scales, then of the minima; binary16 factors.
struct file_block {
    std::uint8_t code[256];
    std::uint8_t small[32];
    std::uint16_t factor[2];
};

// A rule has: groups (of a block), minima (whether there are), bytes (of a record); put(block, lane, record), which adds a row to a
// record that was zero; and read<Arch>(record, scale, minimum), the values of 16 rows. // scale, minimum: (groups, 16)

/// One binary16 a block, and a minimum likewise.
template <bool Minima>
struct half_scales {
    static constexpr std::size_t groups = 1;
    static constexpr bool minima = Minima;
    static constexpr std::size_t bytes = (Minima ? 2 : 1) * lanes * 2;

    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept {
        std::memcpy(record + lane * 2, from.factor, 2);
        if constexpr (Minima) std::memcpy(record + (lanes + lane) * 2, from.factor + 1, 2);
    }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*minimum)[lanes]) noexcept {
        const auto* h = reinterpret_cast<const half*>(record);
        simd<Arch>::load_half(h).store(scale[0]);
        if constexpr (Minima) simd<Arch>::load_half(h + lanes).store(minimum[0]);
    }
};

/// scale = factor[0] · (small integer - Offset), minimum = -factor[1] · small integer, of Bits bits.
template <unsigned Bits, std::size_t Groups, int Offset, bool Minima>
struct small_scales {
    static constexpr std::size_t groups = Groups;
    static constexpr bool minima = Minima;
    static constexpr std::size_t integers = Groups * (Minima ? 2 : 1);  // of a row
    using packed = planes<Bits, integers * lanes / 64>;
    static constexpr std::size_t bytes = packed::bytes + (Minima ? 2 : 1) * lanes * 2;

    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept {
        for (std::size_t i = 0; i < integers; ++i) packed::put(record + i % 4 * lanes + lane, i / 4, from.small[i]);
        half_scales<Minima>::put(from, lane, record + packed::bytes);
    }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*minimum)[lanes]) noexcept {
        using V = simd<Arch>;
        alignas(64) std::uint8_t small[integers][lanes];
        simd_int<Arch> v[integers / 4];
        packed::unpack(record, v);
        for (std::size_t i = 0; i < integers / 4; ++i) v[i].store(small[i * 4]);
        const auto* h = reinterpret_cast<const half*>(record + packed::bytes);
        const V d = V::load_half(h), offset = V::broadcast(Offset);
        for (std::size_t g = 0; g < Groups; ++g) (d * (V::load_u8(small[g]) - offset)).store(scale[g]);
        if constexpr (Minima) {
            const V low = V::zero() - V::load_half(h + lanes);
            for (std::size_t g = 0; g < Groups; ++g) (low * V::load_u8(small[Groups + g])).store(minimum[g]);
        }
    }
};

/// scale = Value(a byte a group).
template <std::size_t Groups, float (*Value)(std::uint8_t) noexcept>
struct byte_scales {
    static constexpr std::size_t groups = Groups;
    static constexpr bool minima = false;
    static constexpr std::size_t bytes = Groups * lanes;

    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept {
        for (std::size_t g = 0; g < Groups; ++g) record[g * lanes + lane] = std::byte{from.small[g]};
    }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*)[lanes]) noexcept {
        for (std::size_t i = 0; i < Groups * lanes; ++i) scale[i / lanes][i % lanes] = Value(std::to_integer<std::uint8_t>(record[i]));
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
