// SPDX-License-Identifier: MIT
// What this machine can do at most now, as JSON, for each number of threads asked for: reads of memory in GB/s, 8-bit dot
// products (as the instruction set has them, AMX left out) in Gop/s and f32 multiply-adds in GFLOP/s. bench/compare runs it
// between engines.
//   bench_probe 1 2
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include <skald/core/thread_pool.hpp>

#include "../examples/skald/bandwidth.hpp"
#include "peak.hpp"

namespace {

/// The sum of what all threads reach at the same time.
template <class Peak>
double together(skald::executor& pool, Peak peak) {
    std::vector<double> rates(pool.concurrency());
    pool.run(rates.size(), [&](std::size_t i) { rates[i] = peak(); });
    return std::accumulate(rates.begin(), rates.end(), 0.0) / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const auto threads = static_cast<std::size_t>(std::atoi(argv[i]));
        if (threads == 0) return std::fputs("bench_probe: arguments are numbers of threads\n", stderr), 2;
        skald::thread_pool pool(threads);
        const double read = cli::bandwidth_probe(pool).measure() / 1e9;
        std::printf("%s{\"threads\": %zu, \"read_gb_s\": %.2f, \"int8_gops\": %.1f, \"fma_gflops\": %.1f}%s\n", i == 1 ? "[" : " ", threads,
                    read, together(pool, skald::bench::int8_peak), together(pool, skald::bench::fma_peak), i + 1 == argc ? "]" : ",");
    }
}
