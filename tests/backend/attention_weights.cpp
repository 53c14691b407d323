// SPDX-License-Identifier: MIT
// Attention weights against the naive backend, over shapes, codecs, variants and cuts of the cache.
#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Those of the rows `range` of segment 1 of two. // (heads, rows, positions), positions nobody writes -7
template <class Backend, class Variant, class Runs>
std::vector<float> weights(const Backend& backend, const std::vector<float>& q, const attention_shape& shape, const Variant& variant,
                           const row_range& range, const Runs& runs) {
    const std::size_t cols = shape.heads * shape.head_dim;
    const std::size_t positions = static_cast<std::size_t>(range.first_position) + range.rows + 5;
    std::vector<float> out(shape.heads * (range.rows + 1) * positions, -7.0f);
    auto scratch = backend.make_scratch(shape);
    backend.attention_weights({q.data(), {q.size() / cols, cols}}, shape, variant, 1, range, runs,
                              tensor_view<float, 3>(out.data(), {shape.heads, range.rows + 1, positions}), scratch);
    return out;
}

template <class Arch, class Codec, class Variant>
void check_weights(const attention_shape& shape, const Variant& variant, const row_range& range) {
    const std::size_t length = static_cast<std::size_t>(range.first_position) + range.rows;
    CAPTURE(shape.heads, shape.kv_heads, shape.head_dim, range.first_position, range.rows);
    plain_cache<Codec> cache(shape, 2, length, 1);
    const std::vector<float> q = random_floats((range.first_row + range.rows) * shape.heads * shape.head_dim, 2);
    const std::vector<float> want = weights(reference::naive(), q, shape, variant, range, cache.runs());
    const std::vector<float> got = weights(cpu<Arch>(), q, shape, variant, range, cache.runs());
    REQUIRE(got.size() == want.size());
    // A score is a sum of head_dim products of magnitude about 1, scaled; a weight's relative error is the score's error.
    const double relative = (64 + 8 * variant.scale * static_cast<double>(shape.head_dim)) * std::numeric_limits<float>::epsilon();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < want.size(); ++i) wrong += !(std::fabs(got[i] - want[i]) <= relative * std::fabs(want[i]) + 1e-33);
    CHECK(wrong == 0);
    const std::size_t positions = length + 5;
    for (std::size_t h = 0; h < shape.heads; ++h)
        for (std::size_t i = 0; i < range.rows; ++i) {
            const float* row = got.data() + (h * (range.rows + 1) + i) * positions;
            double sum = 0;
            const std::size_t seen = static_cast<std::size_t>(range.first_position) + i + 1;
            for (std::size_t j = 0; j < seen; ++j) sum += static_cast<double>(row[j]);
            REQUIRE(std::fabs(sum - 1) < 1e-5);
            REQUIRE(row[seen] == -7.0f);  // nothing is written past what a row sees
        }
    CHECK(same_bits(weights(cpu<Arch>(), q, shape, variant, range, cache.runs(length / 3)), got));
    thread_pool pool(3);
    CHECK(same_bits(weights(cpu<Arch>({.pool = &pool, .policy = compute::exact}), q, shape, variant, range, cache.runs()), got));
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("attention weights over head sizes and groupings", "[backend]", architectures) {
    for (const std::size_t head_dim : {1, 15, 16, 17, 64, 80})
        for (const std::size_t group : {1, 3})
            check_weights<TestType, kv::f32>({2 * group, 2, head_dim}, attention::causal{0.3f}, {2, 21, 0});
}

TEMPLATE_LIST_TEST_CASE("attention weights over lengths, codecs, windows and caps", "[backend]", architectures) {
    const attention_shape shape{3, 1, 24};
    for (const position first : {0, 1, 47, 48, 62, 63, 64, 65, 1100})
        for (const std::size_t rows : {1, 2, 20}) {
            check_weights<TestType, kv::f16>(shape, attention::causal{0.2f}, {1, rows, first});
            check_weights<TestType, kv::f32>(shape, attention::causal{0.2f, 70}, {0, rows, first});
            check_weights<TestType, kv::f32>(shape, attention::soft_capped{{0.2f, 9}, 2.0f}, {0, rows, first});
        }
}

TEST_CASE("a row's weights do not depend on the rows beside it", "[backend]") {
    const attention_shape shape{4, 2, 16};
    plain_cache<kv::f16> cache(shape, 2, 100, 1);
    const std::vector<float> q = random_floats(30 * 4 * 16, 2);
    const attention::causal variant{0.3f};
    const std::vector<float> all = weights(cpu<>(), q, shape, variant, {0, 30, 70}, cache.runs());
    for (std::size_t i = 0; i < 30; ++i) {
        const std::vector<float> one = weights(cpu<>(), q, shape, variant, {i, 1, static_cast<position>(70 + i)}, cache.runs());
        for (std::size_t h = 0; h < 4; ++h)
            CHECK(same_bits(std::span(all).subspan((h * 31 + i) * 105, 71 + i), std::span(one).subspan(h * 2 * (76 + i), 71 + i)));
    }
}
