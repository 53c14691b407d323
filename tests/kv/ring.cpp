// SPDX-License-Identifier: MIT
// What ring storage has beyond the common list: sequences of any length in the memory of a window, and attention over a window bit for
// bit as contiguous storage gives it.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using test::code_of;

namespace {

template <class F>
std::string message_of(F&& f) {
    try {
        f();
    } catch (const error& e) {
        return e.what();
    }
    return "";
}

/// Plans one segment of a sequence and writes its rows.
template <class Cache>
void append(Cache& cache, kv::sequence_id s, std::size_t rows, std::uint32_t writer) {
    const std::array one{kv::segment{s, 0, rows}};
    test::write_rows(cache, cache.plan(one), {writer});
}

}  // namespace

TEST_CASE("a ring takes the memory of its window and step, however long its sequences", "[kv]") {
    counting_resource memory;
    const kv::ring<kv::f16> policy{{.window = 10, .step = 6, .sequences = 2}};
    CHECK(policy.bytes(test::small_shape) == kv::ring<kv::f16>{{.window = 4, .step = 12, .sequences = 2}}.bytes(test::small_shape));
    auto cache = policy.make(test::small_shape, &memory);
    const std::size_t before = memory.bytes();
    CHECK(policy.bytes(test::small_shape) == before);
    const kv::sequence_id a = cache.open();
    std::vector<std::uint32_t> writers;
    for (std::uint32_t i = 0; i < 3000; ++i) {
        const std::size_t rows = 1 + i % 6, first = writers.size();
        append(cache, a, rows, i);
        writers.insert(writers.end(), rows, i);
        if (!test::holds(cache, 0, writers, first - std::min<std::size_t>(first, 9))) FAIL("step " << i);
        cache.commit(a);
    }
    CHECK(cache.length(a) == 10500);
    CHECK(memory.bytes() == before);
    CHECK(memory.peak_bytes() == before);
}

TEST_CASE("a ring refuses more pending tokens than its step, and says what to raise", "[kv]") {
    auto cache = kv::ring<kv::f32>{{.window = 4, .step = 6, .sequences = 2}}.make(test::small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open(), b = cache.open();
    for (std::uint32_t i = 0; i < 5; ++i) append(cache, a, 6, i), cache.commit(a);
    append(cache, a, 2, 8);
    const std::array fits{kv::segment{b, 0, 6}, kv::segment{a, 6, 4}};
    const std::array not_a{kv::segment{b, 0, 6}, kv::segment{a, 6, 5}};
    const std::array not_b{kv::segment{a, 0, 1}, kv::segment{b, 1, 7}};
    CHECK(code_of([&] { cache.plan(not_a); }) == errc::cache_full);
    CHECK(code_of([&] { cache.plan(not_b); }) == errc::cache_full);
    const std::string message = message_of([&] { cache.plan(not_a); });
    CHECK(message.find("2 pending") != std::string::npos);
    CHECK(message.find("raise .step") != std::string::npos);
    CHECK(cache.length(a) == 32);
    CHECK(cache.length(b) == 0);
    CHECK(cache.plan(fits).size() == 2);
}

TEST_CASE("a ring truncates as far as the window before the new end is there", "[kv]") {
    constexpr position window = 8, step = 5, length = 40;
    const auto make = [] {
        return kv::ring<kv::f32>{{.window = window, .step = step}}.make(test::small_shape, std::pmr::new_delete_resource());
    };
    for (position to = 0; to <= length; ++to) {
        auto cache = make();
        const kv::sequence_id a = cache.open();
        for (std::uint32_t i = 0; i < length; ++i) append(cache, a, 1, i), cache.commit(a);
        const bool possible = to == 0 || to >= length - step - 1;
        CAPTURE(to, possible);
        CHECK(cache.keeps(a, to) == possible);
        std::vector<std::uint32_t> writers;
        if (possible) {
            cache.truncate(a, to);
            CHECK(cache.length(a) == to);
            for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(to); ++i) writers.push_back(i);
        } else {
            CHECK(code_of([&] { cache.truncate(a, to); }) == errc::invalid_argument);
            CHECK(message_of([&] { cache.truncate(a, to); }).find("truncate to 0") != std::string::npos);
            CHECK(cache.length(a) == length);
            for (std::uint32_t i = 0; i < length; ++i) writers.push_back(i);
        }
        const std::size_t first = writers.size() - std::min<std::size_t>(writers.size(), window - 1);
        append(cache, a, step, 77);
        writers.insert(writers.end(), step, 77);
        CHECK(test::holds(cache, 0, writers, first));
        if (to == 0) CHECK(cache.keeps(a, 1));  // nothing is overwritten any more
    }

    // Pending tokens that were dropped have overwritten what they have overwritten.
    auto cache = make();
    const kv::sequence_id a = cache.open();
    for (std::uint32_t i = 0; i < length; ++i) append(cache, a, 1, i), cache.commit(a);
    append(cache, a, step, 77);
    cache.rollback(a, {length});
    CHECK(cache.keeps(a, length - 1));
    CHECK_FALSE(cache.keeps(a, length - 2));
    // A short sequence goes back to anywhere.
    const kv::sequence_id b = (cache.close(a), cache.open());
    for (std::uint32_t i = 0; i < window + step; ++i) append(cache, b, 1, i), cache.commit(b);
    CHECK(cache.keeps(b, 1));
    append(cache, b, 1, 9);
    CHECK_FALSE(cache.keeps(b, 1));
}

