// SPDX-License-Identifier: MIT
#pragma once
// The backend's vectors: always 16 lanes, whatever the registers' width (one, two or four registers), so that packed layouts
// and the order of arithmetic are the same on every target. Arithmetic is xsimd's; what xsimd lacks is in registers_*.hpp.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/backend/cpu/registers_512.hpp>
#include <skald/backend/cpu/registers_neon.hpp>
#include <skald/core/half.hpp>
#include <skald/format/vector.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Lanes of a vector, rows of a panel of packed weights.
inline constexpr std::size_t lanes = 16;

/// 16 floats; a format::float_vector.
template <class Arch>
class simd {
public:
    using batch = xsimd::batch<float, Arch>;
    using native = registers<register_bytes<Arch>>;
    using reg = typename native::floats;
    static constexpr std::size_t size = lanes;
    static constexpr std::size_t parts = lanes / native::count;

    simd() noexcept = default;

    SKALD_INLINE static simd broadcast(float f) noexcept {
        return make([&](std::size_t) { return batch(f); });
    }
    SKALD_INLINE static simd zero() noexcept { return broadcast(0.0f); }
    SKALD_INLINE static simd load(const float* p) noexcept {
        return make([&](std::size_t i) { return batch::load_unaligned(p + i * native::count); });
    }
    SKALD_INLINE static simd load_half(const half* p) noexcept {
        return make([&](std::size_t i) { return native::load_half(p + i * native::count); });
    }
    SKALD_INLINE static simd load_bfloat16(const bfloat16* p) noexcept {
        return make([&](std::size_t i) { return native::load_bfloat16(p + i * native::count); });
    }
    SKALD_INLINE static simd load_i8(const std::int8_t* p) noexcept {
        return make([&](std::size_t i) { return native::load_i8(p + i * native::count); });
    }
    SKALD_INLINE static simd load_u8(const std::uint8_t* p) noexcept {
        return make([&](std::size_t i) { return native::load_u8(p + i * native::count); });
    }
    SKALD_INLINE static simd load_levels(const std::int8_t (&levels)[16], const std::uint8_t* p) noexcept {
        const auto chosen = registers<16>::choose_bytes(levels, p);
        return make([&](std::size_t i) { return native::bytes_to_float(chosen, i); });
    }
    /// Eight floats, each twice.
    SKALD_INLINE static simd load_twice(const float* p) noexcept {
        return make([&](std::size_t i) { return native::load_twice(p + i * native::count / 2); });
    }
    /// The first n floats at p, then zeros; n may be 16 or more.
    SKALD_INLINE static simd load_first(const float* p, std::size_t n) noexcept {
        if (n >= size) return load(p);
        alignas(64) float padded[size] = {};
        for (std::size_t i = 0; i < n; ++i) padded[i] = p[i];
        return load(padded);
    }

    SKALD_INLINE void store(float* p) const noexcept {
        each([&](std::size_t i) { batch(r_[i]).store_unaligned(p + i * native::count); });
    }
    SKALD_INLINE void store_half(half* p) const noexcept {
        each([&](std::size_t i) { native::store_half(r_[i], p + i * native::count); });
    }
    SKALD_INLINE void store_bfloat16(bfloat16* p) const noexcept {
        each([&](std::size_t i) { native::store_bfloat16(r_[i], p + i * native::count); });
    }
    SKALD_INLINE void store_i8(std::int8_t* p) const noexcept {
        each([&](std::size_t i) { native::store_i8(r_[i], p + i * native::count); });
    }
    /// The first n lanes; n may be 16 or more.
    SKALD_INLINE void store_first(float* p, std::size_t n) const noexcept {
        if (n >= size) return store(p);
        alignas(64) float all[size];
        store(all);
        for (std::size_t i = 0; i < n; ++i) p[i] = all[i];
    }

