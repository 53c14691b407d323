// SPDX-License-Identifier: MIT
// What window storage has beyond the common list: attention that is the paper's, bit for bit the same in every schedule, in the memory of
// a window and its sinks.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/model/rope.hpp>

#include "kv/policies.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using test::code_of;

namespace {

/// Queries, keys and values of a text as a layer gives them, before rope.
struct rows_of_text {
    attention_shape shape;
    std::size_t length;
    rope_config rope;
    std::vector<float> q, k, v, frequencies;

    rows_of_text(const attention_shape& s, std::size_t n, const rope_config& r)
        : shape(s), length(n), rope(r), q(n * s.heads * s.head_dim), k(n * s.kv_heads * s.head_dim), v(k.size()), frequencies(r.dims / 2) {
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        for (std::vector<float>* x : {&q, &k, &v})
            for (float& f : *x) f = normal(random);
        rope_frequencies(rope, 0, frequencies);
    }
};

/// The rope of a step at these positions, and of the one that queries are turned to.
struct step_rope {
    std::vector<float> cosine, sine, turned_cosine, turned_sine;
    rope_rows rows;

    step_rope(const rows_of_text& t, const std::vector<position>& at, position far)
        : cosine(at.size() * t.frequencies.size()),
          sine(cosine.size()),
          turned_cosine(t.frequencies.size()),
          turned_sine(turned_cosine.size()) {
        const std::size_t pairs = t.frequencies.size();
        rows = {.dims = t.rope.dims,
                .interleaved = t.rope.interleaved,
                .cosine = {cosine.data(), {at.size(), pairs}},
                .sine = {sine.data(), {at.size(), pairs}},
                .turned_cosine = turned_cosine.data(),
                .turned_sine = turned_sine.data()};
        for (std::size_t i = 0; i < at.size(); ++i)
            rope_row(t.frequencies, t.rope.magnitude, at[i], std::span(cosine).subspan(i * pairs, pairs),
                     std::span(sine).subspan(i * pairs, pairs));
        rope_row(t.frequencies, 1.0 / t.rope.magnitude, far, turned_cosine, turned_sine);
    }
};

/// Tokens `which` of a text appended in one step, the first at `first`. // the heads' results (tokens, heads · head_dim)
template <class Backend, class Cache>
std::vector<float> step(const Backend& backend, Cache& cache, kv::sequence_id s, const rows_of_text& t,
                        const std::vector<std::size_t>& which, const attention::causal& variant) {
    const std::size_t rows = which.size(), q_cols = t.shape.heads * t.shape.head_dim, kv_cols = t.shape.kv_heads * t.shape.head_dim;
    const auto take = [&](const std::vector<float>& from, std::size_t cols) {
        std::vector<float> out;
        for (const std::size_t i : which)
            out.insert(out.end(), from.begin() + static_cast<std::ptrdiff_t>(i * cols),
                       from.begin() + static_cast<std::ptrdiff_t>((i + 1) * cols));
        return out;
    };
    std::vector<float> q = take(t.q, q_cols), k = take(t.k, kv_cols), v = take(t.v, kv_cols);
    const std::array segments{kv::segment{s, 0, rows}};
    const auto ranges = cache.plan(segments);
    std::vector<position> at(rows);
    for (std::size_t i = 0; i < rows; ++i) at[i] = ranges[0].first_position + static_cast<position>(i);
    const step_rope rope(t, at, kv::farthest(cache));
    const auto runs = cache.view(0);
    auto scratch = backend.make_scratch(t.shape);
    const matrix_view<float> queries(q.data(), {rows, q_cols});
    backend.rope_append(queries, {k.data(), {rows, kv_cols}}, matrix_view<const float>(v.data(), {rows, kv_cols}), t.shape, rope.rows,
                        ranges, runs, scratch);
    auto heads = backend.make_activations(rows, q_cols);
    heads.resize(rows, q_cols);
    backend.attend(queries, t.shape, variant, ranges, runs, heads, scratch, rope.rows);
    const auto values = std::as_const(heads).values();
    return {values.data(), values.data() + rows * q_cols};
}

std::vector<std::size_t> counted(std::size_t from, std::size_t to) {
    std::vector<std::size_t> out;
    for (; from < to; ++from) out.push_back(from);
    return out;
}

/// A text in steps of sizes(), each after `wrong` rows that are rolled back.
template <class Backend, class Cache, class Sizes>
std::vector<float> read(const Backend& backend, Cache cache, const rows_of_text& t, const attention::causal& variant, Sizes sizes,
                        std::size_t wrong = 0) {
    const kv::sequence_id s = cache.open();
    std::vector<float> out;
    for (std::size_t at = 0; at < t.length;) {
        const std::size_t rows = std::min<std::size_t>(sizes(), t.length - at);
        if (wrong != 0) {
            const kv::checkpoint mark = cache.mark(s);
            step(backend, cache, s, t, counted(0, std::min(wrong, t.length)), variant);
            cache.rollback(s, mark);
        }
        const std::vector<float> more = step(backend, cache, s, t, counted(at, at + rows), variant);
        cache.commit(s);
        out.insert(out.end(), more.begin(), more.end());
        at += rows;
    }
    return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double greatest_difference(std::span<const float> a, std::span<const float> b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(static_cast<double>(a[i]) - b[i]));
    return most;
}

rope_config rope_of(bool interleaved, std::size_t dims, double magnitude = 1.0) {
    rope_config out;
    out.dims = dims;
    out.interleaved = interleaved;
    out.magnitude = magnitude;
    return out;
}

}  // namespace

