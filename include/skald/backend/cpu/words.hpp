// SPDX-License-Identifier: MIT
#pragma once
// Products of 16-bit integers, two to a lane of 32 bits: c = a · b with sums that are exact, and so the same in whatever order and by
// whatever instruction they are made. Every target has the dot product of pairs.
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/simd.hpp>
#include <skald/core/once.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// | member              | meaning                                                                             |
/// |---------------------|-------------------------------------------------------------------------------------|
/// | dot(acc, a, b)      | acc + the sum of each lane's two products of signed words                           |
/// | low_words(a, b)     | each lane's lower word of a below that of b                                         |
/// | high_words(a, b)    | each lane's upper word of a below that of b                                         |
/// | square_root(a)      | of floats                                                                           |
/// | magnitude(a, b)     | the greater of the magnitudes of floats                                             |
/// | greatest(v)         | element j is the greatest of v[j], for as many registers as one has lanes           |
/// | few_greatest(v)     | element j is the greatest of v[j % 4], for 4 registers (512 bits only)              |
/// | quad_sums(v)        | lane 4 k + j is the sum of lanes 4 k … 4 k + 3 of v[j], of 4 registers (512 bits)   |
/// | join_quads(v)       | lane 4 k + j is the sum of lanes j, j + 4, … of v[k], of 4 registers (512 bits)     |
/// | each_sum(v)         | lane 4 k + j is the sum of all lanes of v[j], of 4 registers (512 bits)             |
/// | broadcast_each<J>(a)| lane 4 k + j is lane 4 k + J (512 bits)                                             |
/// | add(a, b)           | lane by lane (512 bits)                                                             |
/// | transpose(v)        | lane i of v[j] and lane j of v[i] exchanged, for as many registers as one has lanes |
template <std::size_t Bytes>
struct words;

