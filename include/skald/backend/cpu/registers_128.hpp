// SPDX-License-Identifier: MIT
#pragma once
// Operations on one 128-bit register of x86-64; their meaning is in registers.hpp.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/backend/cpu/registers.hpp>
#include <skald/core/half.hpp>

#if defined(__x86_64__)

namespace skald::inline SKALD_ISA::kernels {

template <>
struct registers<16> {
    using floats = __m128;
    using ints = __m128i;
    static constexpr std::size_t count = 4;

    SKALD_INLINE static floats fma(floats a, floats b, floats c) noexcept {
#if defined(__FMA__)
        return _mm_fmadd_ps(a, b, c);
#else
        return _mm_add_ps(_mm_mul_ps(a, b), c);
#endif
    }

    SKALD_INLINE static floats max(floats a, floats b) noexcept { return _mm_max_ps(a, b); }
    SKALD_INLINE static floats min(floats a, floats b) noexcept { return _mm_min_ps(a, b); }
    SKALD_INLINE static floats abs(floats a) noexcept { return _mm_and_ps(a, _mm_castsi128_ps(_mm_set1_epi32(0x7fffffff))); }

    SKALD_INLINE static floats load_half(const void* p) noexcept {
        const __m128i h = _mm_loadl_epi64(static_cast<const __m128i*>(p));
#if defined(__F16C__)
        return _mm_cvtph_ps(h);
#else
        const __m128i wide = _mm_unpacklo_epi16(h, _mm_setzero_si128());
        const __m128i magnitude = _mm_and_si128(wide, _mm_set1_epi32(0x7fff));
        const __m128i sign = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x8000)), 16);
        const __m128i shifted = _mm_slli_epi32(magnitude, 13);
        // The exponent's bias differs by 112; the product makes subnormals normal, exactly.
        const __m128 finite = _mm_mul_ps(_mm_castsi128_ps(shifted), _mm_set1_ps(0x1p112f));
        const __m128i special = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff));
        const __m128i quiet = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7c00)), _mm_set1_epi32(0x400000));
        const __m128i infinite = _mm_or_si128(_mm_or_si128(shifted, _mm_set1_epi32(0x7f800000)), quiet);
        const __m128i bits = _mm_or_si128(_mm_and_si128(special, infinite), _mm_andnot_si128(special, _mm_castps_si128(finite)));
        return _mm_castsi128_ps(_mm_or_si128(bits, sign));