    SKALD_INLINE friend simd operator+(simd a, simd b) noexcept {
        return make([&](std::size_t i) { return batch(a.r_[i]) + batch(b.r_[i]); });
    }
    SKALD_INLINE friend simd operator-(simd a, simd b) noexcept {
        return make([&](std::size_t i) { return batch(a.r_[i]) - batch(b.r_[i]); });
    }
    SKALD_INLINE friend simd operator*(simd a, simd b) noexcept {
        return make([&](std::size_t i) { return batch(a.r_[i]) * batch(b.r_[i]); });
    }
    /// Rounded once. (xsimd's for NEON approximates.)
    SKALD_INLINE friend simd operator/(simd a, simd b) noexcept {
        return make([&](std::size_t i) -> reg { return a.r_[i] / b.r_[i]; });
    }
    SKALD_INLINE friend simd fma(simd a, simd b, simd c) noexcept {
        return make([&](std::size_t i) { return native::fma(a.r_[i], b.r_[i], c.r_[i]); });
    }
    SKALD_INLINE friend simd max(simd a, simd b) noexcept {
        return make([&](std::size_t i) { return native::max(a.r_[i], b.r_[i]); });
    }
    SKALD_INLINE friend simd min(simd a, simd b) noexcept {
        return make([&](std::size_t i) { return native::min(a.r_[i], b.r_[i]); });
    }
    SKALD_INLINE friend simd abs(simd a) noexcept {
        return make([&](std::size_t i) { return native::abs(a.r_[i]); });
    }
    /// Lanes below n of a, the others of b. // n in [0, 16]
    SKALD_INLINE friend simd choose_first(std::size_t n, simd a, simd b) noexcept {
        const batch limit(static_cast<float>(n));
        return make([&](std::size_t i) {
            const batch index = batch::load_unaligned(lane_numbers + i * native::count);
            return xsimd::select(index < limit, batch(a.r_[i]), batch(b.r_[i]));
        });
    }
    /// Lanes whose bit is set of a, the others of b. // lane 0: bit 0
    SKALD_INLINE friend simd choose_bits(std::uint32_t bits, simd a, simd b) noexcept {
        alignas(64) float set[size];
        for (std::size_t i = 0; i < size; ++i) set[i] = static_cast<float>((bits >> i) & 1u);
        return make([&](std::size_t i) {
            const batch chosen = batch::load_aligned(set + i * native::count);
            return xsimd::select(chosen > batch(0.0f), batch(a.r_[i]), batch(b.r_[i]));
        });
    }
    /// Zero where a ≤ limit, b elsewhere.
    SKALD_INLINE friend simd zero_up_to(simd a, simd limit, simd b) noexcept {
        return make([&](std::size_t i) { return xsimd::select(batch(a.r_[i]) <= batch(limit.r_[i]), batch(0.0f), batch(b.r_[i])); });
    }
    /// Lanes 2i and 2i + 1 exchanged.
    SKALD_INLINE friend simd swap_pairs(simd a) noexcept {
        return make([&](std::size_t i) { return native::swap_pairs(a.r_[i]); });
    }
    /// Each lane's nearest integer, ties to even; |a| < 2^31.
    SKALD_INLINE friend simd round(simd a) noexcept {
        return make([&](std::size_t i) { return native::to_float(native::to_int(a.r_[i])); });
    }
    /// a · 2^n, for integers n in [-252, 254].
    SKALD_INLINE friend simd scale_by_power(simd a, simd n) noexcept {
        return make([&](std::size_t i) { return native::scale_by_power(a.r_[i], n.r_[i]); });
    }

    /// By halves: lane i and i + 8, then i and i + 4, … The same tree as sum_rows().
    SKALD_INLINE friend float reduce_add(simd a) noexcept { return native::sum(a.folded()); }
    SKALD_INLINE friend float reduce_max(simd a) noexcept {
        reg m = a.r_[0];
        for (std::size_t i = 1; i < parts; ++i) m = native::max(m, a.r_[i]);
        return native::greatest(m);
    }
    /// Lane j is reduce_add(v[j]), bitwise. // v: (16)
    SKALD_INLINE friend simd sum_rows(const simd (&v)[lanes]) noexcept {
        return make([&](std::size_t i) {
            reg folded[native::count];
#pragma GCC unroll 16
            for (std::size_t j = 0; j < native::count; ++j) folded[j] = v[i * native::count + j].folded();
            return native::sums(folded);
        });
    }