#if defined(__aarch64__)
template <>
struct words<16> {
    SKALD_INLINE static int32x4_t dot(int32x4_t acc, int32x4_t a, int32x4_t b) noexcept {
        const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
        return vaddq_s32(acc, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
    }
    SKALD_INLINE static int32x4_t low_words(int32x4_t a, int32x4_t b) noexcept { return vsliq_n_s32(a, b, 16); }
    SKALD_INLINE static int32x4_t high_words(int32x4_t a, int32x4_t b) noexcept { return vsriq_n_s32(b, a, 16); }
    SKALD_INLINE static float32x4_t square_root(float32x4_t a) noexcept { return vsqrtq_f32(a); }
    SKALD_INLINE static float32x4_t magnitude(float32x4_t a, float32x4_t b) noexcept {
        return registers<16>::max(vabsq_f32(a), vabsq_f32(b));
    }
    SKALD_INLINE static float32x4_t greatest(const float32x4_t* v) noexcept {
        const float32x4_t a = registers<16>::max(vzip1q_f32(v[0], v[1]), vzip2q_f32(v[0], v[1]));
        const float32x4_t b = registers<16>::max(vzip1q_f32(v[2], v[3]), vzip2q_f32(v[2], v[3]));
        return registers<16>::max(vcombine_f32(vget_low_f32(a), vget_low_f32(b)), vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
    }
    SKALD_INLINE static void transpose(int32x4_t* v) noexcept {
        const int64x2_t a = vreinterpretq_s64_s32(vzip1q_s32(v[0], v[1])), b = vreinterpretq_s64_s32(vzip2q_s32(v[0], v[1]));
        const int64x2_t c = vreinterpretq_s64_s32(vzip1q_s32(v[2], v[3])), d = vreinterpretq_s64_s32(vzip2q_s32(v[2], v[3]));
        v[0] = vreinterpretq_s32_s64(vzip1q_s64(a, c)), v[1] = vreinterpretq_s32_s64(vzip2q_s64(a, c));
        v[2] = vreinterpretq_s32_s64(vzip1q_s64(b, d)), v[3] = vreinterpretq_s32_s64(vzip2q_s64(b, d));
    }
};
#else
template <>
struct words<16> {
    SKALD_INLINE static __m128i dot(__m128i acc, __m128i a, __m128i b) noexcept {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
        return _mm_dpwssd_epi32(acc, a, b);
#elif defined(__AVXVNNI__)
        return _mm_dpwssd_avx_epi32(acc, a, b);
#else
        return _mm_add_epi32(acc, _mm_madd_epi16(a, b));
#endif
    }
    SKALD_INLINE static __m128i low_words(__m128i a, __m128i b) noexcept {
        return _mm_or_si128(_mm_and_si128(a, _mm_set1_epi32(0xffff)), _mm_slli_epi32(b, 16));
    }
    SKALD_INLINE static __m128i high_words(__m128i a, __m128i b) noexcept {
        return _mm_or_si128(_mm_srli_epi32(a, 16), _mm_and_si128(b, _mm_set1_epi32(static_cast<int>(0xffff0000u))));
    }
    SKALD_INLINE static __m128 square_root(__m128 a) noexcept { return _mm_sqrt_ps(a); }
    SKALD_INLINE static __m128 magnitude(__m128 a, __m128 b) noexcept { return _mm_max_ps(registers<16>::abs(a), registers<16>::abs(b)); }
    SKALD_INLINE static __m128 greatest(const __m128* v) noexcept {
        const __m128 a = _mm_max_ps(_mm_unpacklo_ps(v[0], v[1]), _mm_unpackhi_ps(v[0], v[1]));
        const __m128 b = _mm_max_ps(_mm_unpacklo_ps(v[2], v[3]), _mm_unpackhi_ps(v[2], v[3]));
        return _mm_max_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    }
    SKALD_INLINE static void transpose(__m128i* v) noexcept {
        const __m128i a = _mm_unpacklo_epi32(v[0], v[1]), b = _mm_unpackhi_epi32(v[0], v[1]);
        const __m128i c = _mm_unpacklo_epi32(v[2], v[3]), d = _mm_unpackhi_epi32(v[2], v[3]);
        v[0] = _mm_unpacklo_epi64(a, c), v[1] = _mm_unpackhi_epi64(a, c);
        v[2] = _mm_unpacklo_epi64(b, d), v[3] = _mm_unpackhi_epi64(b, d);
    }
};
#endif

#if defined(__AVX2__)
template <>
struct words<32> {
    SKALD_INLINE static __m256i dot(__m256i acc, __m256i a, __m256i b) noexcept {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
        return _mm256_dpwssd_epi32(acc, a, b);
#elif defined(__AVXVNNI__)
        return _mm256_dpwssd_avx_epi32(acc, a, b);
#else
        return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
#endif
    }
    SKALD_INLINE static __m256i low_words(__m256i a, __m256i b) noexcept { return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa); }
    SKALD_INLINE static __m256i high_words(__m256i a, __m256i b) noexcept { return _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xaa); }
    SKALD_INLINE static __m256 square_root(__m256 a) noexcept { return _mm256_sqrt_ps(a); }
    SKALD_INLINE static __m256 magnitude(__m256 a, __m256 b) noexcept {
        return _mm256_max_ps(registers<32>::abs(a), registers<32>::abs(b));
    }
    SKALD_INLINE static __m256 greatest(const __m256* v) noexcept {
        __m256 t[4];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i)
            t[i] = _mm256_max_ps(_mm256_permute2f128_ps(v[i], v[i + 4], 0x20), _mm256_permute2f128_ps(v[i], v[i + 4], 0x31));
        const __m256 a = _mm256_max_ps(_mm256_unpacklo_ps(t[0], t[1]), _mm256_unpackhi_ps(t[0], t[1]));
        const __m256 b = _mm256_max_ps(_mm256_unpacklo_ps(t[2], t[3]), _mm256_unpackhi_ps(t[2], t[3]));
        return _mm256_max_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
    }
    SKALD_INLINE static void transpose(__m256i* v) noexcept {
        __m256i t[8];
#pragma GCC unroll 2
        for (std::size_t i = 0; i < 8; i += 4) {
            const __m256i a = _mm256_unpacklo_epi32(v[i], v[i + 1]), b = _mm256_unpackhi_epi32(v[i], v[i + 1]);
            const __m256i c = _mm256_unpacklo_epi32(v[i + 2], v[i + 3]), d = _mm256_unpackhi_epi32(v[i + 2], v[i + 3]);
            t[i] = _mm256_unpacklo_epi64(a, c), t[i + 1] = _mm256_unpackhi_epi64(a, c);
            t[i + 2] = _mm256_unpacklo_epi64(b, d), t[i + 3] = _mm256_unpackhi_epi64(b, d);
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) {
            v[i] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x20);
            v[i + 4] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x31);
        }
    }
};
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512CD__)
template <>
struct words<64> {
    SKALD_INLINE static __m512i dot(__m512i acc, __m512i a, __m512i b) noexcept {
#if defined(__AVX512VNNI__)
        return _mm512_dpwssd_epi32(acc, a, b);
#else
        return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
    }
    SKALD_INLINE static __m512i low_words(__m512i a, __m512i b) noexcept {
        return _mm512_mask_blend_epi16(0xaaaaaaaau, a, _mm512_maskz_slli_epi32(0xffff, b, 16));
    }
    SKALD_INLINE static __m512i high_words(__m512i a, __m512i b) noexcept {
        return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_maskz_srli_epi32(0xffff, a, 16), b);
    }
    SKALD_INLINE static __m512 square_root(__m512 a) noexcept { return _mm512_maskz_sqrt_ps(0xffff, a); }
    SKALD_INLINE static __m512 magnitude(__m512 a, __m512 b) noexcept { return _mm512_maskz_range_ps(0xffff, a, b, 0x0b); }
    SKALD_INLINE static __m512 greatest(const __m512* v) noexcept {
        __m512 t[4];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i)
            t[i] = quarter<0x88, 0xdd>(quarter<0x44, 0xee>(v[i], v[i + 4]), quarter<0x44, 0xee>(v[i + 8], v[i + 12]));
        const __m512 a = larger(_mm512_maskz_unpacklo_ps(0xffff, t[0], t[1]), _mm512_maskz_unpackhi_ps(0xffff, t[0], t[1]));
        const __m512 b = larger(_mm512_maskz_unpacklo_ps(0xffff, t[2], t[3]), _mm512_maskz_unpackhi_ps(0xffff, t[2], t[3]));
        return larger(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    }
    SKALD_INLINE static __m512 few_greatest(const __m512* v) noexcept {
        __m512 t = quarter<0x88, 0xdd>(quarter<0x44, 0xee>(v[0], v[1]), quarter<0x44, 0xee>(v[2], v[3]));
        t = larger(t, _mm512_maskz_permute_ps(0xffff, t, 0x4e));
        return registers<64>::each_fourth(larger(t, registers<64>::swap_pairs(t)));
    }
    SKALD_INLINE static void transpose(__m512i* v) noexcept {
        __m512i t[16];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 16; i += 4) {
            const __m512i a = _mm512_maskz_unpacklo_epi32(0xffff, v[i], v[i + 1]), b = _mm512_maskz_unpackhi_epi32(0xffff, v[i], v[i + 1]);
            const __m512i c = _mm512_maskz_unpacklo_epi32(0xffff, v[i + 2], v[i + 3]);
            const __m512i d = _mm512_maskz_unpackhi_epi32(0xffff, v[i + 2], v[i + 3]);
            t[i] = _mm512_maskz_unpacklo_epi64(0xff, a, c), t[i + 1] = _mm512_maskz_unpackhi_epi64(0xff, a, c);
            t[i + 2] = _mm512_maskz_unpacklo_epi64(0xff, b, d), t[i + 3] = _mm512_maskz_unpackhi_epi64(0xff, b, d);
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) {
            const __m512i a = quarters<0x88>(t[i], t[i + 4]), b = quarters<0xdd>(t[i], t[i + 4]);
            const __m512i c = quarters<0x88>(t[i + 8], t[i + 12]), d = quarters<0xdd>(t[i + 8], t[i + 12]);
            v[i] = quarters<0x88>(a, c), v[i + 8] = quarters<0xdd>(a, c);
            v[i + 4] = quarters<0x88>(b, d), v[i + 12] = quarters<0xdd>(b, d);
        }
    }
    SKALD_INLINE static __m512i add(__m512i a, __m512i b) noexcept { return _mm512_add_epi32(a, b); }
    SKALD_INLINE static __m512i quad_sums(const __m512i* v) noexcept {
        const auto pairs = [](__m512i a, __m512i b) {
            return _mm512_add_epi32(_mm512_maskz_unpacklo_epi32(0xffff, a, b), _mm512_maskz_unpackhi_epi32(0xffff, a, b));
        };
        const __m512i a = pairs(v[0], v[1]), b = pairs(v[2], v[3]);
        return _mm512_add_epi32(_mm512_maskz_unpacklo_epi64(0xff, a, b), _mm512_maskz_unpackhi_epi64(0xff, a, b));
    }
    SKALD_INLINE static __m512i each_sum(const __m512i* v) noexcept {
        const __m512i a = quad_sums(v), b = _mm512_add_epi32(a, quarters<0x4e>(a, a));
        return _mm512_add_epi32(b, quarters<0xb1>(b, b));
    }
    template <int J>
    SKALD_INLINE static __m512i broadcast_each(__m512i a) noexcept {
        return _mm512_maskz_shuffle_epi32(0xffff, a, static_cast<_MM_PERM_ENUM>(0x55 * J));
    }
    SKALD_INLINE static __m512i join_quads(const __m512i* v) noexcept {
        const auto halves = [](__m512i a, __m512i b) { return _mm512_add_epi32(quarters<0x88>(a, b), quarters<0xdd>(a, b)); };
        return halves(halves(v[0], v[1]), halves(v[2], v[3]));
    }

