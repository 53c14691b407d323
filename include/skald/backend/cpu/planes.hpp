// SPDX-License-Identifier: MIT
#pragma once
// Codes of a few bits as planes: what vectors of bytes become when the nibbles, then the pairs, then the single bits of several
// of them share one vector. Unpacking is a shift and a mask for each plane, on every target.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <skald/backend/cpu/simd.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// `Count` vectors of 64 codes below 2^Bits, in Count · 8 · Bits bytes: for 8 bits the vectors; else a plane of four bits
/// (Count / 2 vectors), one of two (Count / 4) and one of one bit (Count / 8), those that Bits has, low bits of codes first.
template <unsigned Bits, std::size_t Count>
struct planes {
    static_assert(Bits == 8 || (Bits == 4 && Count % 2 == 0) || (Bits < 8 && Count % 4 == 0));
    static constexpr std::size_t bytes = Count * 8 * Bits;

    /// Adds sizeof(T) codes of vector i; `at` is their place in the first vector, of memory that was zero.
    template <class T>
    static void put(std::byte* at, std::size_t i, T codes) noexcept {
        if constexpr (Bits == 8) return put_into(at, i, codes);
        if constexpr (Bits & 4) put_into(at, i % fours, static_cast<T>((codes & each<T>(15)) << (i / fours * 4)));
        if constexpr (Bits & 2) put_into(at, two_at + i % twos, static_cast<T>((codes >> two_shift & each<T>(3)) << (i / twos * 2)));
        if constexpr (Bits & 1) put_into(at, one_at + i % ones, static_cast<T>((codes >> one_shift & each<T>(1)) << (i / ones)));
    }

    template <class Arch>
    SKALD_INLINE static void unpack(const std::byte* p, simd_int<Arch> (&out)[Count]) noexcept {
        [&]<std::size_t... I>(std::index_sequence<I...>) { ((out[I] = vector<Arch, I>(p)), ...); }(std::make_index_sequence<Count>());
    }

private:
    static constexpr std::size_t fours = Count / 2, twos = Count / 4, ones = Count / 8 == 0 ? 1 : Count / 8;
    static constexpr std::size_t two_at = Bits & 4 ? fours : 0, one_at = two_at + (Bits & 2 ? twos : 0);
    static constexpr int two_shift = Bits & 4, one_shift = Bits & 6;

    template <class T>
    static constexpr T each(unsigned byte) noexcept {
        return static_cast<T>(static_cast<T>(~T{}) / 255 * byte);
    }
    template <class T>
    static void put_into(std::byte* at, std::size_t vector, T bits) noexcept {
        T all;
        std::memcpy(&all, at + vector * 64, sizeof all);
        all = static_cast<T>(all | bits);
        std::memcpy(at + vector * 64, &all, sizeof all);
    }

    template <class Arch, std::size_t I>
    SKALD_INLINE static simd_int<Arch> vector(const std::byte* p) noexcept {
        using ints = simd_int<Arch>;
        if constexpr (Bits == 8) {
            return ints::load(p + I * 64);
        } else {
            ints code;
            if constexpr (Bits & 4) code = ints::load(p + I % fours * 64).template bits<-4 * static_cast<int>(I / fours)>(15);
            if constexpr (Bits & 2) {
                const auto two = field<Arch, two_at + I % twos, two_shift - 2 * static_cast<int>(I / twos)>(p, 3 << two_shift);
                if constexpr (Bits & 4)
                    code = code | two;
                else
                    code = two;
            }
            if constexpr (Bits & 1) code = code | field<Arch, one_at + I % ones, one_shift - static_cast<int>(I / ones)>(p, 1 << one_shift);
            return code;
        }
    }
    template <class Arch, std::size_t Vector, int Shift>
    SKALD_INLINE static simd_int<Arch> field(const std::byte* p, std::uint8_t mask) noexcept {
        return simd_int<Arch>::load(p + Vector * 64).template bits<Shift>(mask);
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