    SKALD_INLINE reg& part(std::size_t i) noexcept { return r_[i]; }
    SKALD_INLINE const reg& part(std::size_t i) const noexcept { return r_[i]; }

private:
    alignas(64) static constexpr float lane_numbers[lanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

    template <class F>
    SKALD_INLINE static simd make(F f) noexcept {
        simd out;
        out.r_[0] = f(0);
        if constexpr (parts > 1) out.r_[1] = f(1);
        if constexpr (parts > 2) out.r_[2] = f(2), out.r_[3] = f(3);
        return out;
    }
    template <class F>
    SKALD_INLINE static void each(F f) noexcept {
        f(0);
        if constexpr (parts > 1) f(1);
        if constexpr (parts > 2) f(2), f(3);
    }

    /// One register: lanes that stand a register's width apart added by halves.
    SKALD_INLINE reg folded() const noexcept {
        if constexpr (parts == 1)
            return r_[0];
        else if constexpr (parts == 2)
            return batch(r_[0]) + batch(r_[1]);
        else
            return (batch(r_[0]) + batch(r_[2])) + (batch(r_[1]) + batch(r_[3]));
    }

    reg r_[parts];
};

/// 16 lanes of 32 bits: integers, or what their bytes hold.
template <class Arch>
class simd_int {
public:
    using native = typename simd<Arch>::native;
    using reg = typename native::ints;
    static constexpr std::size_t parts = simd<Arch>::parts;
    static constexpr int code_zero = native::code_zero;
    static constexpr bool has_narrow_dot = native::has_narrow_dot;

    simd_int() noexcept = default;

