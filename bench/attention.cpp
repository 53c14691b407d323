// SPDX-License-Identifier: MIT
// Attention of the cpu backend over a contiguous cache: rows of one sequence at a depth, in GFLOP/s of its two products (4 ·
// positions · head_dim a row and head, the masked half of a prompt not counted) beside the machine's f32 fma limit, which products of
// words pass, and GB/s of keys and values read, which bounds a decoded token. Each case is checked against a fold in double before it is
// timed.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <random>
#include <span>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>

#include "peak.hpp"

namespace {

using namespace skald;

/// The first head of one row, by plain loops. // q: (head_dim)
template <class Run>
std::vector<double> plain_head(const float* q, std::size_t head_dim, float scale, position p, const Run& run) {
    std::vector<double> weight(static_cast<std::size_t>(p) + 1), out(head_dim);
    double sum = 0;
    for (position j = 0; j <= p; ++j) {
        double dot = 0;
        for (std::size_t d = 0; d < head_dim; ++d)
            dot += static_cast<double>(q[d]) * Run::codec::template decode<format::scalar>(run.key(0, 0, j), d).value;
        sum += weight[static_cast<std::size_t>(j)] = std::exp(dot * scale);  // scores are small here
    }
    for (position j = 0; j <= p; ++j)
        for (std::size_t d = 0; d < head_dim; ++d)
            out[d] += weight[static_cast<std::size_t>(j)] / sum * Run::codec::template decode<format::scalar>(run.value(0, 0, j), d).value;
    return out;
}

void attention_case(benchmark::State& state, const attention_shape& shape, std::size_t rows, std::size_t depth, std::size_t threads) {
    thread_pool pool(threads);
    const cpu<> backend({.pool = &pool});
    const std::size_t q_cols = shape.heads * shape.head_dim, kv_cols = shape.kv_heads * shape.head_dim;
    auto cache = kv::contiguous<kv::f16>{{.tokens = depth}}.make({1, shape.kv_heads, shape.head_dim}, backend.memory());
    const kv::sequence_id sequence = cache.open();
    auto scratch = backend.make_scratch(shape);

    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> q(depth * q_cols), k(depth * kv_cols), v(depth * kv_cols);
    for (std::vector<float>* x : {&q, &k, &v})
        for (float& f : *x) f = normal(random);
    const kv::segment whole{sequence, 0, depth};
    const std::span<const row_range> all = cache.plan(std::span(&whole, 1));
    const auto runs = cache.view(0);
    backend.rope_append({q.data(), {depth, q_cols}}, {k.data(), {depth, kv_cols}}, {v.data(), {depth, kv_cols}}, shape, {}, all, runs,
                        scratch);

    const row_range range{0, rows, static_cast<position>(depth - rows)};
    const attention::causal variant{0.5f / std::sqrt(static_cast<float>(shape.head_dim))};
    auto out = backend.make_activations(rows, q_cols);
    out.resize(rows, q_cols);
    const auto run = [&] { backend.attend({q.data(), {rows, q_cols}}, shape, variant, std::span(&range, 1), runs, out, scratch); };
    run();
    for (const std::size_t row : {std::size_t{0}, rows - 1}) {
        const auto want = plain_head(q.data() + row * q_cols, shape.head_dim, variant.scale,
                                     range.first_position + static_cast<position>(row), std::get<0>(runs));
        // Values, of which none is above 6, are rounded to 1/16380 of their row's greatest.
        for (std::size_t d = 0; d < shape.head_dim; ++d)
            if (!(std::fabs(out.row(row)[d] - want[d]) <= 5e-4)) return state.SkipWithError("attention is wrong");
    }

    const double best = bench::best_seconds(state, run);
    static const double peak = bench::fma_peak();
    double positions = 0;
    for (std::size_t r = 0; r < rows; ++r) positions += static_cast<double>(depth - rows + r + 1);
    const double rate = 4 * positions * static_cast<double>(q_cols) / best;
    state.counters["GFLOP/s"] = rate / 1e9;
    state.counters["peak_%"] = 100 * rate / (peak * static_cast<double>(threads));
    state.counters["GB/s"] = 2.0 * static_cast<double>(depth * kv_cols * sizeof(half)) / best / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
    const attention_shape shapes[] = {{9, 3, 64}, {32, 8, 128}};
    const struct {
        std::size_t rows, depth;
    } steps[] = {{1, 512}, {1, 16384}, {512, 512}, {512, 4096}};
    for (const attention_shape& shape : shapes)
        for (const auto [rows, depth] : steps)
            for (const std::size_t threads : {std::size_t{1}, std::size_t{2}})
                benchmark::RegisterBenchmark(
                    concat("heads:", shape.heads, "/kv_heads:", shape.kv_heads, "/head_dim:", shape.head_dim, "/rows:", rows,
                           "/depth:", depth, "/threads:", threads)
                        .c_str(),
                    [=, rows = rows, depth = depth](benchmark::State& s) { attention_case(s, shape, rows, depth, threads); })
                    ->UseManualTime()
                    ->MinTime(0.1);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
