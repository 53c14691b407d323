// SPDX-License-Identifier: MIT
// Attention against the naive backend, over shapes, codecs, variants and cuts of the cache.
#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;
using reference::naive;

namespace {

/// A convex combination of values of magnitude about 1, with weights e^s: c · eps, with room for the scores' own rounding. Words round
/// each operand by 2^-16 of a row's length, some sqrt(head_dim), and weights by 2^-16 of theirs; scores are scale · sqrt(head_dim)
/// products.
double tolerance_of(compute policy, float scale, std::size_t head_dim) {
    if (policy == compute::exact) return 64 * std::numeric_limits<float>::epsilon();
    const double length = std::sqrt(static_cast<double>(head_dim));
    return 16.0 / 65536 * (4 + scale * length * length);
}

template <class Arch, class Codec, class Variant>
void check(const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges, std::size_t length, std::size_t cut) {
    CAPTURE(shape.heads, shape.kv_heads, shape.head_dim, length, cut);
    plain_cache<Codec> cache(shape, ranges.size(), length, 1);
    std::size_t rows = 0;
    for (const row_range& r : ranges) rows += r.rows;
    const std::vector<float> q = random_floats(rows * shape.heads * shape.head_dim, 2);
    const std::vector<float> want = attend(naive(), q, shape, variant, ranges, cache.runs());
    for (const compute policy : {compute::exact, compute::native}) {
        const cpu<Arch> backend({.policy = policy});
        const std::vector<float> got = attend(backend, q, shape, variant, ranges, cache.runs());
        const double tolerance = tolerance_of(policy, variant.scale, shape.head_dim);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < want.size(); ++i) wrong += !(std::fabs(got[i] - want[i]) <= tolerance);
        CHECK(wrong == 0);
        CHECK(same_bits(attend(backend, q, shape, variant, ranges, cache.runs(cut)), got));
    }
}

}  // namespace

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

TEST_CASE("attention of several sequences in one step, with every codec", "[backend]") {
    const attention_shape shape{6, 2, 32};
    const row_range ranges[] = {{0, 5, 0}, {5, 1, 59}, {6, 50, 10}, {56, 2, 58}};
    check<default_arch, kv::f32>(shape, attention::causal{0.2f}, ranges, 60, 7);
    check<default_arch, kv::f16>(shape, attention::causal{0.2f}, ranges, 60, 7);
    check<default_arch, kv::bf16>(shape, attention::causal{0.2f}, ranges, 60, 7);
}

TEST_CASE("attention of heads as wide as words sum, and wider", "[backend]") {
    for (const std::size_t head_dim : {512, 520}) {
        const row_range range{0, 3, 30};
        check<default_arch, kv::f32>({2, 1, head_dim}, attention::causal{0.05f}, std::span(&range, 1), 33, 9);
    }
}