TEST_CASE("forks of a ring go their own ways", "[kv]") {
    auto cache = kv::ring<kv::f16>{{.window = 9, .step = 7, .sequences = 3}}.make(test::small_shape, std::pmr::new_delete_resource());
    for (const std::uint32_t length : {3u, 16u, 17u, 100u}) {
        CAPTURE(length);
        const kv::sequence_id a = cache.open();
        std::vector<std::uint32_t> of_a, of_b;
        for (std::uint32_t i = 0; i < length; ++i) append(cache, a, 1, i), cache.commit(a), of_a.push_back(i);
        append(cache, a, 4, 200);  // pending: not the fork's
        const kv::sequence_id b = cache.fork(a);
        CHECK(cache.length(b) == static_cast<position>(length));
        of_b = of_a;
        of_a.insert(of_a.end(), 4, 200);
        const std::array both{kv::segment{a, 0, 3}, kv::segment{b, 3, 7}};
        const auto first = [](const std::vector<std::uint32_t>& writers) {
            return writers.size() - std::min<std::size_t>(writers.size(), 8);
        };
        const std::size_t first_a = first(of_a), first_b = first(of_b);
        test::write_rows(cache, cache.plan(both), {201, 202});
        of_a.insert(of_a.end(), 3, 201);
        of_b.insert(of_b.end(), 7, 202);
        CHECK(test::holds(cache, 0, of_a, first_a));
        CHECK(test::holds(cache, 1, of_b, first_b));
        cache.close(a);
        cache.close(b);
    }
}

TEST_CASE("a ring without room for anything is refused", "[kv]") {
    constexpr std::size_t most = kv::ring_cache<kv::f32>::longest, all = std::numeric_limits<std::size_t>::max();
    for (const kv::ring_options& o : {kv::ring_options{}, kv::ring_options{.window = 8, .step = 0}, kv::ring_options{.window = most},
                                      kv::ring_options{.window = 8, .step = most}, kv::ring_options{.window = all, .step = all}}) {
        CHECK(code_of([&] { kv::ring<kv::f32>{o}.make(test::small_shape, std::pmr::new_delete_resource()); }) == errc::invalid_argument);
        CHECK(code_of([&] { (void)kv::ring<kv::f32>{o}.bytes(test::small_shape); }) == errc::invalid_argument);
    }
    CHECK(kv::ring<>{{.window = 8}}.max_length() == most);
    CHECK(kv::ring<>{{.window = 8, .context = 100}}.max_length() == 100);
    CHECK(kv::ring<>{{.window = 8, .context = all}}.max_length() == most);
}

