// SPDX-License-Identifier: MIT
// Attention bit for bit: the same however rows are grouped into steps, on any number of threads and any register width.
#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("rows attend alike in one step and in many", "[backend]", architectures) {
    const std::size_t length = 300;
    for (const std::size_t head_dim : {24, 64})
        for (const std::size_t group : {1, 3, 6}) {
            const attention_shape shape{2 * group, 2, head_dim};
            plain_cache<kv::f16> cache(shape, 1, length, 1);
            const std::vector<float> q = random_floats(length * shape.heads * head_dim, 2);
            const auto variants = [&](compute policy, const auto& variant) {
                const cpu<TestType> backend({.policy = policy});
                const std::vector<float> whole = in_chunks(backend, q, shape, variant, length, length, cache.runs());
                for (const std::size_t chunk : {1, 7, 64}) {
                    CAPTURE(head_dim, group, chunk);
                    CHECK(same_bits(in_chunks(backend, q, shape, variant, length, chunk, cache.runs(130)), whole));
                }
                CHECK(same_bits(in_chunks(cpu<>({.policy = policy}), q, shape, variant, length, length, cache.runs()), whole));
            };
            for (const compute policy : {compute::exact, compute::native}) {
                variants(policy, attention::causal{0.2f});
                variants(policy, attention::causal{0.2f, 90});
                variants(policy, attention::soft_capped{{0.2f, 40}, 1.5f});
            }
        }
}

TEST_CASE("long contexts attend alike in one step and in many", "[backend]") {
    const std::size_t length = 2300, tail = 40;
    const attention_shape shape{3, 1, 16};
    plain_cache<kv::f32> cache(shape, 1, length, 1);
    const std::vector<float> q = random_floats(tail * shape.heads * shape.head_dim, 2);
    const compute policy = GENERATE(compute::exact, compute::native);
    const cpu<> backend({.policy = policy});
    const row_range all{0, tail, static_cast<position>(length - tail)};
    const std::size_t cols = shape.heads * shape.head_dim;
    // 250 and 1270: the windows of some of the rows begin before a restart, those of others after it.
    for (const position window : {5000, 250, 1270}) {
        const attention::causal variant{0.2f, window};
        const std::vector<float> whole = attend(backend, q, shape, variant, std::span(&all, 1), cache.runs());
        for (std::size_t i = 0; i < tail; ++i) {
            const row_range one{0, 1, all.first_position + static_cast<position>(i)};
            const auto first = q.begin() + static_cast<std::ptrdiff_t>(i * cols);
            const std::vector<float> row =
                attend(backend, {first, first + static_cast<std::ptrdiff_t>(cols)}, shape, variant, std::span(&one, 1), cache.runs());
            CAPTURE(window, i);
            CHECK(same_bits(row, std::span(whole).subspan(i * cols, cols)));
        }
    }
}

TEST_CASE("attention does not depend on the number of threads", "[backend]") {
    const attention_shape shape{6, 2, 32};
    plain_cache<kv::f16> cache(shape, 3, 200, 1);
    const row_range ranges[] = {{0, 130, 0}, {130, 1, 199}, {131, 9, 60}};
    const std::vector<float> q = random_floats(140 * shape.heads * shape.head_dim, 2);
    for (const compute policy : {compute::exact, compute::native}) {
        const std::vector<float> alone = attend(cpu<>({.policy = policy}), q, shape, attention::causal{0.2f}, ranges, cache.runs());
        for (const std::size_t threads : {1, 2, 3, 8}) {
            thread_pool pool(threads);
            const cpu<> backend({.pool = &pool, .policy = policy});
            CHECK(same_bits(attend(backend, q, shape, attention::causal{0.2f}, ranges, cache.runs()), alone));
        }
    }
}

TEST_CASE("threads that share the segments of few rows agree with one", "[backend]") {
    const attention_shape shape{2, 1, 16};
    plain_cache<kv::f16> cache(shape, 2, 3200, 1);
    const row_range ranges[] = {{0, 3, 3197}, {3, 1, 1500}};
    const std::vector<float> q = random_floats(4 * shape.heads * shape.head_dim, 2);
    for (const compute policy : {compute::exact, compute::native})
        for (const position window : {5000, 1100}) {
            const attention::causal variant{0.2f, window};
            const std::vector<float> alone = attend(cpu<>({.policy = policy}), q, shape, variant, ranges, cache.runs());
            for (const std::size_t threads : {2, 5}) {
                thread_pool pool(threads);
                CHECK(same_bits(attend(cpu<>({.pool = &pool, .policy = policy}), q, shape, variant, ranges, cache.runs()), alone));
            }
        }
}