private:
    SKALD_INLINE static __m512 larger(__m512 a, __m512 b) noexcept { return registers<64>::max(a, b); }
    template <int First, int Second>
    SKALD_INLINE static __m512 quarter(__m512 a, __m512 b) noexcept {
        return larger(_mm512_maskz_shuffle_f32x4(0xffff, a, b, First), _mm512_maskz_shuffle_f32x4(0xffff, a, b, Second));
    }
    template <int Which>
    SKALD_INLINE static __m512i quarters(__m512i a, __m512i b) noexcept {
        return _mm512_maskz_shuffle_i32x4(0xffff, a, b, Which);
    }
};
#endif

template <class Arch>
using words_of = words<register_bytes<Arch>>;

/// acc + the sum of each lane's two products of signed words.
template <class Arch>
SKALD_INLINE simd_int<Arch> dot_words(simd_int<Arch> acc, simd_int<Arch> a, simd_int<Arch> b) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd_int<Arch>::parts; ++i) acc.part(i) = words_of<Arch>::dot(acc.part(i), a.part(i), b.part(i));
    return acc;
}

/// Each lane's lower word of a below that of b.
template <class Arch>
SKALD_INLINE simd_int<Arch> low_words(simd_int<Arch> a, simd_int<Arch> b) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd_int<Arch>::parts; ++i) a.part(i) = words_of<Arch>::low_words(a.part(i), b.part(i));
    return a;
}

