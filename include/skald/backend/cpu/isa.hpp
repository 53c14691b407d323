// SPDX-License-Identifier: MIT
#pragma once
// What the compiler's flags allow, as constants, and the inline namespace that carries them. Two files of one program may be
// compiled for different machines: everything in this folder lives in that namespace, so that the linker never takes one
// file's function for the other's.
#include <cstddef>

#include <xsimd/xsimd.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#error "skald's cpu backend is written for x86-64 and AArch64; there is none for this machine yet"
#endif
#if defined(__FAST_MATH__)
#error "skald promises results that do not depend on how the work is split; compile without -ffast-math"
#endif

/// Inlined always: the small functions that kernels are made of.
#define SKALD_INLINE [[gnu::always_inline]] inline

// The name is the concatenation of one word a feature that changes code here.
#if defined(__aarch64__)
#define SKALD_ISA_LEVEL neon
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512CD__)
#define SKALD_ISA_LEVEL avx512
#elif defined(__AVX2__)
#define SKALD_ISA_LEVEL avx2
#elif defined(__AVX__)
#define SKALD_ISA_LEVEL avx
#elif defined(__SSE4_2__)
#define SKALD_ISA_LEVEL sse42
#else
#define SKALD_ISA_LEVEL sse2
#if !defined(SKALD_NO_SSE2_WARNING)
#pragma message(                                                                                                                    \
    "skald: compiled for plain SSE2, several times slower than this machine can be; add -march=native (CMake: link skald::native) " \
    "or -march=x86-64-v3, or define SKALD_NO_SSE2_WARNING")
#endif
#endif
#if defined(__FMA__)
#define SKALD_ISA_FMA _fma
#else
#define SKALD_ISA_FMA
#endif
#if defined(__F16C__)
#define SKALD_ISA_F16C _f16c
#else
#define SKALD_ISA_F16C
#endif
#if defined(__BMI2__)
#define SKALD_ISA_BMI _bmi2
#else
#define SKALD_ISA_BMI
#endif
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define SKALD_ISA_VNNI _vnni
#elif defined(__AVXVNNI__)
#define SKALD_ISA_VNNI _avxvnni
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define SKALD_ISA_VNNI _i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define SKALD_ISA_VNNI _dotprod
#else
#define SKALD_ISA_VNNI
#endif
#if defined(__AVX512BF16__) && defined(__AVX512VL__) && !defined(__AMX_TILE__) && !defined(__AMXTILE__)
#define SKALD_ISA_HAS_BF16
#define SKALD_ISA_BF16 _bf16
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define SKALD_ISA_HAS_BF16
#define SKALD_ISA_BF16 _bf16
#else
#define SKALD_ISA_BF16
#endif
// __AMXTILE__ and __AMXBF16__ are clang 14's names.
#if defined(__linux__) && (defined(__AMX_TILE__) || defined(__AMXTILE__)) && (defined(__AMX_BF16__) || defined(__AMXBF16__))
#define SKALD_ISA_HAS_AMX
#define SKALD_ISA_AMX _amx
#else
#define SKALD_ISA_AMX
#endif
#if defined(__AVX512FP16__)
#define SKALD_ISA_FP16 _fp16
#else
#define SKALD_ISA_FP16
#endif
#define SKALD_ISA_JOIN_(a, b, c, d, e, f, g, h) a##b##c##d##e##f##g##h
#define SKALD_ISA_JOIN(a, b, c, d, e, f, g, h) SKALD_ISA_JOIN_(a, b, c, d, e, f, g, h)
#define SKALD_ISA                                                                                                                \
    SKALD_ISA_JOIN(SKALD_ISA_LEVEL, SKALD_ISA_FMA, SKALD_ISA_F16C, SKALD_ISA_BMI, SKALD_ISA_VNNI, SKALD_ISA_BF16, SKALD_ISA_AMX, \
                   SKALD_ISA_FP16)

namespace skald::inline SKALD_ISA {

/// The widest vectors the flags allow, as xsimd's tag.
#if defined(__aarch64__)
using default_arch = xsimd::neon64;
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512CD__)
using default_arch = xsimd::avx512bw;
#elif defined(__AVX2__) && defined(__FMA__)
using default_arch = xsimd::fma3<xsimd::avx2>;
#elif defined(__AVX2__)
using default_arch = xsimd::avx2;
#elif defined(__SSE4_2__)
using default_arch = xsimd::sse4_2;  // AVX without AVX2 has no 256-bit integers
#else
using default_arch = xsimd::sse2;
#endif

namespace kernels {

/// Whether the target has a bf16 dot product (vdpbf16ps, bfdot) that pays. Processors with AMX have a slow one: on Sapphire Rapids
/// products ran at 105 Gop/s with it, at 150 with f32 fma.
#if defined(SKALD_ISA_HAS_BF16)
inline constexpr bool has_bf16_dot = true;
#else
inline constexpr bool has_bf16_dot = false;
#endif

/// Whether the target has AMX's products of bf16; whether a process may use them, amx.hpp says.
#if defined(SKALD_ISA_HAS_AMX)
inline constexpr bool has_amx = true;
#else
inline constexpr bool has_amx = false;
#endif

/// Whether vectors' fma() rounds once.
#if defined(__FMA__) || defined(__aarch64__)
inline constexpr bool has_fma = true;
#else
inline constexpr bool has_fma = false;
#endif

/// Whether the target has dot products of unsigned bytes by signed ones (vpdpbusd, usdot).
#if (defined(__AVX512VNNI__) && defined(__AVX512VL__)) || defined(__AVXVNNI__) || defined(__ARM_FEATURE_MATMUL_INT8)
inline constexpr bool has_vnni = true;
#else
inline constexpr bool has_vnni = false;
#endif

/// Vector registers that the target names: the limit of what a kernel keeps in them.
#if defined(__AVX512VL__) || defined(__aarch64__)
inline constexpr std::size_t register_count = 32;
#else
inline constexpr std::size_t register_count = 16;
#endif

/// Bytes of one register of an xsimd architecture.
template <class Arch>
inline constexpr std::size_t register_bytes = sizeof(typename xsimd::batch<float, Arch>::register_type);

}  // namespace kernels

}  // namespace skald::inline SKALD_ISA
