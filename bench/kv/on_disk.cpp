// SPDX-License-Identifier: MIT
// A cold tier on disk: tokens a second of reading and of decoding after DEPTH tokens, and the most memory it took, the cold tier in memory,
// in files that the system pages as it likes (mapped), or in files of which RESIDENT MiB are in memory at most: released to the system's
// cache (cached), or to the disk (disk).
//
//     bench_kv_on_disk MODEL FOLDER memory|mapped|cached|disk [DEPTH = 8192] [DECODED = 32] [RESIDENT = 0: two layers]
//
// One measurement a process, since it tells its peak. The logits' checksum is the same for all four.
#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <skald/io/temporary_file_resource.hpp>
#include <skald/skald.hpp>

namespace {

using namespace skald;
using backend = cpu<>;
using policy = kv::tiered<kv::f16, kv::kivi4>;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A line of /proc/self/status in MiB.
double status(std::string_view name) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(name)) return static_cast<double>(std::stoull(line.substr(name.size() + 1))) / 1024;
    return 0;
}

int measure(int argc, char** argv) {
    const auto number = [&](int i, std::size_t normal) {
        return argc > i ? static_cast<std::size_t>(std::strtoull(argv[i], nullptr, 10)) : normal;
    };
    const std::string where = argc > 3 ? argv[3] : "";
    const std::size_t depth = number(4, 8192), decoded = number(5, 32), mib = std::size_t{1} << 20, rows = 512;
    if ((where != "memory" && where != "mapped" && where != "cached" && where != "disk") || depth == 0 || decoded == 0) {
        std::fprintf(stderr, "usage: bench_kv_on_disk MODEL FOLDER memory|mapped|cached|disk [DEPTH] [DECODED] [RESIDENT MiB]\n");
        return 2;
    }
    thread_pool pool;
    const auto m = load_model<backend>(argv[1], {.pool = &pool});
    const kv::cache_shape shape = m.config().cache();
    io::temporary_file_resource disk(argv[2], where == "disk" ? io::released_pages::on_disk : io::released_pages::cached);
    kv::tiered_options options{.tokens = depth + decoded, .step = rows};
    const std::size_t cold = policy{options}.bytes(shape) - policy{{.tokens = 1, .step = rows}}.bytes(shape);  // but for one group
    std::size_t resident = number(6, 0) * mib;
    if (resident == 0) resident = 2 * cold / shape.layers + mib;
    if (where != "memory") options.cold = &disk;
    if (where == "cached" || where == "disk") options.paging = {&disk, resident};

    workspace<backend> work(m.backend(), m.architecture(), m.config(), {.rows = rows, .wanted = 1});
    std::vector<float> logits(m.config().vocabulary);
    const double before = status("VmRSS:");
    auto cache = policy{options}.make(shape, m.backend().memory());
    const kv::sequence_id s = cache.open();
    std::mt19937 random(1);
    double most_mapped = 0;
    std::uint64_t sum = 0;
    const auto step = [&](std::size_t n) {
        std::vector<token_id> tokens(n);
        for (token_id& t : tokens) t = static_cast<token_id>(random() % m.config().vocabulary);
        const std::array segments{kv::segment{s, 0, n}};
        const std::array wanted{n - 1};
        forward(m, work, cache, batch{.tokens = tokens, .segments = segments, .wanted = wanted},
                matrix_view<float>(logits.data(), {1, logits.size()}));
        cache.commit(s);
        for (const float x : logits) sum = sum * 31 + std::bit_cast<std::uint32_t>(x);
        most_mapped = std::max(most_mapped, status("RssFile:"));
    };
    auto start = std::chrono::steady_clock::now();
    for (std::size_t at = 0; at < depth; at += rows) step(std::min(rows, depth - at));
    const double reading = seconds_since(start);
    start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < decoded; ++i) step(1);
    const double decoding = seconds_since(start);
    std::printf(
        "%-6s depth %zu: cold tier %.1f MiB, resident %.1f; read %.0f tok/s, decoded %.2f; memory %.1f MiB before the cache, peak %.1f, "
        "of files %.1f; logits %016llx\n",
        where.c_str(), depth, static_cast<double>(cache.cold_bytes()) / static_cast<double>(mib),
        options.paging.by == nullptr ? 0.0 : static_cast<double>(resident) / static_cast<double>(mib), static_cast<double>(depth) / reading,
        static_cast<double>(decoded) / decoding, before, status("VmHWM:"), most_mapped, static_cast<unsigned long long>(sum));
    return 0;
}

}  // namespace

int main(int argc, char** argv) try { return measure(argc, argv); } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
