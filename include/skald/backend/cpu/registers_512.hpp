// SPDX-License-Identifier: MIT
#pragma once
// Operations on one 512-bit register; their meaning is in registers.hpp.
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/registers_256.hpp>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512CD__)

namespace skald::inline SKALD_ISA::kernels {

template <>
struct registers<64> {
    using floats = __m512;
    using ints = __m512i;
    static constexpr std::size_t count = 16;

    SKALD_INLINE static floats fma(floats a, floats b, floats c) noexcept { return _mm512_fmadd_ps(a, b, c); }

    SKALD_INLINE static floats max(floats a, floats b) noexcept { return _mm512_maskz_max_ps(0xffff, a, b); }
    SKALD_INLINE static floats min(floats a, floats b) noexcept { return _mm512_maskz_min_ps(0xffff, a, b); }
    SKALD_INLINE static floats abs(floats a) noexcept {
        return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
    }

    SKALD_INLINE static floats load_half(const void* p) noexcept {
        return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(static_cast<const __m256i*>(p)));
    }
    SKALD_INLINE static floats load_bfloat16(const void* p) noexcept {
        const __m512i wide = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(static_cast<const __m256i*>(p)));
        return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, wide, 16));
    }
    SKALD_INLINE static floats load_i8(const void* p) noexcept {
        return to_float(_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(static_cast<const __m128i*>(p))));
    }
    SKALD_INLINE static floats bytes_to_float(__m128i bytes, std::size_t) noexcept {
        return to_float(_mm512_maskz_cvtepi8_epi32(0xffff, bytes));
    }
    SKALD_INLINE static floats load_u8(const void* p) noexcept {
        return to_float(_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(static_cast<const __m128i*>(p))));
    }
    SKALD_INLINE static void store_half(floats f, void* p) noexcept {
        _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xffff, f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    SKALD_INLINE static void store_bfloat16(floats f, void* p) noexcept {
        const __m512i bits = _mm512_castps_si512(f);
        const __m512i odd = _mm512_and_si512(_mm512_maskz_srli_epi32(0xffff, bits, 16), _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        const __mmask16 nan = _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q);
        const __m512i chosen = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
        _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_maskz_cvtepi32_epi16(0xffff, _mm512_maskz_srli_epi32(0xffff, chosen, 16)));
    }
    SKALD_INLINE static void store_i8(floats f, void* p) noexcept {
        const __m512i i = to_int(_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(127.0f), f));  // NaN, and what is below all integers: the least
        _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_maskz_cvtsepi32_epi8(0xffff, i));
    }

    SKALD_INLINE static ints to_int(floats f) noexcept { return _mm512_maskz_cvtps_epi32(0xffff, f); }
    SKALD_INLINE static floats to_float(ints i) noexcept { return _mm512_maskz_cvtepi32_ps(0xffff, i); }
    SKALD_INLINE static floats scale_by_power(floats f, floats n) noexcept { return _mm512_maskz_scalef_ps(0xffff, f, n); }

    SKALD_INLINE static ints load_ints(const void* p) noexcept { return _mm512_loadu_si512(p); }
    SKALD_INLINE static ints widen(const void* p) noexcept {
        return _mm512_maskz_cvtepi8_epi16(0xffffffffu, _mm256_loadu_si256(static_cast<const __m256i*>(p)));
    }
    SKALD_INLINE static ints widen_nibbles(const void* p) noexcept {
        const __m512i x = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(static_cast<const __m128i*>(p)));
        return _mm512_and_si512(_mm512_or_si512(x, _mm512_maskz_slli_epi32(0xffff, x, 12)), _mm512_set1_epi32(0x000f000f));
    }
    SKALD_INLINE static ints widen_quarters(const void* p, std::size_t) noexcept {
        const __m128i bytes = _mm_loadl_epi64(static_cast<const __m128i*>(p));
        const __m512i x = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_unpacklo_epi64(bytes, _mm_srli_epi16(bytes, 4)));
        return _mm512_and_si512(_mm512_or_si512(x, _mm512_maskz_slli_epi32(0xffff, x, 14)), _mm512_set1_epi32(0x00030003));
    }
    template <int Bits, int N>
    SKALD_INLINE static ints code_words(ints i) noexcept {
        return _mm512_and_si512(_mm512_srli_epi16(i, Bits * N), _mm512_set1_epi16((1 << Bits) - 1));
    }
    SKALD_INLINE static ints scale_words(ints w, ints factor, ints offset) noexcept {
        return _mm512_add_epi16(_mm512_mullo_epi16(w, factor), offset);
    }
    SKALD_INLINE static ints scale_words(ints w, std::int16_t factor, std::int16_t offset) noexcept {
        return _mm512_add_epi16(_mm512_mullo_epi16(w, _mm512_set1_epi16(factor)), _mm512_set1_epi16(offset));
    }
    SKALD_INLINE static ints broadcast_int(std::int32_t i) noexcept { return _mm512_set1_epi32(i); }
    template <int N>
    SKALD_INLINE static ints shifted(ints i) noexcept {
        return N < 0 ? _mm512_srli_epi16(i, N < 0 ? -N : 0) : _mm512_slli_epi16(i, N < 0 ? 0 : N);
    }
    SKALD_INLINE static ints masked(ints i, std::uint8_t m) noexcept { return _mm512_and_si512(i, _mm512_set1_epi8(static_cast<char>(m))); }
    SKALD_INLINE static ints either(ints i, ints j) noexcept { return _mm512_or_si512(i, j); }
    SKALD_INLINE static ints add_bytes(ints i, std::uint8_t m) noexcept {
        return _mm512_add_epi8(i, _mm512_set1_epi8(static_cast<char>(m)));
    }
    SKALD_INLINE static ints choose(const std::int8_t (&table)[16], ints i) noexcept {
        return _mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(0xffff, registers<16>::load_ints(table)), i);
    }

    SKALD_INLINE static floats low_bfloat16(ints i) noexcept { return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, i, 16)); }
    SKALD_INLINE static floats high_bfloat16(ints i) noexcept {
        return _mm512_castsi512_ps(_mm512_and_si512(i, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
    }

    static constexpr int code_zero = has_vnni ? 128 : 0;
    static constexpr bool has_narrow_dot = !has_vnni;
    SKALD_INLINE static ints dot(ints acc, ints w, ints s) noexcept {
#if defined(__AVX512VNNI__)
        return _mm512_dpbusd_epi32(acc, w, s);
#else
        const __m512i magnitude = _mm512_maskz_abs_epi8(~__mmask64{0}, w);
        return narrow_dot(acc, magnitude, _mm512_mask_sub_epi8(s, _mm512_movepi8_mask(w), _mm512_setzero_si512(), s));
#endif
    }
    SKALD_INLINE static ints narrow_dot(ints acc, ints u, ints s) noexcept {
        return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(u, s), _mm512_set1_epi16(1)));
    }
    SKALD_INLINE static floats dot_bfloat16(floats acc, ints a, ints b) noexcept {
#if defined(SKALD_ISA_HAS_BF16)
        return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#else
        return static_cast<void>(a), static_cast<void>(b), acc;
#endif
    }

    SKALD_INLINE static floats load_twice(const float* p) noexcept {
        const __m512i places = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        return _mm512_maskz_permutexvar_ps(0xffff, places, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
    }
    SKALD_INLINE static floats swap_pairs(floats f) noexcept { return _mm512_maskz_permute_ps(0xffff, f, 0xb1); }
    SKALD_INLINE static float sum(floats f) noexcept { return registers<32>::sum(_mm256_add_ps(low(f), high(f))); }
    SKALD_INLINE static float greatest(floats f) noexcept { return registers<32>::greatest(_mm256_max_ps(low(f), high(f))); }
    SKALD_INLINE static floats sums(const floats* v) noexcept {
        __m512 t[4];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i)
            t[i] = quarters<0x88, 0xdd>(quarters<0x44, 0xee>(v[i], v[i + 4]), quarters<0x44, 0xee>(v[i + 8], v[i + 12]));
        const __m512 a = _mm512_add_ps(_mm512_shuffle_ps(t[0], t[1], 0x44), _mm512_shuffle_ps(t[0], t[1], 0xee));
        const __m512 b = _mm512_add_ps(_mm512_shuffle_ps(t[2], t[3], 0x44), _mm512_shuffle_ps(t[2], t[3], 0xee));
        return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
    }

    SKALD_INLINE static floats few_sums(const floats* v) noexcept {
        floats t = quarters<0x88, 0xdd>(quarters<0x44, 0xee>(v[0], v[1]), quarters<0x44, 0xee>(v[2], v[3]));
        t = _mm512_add_ps(t, _mm512_maskz_permute_ps(0xffff, t, 0x4e));
        return each_fourth(_mm512_add_ps(t, swap_pairs(t)));
    }
    /// Elements 0, 4, 8 and 12, again and again.
    SKALD_INLINE static floats each_fourth(floats f) noexcept {
        return _mm512_maskz_permutexvar_ps(0xffff, _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), f);
    }

    SKALD_INLINE static __m256 low(floats f) noexcept { return _mm512_maskz_extractf32x8_ps(0xff, f, 0); }
    SKALD_INLINE static __m256 high(floats f) noexcept { return _mm512_maskz_extractf32x8_ps(0xff, f, 1); }

private:
    template <int First, int Second>
    SKALD_INLINE static floats quarters(floats a, floats b) noexcept {
        return _mm512_add_ps(_mm512_maskz_shuffle_f32x4(0xffff, a, b, First), _mm512_maskz_shuffle_f32x4(0xffff, a, b, Second));
    }
};

}  // namespace skald::inline SKALD_ISA::kernels

#endif