/// Each lane's upper word of a below that of b.
template <class Arch>
SKALD_INLINE simd_int<Arch> high_words(simd_int<Arch> a, simd_int<Arch> b) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd_int<Arch>::parts; ++i) a.part(i) = words_of<Arch>::high_words(a.part(i), b.part(i));
    return a;
}

/// The greater of the magnitudes of a and b.
template <class Arch>
SKALD_INLINE simd<Arch> magnitude(simd<Arch> a, simd<Arch> b) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd<Arch>::parts; ++i) a.part(i) = words_of<Arch>::magnitude(a.part(i), b.part(i));
    return a;
}

template <class Arch>
SKALD_INLINE simd<Arch> square_root(simd<Arch> a) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd<Arch>::parts; ++i) a.part(i) = words_of<Arch>::square_root(a.part(i));
    return a;
}

/// Lane j is the greatest of v[j].
template <class Arch>
SKALD_INLINE simd<Arch> greatest_of_rows(const simd<Arch> (&v)[lanes]) noexcept {
    constexpr std::size_t n = lanes / simd<Arch>::parts;
    simd<Arch> out;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd<Arch>::parts; ++i) {
        typename simd<Arch>::reg folded[n];
#pragma GCC unroll 16
        for (std::size_t j = 0; j < n; ++j) {
            folded[j] = v[i * n + j].part(0);
            for (std::size_t p = 1; p < simd<Arch>::parts; ++p) folded[j] = simd<Arch>::native::max(folded[j], v[i * n + j].part(p));
        }
        out.part(i) = words_of<Arch>::greatest(folded);
    }
    return out;
}

/// Of a few rows, one to four: lane j is the greatest of v[j]; what stands behind these lanes repeats some of them.
template <class Arch, std::size_t N>
SKALD_INLINE simd<Arch> each_greatest(const simd<Arch> (&v)[N]) noexcept {
    if constexpr (N == 1) {
        return simd<Arch>::broadcast(reduce_max(v[0]));
    } else {
        static_assert(simd<Arch>::parts == 1);
        const typename simd<Arch>::reg rows[4] = {v[0].part(0), v[1].part(0), v[2 % N].part(0), v[3 % N].part(0)};
        simd<Arch> out;
        out.part(0) = words_of<Arch>::few_greatest(rows);
        return out;
    }
}

/// The same of sums, each reduce_add(v[j]) bitwise.
template <class Arch, std::size_t N>
SKALD_INLINE simd<Arch> each_sum(const simd<Arch> (&v)[N]) noexcept {
    if constexpr (N == 1) {
        return simd<Arch>::broadcast(reduce_add(v[0]));
    } else {
        static_assert(simd<Arch>::parts == 1);
        const typename simd<Arch>::reg rows[4] = {v[0].part(0), v[1].part(0), v[2 % N].part(0), v[3 % N].part(0)};
        simd<Arch> out;
        out.part(0) = simd<Arch>::native::few_sums(rows);
        return out;
    }
}

