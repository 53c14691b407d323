// SPDX-License-Identifier: MIT
#pragma once
// Operations on one 256-bit register; their meaning is in registers.hpp.
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/registers_128.hpp>

#if defined(__AVX2__)

namespace skald::inline SKALD_ISA::kernels {

template <>
struct registers<32> {
    using floats = __m256;
    using ints = __m256i;
    static constexpr std::size_t count = 8;

    SKALD_INLINE static floats fma(floats a, floats b, floats c) noexcept {
#if defined(__FMA__)
        return _mm256_fmadd_ps(a, b, c);
#else
        return _mm256_add_ps(_mm256_mul_ps(a, b), c);
#endif
    }

    SKALD_INLINE static floats max(floats a, floats b) noexcept { return _mm256_max_ps(a, b); }
    SKALD_INLINE static floats min(floats a, floats b) noexcept { return _mm256_min_ps(a, b); }
    SKALD_INLINE static floats abs(floats a) noexcept { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }

    SKALD_INLINE static floats load_half(const void* p) noexcept {
#if defined(__F16C__)
        return _mm256_cvtph_ps(load_eight_words(p));
#else
        return join(registers<16>::load_half(p), registers<16>::load_half(static_cast<const half*>(p) + 4));
#endif
    }
    SKALD_INLINE static floats load_bfloat16(const void* p) noexcept {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_eight_words(p)), 16));
    }
    SKALD_INLINE static floats load_i8(const void* p) noexcept {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
    }
    SKALD_INLINE static floats bytes_to_float(__m128i bytes, std::size_t part) noexcept {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(part == 0 ? bytes : _mm_unpackhi_epi64(bytes, bytes)));
    }
    SKALD_INLINE static floats load_u8(const void* p) noexcept {
        return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
    }
    SKALD_INLINE static void store_half(floats f, void* p) noexcept {
#if defined(__F16C__)
        _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
        registers<16>::store_half(low(f), p);
        registers<16>::store_half(high(f), static_cast<half*>(p) + 4);
#endif
    }
    SKALD_INLINE static void store_bfloat16(floats f, void* p) noexcept {
        const __m256i bits = _mm256_castps_si256(f);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
        const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
        const __m256i top = _mm256_srai_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
        _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packs_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1)));
    }
    SKALD_INLINE static void store_i8(floats f, void* p) noexcept {
        const __m256i i = to_int(_mm256_min_ps(_mm256_max_ps(f, _mm256_set1_ps(-128.0f)), _mm256_set1_ps(127.0f)));
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
        _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }

    SKALD_INLINE static ints to_int(floats f) noexcept { return _mm256_cvtps_epi32(f); }
    SKALD_INLINE static floats to_float(ints i) noexcept { return _mm256_cvtepi32_ps(i); }
    SKALD_INLINE static floats scale_by_power(floats f, floats n) noexcept {
        const __m256i all = to_int(n), half = _mm256_srai_epi32(all, 1), rest = _mm256_sub_epi32(all, half);
        return _mm256_mul_ps(_mm256_mul_ps(f, power(half)), power(rest));
    }

    SKALD_INLINE static ints load_ints(const void* p) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    SKALD_INLINE static ints widen(const void* p) noexcept { return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
    SKALD_INLINE static ints widen_nibbles(const void* p) noexcept {
        const __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
        return _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi32(x, 12)), _mm256_set1_epi32(0x000f000f));
    }
    SKALD_INLINE static ints widen_quarters(const void* p, std::size_t part) noexcept {
        const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
        const __m256i x = part == 0 ? bytes : _mm256_srli_epi32(bytes, 4);
        return _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi32(x, 14)), _mm256_set1_epi32(0x00030003));
    }
    template <int Bits, int N>
    SKALD_INLINE static ints code_words(ints i) noexcept {
        return _mm256_and_si256(_mm256_srli_epi16(i, Bits * N), _mm256_set1_epi16((1 << Bits) - 1));
    }
    SKALD_INLINE static ints scale_words(ints w, ints factor, ints offset) noexcept {
        return _mm256_add_epi16(_mm256_mullo_epi16(w, factor), offset);
    }
    SKALD_INLINE static ints scale_words(ints w, std::int16_t factor, std::int16_t offset) noexcept {
        return _mm256_add_epi16(_mm256_mullo_epi16(w, _mm256_set1_epi16(factor)), _mm256_set1_epi16(offset));
    }
    SKALD_INLINE static ints broadcast_int(std::int32_t i) noexcept { return _mm256_set1_epi32(i); }
    template <int N>
    SKALD_INLINE static ints shifted(ints i) noexcept {
        return N < 0 ? _mm256_srli_epi16(i, N < 0 ? -N : 0) : _mm256_slli_epi16(i, N < 0 ? 0 : N);
    }
    SKALD_INLINE static ints masked(ints i, std::uint8_t m) noexcept { return _mm256_and_si256(i, _mm256_set1_epi8(static_cast<char>(m))); }
    SKALD_INLINE static ints either(ints i, ints j) noexcept { return _mm256_or_si256(i, j); }
    SKALD_INLINE static ints add_bytes(ints i, std::uint8_t m) noexcept {
        return _mm256_add_epi8(i, _mm256_set1_epi8(static_cast<char>(m)));
    }
    SKALD_INLINE static ints choose(const std::int8_t (&table)[16], ints i) noexcept {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(registers<16>::load_ints(table)), i);
    }

    SKALD_INLINE static floats low_bfloat16(ints i) noexcept { return _mm256_castsi256_ps(_mm256_slli_epi32(i, 16)); }
    SKALD_INLINE static floats high_bfloat16(ints i) noexcept {
        return _mm256_castsi256_ps(_mm256_and_si256(i, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
    }

    static constexpr int code_zero = has_vnni ? 128 : 0;
    static constexpr bool has_narrow_dot = !has_vnni;
    SKALD_INLINE static ints dot(ints acc, ints w, ints s) noexcept {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
        return _mm256_dpbusd_epi32(acc, w, s);
#elif defined(__AVXVNNI__)
        return _mm256_dpbusd_avx_epi32(acc, w, s);
#else
        return narrow_dot(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(s, w));
#endif
    }
    SKALD_INLINE static ints narrow_dot(ints acc, ints u, ints s) noexcept {
        return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1)));
    }
    SKALD_INLINE static floats dot_bfloat16(floats acc, ints a, ints b) noexcept {
#if defined(SKALD_ISA_HAS_BF16)
        return _mm256_dpbf16_ps(acc, (__m256bh)a, (__m256bh)b);
#else
        return static_cast<void>(a), static_cast<void>(b), acc;
#endif
    }

    SKALD_INLINE static floats load_twice(const float* p) noexcept {
        const __m128 f = _mm_loadu_ps(p);
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_unpacklo_ps(f, f)), _mm_unpackhi_ps(f, f), 1);
    }
    SKALD_INLINE static floats swap_pairs(floats f) noexcept { return _mm256_permute_ps(f, 0xb1); }
    SKALD_INLINE static float sum(floats f) noexcept { return registers<16>::sum(_mm_add_ps(low(f), high(f))); }
    SKALD_INLINE static float greatest(floats f) noexcept { return registers<16>::greatest(_mm_max_ps(low(f), high(f))); }
    SKALD_INLINE static floats sums(const floats* v) noexcept {
        __m256 t[4];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i)
            t[i] = _mm256_add_ps(_mm256_permute2f128_ps(v[i], v[i + 4], 0x20), _mm256_permute2f128_ps(v[i], v[i + 4], 0x31));
        const __m256 a = _mm256_add_ps(_mm256_shuffle_ps(t[0], t[1], 0x44), _mm256_shuffle_ps(t[0], t[1], 0xee));
        const __m256 b = _mm256_add_ps(_mm256_shuffle_ps(t[2], t[3], 0x44), _mm256_shuffle_ps(t[2], t[3], 0xee));
        return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
    }

    SKALD_INLINE static __m128 low(floats f) noexcept { return _mm256_castps256_ps128(f); }
    SKALD_INLINE static __m128 high(floats f) noexcept { return _mm256_extractf128_ps(f, 1); }

private:
    SKALD_INLINE static floats join(__m128 a, __m128 b) noexcept { return _mm256_insertf128_ps(_mm256_castps128_ps256(a), b, 1); }
    SKALD_INLINE static __m128i load_eight_words(const void* p) noexcept { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
    SKALD_INLINE static __m256 power(__m256i n) noexcept {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
    }
};

}  // namespace skald::inline SKALD_ISA::kernels

#endif
