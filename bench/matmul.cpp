// SPDX-License-Identifier: MIT
// Matrix products of the cpu backend: Gop/s (a multiplication and an addition are two) beside the machine's own limit for the
// instruction they run on, measured in the same run. Rows: how many activations; 1 is decoding, and is bound by memory, so
// that GB/s of weights says more. Each case is checked against sums in double before it is timed.
//   bench_matmul --benchmark_filter='q8_0/.*/threads:1'
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>

#include "peak.hpp"

namespace {

using namespace skald;

/// Random bytes as a matrix of the format; scales and floats are kept finite and small.
std::vector<std::byte> random_matrix(dtype type, std::size_t rows, std::size_t cols) {
    std::mt19937 random(1);
    std::vector<std::byte> bytes(rows * row_bytes(type, cols));
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    if (info(type).row_header != 0) {
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t i = 0; i < info(type).row_header; i += 4)
                std::memcpy(&bytes[r * row_bytes(type, cols) + i], "\x00\x00\x80\x3a", 4);  // 2^-10
        return bytes;
    }
    const std::size_t block = info(type).block_bytes;
    for (std::size_t i = 0; i < bytes.size(); i += block) switch (type) {
            case dtype::f32: bytes[i + 3] = std::byte{0x3c}; break;
            case dtype::f16:
            case dtype::bf16: bytes[i + 1] = std::byte{0x3c}; break;
            case dtype::q2_k: bytes[i + 81] = bytes[i + 83] = std::byte{0x2c}; break;
            case dtype::q3_k: bytes[i + 109] = std::byte{0x2c}; break;
            case dtype::q6_k: bytes[i + 209] = std::byte{0x2c}; break;
            case dtype::mxfp4: bytes[i] = std::byte{0x7c}; break;
            case dtype::nvfp4: std::fill_n(&bytes[i], 4, std::byte{0x20}); break;
            case dtype::q4_1:
            case dtype::q5_1:
            case dtype::q4_k:
            case dtype::q5_k: bytes[i + 3] = std::byte{0x2c}; [[fallthrough]];
            default: bytes[i + 1] = std::byte{0x2c};
        }
    return bytes;
}

void product(benchmark::State& state, dtype type, std::size_t n, std::size_t k, std::size_t rows, std::size_t threads) {
    thread_pool pool(threads);
    const cpu<> backend({.pool = &pool});
    const std::vector<std::byte> bytes = random_matrix(type, n, k);
    const weight_view file{"bench", type, n, k, bytes.data()};
    // Enough copies that weights come from memory, as they do when a model decodes.
    std::vector<cpu<>::matrix> weights;
    do weights.push_back(backend.pack(file));
    while (rows == 1 && weights.size() * weights[0].bytes() < std::size_t{256} << 20);
    auto in = backend.make_activations(rows, k);
    in.resize(rows, k);
    std::mt19937 random(2);
    for (std::size_t i = 0; i < rows * k; ++i) in.values().data()[i] = std::normal_distribution<float>()(random);
    std::vector<float> out(rows * n);
    std::size_t next = 0;
    const auto run = [&] {
        const matmul_job<cpu<>::matrix> job{&weights[next++ % weights.size()], nullptr, {out.data(), {rows, n}}, false};
        backend.matmul(in, std::span(&job, 1));
    };
    run();

    std::vector<float> row(k);
    for (std::size_t i = 0; i < n; i += n / 7) {
        format::decode_row(file, i, row.data());
        for (std::size_t r = 0; r < rows; r += rows / 3 + 1) {
            double sum = 0, norm = 0;
            for (std::size_t j = 0; j < k; ++j) {
                sum += static_cast<double>(in.row(r)[j]) * row[j];
                norm += row[j] * row[j];
            }
            // Activations are rounded to 8 bits at the coarsest, with a greatest value about 4; errors add up like a random walk.
            if (!(std::fabs(out[r * n + i] - sum) <= 0.1 * std::sqrt(norm))) return state.SkipWithError("the product is wrong");
        }
    }

    const double best = bench::best_seconds(state, run);
    const bool integers = weights[0].quantized() != nullptr || info(type).row_header != 0;
    static const double fma = bench::fma_peak(), int8 = bench::int8_peak(),
                        bf16 = std::max({fma, bench::bfloat16_peak(), bench::bfloat16_tile_peak()});
    const double peak = integers ? int8 : type == dtype::bf16 ? bf16 : fma;
    const double rate = 2.0 * static_cast<double>(n * k * rows) / best;
    state.counters["Gop/s"] = rate / 1e9;
    state.counters["peak_%"] = 100 * rate / (peak * static_cast<double>(threads));
    state.counters["GB/s"] = static_cast<double>(weights[0].bytes()) / best / 1e9;
    state.counters["peak_Gop/s"] = peak / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
    const struct {
        std::size_t n, k;
    } shapes[] = {{576, 576}, {1536, 576}, {576, 1536}, {768, 2048}, {4096, 4096}, {8192, 2048}};
    for (const dtype type : {dtype::q8_0,    dtype::q4_0,    dtype::q4_1,  dtype::q5_0,   dtype::q5_1,   dtype::q2_k,     dtype::q3_k,
                             dtype::q4_k,    dtype::q5_k,    dtype::q6_k,  dtype::iq4_nl, dtype::iq4_xs, dtype::mxfp4,    dtype::nvfp4,
                             dtype::iq3_xxs, dtype::iq2_xxs, dtype::iq1_s, dtype::w8_row, dtype::u8_row, dtype::w8_mixed, dtype::w4_g128,
                             dtype::w4z_g64, dtype::nf4,     dtype::f16,   dtype::bf16,   dtype::f32})
        for (const auto [n, k] : shapes) {
            if (k % info(type).block_size != 0) continue;
            for (const std::size_t rows : {std::size_t{1}, std::size_t{4}, std::size_t{128}, std::size_t{512}})
                for (const std::size_t threads : {std::size_t{1}, std::size_t{2}})
                    benchmark::RegisterBenchmark(concat(to_string(type), "/", n, "x", k, "/rows:", rows, "/threads:", threads).c_str(),
                                                 [=, n = n, k = k](benchmark::State& s) { product(s, type, n, k, rows, threads); })
                        ->UseManualTime()
                        ->MinTime(0.1);
        }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
