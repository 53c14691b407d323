// SPDX-License-Identifier: MIT
// Attention of the cpu backend over contiguous caches: rows of one sequence at a depth, in GFLOP/s of its two products (4 ·
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
#include <skald/kv/tiered.hpp>
#include <skald/kv/word_codec.hpp>

#include "peak.hpp"

namespace {

using namespace skald;

/// f(codec, key, value) at each position that a row at p reads.
template <class... Runs, class F>
void each_read(position p, const std::tuple<Runs...>& runs, const F& f) {
    const auto read = [&]<class Run>(const Run& run) {
        const position_range part = seen(run, 0, p);
        for (position j = part.from; j < part.to && j <= p; ++j) f(run, run.key(0, 0, j), run.value(0, 0, j));
    };
    std::apply([&](const auto&... run) { (read(run), ...); }, runs);
}

/// The first head of one row, by plain loops. // q: (head_dim)
template <class... Runs>
std::vector<double> plain_head(const float* q, std::size_t head_dim, float scale, position p, const std::tuple<Runs...>& runs) {
    std::vector<double> out(head_dim);
    double sum = 0;
    each_read(p, runs, [&]<class Run>(const Run&, const std::byte* key, const std::byte* value) {
        double dot = 0;
        for (std::size_t d = 0; d < head_dim; ++d)
            dot += static_cast<double>(q[d]) * codec_of<Run, true>::template decode<format::scalar>(key, d).value;
        const double weight = std::exp(dot * scale);  // scores are small here
        sum += weight;
        for (std::size_t d = 0; d < head_dim; ++d) out[d] += weight * codec_of<Run, false>::template decode<format::scalar>(value, d).value;
    });
    for (double& x : out) x /= sum;
    return out;
}

/// Bytes of keys and values of one head that a row at p reads: rows of a run are equally far apart, or whole groups of them are.
template <class... Runs>
double bytes_read(position p, const std::tuple<Runs...>& runs) {
    double bytes = 0;
    const auto add = [&]<class Run>(const Run& run) {
        const position_range part = seen(run, 0, p);
        const position first = part.from, last = std::min(part.to, p + 1);
        if (first >= last) return;
        const auto n = static_cast<position>(run.stretch(first));
        const bool grouped = n > 1 && n < last - first;
        const position next = grouped ? first + n : first;
        const auto apart = [&](const std::byte* a, const std::byte* b, std::size_t row) {
            return grouped ? static_cast<double>(b - a) / static_cast<double>(n) : static_cast<double>(row);
        };
        bytes += (apart(run.key(0, 0, first), run.key(0, 0, next), row_bytes_of<true>(run)) +
                  apart(run.value(0, 0, first), run.value(0, 0, next), row_bytes_of<false>(run))) *
                 static_cast<double>(last - first);
    };
    std::apply([&](const auto&... run) { (add(run), ...); }, runs);
    return bytes;
}

template <class Policy>
void attention_case(benchmark::State& state, const Policy& policy, const attention_shape& shape, std::size_t rows, std::size_t depth,
                    std::size_t threads) {
    thread_pool pool(threads);
    const cpu<> backend({.pool = &pool});
    const std::size_t q_cols = shape.heads * shape.head_dim, kv_cols = shape.kv_heads * shape.head_dim;
    auto cache = policy.make({1, shape.kv_heads, shape.head_dim}, backend.memory());
    const kv::sequence_id sequence = cache.open();
    auto scratch = backend.make_scratch(shape);

    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> q(depth * q_cols), k(depth * kv_cols), v(depth * kv_cols);
    for (std::vector<float>* x : {&q, &k, &v})
        for (float& f : *x) f = normal(random);
    for (std::size_t at = 0; at < depth; at += 512) {
        const std::size_t some = std::min<std::size_t>(512, depth - at);
        const kv::segment part{sequence, 0, some};
        const std::span<const row_range> appended = cache.plan(std::span(&part, 1));
        backend.rope_append({q.data() + at * q_cols, {some, q_cols}}, {k.data() + at * kv_cols, {some, kv_cols}},
                            {v.data() + at * kv_cols, {some, kv_cols}}, shape, {}, appended, cache.view(0), scratch);
        if (at + some < depth) cache.commit(sequence);
    }
    const auto runs = cache.view(0);

    const row_range range{0, rows, static_cast<position>(depth - rows)};
    const attention::causal variant{0.5f / std::sqrt(static_cast<float>(shape.head_dim))};
    auto out = backend.make_activations(rows, q_cols);
    out.resize(rows, q_cols);
    const auto run = [&] { backend.attend({q.data(), {rows, q_cols}}, shape, variant, std::span(&range, 1), runs, out, scratch); };
    run();
    for (const std::size_t row : {std::size_t{0}, rows - 1}) {
        const auto want =
            plain_head(q.data() + row * q_cols, shape.head_dim, variant.scale, range.first_position + static_cast<position>(row), runs);
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
    state.counters["GB/s"] = bytes_read(static_cast<position>(depth) - 1, runs) * static_cast<double>(shape.kv_heads) / best / 1e9;
}

template <class Policy>
void add(const Policy& policy, const char* word, const attention_shape& shape, std::size_t rows, std::size_t depth) {
    for (const std::size_t threads : {std::size_t{1}, std::size_t{2}})
        benchmark::RegisterBenchmark(concat("heads:", shape.heads, "/kv_heads:", shape.kv_heads, "/head_dim:", shape.head_dim,
                                            "/rows:", rows, "/depth:", depth, "/threads:", threads, "/kv:", word)
                                         .c_str(),
                                     [=](benchmark::State& s) { attention_case(s, policy, shape, rows, depth, threads); })
            ->UseManualTime()
            ->MinTime(0.1);
}

}  // namespace

int main(int argc, char** argv) {
    const attention_shape shapes[] = {{9, 3, 64}, {32, 8, 128}};
    const struct {
        std::size_t rows, depth;
    } steps[] = {{1, 512}, {1, 16384}, {512, 512}, {512, 4096}};
    for (const attention_shape& shape : shapes)
        for (const auto [rows, depth] : steps) {
            const kv::contiguous_options room{.tokens = depth};
            const kv::tiered_options tiers{.tokens = depth};
            add(kv::contiguous<kv::f16>{room}, "f16", shape, rows, depth);
            add(kv::contiguous<kv::q8>{room}, "q8", shape, rows, depth);
            add(kv::contiguous<kv::q4>{room}, "q4", shape, rows, depth);
            add(kv::tiered<kv::f16, kv::kivi4>{tiers}, "kivi4", shape, rows, depth);
            add(kv::tiered<kv::f16, kv::kivi2>{tiers}, "kivi2", shape, rows, depth);
        }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
