// SPDX-License-Identifier: MIT
#pragma once
// Operations on one 128-bit register of AArch64; their meaning is in registers.hpp. Dot products of bytes are usdot (i8mm), sdot
// (dotprod) or widening products, whichever the flags allow first.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/backend/cpu/registers.hpp>

#if defined(__aarch64__)

namespace skald::inline SKALD_ISA::kernels {

template <>
struct registers<16> {
    using floats = float32x4_t;
    using ints = int32x4_t;
    static constexpr std::size_t count = 4;

    SKALD_INLINE static floats fma(floats a, floats b, floats c) noexcept { return vfmaq_f32(c, a, b); }

    // vmaxq_f32 would give NaN where either is.
    SKALD_INLINE static floats max(floats a, floats b) noexcept { return vbslq_f32(vcgtq_f32(a, b), a, b); }
    SKALD_INLINE static floats min(floats a, floats b) noexcept { return vbslq_f32(vcltq_f32(a, b), a, b); }
    SKALD_INLINE static floats abs(floats a) noexcept { return vabsq_f32(a); }

    SKALD_INLINE static floats load_half(const void* p) noexcept { return vcvt_f32_f16(vreinterpret_f16_u8(load_eight(p))); }
    SKALD_INLINE static floats load_bfloat16(const void* p) noexcept {
        return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(load_eight(p)), 16));
    }
    SKALD_INLINE static floats load_i8(const void* p) noexcept { return widened(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_four(p))))); }
    SKALD_INLINE static floats load_u8(const void* p) noexcept { return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load_four(p))))); }
    SKALD_INLINE static floats bytes_to_float(ints bytes, std::size_t part) noexcept {
        const int8x16_t all = vreinterpretq_s8_s32(bytes);
        const int16x8_t words = vmovl_s8(part < 2 ? vget_low_s8(all) : vget_high_s8(all));
        return widened(part % 2 == 0 ? vget_low_s16(words) : vget_high_s16(words));
    }
    SKALD_INLINE static void store_half(floats f, void* p) noexcept {
        vst1_u8(static_cast<std::uint8_t*>(p), vreinterpret_u8_f16(vcvt_f16_f32(f)));
    }
    SKALD_INLINE static void store_bfloat16(floats f, void* p) noexcept {
        const uint32x4_t bits = vreinterpretq_u32_f32(f);
        const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
        const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
        const uint32x4_t chosen = vbslq_u32(vceqq_f32(f, f), rounded, vorrq_u32(bits, vdupq_n_u32(0x400000)));
        vst1_u8(static_cast<std::uint8_t*>(p), vreinterpret_u8_u16(vshrn_n_u32(chosen, 16)));
    }
    SKALD_INLINE static void store_i8(floats f, void* p) noexcept {
        const int16x4_t words = vqmovn_s32(to_int(min(max(f, vdupq_n_f32(-128.0f)), vdupq_n_f32(127.0f))));
        const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
        std::memcpy(p, &bytes, 4);
    }

    SKALD_INLINE static ints to_int(floats f) noexcept { return vcvtnq_s32_f32(f); }
    SKALD_INLINE static floats to_float(ints i) noexcept { return vcvtq_f32_s32(i); }
    SKALD_INLINE static floats scale_by_power(floats f, floats n) noexcept {
        const int32x4_t all = to_int(n), half = vshrq_n_s32(all, 1), rest = vsubq_s32(all, half);
        return vmulq_f32(vmulq_f32(f, power(half)), power(rest));
    }

    SKALD_INLINE static ints load_ints(const void* p) noexcept {
        return vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p)));
    }
    SKALD_INLINE static ints choose_bytes(const std::int8_t (&table)[16], const std::uint8_t* index) noexcept {
        return choose(table, load_ints(index));
    }
    SKALD_INLINE static ints sums_of_bytes(const std::int8_t* p) noexcept {
        const std::int32_t first = vaddlvq_s8(vld1q_s8(p)), last = vaddlvq_s8(vld1q_s8(p + 16)), sums[4] = {first + last, first, last, 0};
        return vld1q_s32(sums);
    }
    SKALD_INLINE static floats broadcast(float x) noexcept { return vdupq_n_f32(x); }
    SKALD_INLINE static void store(floats f, void* p) noexcept { std::memcpy(p, &f, sizeof f); }
    SKALD_INLINE static ints widen(const void* p) noexcept {
        return vreinterpretq_s32_s16(vmovl_s8(vld1_s8(static_cast<const std::int8_t*>(p))));
    }
    SKALD_INLINE static ints widen_nibbles(const void* p) noexcept {
        std::uint32_t bytes;
        std::memcpy(&bytes, p, sizeof bytes);
        const uint32x4_t x = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes))));
        return vreinterpretq_s32_u32(vandq_u32(vorrq_u32(x, vshlq_n_u32(x, 12)), vdupq_n_u32(0x000f000f)));
    }
    SKALD_INLINE static ints widen_quarters(const void* p, std::size_t part) noexcept {
        std::uint32_t bytes;
        std::memcpy(&bytes, static_cast<const std::byte*>(p) + part % 2 * sizeof bytes, sizeof bytes);
        const uint32x4_t all = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes)))), x = part < 2 ? all : vshrq_n_u32(all, 4);
        return vreinterpretq_s32_u32(vandq_u32(vorrq_u32(x, vshlq_n_u32(x, 14)), vdupq_n_u32(0x00030003)));
    }
    template <int Bits, int N>
    SKALD_INLINE static ints code_words(ints i) noexcept {
        uint16x8_t words = vreinterpretq_u16_s32(i);
        if constexpr (N > 0) words = vshrq_n_u16(words, Bits * N);
        return vreinterpretq_s32_u16(vandq_u16(words, vdupq_n_u16((1 << Bits) - 1)));
    }
    SKALD_INLINE static ints scale_words(ints w, ints factor, ints offset) noexcept {
        return vreinterpretq_s32_s16(vmlaq_s16(vreinterpretq_s16_s32(offset), vreinterpretq_s16_s32(w), vreinterpretq_s16_s32(factor)));
    }
    SKALD_INLINE static ints scale_words(ints w, std::int16_t factor, std::int16_t offset) noexcept {
        return vreinterpretq_s32_s16(vmlaq_s16(vdupq_n_s16(offset), vreinterpretq_s16_s32(w), vdupq_n_s16(factor)));
    }
    SKALD_INLINE static ints broadcast_int(std::int32_t i) noexcept { return vdupq_n_s32(i); }
    template <int N>
    SKALD_INLINE static ints shifted(ints i) noexcept {
        const uint16x8_t words = vreinterpretq_u16_s32(i);
        if constexpr (N < 0)
            return vreinterpretq_s32_u16(vshrq_n_u16(words, -N));
        else
            return vreinterpretq_s32_u16(vshlq_n_u16(words, N));
    }
    SKALD_INLINE static ints masked(ints i, std::uint8_t m) noexcept { return vandq_s32(i, each(m)); }
    SKALD_INLINE static ints either(ints i, ints j) noexcept { return vorrq_s32(i, j); }
    SKALD_INLINE static ints add_bytes(ints i, std::uint8_t m) noexcept {
        return vreinterpretq_s32_s8(vaddq_s8(vreinterpretq_s8_s32(i), vreinterpretq_s8_s32(each(m))));
    }
    SKALD_INLINE static ints choose(const std::int8_t (&table)[16], ints i) noexcept {
        return vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(i)));
    }

    SKALD_INLINE static floats low_bfloat16(ints i) noexcept { return vreinterpretq_f32_s32(vshlq_n_s32(i, 16)); }
    SKALD_INLINE static floats high_bfloat16(ints i) noexcept {
        return vreinterpretq_f32_s32(vandq_s32(i, vdupq_n_s32(static_cast<std::int32_t>(0xffff0000u))));
    }

    static constexpr int code_zero = has_vnni ? 128 : 0;
    static constexpr bool has_narrow_dot = false;
    SKALD_INLINE static ints dot(ints acc, ints w, ints s) noexcept {
        const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(s);
#if defined(__ARM_FEATURE_MATMUL_INT8)
        return vusdotq_s32(acc, vreinterpretq_u8_s8(a), b);
#elif defined(__ARM_FEATURE_DOTPROD)
        return vdotq_s32(acc, a, b);
#else
        const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b))), high = vpaddlq_s16(vmull_high_s8(a, b));
        return vaddq_s32(acc, vpaddq_s32(low, high));
