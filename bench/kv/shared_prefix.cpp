// SPDX-License-Identifier: MIT
// What a shared prefix saves in attention: a step of one row for each of 16 sequences whose first 4096 tokens are the same, forks of one
// sequence beside sequences that were read one by one. Both give the same bits, which is checked before anything is timed. Iterations of
// the two take turns; the shortest count: "speedup" is the ratio.
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

#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/word_codec.hpp>

namespace {

using namespace skald;

constexpr std::size_t prefix = 4096, sequences = 16, own = 17;  // own: tokens that each sequence has for itself, the step's row among them

/// Rows of random numbers, the same for the same seed.
std::vector<float> random_rows(std::size_t rows, std::size_t cols, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> out(rows * cols);
    for (float& x : out) x = normal(random);
    return out;
}

/// Sequences in the step under test.
template <class Codec>
class decoding_step {
public:
    decoding_step(const cpu<>& backend, const attention_shape& shape, bool shared)
        : backend_(backend),
          shape_(shape),
          cache_(kv::paged<Codec>{{.tokens = (prefix + 64) * sequences, .sequences = sequences}}.make({1, shape.kv_heads, shape.head_dim},
                                                                                                      backend.memory())),
          scratch_(backend.make_scratch(shape)),
          q_(random_rows(sequences, shape.heads * shape.head_dim, 1)),
          out_(backend.make_activations(sequences, shape.heads * shape.head_dim)) {
        std::vector<kv::segment> all;
        for (std::size_t i = 0; i < sequences; ++i) {
            const bool copy = shared && i > 0;
            const kv::sequence_id s = copy ? cache_.fork(all[0].sequence) : cache_.open();
            for (std::size_t at = 0; !copy && at < prefix; at += 512) append(std::array{kv::segment{s, 0, 512}}, static_cast<unsigned>(at));
            all.push_back({s, i, 1});
        }
        for (std::size_t i = 0; i < sequences; ++i)
            append(std::array{kv::segment{all[i].sequence, 0, own - 1}}, static_cast<unsigned>(prefix + i));
        ranges_ = plan(all, 9);
        out_.resize(sequences, shape.heads * shape.head_dim);
    }

    void run() {
        const attention::causal variant{1.0f / std::sqrt(static_cast<float>(shape_.head_dim))};
        backend_.attend({q_.data(), {sequences, shape_.heads * shape_.head_dim}}, shape_, variant, ranges_, cache_.view(0), out_, scratch_);
    }
    double seconds() {
        const auto start = std::chrono::steady_clock::now();
        run();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        return took.count();
    }
    bool same_result(const decoding_step& other) const {
        const auto a = std::as_const(out_).values(), b = std::as_const(other.out_).values();
        return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    }

private:
    std::span<const row_range> plan(std::span<const kv::segment> segments, unsigned seed) {
        const std::size_t rows = segments.back().first_row + segments.back().rows, cols = shape_.kv_heads * shape_.head_dim;
        const std::span<const row_range> ranges = cache_.plan(segments);
        std::vector<float> q(rows * shape_.heads * shape_.head_dim), k = random_rows(rows, cols, seed + 1000),
                                                                     v = random_rows(rows, cols, seed + 2000);
        backend_.rope_append({q.data(), {rows, shape_.heads * shape_.head_dim}}, {k.data(), {rows, cols}}, {v.data(), {rows, cols}}, shape_,
                             {}, ranges, cache_.view(0), scratch_);
        return ranges;
    }
    void append(std::span<const kv::segment> segments, unsigned seed) {
        plan(segments, seed);
        for (const kv::segment& s : segments) cache_.commit(s.sequence);
    }

    const cpu<>& backend_;
    attention_shape shape_;
    typename kv::paged<Codec>::cache cache_;
    cpu<>::scratch scratch_;
    std::vector<float> q_;
    cpu<>::activations out_;
    std::span<const row_range> ranges_;
};

template <class Codec>
void prefix_case(benchmark::State& state, const attention_shape& shape, std::size_t threads, compute policy) {
    thread_pool pool(threads);
    const cpu<> backend({.pool = &pool, .policy = policy});
    decoding_step<Codec> shared(backend, shape, true), apart(backend, shape, false);
    shared.run(), apart.run();
    if (!shared.same_result(apart)) return state.SkipWithError("sharing changes the result");
    double one = 1e9, other = 1e9;
    for (auto _ : state) {
        other = std::min(other, apart.seconds());
        const double took = shared.seconds();
        one = std::min(one, took);
        state.SetIterationTime(took);
    }
    state.counters["shared_us"] = 1e6 * one;
    state.counters["apart_us"] = 1e6 * other;
    state.counters["speedup"] = other / one;
}

template <class Codec>
void add(const attention_shape& shape, compute policy = compute::native) {
    for (const std::size_t threads : {std::size_t{1}, std::size_t{2}})
        benchmark::RegisterBenchmark(concat("heads:", shape.heads, "/kv_heads:", shape.kv_heads, "/head_dim:", shape.head_dim,
                                            "/threads:", threads, "/kv:", Codec::name, policy == compute::exact ? "/exact" : "")
                                         .c_str(),
                                     [=](benchmark::State& s) { prefix_case<Codec>(s, shape, threads, policy); })
            ->UseManualTime()
            ->MinTime(0.2);
}

}  // namespace

int main(int argc, char** argv) {
    for (const attention_shape& shape : {attention_shape{9, 3, 64}, attention_shape{32, 8, 64}}) {
        add<kv::f16>(shape);
        add<kv::bf16>(shape);
        add<kv::q8>(shape);
        add<kv::q4>(shape);
        add<kv::f16>(shape, compute::exact);
    }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