TEST_CASE("a row of window storage attends to sinks and window at the positions they have in the cache", "[kv]") {
    const attention::causal variant{0.3f};
    constexpr std::size_t length = 260;
    for (const rope_config& rope : {rope_of(false, 24), rope_of(true, 24), rope_of(false, 16, 1.2), rope_of(true, 0)}) {
        const rows_of_text text({6, 2, 24}, length, rope);
        const kv::cache_shape shape{1, text.shape.kv_heads, text.shape.head_dim};
        const std::size_t cols = text.shape.heads * text.shape.head_dim;
        for (const auto& [window, sinks] : {std::pair<std::size_t, std::size_t>{20, 4}, {64, 1}, {1, 70}, {30, 0}}) {
            CAPTURE(rope.interleaved, rope.dims, window, sinks);
            const reference::naive naive;
            const kv::window<kv::f32> policy{{.window = window, .sinks = sinks, .step = length}};
            const std::vector<float> expected = read(naive, policy.make(shape, naive.memory()), text, variant, [&] { return length; });
            for (const compute how : {compute::exact, compute::native}) {
                const cpu<> backend({.policy = how});
                const std::vector<float> got = read(backend, policy.make(shape, backend.memory()), text, variant, [&] { return length; });
                CHECK(greatest_difference(got, expected) < (how == compute::exact ? 1e-4 : 1e-2));
            }

            // As the paper says it: a cache of the sinks and the window alone, at positions from 0 on.
            for (const std::size_t p : {std::size_t{0}, sinks + window - 1, sinks + window, std::size_t{130}, length - 1}) {
                std::vector<std::size_t> kept = counted(0, std::min(sinks, p + 1));
                for (const std::size_t j : counted(std::max(sinks, p + 1 - std::min(p + 1, window)), p + 1)) kept.push_back(j);
                auto plain = kv::contiguous<kv::f32>{{.tokens = kept.size()}}.make(shape, naive.memory());
                const std::vector<float> rows = step(naive, plain, plain.open(), text, kept, variant);
                const std::span<const float> last = std::span(rows).last(cols);
                CAPTURE(p);
                // Angles are rounded to floats: half a last bit of 260 on either side.
                CHECK(greatest_difference(last, std::span(expected).subspan(p * cols, cols)) < 5e-4);
            }
        }
    }
}

TEMPLATE_TEST_CASE("window storage is bitwise the same in every schedule", "[kv]", kv::f32, kv::q8) {
    constexpr std::size_t length = 330;
    const rows_of_text text({6, 2, 24}, length, rope_of(false, 20));
    const kv::cache_shape shape{1, text.shape.kv_heads, text.shape.head_dim};
    thread_pool pool(2);
    for (const compute policy : {compute::exact, compute::native})
        for (const auto& [window, sinks] : {std::pair<std::size_t, std::size_t>{11, 4}, {64, 3}, {100, 70}, {65, 0}}) {
            const cpu<> backend({.pool = &pool, .policy = policy});
            const attention::causal variant{0.3f};
            const auto made = [&, window = window, sinks = sinks](std::size_t step) {
                return kv::window<TestType>{{.window = window, .sinks = sinks, .step = step}}.make(shape, backend.memory());
            };
            const std::vector<float> expected = read(backend, made(length), text, variant, [&] { return length; });
            for (const std::size_t chunk : {1, 5, 64, 150}) {
                CAPTURE(policy == compute::exact, window, sinks, chunk);
                const auto sizes = [chunk] { return chunk; };
                CHECK(same_bits(read(backend, made(chunk), text, variant, sizes), expected));
                CHECK(same_bits(read(cpu<>({.policy = policy}), made(chunk + 9), text, variant, sizes), expected));
                if (chunk > 1) CHECK(same_bits(read(backend, made(chunk), text, variant, sizes, chunk), expected));
            }
            const auto seed = Catch::rngSeed();
            CAPTURE(seed);
            const auto uneven = [random = std::mt19937(static_cast<std::mt19937::result_type>(seed))]() mutable {
                return 1 + random() % 40;
            };
            CHECK(same_bits(read(backend, made(40), text, variant, uneven), expected));
            // Layers that see less keep to it.
            const attention::causal near{0.3f, 9};
            const auto flat = kv::contiguous<TestType>{{.tokens = length}};
            const std::vector<float> inside = read(backend, made(length), text, near, [&] { return length; });
            CHECK(greatest_difference(inside, read(backend, flat.make(shape, backend.memory()), text, near, [&] { return length; })) <
                  (sinks == 0 ? 1e-30 : 1e-2));
        }
}

