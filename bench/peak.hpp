// SPDX-License-Identifier: MIT
#pragma once
// What one thread of this machine can do at most, measured: the roof that the benchmarks put their figures under.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>

#include <benchmark/benchmark.h>

#include <skald/backend/cpu/amx.hpp>
#include <skald/backend/cpu/simd.hpp>

namespace skald::bench {

/// Runs of a loop in 2 ms pieces, the best of twenty: operations a second.
template <class F>
double best_rate(double operations, F&& loop) {
    double best = 0;
    for (int piece = 0; piece < 20; ++piece) {
        const auto start = std::chrono::steady_clock::now();
        loop();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        best = std::max(best, operations / took.count());
    }
    return best;
}

/// Makes the compiler believe that the vector has changed.
template <class T>
SKALD_INLINE void touch(T& v) {
#pragma GCC unroll 4
    for (std::size_t p = 0; p < T::parts; ++p) asm volatile("" : "+v"(v.part(p)));
}

/// What one thread can do with operands in registers: `step(acc, x)` on twelve registers of independent chains.
template <class T, class Step>
double register_peak(double operations, T x, Step step) {
    constexpr std::size_t steps = 200000, chains = 12 / T::parts;
    return best_rate(operations * static_cast<double>(chains * steps), [&] {
        [&]<std::size_t... C>(std::index_sequence<C...>) {
            T acc[chains], y = x;
            ((acc[C] = x, touch(acc[C])), ...);  // else all chains are seen to be the same one
            for (std::size_t i = 0; i < steps; ++i) {
                touch(y);  // else what depends on it alone is hoisted
                ((acc[C] = step(acc[C], y)), ...);
            }
            ((touch(acc[C])), ...);
        }(std::make_index_sequence<chains>());
    });
}

inline double int8_peak() {
    using I = kernels::simd_int<default_arch>;
    return register_peak(2.0 * 64, I::broadcast(0x01010101), [](I a, I x) { return dot(a, x, x); });
}

inline double fma_peak() {
    using V = kernels::simd<default_arch>;
    return register_peak(2.0 * V::size, V::broadcast(0.5f), [](V a, V x) { return fma(a, x, x); });
}

/// Of vdpbf16ps; 0 where there is none.
inline double bfloat16_peak() {
    using V = kernels::simd<default_arch>;
    using I = kernels::simd_int<default_arch>;
    if constexpr (kernels::has_bf16_dot)
        return register_peak(2.0 * 2 * V::size, V::broadcast(0.5f), [](V a, V x) { return dot_bfloat16(a, I::bits_of(x), I::bits_of(x)); });
    else
        return 0;
}

/// Of bf16 products by AMX with activations in two parts: half of what the instruction does. 0 where there is none.
inline double bfloat16_tile_peak() {
#if defined(SKALD_ISA_HAS_AMX)
    if (!kernels::may_use_amx()) return 0;
    const kernels::amx_tiles tiles(16);
    constexpr std::size_t steps = 20000;
    return best_rate(2.0 * 16 * 16 * 32 / 2 * 4 * steps, [&] {
        for (std::size_t i = 0; i < steps; ++i) {
            kernels::multiply_bfloat16_tiles<0, 4, 6>();
            kernels::multiply_bfloat16_tiles<1, 4, 7>();
            kernels::multiply_bfloat16_tiles<2, 5, 6>();
            kernels::multiply_bfloat16_tiles<3, 5, 7>();
        }
    });
#else
    return 0;
#endif
}

/// Times every iteration of a benchmark by hand and gives the shortest, in seconds.
template <class F>
double best_seconds(benchmark::State& state, F&& run) {
    double best = 1e9;
    for (auto _ : state) {
        const auto start = std::chrono::steady_clock::now();
        run();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        best = std::min(best, took.count());
        state.SetIterationTime(took.count());
    }
    return best;
}

}  // namespace skald::bench
