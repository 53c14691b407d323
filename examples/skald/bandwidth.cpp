// SPDX-License-Identifier: MIT
#include "bandwidth.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include <sys/mman.h>

namespace cli {

namespace {

typedef std::uint64_t vec __attribute__((vector_size(64)));  // the compiler splits it where registers are narrower

/// Sums a multiple of 2048 bytes: sixteen independent sums, so that no addition waits for another, over two halves of the memory at
/// a time, each fetched ahead. On a machine where one stream without fetching read 17 GB/s a thread, this read 20.
std::uint64_t sum(const std::byte* memory, std::size_t bytes) {
    constexpr std::size_t streams = 2, vectors = 8, ahead = 1024 / sizeof(vec);
    const auto* const p = reinterpret_cast<const vec*>(memory);
    const std::size_t half = bytes / sizeof(vec) / streams;
    vec lanes[streams * vectors] = {};
    for (std::size_t at = 0; at < half; at += vectors)
        for (std::size_t i = 0; i < streams * vectors; ++i) {
            const vec* const from = p + i / vectors * half + at + i % vectors;
            __builtin_prefetch(from + ahead, 0, 2);
            lanes[i] += *from;
        }
    for (std::size_t i = 1; i < streams * vectors; ++i) lanes[0] += lanes[i];
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < sizeof(vec) / sizeof(std::uint64_t); ++i) total += lanes[0][i];
    return total;
}

std::size_t part_bytes(const skald::executor& pool) { return bandwidth_probe::bytes / pool.concurrency() / 4096 * 4096; }

}  // namespace

bandwidth_probe::bandwidth_probe(skald::executor& pool) : pool_(pool), memory_(bytes), sums_(pool.concurrency()) {
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    const auto start = reinterpret_cast<std::uintptr_t>(memory_.data());
    const std::uintptr_t aligned = skald::round_up(start, huge_page);
    madvise(memory_.data() + (aligned - start), bytes - (aligned - start), MADV_HUGEPAGE);
    const std::size_t part = part_bytes(pool);
    pool.run(pool.concurrency(), [&](std::size_t i) { std::memset(memory_.data() + i * part, static_cast<int>(i + 1), part); });
}

double bandwidth_probe::measure() {
    const std::size_t part = part_bytes(pool_), parts = pool_.concurrency();
    double best = 0;
    for (int pass = 0; pass < 10; ++pass) {
        const auto begin = std::chrono::steady_clock::now();
        pool_.run(parts, [&](std::size_t i) { sums_[i] += sum(memory_.data() + i * part, part); });
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        best = std::max(best, static_cast<double>(part * parts) / seconds);
    }
    return best;
}

}  // namespace cli