TEST_CASE("sequences of a ring end where positions end", "[kv]") {
    constexpr std::size_t step = 1 << 20, most = kv::ring_cache<kv::f16>::longest;
    auto cache =
        kv::ring<kv::f16>{{.window = 3, .step = step}}.make({.layers = 1, .kv_heads = 1, .head_dim = 1}, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    for (std::size_t length = 0; length < most; length += std::min(step, most - length)) {
        const std::array all{kv::segment{a, 0, std::min(step, most - length)}};
        cache.plan(all);
        cache.commit(a);
    }
    CHECK(cache.length(a) == static_cast<position>(most));
    const std::array one{kv::segment{a, 0, 1}};
    CHECK(code_of([&] { cache.plan(one); }) == errc::cache_full);
    CHECK(cache.length(a) == static_cast<position>(most));
}

namespace {

constexpr std::size_t text_length = 1500;  // past a restart of the attention state, and many times round the ring

/// Random rows of a text: queries, keys and values.
struct attention_rows_of_text {
    attention_shape shape;
    std::size_t length;
    std::vector<float> q, k, v;

    attention_rows_of_text(const attention_shape& s, std::size_t n, unsigned seed) : shape(s), length(n) {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        const auto fill = [&](std::vector<float>& x, std::size_t cols) {
            x.resize(n * cols);
            for (float& value : x) value = normal(random);
        };
        fill(q, s.heads * s.head_dim);
        fill(k, s.kv_heads * s.head_dim);
        fill(v, s.kv_heads * s.head_dim);
    }
};

/// The text's rows appended and attended in steps that sizes() gives. Where `wrong`, each step is first taken with other rows, as many as
/// the cache takes, and rolled back.
template <class Cache, class Variant, class Sizes>
std::vector<float> attend_text(const cpu<>& backend, Cache cache, const attention_rows_of_text& text, const Variant& variant, Sizes sizes,
                               std::size_t wrong = 0) {
    const std::size_t q_cols = text.shape.heads * text.shape.head_dim, kv_cols = text.shape.kv_heads * text.shape.head_dim;
    auto scratch = backend.make_scratch(text.shape);
    const kv::sequence_id s = cache.open();
    std::vector<float> out;
    const auto take = [&](const std::vector<float>& from, std::size_t at, std::size_t rows, std::size_t cols) {
        const auto first = from.begin() + static_cast<std::ptrdiff_t>(at * cols);
        return std::vector<float>(first, first + static_cast<std::ptrdiff_t>(rows * cols));
    };
    const auto step = [&](std::size_t at, std::size_t rows) {
        std::vector<float> q = take(text.q, at, rows, q_cols), k = take(text.k, at, rows, kv_cols), v = take(text.v, at, rows, kv_cols);
        const std::array segments{kv::segment{s, 0, rows}};
        const auto ranges = cache.plan(segments);
        const auto runs = cache.view(0);
        const matrix_view<float> queries(q.data(), {rows, q_cols});
        backend.rope_append(queries, {k.data(), {rows, kv_cols}}, matrix_view<const float>(v.data(), {rows, kv_cols}), text.shape, {},
                            ranges, runs, scratch);
        auto heads = backend.make_activations(rows, q_cols);
        heads.resize(rows, q_cols);
        backend.attend(queries, text.shape, variant, ranges, runs, heads, scratch);
        const auto values = std::as_const(heads).values();
        return std::vector<float>(values.data(), values.data() + rows * q_cols);
    };
    for (std::size_t at = 0; at < text.length;) {
        const std::size_t rows = std::min<std::size_t>(sizes(), text.length - at);
        if (wrong != 0) {
            const kv::checkpoint mark = cache.mark(s);
            step(0, std::min(wrong, text.length));
            cache.rollback(s, mark);
        }
        const std::vector<float> more = step(at, rows);
        cache.commit(s);
        out.insert(out.end(), more.begin(), more.end());
        at += rows;
    }
    return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEMPLATE_TEST_CASE("windowed attention over a ring is bitwise that over contiguous storage", "[kv]", kv::f32, kv::f16) {
    const attention_rows_of_text text({6, 2, 24}, text_length, 3);
    const kv::cache_shape shape{1, text.shape.kv_heads, text.shape.head_dim};
    thread_pool pool(2);
    for (const compute policy : {compute::exact, compute::native})
        for (const std::size_t window : {2, 11, 63, 64, 65, 200}) {
            const cpu<> backend({.pool = &pool, .policy = policy});
            const attention::causal variant{0.3f, static_cast<position>(window)};
            const std::vector<float> expected =
                attend_text(backend, kv::contiguous<TestType>{{.tokens = text_length}}.make(shape, backend.memory()), text, variant,
                            [] { return text_length; });
            const auto ring = [&](std::size_t kept, std::size_t step) {
                return kv::ring<TestType>{{.window = kept, .step = step}}.make(shape, backend.memory());
            };
            for (const std::size_t chunk : {1, 5, 64, 150}) {
                CAPTURE(policy == compute::exact, window, chunk);
                const auto sizes = [chunk] { return chunk; };
                CHECK(same_bits(attend_text(backend, ring(window, chunk), text, variant, sizes), expected));
                CHECK(same_bits(attend_text(backend, ring(window + 37, chunk + 3), text, variant, sizes), expected));
                // Rejected rows took all the room there is.
                if (chunk > 1) CHECK(same_bits(attend_text(backend, ring(window, chunk), text, variant, sizes, chunk), expected));
            }
            const auto seed = Catch::rngSeed();
            CAPTURE(seed, window);
            const auto uneven = [random = std::mt19937(static_cast<std::mt19937::result_type>(seed))]() mutable {
                return 1 + random() % 40;
            };
            CHECK(same_bits(attend_text(backend, ring(window, 40), text, variant, uneven), expected));
            const attention::soft_capped capped{{0.3f, static_cast<position>(window)}, 1.5f};
            const std::vector<float> other =
                attend_text(backend, kv::contiguous<TestType>{{.tokens = text_length}}.make(shape, backend.memory()), text, capped,
                            [] { return text_length; });
            CHECK_FALSE(same_bits(other, expected));
            CHECK(same_bits(attend_text(backend, ring(window, 40), text, capped, uneven), other));
        }
}