#endif
    }
    SKALD_INLINE static floats load_bfloat16(const void* p) noexcept {
        return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64(static_cast<const __m128i*>(p))));
    }
    SKALD_INLINE static floats load_i8(const void* p) noexcept {
        const __m128i b = load_four(p), words = _mm_unpacklo_epi8(b, b);
        return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(words, words), 24));
    }
    SKALD_INLINE static floats bytes_to_float(__m128i bytes, std::size_t part) noexcept {
        const __m128i words = part < 2 ? _mm_unpacklo_epi8(bytes, bytes) : _mm_unpackhi_epi8(bytes, bytes);
        const __m128i wide = part % 2 == 0 ? _mm_unpacklo_epi16(words, words) : _mm_unpackhi_epi16(words, words);
        return _mm_cvtepi32_ps(_mm_srai_epi32(wide, 24));
    }
    SKALD_INLINE static floats load_u8(const void* p) noexcept {
        const __m128i zero = _mm_setzero_si128();
        return _mm_cvtepi32_ps(_mm_unpacklo_epi16(_mm_unpacklo_epi8(load_four(p), zero), zero));
    }
    SKALD_INLINE static void store_half(floats f, void* p) noexcept {
#if defined(__F16C__)
        _mm_storel_epi64(static_cast<__m128i*>(p), _mm_cvtps_ph(f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
        float value[4];
        half h[4];
        _mm_storeu_ps(value, f);
        for (std::size_t i = 0; i < 4; ++i) h[i] = to_half(value[i]);
        std::memcpy(p, static_cast<const void*>(h), sizeof h);
#endif
    }
    SKALD_INLINE static void store_bfloat16(floats f, void* p) noexcept {
        const __m128i bits = _mm_castps_si128(f);
        const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
        const __m128i rounded = _mm_add_epi32(_mm_add_epi32(bits, _mm_set1_epi32(0x7fff)), odd);
        const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(f, f)), quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
        const __m128i chosen = _mm_or_si128(_mm_and_si128(nan, quiet), _mm_andnot_si128(nan, rounded));
        const __m128i high = _mm_srai_epi32(chosen, 16);
        _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi32(high, high));
    }
    SKALD_INLINE static void store_i8(floats f, void* p) noexcept {
        const __m128i i = to_int(_mm_min_ps(_mm_max_ps(f, _mm_set1_ps(-128.0f)), _mm_set1_ps(127.0f)));
        const __m128i words = _mm_packs_epi32(i, i);
        const int bytes = _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
        std::memcpy(p, &bytes, sizeof bytes);
    }

    SKALD_INLINE static ints to_int(floats f) noexcept { return _mm_cvtps_epi32(f); }
    SKALD_INLINE static floats to_float(ints i) noexcept { return _mm_cvtepi32_ps(i); }
    SKALD_INLINE static floats scale_by_power(floats f, floats n) noexcept {
        const __m128i all = to_int(n), half = _mm_srai_epi32(all, 1), rest = _mm_sub_epi32(all, half);
        return _mm_mul_ps(_mm_mul_ps(f, power(half)), power(rest));
    }

    SKALD_INLINE static ints load_ints(const void* p) noexcept { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
    SKALD_INLINE static ints choose_bytes(const std::int8_t (&table)[16], const std::uint8_t* index) noexcept {
#if defined(__SSSE3__)
        return _mm_shuffle_epi8(load_ints(table), load_ints(index));
#else
        std::int8_t chosen[16];
        for (std::size_t i = 0; i < 16; ++i) chosen[i] = table[index[i]];
        return load_ints(chosen);
#endif
    }
    /// psadbw adds eight unsigned bytes: 128 is added to each, and taken off the sums.
    SKALD_INLINE static ints sums_of_bytes(const std::int8_t* p) noexcept {
        const auto eights = [&](std::size_t i) {
            return _mm_sad_epu8(_mm_xor_si128(load_ints(p + i), _mm_set1_epi8(-128)), _mm_setzero_si128());
        };
        const __m128i a = eights(0), b = eights(16);
        const __m128i parts = _mm_add_epi32(_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b));  // first, 0, last, 0
        const __m128i sums = _mm_add_epi32(_mm_shuffle_epi32(parts, 0x60), _mm_shuffle_epi32(parts, 0x56));
        return _mm_sub_epi32(sums, _mm_setr_epi32(32 * 128, 16 * 128, 16 * 128, 0));
    }
    SKALD_INLINE static floats broadcast(float x) noexcept { return _mm_set1_ps(x); }
    SKALD_INLINE static void store(floats f, void* p) noexcept { _mm_storeu_ps(static_cast<float*>(p), f); }
    SKALD_INLINE static ints widen(const void* p) noexcept {
        const __m128i bytes = _mm_loadl_epi64(static_cast<const __m128i*>(p));
        return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    }
    SKALD_INLINE static ints widen_nibbles(const void* p) noexcept {
        std::int32_t bytes;
        std::memcpy(&bytes, p, sizeof bytes);
        const __m128i zero = _mm_setzero_si128(), words = _mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), zero);
        const __m128i x = _mm_unpacklo_epi16(words, zero);
        return _mm_and_si128(_mm_or_si128(x, _mm_slli_epi32(x, 12)), _mm_set1_epi32(0x000f000f));
    }
    SKALD_INLINE static ints widen_quarters(const void* p, std::size_t part) noexcept {
        std::int32_t bytes;
        std::memcpy(&bytes, static_cast<const std::byte*>(p) + part % 2 * sizeof bytes, sizeof bytes);
        const __m128i zero = _mm_setzero_si128(), words = _mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), zero);
        const __m128i all = _mm_unpacklo_epi16(words, zero), x = part < 2 ? all : _mm_srli_epi32(all, 4);
        return _mm_and_si128(_mm_or_si128(x, _mm_slli_epi32(x, 14)), _mm_set1_epi32(0x00030003));
    }
    template <int Bits, int N>
    SKALD_INLINE static ints code_words(ints i) noexcept {
        return _mm_and_si128(_mm_srli_epi16(i, Bits * N), _mm_set1_epi16((1 << Bits) - 1));
    }
    SKALD_INLINE static ints scale_words(ints w, ints factor, ints offset) noexcept {
        return _mm_add_epi16(_mm_mullo_epi16(w, factor), offset);
    }
    SKALD_INLINE static ints scale_words(ints w, std::int16_t factor, std::int16_t offset) noexcept {
        return _mm_add_epi16(_mm_mullo_epi16(w, _mm_set1_epi16(factor)), _mm_set1_epi16(offset));
    }
    SKALD_INLINE static ints broadcast_int(std::int32_t i) noexcept { return _mm_set1_epi32(i); }
    template <int N>
    SKALD_INLINE static ints shifted(ints i) noexcept {
        return N < 0 ? _mm_srli_epi16(i, N < 0 ? -N : 0) : _mm_slli_epi16(i, N < 0 ? 0 : N);
    }
    SKALD_INLINE static ints masked(ints i, std::uint8_t m) noexcept { return _mm_and_si128(i, _mm_set1_epi8(static_cast<char>(m))); }
    SKALD_INLINE static ints either(ints i, ints j) noexcept { return _mm_or_si128(i, j); }
    SKALD_INLINE static ints add_bytes(ints i, std::uint8_t m) noexcept { return _mm_add_epi8(i, _mm_set1_epi8(static_cast<char>(m))); }
    SKALD_INLINE static ints choose(const std::int8_t (&table)[16], ints i) noexcept {
        std::uint8_t index[16];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(index), i);
        return choose_bytes(table, index);
    }

    SKALD_INLINE static floats low_bfloat16(ints i) noexcept { return _mm_castsi128_ps(_mm_slli_epi32(i, 16)); }
    SKALD_INLINE static floats high_bfloat16(ints i) noexcept {
        return _mm_castsi128_ps(_mm_and_si128(i, _mm_set1_epi32(static_cast<int>(0xffff0000u))));
    }

    static constexpr int code_zero = has_vnni ? 128 : 0;