#endif
    }
    SKALD_INLINE static ints narrow_dot(ints acc, ints u, ints s) noexcept { return dot(acc, u, s); }
    SKALD_INLINE static floats dot_bfloat16(floats acc, ints a, ints b) noexcept {
#if defined(SKALD_ISA_HAS_BF16)
        return vbfdotq_f32(acc, vreinterpretq_bf16_s32(a), vreinterpretq_bf16_s32(b));
#else
        return static_cast<void>(a), static_cast<void>(b), acc;
#endif
    }

    SKALD_INLINE static floats load_twice(const float* p) noexcept {
        const float32x2_t f = vld1_f32(p);
        return vcombine_f32(vdup_lane_f32(f, 0), vdup_lane_f32(f, 1));
    }
    SKALD_INLINE static floats swap_pairs(floats f) noexcept { return vrev64q_f32(f); }
    SKALD_INLINE static float sum(floats f) noexcept { return vpadds_f32(vadd_f32(vget_low_f32(f), vget_high_f32(f))); }
    SKALD_INLINE static float greatest(floats f) noexcept {
        const floats two = max(f, vextq_f32(f, f, 2));
        return vgetq_lane_f32(max(two, vdupq_laneq_f32(two, 1)), 0);
    }
    SKALD_INLINE static floats sums(const floats* v) noexcept { return vpaddq_f32(halves(v[0], v[1]), halves(v[2], v[3])); }

private:
    SKALD_INLINE static ints each(std::uint8_t m) noexcept { return vreinterpretq_s32_u8(vdupq_n_u8(m)); }
    SKALD_INLINE static uint8x8_t load_eight(const void* p) noexcept { return vld1_u8(static_cast<const std::uint8_t*>(p)); }
    SKALD_INLINE static uint8x8_t load_four(const void* p) noexcept {
        std::uint32_t bytes;
        std::memcpy(&bytes, p, sizeof bytes);
        return vcreate_u8(bytes);
    }
    SKALD_INLINE static floats widened(int16x4_t words) noexcept { return vcvtq_f32_s32(vmovl_s16(words)); }
    SKALD_INLINE static floats power(int32x4_t n) noexcept {
        return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
    }
    /// a0 + a2, a1 + a3, b0 + b2, b1 + b3.
    SKALD_INLINE static floats halves(floats a, floats b) noexcept {
        return vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)), vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
    }
};

}  // namespace skald::inline SKALD_ISA::kernels

#endif
