// SPDX-License-Identifier: MIT
// Latent attention of DeepSeek-V2-Lite's shape over a contiguous f16 cache, in microseconds a layer and rows a second through its 27
// layers, absorbed and expanded, beside plain attention of as many heads whose keys and values are kept; and bytes of cache a token and
// layer. Both forms are checked against each other before they are timed. Weights are Q8_0.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <skald/attention/mla_layer.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/half.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>

#include "peak.hpp"

namespace {

using namespace skald;
using attention::segment_role;

constexpr attention::mla_shape shape{.heads = 16, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .rank = 512};
constexpr double layers = 27;

std::vector<float> random_floats(std::size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> out(n);
    for (float& f : out) f = normal(random);
    return out;
}

/// kv_b in Q8_0, of values about 1 / sqrt(rank).
std::vector<std::byte> random_weights() {
    std::mt19937 random(1);
    const half scale = to_half(1.0f / (64 * std::sqrt(static_cast<float>(shape.rank))));
    std::vector<std::byte> out;
    for (std::size_t block = 0; block < shape.heads * (shape.nope_dim + shape.value_dim) * shape.rank / 32; ++block) {
        const auto* bytes = reinterpret_cast<const std::byte*>(&scale);
        out.insert(out.end(), bytes, bytes + sizeof scale);
        for (int i = 0; i < 32; ++i)
            out.push_back(static_cast<std::byte>(static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127)));
    }
    return out;
}

template <class Cache>
void report(benchmark::State& state, double best, std::size_t rows, const Cache& cache) {
    const kv::cache_shape s = cache.shape();
    state.counters["us/layer"] = best * 1e6;
    state.counters["rows/s"] = static_cast<double>(rows) / (best * layers);
    state.counters["bytes/token"] = static_cast<double>(s.planes() * s.kv_heads * kv::f16::row_bytes(s.width()));
}

/// The last `rows` of `depth` rows.
void latent_case(benchmark::State& state, segment_role role, std::size_t rows, std::size_t depth, std::size_t threads) {
    thread_pool pool(threads);
    const cpu<> backend({.pool = &pool});
    auto cache = kv::contiguous<kv::f16>{{.tokens = depth}}.make(shape.cache(1), backend.memory());
    const kv::sequence_id sequence = cache.open();
    auto scratch = backend.make_scratch(shape.absorbed());
    std::vector<float> before = random_floats((depth - rows) * shape.latent_dim(), 2);
    const kv::segment first{sequence, 0, depth - rows}, last{sequence, 0, rows};
    const std::span<const row_range> filled = cache.plan(std::span(&first, 1));
    backend.rope_append({}, {before.data(), {depth - rows, shape.latent_dim()}}, {}, {0, 1, shape.latent_dim()}, {}, filled, cache.view(0),
                        scratch);
    cache.commit(sequence);

    const std::vector<std::byte> kv_b = random_weights();
    const weight_view view{.name = "kv_b",
                           .type = dtype::q8_0,
                           .rows = shape.heads * (shape.nope_dim + shape.value_dim),
                           .cols = shape.rank,
                           .data = kv_b.data()};
    const auto weights = attention::mla_weights<cpu<>>::split(backend, shape, view, packing::panels);
    attention::mla_workspace<cpu<>> workspace(backend, shape, rows);
    const std::vector<float> query = random_floats(rows * shape.heads * shape.query_dim(), 3), latent = random_floats(rows * shape.rank, 4),
                             rope_key = random_floats(rows * shape.rope_dim, 5);
    auto out = backend.make_activations(rows, shape.heads * shape.value_dim);
    out.resize(rows, shape.heads * shape.value_dim);
    const std::span<const row_range> ranges = cache.plan(std::span(&last, 1));
    const auto run = [&](segment_role as) {
        attention::run_layer(backend, cache, 0, weights,
                             attention::mla_call<cpu<>>{.query = {query.data(), {rows, shape.heads * shape.query_dim()}},
                                                        .latent = {latent.data(), {rows, shape.rank}},
                                                        .rope_key = {rope_key.data(), {rows, shape.rope_dim}},
                                                        .rope = {},
                                                        .variant = {.scale = shape.scale()},
                                                        .ranges = ranges,
                                                        .roles = std::span(&as, 1),
                                                        .out = &out},
                             workspace);
    };
    run(segment_role::prompt);
    const auto values = std::as_const(out).values();
    const std::vector<float> expanded(values.data(), values.data() + values.size());
    run(segment_role::decode);
    // Results are about 0.1; activations are rounded to 8 bits for weights of blocks.
    for (std::size_t i = 0; i < expanded.size(); ++i)
        if (!(std::fabs(values.data()[i] - expanded[i]) <= 0.05)) return state.SkipWithError("the two forms differ");
    report(state, bench::best_seconds(state, [&] { run(role); }), rows, cache);
}

/// Plain attention of as many heads, as wide as keys are: what a cache of keys and values would ask for.
void plain_case(benchmark::State& state, std::size_t rows, std::size_t depth, std::size_t threads) {
    thread_pool pool(threads);
    const cpu<> backend({.pool = &pool});
    const attention_shape heads{shape.heads, shape.heads, shape.query_dim()};
    auto cache = kv::contiguous<kv::f16>{{.tokens = depth}}.make({.layers = 1, .kv_heads = heads.kv_heads, .head_dim = heads.head_dim},
                                                                 backend.memory());
    const kv::sequence_id sequence = cache.open();
    auto scratch = backend.make_scratch(heads);
    const std::size_t cols = heads.heads * heads.head_dim;
    std::vector<float> q = random_floats(depth * cols, 2), k = random_floats(depth * cols, 3);
    const kv::segment part{sequence, 0, depth};
    const std::span<const row_range> filled = cache.plan(std::span(&part, 1));
    backend.rope_append({q.data(), {depth, cols}}, {k.data(), {depth, cols}}, {k.data(), {depth, cols}}, heads, {}, filled, cache.view(0),
                        scratch);
    auto out = backend.make_activations(rows, cols);
    out.resize(rows, cols);
    const row_range range{0, rows, static_cast<position>(depth - rows)};
    const auto run = [&] {
        backend.attend({q.data(), {rows, cols}}, heads, attention::causal{shape.scale()}, std::span(&range, 1), cache.view(0), out,
                       scratch);
    };
    report(state, bench::best_seconds(state, run), rows, cache);
}

}  // namespace

int main(int argc, char** argv) {
    const struct {
        std::size_t rows, depth;
    } steps[] = {{1, 512}, {1, 4096}, {64, 4096}, {512, 4096}};
    for (const auto [rows, depth] : steps)
        for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
            const auto add = [&](const char* form, auto run) {
                benchmark::RegisterBenchmark(concat(form, "/rows:", rows, "/depth:", depth, "/threads:", threads).c_str(), run)
                    ->UseManualTime()
                    ->MinTime(0.1);
            };
            add("absorbed", [=](benchmark::State& s) { latent_case(s, segment_role::decode, rows, depth, threads); });
            add("expanded", [=](benchmark::State& s) { latent_case(s, segment_role::prompt, rows, depth, threads); });
            add("plain", [=](benchmark::State& s) { plain_case(s, rows, depth, threads); });
        }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