#if defined(__SSSE3__)
    static constexpr bool has_narrow_dot = !has_vnni;
#else
    static constexpr bool has_narrow_dot = false;
#endif
    // pmaddubsw saturates at 16 bits, which 128 · 127 · 2 fits: it takes the codes' magnitudes, and their signs go to the other side.
    SKALD_INLINE static ints dot(ints acc, ints w, ints s) noexcept {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
        return _mm_dpbusd_epi32(acc, w, s);
#elif defined(__AVXVNNI__)
        return _mm_dpbusd_avx_epi32(acc, w, s);
#elif defined(__SSSE3__)
        return narrow_dot(acc, _mm_abs_epi8(w), _mm_sign_epi8(s, w));
#else
        const __m128i w_even = _mm_srai_epi16(_mm_slli_epi16(w, 8), 8), w_odd = _mm_srai_epi16(w, 8);
        const __m128i s_even = _mm_srai_epi16(_mm_slli_epi16(s, 8), 8), s_odd = _mm_srai_epi16(s, 8);
        return _mm_add_epi32(_mm_add_epi32(acc, _mm_madd_epi16(w_even, s_even)), _mm_madd_epi16(w_odd, s_odd));
#endif
    }
    SKALD_INLINE static ints narrow_dot(ints acc, ints u, ints s) noexcept {
#if defined(__SSSE3__)
        return _mm_add_epi32(acc, _mm_madd_epi16(_mm_maddubs_epi16(u, s), _mm_set1_epi16(1)));
#else
        return dot(acc, u, s);
#endif
    }
    SKALD_INLINE static floats dot_bfloat16(floats acc, ints a, ints b) noexcept {
#if defined(SKALD_ISA_HAS_BF16)
        return _mm_dpbf16_ps(acc, (__m128bh)a, (__m128bh)b);
#else
        return static_cast<void>(a), static_cast<void>(b), acc;
#endif
    }

    SKALD_INLINE static floats load_twice(const float* p) noexcept {
        const __m128 f = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
        return _mm_unpacklo_ps(f, f);
    }
    SKALD_INLINE static floats swap_pairs(floats f) noexcept { return _mm_shuffle_ps(f, f, 0xb1); }
    SKALD_INLINE static float sum(floats f) noexcept {
        const __m128 two = _mm_add_ps(f, _mm_movehl_ps(f, f));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
    SKALD_INLINE static float greatest(floats f) noexcept {
        const __m128 two = _mm_max_ps(f, _mm_movehl_ps(f, f));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
    SKALD_INLINE static floats sums(const floats* v) noexcept {
        const __m128 a = _mm_add_ps(_mm_shuffle_ps(v[0], v[1], 0x44), _mm_shuffle_ps(v[0], v[1], 0xee));
        const __m128 b = _mm_add_ps(_mm_shuffle_ps(v[2], v[3], 0x44), _mm_shuffle_ps(v[2], v[3], 0xee));
        return _mm_add_ps(_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd));
    }

private:
    SKALD_INLINE static __m128i load_four(const void* p) noexcept {
        int bytes;
        std::memcpy(&bytes, p, sizeof bytes);
        return _mm_cvtsi32_si128(bytes);
    }
    SKALD_INLINE static __m128 power(__m128i n) noexcept {
        return _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(n, _mm_set1_epi32(127)), 23));
    }
};

}  // namespace skald::inline SKALD_ISA::kernels

#endif
