// SPDX-License-Identifier: MIT
// Two units of one program, built for two instruction sets, each with its own code, and the same answer up to rounding.

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <exception>

#include "unit.hpp"

int main(int, char** argv) try {
    const report baseline = v2::run(argv[1]);
    std::printf("%s\n", baseline.backend.c_str());
    if (baseline.logprobs.size() != 8) return 1;

    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512cd")) {
        std::puts("x86-64-v4 does not run on this machine");
        return 0;
    }
    const report newer = v4::run(argv[1]);
    std::printf("%s\n", newer.backend.c_str());
    if (newer.backend == baseline.backend || newer.logprobs.size() != baseline.logprobs.size()) return 1;
    for (std::size_t i = 0; i < newer.logprobs.size(); ++i)
        if (!(std::fabs(newer.logprobs[i] - baseline.logprobs[i]) < 1e-3f)) return 1;
    return 0;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