TEST_CASE("a fork of window storage has the sinks, whoever goes on", "[kv]") {
    const rows_of_text text({2, 1, 16}, 80, rope_of(false, 16));
    const kv::cache_shape shape{1, 1, 16};
    const cpu<> backend;
    const attention::causal variant{0.3f};
    const kv::window<kv::f16> policy{{.window = 12, .sinks = 5, .step = 10, .sequences = 2}};
    const std::vector<float> expected = read(backend, policy.make(shape, backend.memory()), text, variant, [] { return 10; });
    for (const std::size_t at : {3, 30}) {
        auto cache = policy.make(shape, backend.memory());
        const kv::sequence_id a = cache.open();
        for (std::size_t i = 0; i < at; ++i) step(backend, cache, a, text, {i}, variant), cache.commit(a);
        const kv::sequence_id b = cache.fork(a);
        cache.truncate(a, 0);
        step(backend, cache, a, text, counted(70, 80), variant);
        for (std::size_t i = at; i < text.length; ++i) {
            const std::vector<float> row = step(backend, cache, b, text, {i}, variant);
            cache.commit(b);
            CHECK(same_bits(row, {expected.begin() + static_cast<std::ptrdiff_t>(i * 32),
                                  expected.begin() + static_cast<std::ptrdiff_t>((i + 1) * 32)}));
        }
    }
}

TEST_CASE("window storage takes the memory of its window, sinks and step", "[kv]") {
    counting_resource memory;
    const kv::window<kv::f16> policy{{.window = 10, .sinks = 3, .step = 6, .sequences = 2}};
    auto cache = policy.make(test::small_shape, &memory);
    const std::size_t before = memory.bytes();
    CHECK(policy.bytes(test::small_shape) == before);
    CHECK(before < kv::contiguous<kv::f16>{{.tokens = 24, .sequences = 2}}.bytes(test::small_shape));
    const kv::sequence_id a = cache.open();
    std::vector<std::uint32_t> writers;
    for (std::uint32_t i = 0; i < 2000; ++i) {
        const std::size_t rows = 1 + i % 6, first = writers.size();
        const std::array one{kv::segment{a, 0, rows}};
        test::write_rows(cache, cache.plan(one), {i});
        writers.insert(writers.end(), rows, i);
        if (!test::holds(cache, 0, writers, first - std::min<std::size_t>(first, 9))) FAIL("step " << i);
        cache.commit(a);
    }
    CHECK(memory.peak_bytes() == before);
    CHECK(cache.context() == 13);
    CHECK(cache.farthest() == 12);
    CHECK(kv::window<>{{.window = 10, .context = 500}}.max_length() == 500);
}

TEST_CASE("window storage without a window, or with more than there are positions, is refused", "[kv]") {
    constexpr std::size_t most = kv::ring_cache<kv::f32>::longest;
    for (const kv::window_options& o :
         {kv::window_options{}, kv::window_options{.window = most}, kv::window_options{.window = 8, .sinks = most},
          kv::window_options{.window = 8, .sinks = 0, .step = 0},
          kv::window_options{.window = std::size_t(-1), .sinks = std::size_t(-1)}}) {
        CHECK(code_of([&] { kv::window<kv::f32>{o}.make(test::small_shape, std::pmr::new_delete_resource()); }) == errc::invalid_argument);
        CHECK(code_of([&] { (void)kv::window<kv::f32>{o}.bytes(test::small_shape); }) == errc::invalid_argument);
    }
}
