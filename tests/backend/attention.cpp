// SPDX-License-Identifier: MIT
// Attention against the naive backend, over shapes, codecs, variants and cuts of the cache.
#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("attention over head sizes and groupings", "[backend]", architectures) {
    for (const std::size_t head_dim : {1, 8, 15, 16, 17, 64, 80, 128})
        for (const std::size_t group : {1, 3}) {
            const attention_shape shape{2 * group, 2, head_dim};
            const row_range range{0, 70, 0};
            check<TestType, kv::f32>(shape, attention::causal{0.3f}, std::span(&range, 1), 70, 33);
        }
}

TEMPLATE_LIST_TEST_CASE("attention over lengths around tiles and restarts", "[backend]", architectures) {
    const attention_shape shape{3, 1, 24};
    for (const position first : {0, 1, 62, 63, 64, 65, 1022, 1023, 1024, 1025, 2100})
        for (const std::size_t rows : {1, 2, 40}) {
            const row_range range{0, rows, first};
            const std::size_t length = static_cast<std::size_t>(first) + rows;
            check<TestType, kv::f16>(shape, attention::causal{0.2f}, std::span(&range, 1), length, length / 2);
        }
}

TEMPLATE_LIST_TEST_CASE("attention through a window and a soft cap", "[backend]", architectures) {
    const attention_shape shape{4, 2, 16};
    for (const position width : {1, 3, 64, 100, 1500})
        for (const position first : {0, 70, 2000}) {
            const row_range range{0, 45, first};
            const std::size_t length = static_cast<std::size_t>(first) + 45;
            const attention::causal last{0.3f, width};
            check<TestType, kv::f32>(shape, last, std::span(&range, 1), length, length / 3);
            check<TestType, kv::f32>(shape, attention::soft_capped{last, 2.0f}, std::span(&range, 1), length, length / 3);
        }
}

TEST_CASE("attention of heads as wide as words sum, and wider", "[backend]") {
    for (const std::size_t head_dim : {640, 648}) {
        const row_range range{0, 3, 30};
        check<default_arch, kv::f32>({2, 1, head_dim}, attention::causal{0.05f}, std::span(&range, 1), 33, 9);
    }
}

TEST_CASE("attention a stretch at a time is attention, bitwise", "[backend]") {
    const attention_shape shape{6, 2, 20};
    constexpr std::size_t length = 2200, rows = 1200;  // the first rows see two stretches, the last ones three
    plain_cache<kv::f32> cache(shape, 1, length, 1);
    const std::vector<float> q = random_floats(rows * 120, 2);
    const row_range range{0, rows, static_cast<position>(length - rows)};
    for (const compute policy : {compute::exact, compute::native})
        for (const position window : {std::numeric_limits<position>::max(), position{700}}) {
            thread_pool pool(2);
            const cpu<> backend({.pool = &pool, .policy = policy});
            const attention::causal variant{0.3f, window};
            auto scratch = backend.make_scratch(shape);
            auto totals = backend.make_totals(shape, rows + 5);
            std::vector<float> out(q.size());
            for (position stretch = 0; stretch < 3; ++stretch)
                backend.attend_stretch({q.data(), {rows, 120}}, shape, variant, range, stretch, cache.runs(), totals,
                                       {out.data(), {rows, 120}}, scratch);
            CHECK(same_bits(out, attend(backend, q, shape, variant, std::span(&range, 1), cache.runs())));
        }
}
