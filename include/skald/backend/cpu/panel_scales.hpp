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

/// One binary16 a block, of which the groups are alike, and a minimum likewise.
template <bool Minima, std::size_t Groups = 1>
struct half_scales {
    static constexpr std::size_t groups = Groups;
    static constexpr bool minima = Minima;
    static constexpr std::size_t bytes = (Minima ? 2 : 1) * lanes * 2;

    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept {
        std::memcpy(record + lane * 2, from.factor, 2);
        if constexpr (Minima) std::memcpy(record + (lanes + lane) * 2, from.factor + 1, 2);
    }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*minimum)[lanes]) noexcept {
        const auto* h = reinterpret_cast<const half*>(record);
        const auto d = simd<Arch>::load_half(h);
        for (std::size_t g = 0; g < Groups; ++g) d.store(scale[g]);
        if constexpr (Minima) {
            const auto low = simd<Arch>::load_half(h + lanes);
            for (std::size_t g = 0; g < Groups; ++g) low.store(minimum[g]);
        }
    }
};

/// What a small integer says of a scale: factor · (integer - Offset).
template <int Offset>
struct lowered_by {
    template <class V>
    SKALD_INLINE static V scale(V factor, V integer) noexcept {
        return factor * (integer - V::broadcast(Offset));
    }
};

/// Or factor · (2 · integer + 1) / Divisor, for powers of two.
template <int Divisor>
struct odd_over {
    template <class V>
    SKALD_INLINE static V scale(V factor, V integer) noexcept {
        return factor * V::broadcast(2.0f / Divisor) * (integer + V::broadcast(0.5f));
    }
};

/// scale = Rule(factor[0], small integer), minimum = -factor[1] · small integer, of Bits bits.
template <unsigned Bits, std::size_t Groups, class Rule, bool Minima = false>
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
        unpack<Arch>(record, small);
        const auto* h = reinterpret_cast<const half*>(record + packed::bytes);
        const V d = V::load_half(h);
        for (std::size_t g = 0; g < Groups; ++g) Rule::scale(d, V::load_u8(small[g])).store(scale[g]);
        if constexpr (Minima) {
            const V low = V::zero() - V::load_half(h + lanes);
            for (std::size_t g = 0; g < Groups; ++g) (low * V::load_u8(small[Groups + g])).store(minimum[g]);
        }
    }
    template <class Arch>
    SKALD_INLINE static void unpack(const std::byte* record, std::uint8_t (&small)[integers][lanes]) noexcept {
        simd_int<Arch> v[integers / 4];
        packed::unpack(record, v);
        for (std::size_t i = 0; i < integers / 4; ++i) v[i].store(small[i * 4]);
    }
};

/// Four bits, a sign above s: scale = factor · (2 s + 1), minimum = ± scale / 8. Records as of small_scales.
template <std::size_t Groups>
struct shifted_scales : small_scales<4, Groups, odd_over<1>> {
    using base = small_scales<4, Groups, odd_over<1>>;
    static constexpr bool minima = true;
    static constexpr std::int8_t odd[16] = {1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15};
    static constexpr std::int8_t shift[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};

    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*minimum)[lanes]) noexcept {
        using V = simd<Arch>;
        alignas(64) std::uint8_t small[Groups][lanes];
        base::template unpack<Arch>(record, small);
        const V d = V::load_half(reinterpret_cast<const half*>(record + base::packed::bytes)), eighth = d * V::broadcast(0.125f);
        for (std::size_t g = 0; g < Groups; ++g) {
            (d * V::load_levels(odd, small[g])).store(scale[g]);
            (eighth * V::load_levels(shift, small[g])).store(minimum[g]);
        }
    }
};

/// As half_scales, with minimum = -scale · small integer.
template <std::size_t Groups>
struct zero_point_scales {
    static constexpr std::size_t groups = Groups;
    static constexpr bool minima = true;
    static constexpr std::size_t bytes = lanes * 3;

    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept {
        std::memcpy(record + lane * 2, from.factor, 2);
        record[lanes * 2 + lane] = std::byte{from.small[0]};
    }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*minimum)[lanes]) noexcept {
        using V = simd<Arch>;
        const V d = V::load_half(reinterpret_cast<const half*>(record));
        const V low = V::zero() - d * V::load_u8(reinterpret_cast<const std::uint8_t*>(record) + lanes * 2);
        for (std::size_t g = 0; g < Groups; ++g) d.store(scale[g]), low.store(minimum[g]);
    }
};

/// scale = 2^(small integer - 128), one a block.
struct power_scales {
    static constexpr std::size_t groups = 1;
    static constexpr bool minima = false;
    static constexpr std::size_t bytes = lanes;

    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept { record[lane] = std::byte{from.small[0]}; }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*)[lanes]) noexcept {
        using V = simd<Arch>;
        const V power = V::load_u8(reinterpret_cast<const std::uint8_t*>(record)) - V::broadcast(128);
        scale_by_power(V::broadcast(1), power).store(scale[0]);
    }
};

/// scale = half of a number of E4M3 without a sign, whose every code is a number; four a block.
struct e4m3_scales {
    static constexpr std::size_t groups = 4;
    static constexpr bool minima = false;
    static constexpr std::size_t bytes = groups * lanes;

    // Words of two groups, so that shifts make binary16 numbers of either: 2^-8 of those of E4M3.
    static void put(const file_block& from, std::size_t lane, std::byte* record) noexcept {
        for (std::size_t g = 0; g < groups; ++g) record[(g / 2 * lanes + lane) * 2 + g % 2] = std::byte{from.small[g]};
    }
    template <class Arch>
    SKALD_INLINE static void read(const std::byte* record, float (*scale)[lanes], float (*)[lanes]) noexcept {
        using V = simd<Arch>;
        alignas(64) half number[groups][lanes];
        const auto both = simd_int<Arch>::load(record);
        const auto even = both.template bits<8>(255).template bits<-1>(255), odd = both.template bits<-8>(255).template bits<7>(255);
        even.store(number[0]);
        odd.store(number[2]);
        for (std::size_t g = 0; g < groups; ++g) (V::load_half(number[g % 2 * 2 + g / 2]) * V::broadcast(128)).store(scale[g]);
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