/// out[j][i] = in[i][j] of 16 × 16 lanes. // strides in lanes
template <class Arch>
SKALD_INLINE void transpose(const std::int32_t* in, std::size_t in_stride, std::int32_t* out, std::size_t out_stride) noexcept {
    using I = simd_int<Arch>;
    constexpr std::size_t n = lanes / I::parts;
#pragma GCC unroll 4
    for (std::size_t a = 0; a < I::parts; ++a)
#pragma GCC unroll 4
        for (std::size_t b = 0; b < I::parts; ++b) {
            typename I::reg v[n];
#pragma GCC unroll 16
            for (std::size_t i = 0; i < n; ++i) v[i] = I::native::load_ints(in + (a * n + i) * in_stride + b * n);
            words_of<Arch>::transpose(v);
#pragma GCC unroll 16
            for (std::size_t i = 0; i < n; ++i) std::memcpy(out + (b * n + i) * out_stride + a * n, &v[i], sizeof v[i]);
        }
}

/// Operands of a product of words: a has `steps` pairs a row, b a row a step.
struct word_product {
    const std::int32_t* a;  // (rows, steps), rows a_stride apart
    std::size_t a_stride;
    const std::int32_t* b;  // (steps, cols), rows b_stride apart
    std::size_t b_stride;
    std::int32_t* c;  // (rows, cols), rows c_stride apart
    std::size_t c_stride;
    std::size_t steps;
};

/// Keeps a value in its register: GCC 12 would load it anew for each instruction that reads it, or store it in every turn of a loop.
template <class Reg>
SKALD_INLINE void keep(Reg& a) noexcept {
#if defined(__aarch64__)
    asm("" : "+w"(a));
#else
    asm("" : "+v"(a));
#endif
}

/// The same of all registers of a vector.
template <class Arch>
SKALD_INLINE void keep_loaded(simd_int<Arch>& a) noexcept {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < simd_int<Arch>::parts; ++i) keep(a.part(i));
}

/// R rows by C vectors of columns.
template <class Arch, std::size_t R, std::size_t C>
SKALD_INLINE void multiply_block(const word_product& p) noexcept {
    using I = simd_int<Arch>;
    I sum[R][C];
    const I zero = I::broadcast(0);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < C; ++c) sum[r][c] = zero;
    for (std::size_t i = 0; i < p.steps; ++i) {
        I b[C];
#pragma GCC unroll 4
        for (std::size_t c = 0; c < C; ++c) {
            b[c] = I::load(p.b + i * p.b_stride + c * lanes);
            if constexpr (R > 1) keep_loaded<Arch>(b[c]);
        }
#pragma GCC unroll 4
        for (std::size_t r = 0; r < R; ++r) {
            const I a = I::broadcast(p.a[r * p.a_stride + i]);
#pragma GCC unroll 4
            for (std::size_t c = 0; c < C; ++c) sum[r][c] = dot_words(sum[r][c], a, b[c]);
        }
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < C; ++c) sum[r][c].store(p.c + r * p.c_stride + c * lanes);
}

/// C vectors of columns, all rows.
template <class Arch, std::size_t C>
void multiply_columns(const word_product& of, std::size_t rows) noexcept {
    word_product p = of;
    constexpr std::size_t most = simd_int<Arch>::parts == 1 ? 4 : simd_int<Arch>::parts == 2 ? 2 : 1;
    for (; rows >= most; rows -= most, p.a += most * p.a_stride, p.c += most * p.c_stride) multiply_block<Arch, most, C>(p);
    if constexpr (most == 4) {
        if (rows == 3) multiply_block<Arch, 3, C>(p);
        if (rows == 2) multiply_block<Arch, 2, C>(p);
    }
    if (rows == 1) multiply_block<Arch, 1, C>(p);
}

/// c = a · b; whoever calls keeps the sums below 2^31. // cols: a multiple of 16
template <class Arch>
void multiply_words(word_product p, std::size_t rows, std::size_t cols) noexcept {
    constexpr std::size_t most = simd_int<Arch>::parts == 1 ? 4 : 2;
    std::size_t c = 0;
    for (; c + most * lanes <= cols; c += most * lanes, p.b += most * lanes, p.c += most * lanes) multiply_columns<Arch, most>(p, rows);
    for (; c < cols; c += lanes, p.b += lanes, p.c += lanes) multiply_columns<Arch, 1>(p, rows);
}

SKALD_ONCE(void multiply_words<default_arch>(word_product, std::size_t, std::size_t))

}  // namespace skald::inline SKALD_ISA::kernels