    SKALD_INLINE static simd_int load(const void* p) noexcept {  // 64 bytes
        return make([&](std::size_t i) { return native::load_ints(static_cast<const std::byte*>(p) + i * sizeof(reg)); });
    }
    /// 32 signed bytes as words, two a lane.
    SKALD_INLINE static simd_int widen(const void* p) noexcept {
        return make([&](std::size_t i) { return native::widen(static_cast<const std::byte*>(p) + i * sizeof(reg) / 2); });
    }
    /// 16 bytes as words, a byte a lane: its lower four bits, then its upper four.
    SKALD_INLINE static simd_int widen_nibbles(const void* p) noexcept {
        return make([&](std::size_t i) { return native::widen_nibbles(static_cast<const std::byte*>(p) + i * sizeof(reg) / 4); });
    }
    /// 8 bytes as words: of byte i the lowest two bits and the next in lane i, the upper four bits in lane i + 8.
    SKALD_INLINE static simd_int widen_quarters(const void* p) noexcept {
        return make([&](std::size_t i) { return native::widen_quarters(static_cast<const std::byte*>(p), i); });
    }
    /// Words: number N of each word's codes of that many bits.
    template <int Bits, int N>
    SKALD_INLINE simd_int code_words() const noexcept {
        return make([&](std::size_t i) { return native::template code_words<Bits, N>(r_[i]); });
    }
    /// Each word · its factor + its offset, modulo 2^16.
    SKALD_INLINE friend simd_int scale_words(simd_int w, simd_int factor, simd_int offset) noexcept {
        return make([&](std::size_t i) { return native::scale_words(w.r_[i], factor.r_[i], offset.r_[i]); });
    }
    /// Each word · factor + offset, modulo 2^16.
    SKALD_INLINE friend simd_int scale_words(simd_int w, std::int16_t factor, std::int16_t offset) noexcept {
        return make([&](std::size_t i) { return native::scale_words(w.r_[i], factor, offset); });
    }
    SKALD_INLINE static simd_int broadcast(std::int32_t v) noexcept {
        const reg r = native::broadcast_int(v);
        return make([&](std::size_t) { return r; });
    }
    SKALD_INLINE void store(void* p) const noexcept {  // 64 bytes
        for (std::size_t i = 0; i < parts; ++i) std::memcpy(static_cast<std::byte*>(p) + i * sizeof(reg), &r_[i], sizeof(reg));
    }
    /// The bits of `mask` of each byte, after a shift up by N, or down by -N; the mask must exclude what comes from a neighbour.
    template <int N>
    SKALD_INLINE simd_int bits(std::uint8_t mask) const noexcept {
        return make([&](std::size_t i) { return native::masked(N == 0 ? r_[i] : native::template shifted<N>(r_[i]), mask); });
    }
    SKALD_INLINE friend simd_int operator|(simd_int a, simd_int b) noexcept {
        return make([&](std::size_t i) { return native::either(a.r_[i], b.r_[i]); });
    }
    SKALD_INLINE friend simd_int add_bytes(simd_int a, std::uint8_t value) noexcept {
        return make([&](std::size_t i) { return native::add_bytes(a.r_[i], value); });
    }
    /// table[byte] of each byte, all of them below 16.
    SKALD_INLINE friend simd_int choose(const std::int8_t (&table)[16], simd_int a) noexcept {
        return make([&](std::size_t i) { return native::choose(table, a.r_[i]); });
    }
    /// The lower and the upper bf16 of each lane, converted.
    SKALD_INLINE friend simd<Arch> low_bfloat16(simd_int a) noexcept {
        simd<Arch> out;
        for (std::size_t i = 0; i < parts; ++i) out.part(i) = native::low_bfloat16(a.r_[i]);
        return out;
    }
    SKALD_INLINE friend simd<Arch> high_bfloat16(simd_int a) noexcept {
        simd<Arch> out;
        for (std::size_t i = 0; i < parts; ++i) out.part(i) = native::high_bfloat16(a.r_[i]);
        return out;
    }
    /// acc + Σ of each lane's four products of bytes, w · s; exact for s from -127 on. w is unsigned where code_zero is 128.
    SKALD_INLINE friend simd_int dot(simd_int acc, simd_int w, simd_int s) noexcept {
        return make([&](std::size_t i) { return native::dot(acc.r_[i], w.r_[i], s.r_[i]); });
    }
    /// The same for unsigned bytes w of at most 129, where has_narrow_dot.
    SKALD_INLINE friend simd_int narrow_dot(simd_int acc, simd_int w, simd_int s) noexcept {
        return make([&](std::size_t i) { return native::narrow_dot(acc.r_[i], w.r_[i], s.r_[i]); });
    }
    /// The bits of each lane of a.
    SKALD_INLINE static simd_int bits_of(simd<Arch> a) noexcept {
        return make([&](std::size_t i) {
            reg r;
            std::memcpy(&r, &a.part(i), sizeof r);
            return r;
        });
    }
    SKALD_INLINE friend simd<Arch> to_float(simd_int a) noexcept {
        simd<Arch> out;
        for (std::size_t i = 0; i < parts; ++i) out.part(i) = native::to_float(a.r_[i]);
        return out;
    }
    /// The bits of each lane as a float.
    SKALD_INLINE friend simd<Arch> as_float(simd_int a) noexcept {
        simd<Arch> out;
        for (std::size_t i = 0; i < parts; ++i) std::memcpy(&out.part(i), &a.r_[i], sizeof(reg));
        return out;
    }
    /// acc + Σ of each lane's two bf16 products, as vdpbf16ps rounds; only where has_bf16_dot.
    SKALD_INLINE friend simd<Arch> dot_bfloat16(simd<Arch> acc, simd_int a, simd_int b) noexcept {
        simd<Arch> out;
        for (std::size_t i = 0; i < parts; ++i) out.part(i) = native::dot_bfloat16(acc.part(i), a.r_[i], b.r_[i]);
        return out;
    }

    SKALD_INLINE reg& part(std::size_t i) noexcept { return r_[i]; }
    SKALD_INLINE const reg& part(std::size_t i) const noexcept { return r_[i]; }

private:
    template <class F>
    SKALD_INLINE static simd_int make(F f) noexcept {
        simd_int out;
        out.r_[0] = f(0);
        if constexpr (parts > 1) out.r_[1] = f(1);
        if constexpr (parts > 2) out.r_[2] = f(2), out.r_[3] = f(3);
        return out;
    }

    reg r_[parts];
};

static_assert(format::float_vector<simd<default_arch>>);

}  // namespace skald::inline SKALD_ISA::kernels
