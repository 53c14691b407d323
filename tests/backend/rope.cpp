// SPDX-License-Identifier: MIT
// Rotation and append against the naive backend.
#include "backend/attention_support.hpp"

using namespace skald;
using namespace skald::test;
using reference::naive;

namespace {

/// Queries and keys after rope_append, and what the cache then holds.
struct rotated {
    std::vector<float> q, k;
    std::vector<std::byte> keys, values;
};

template <class Backend>
rotated rotate(const Backend& backend, const attention_shape& shape, std::size_t dims, bool interleaved, std::span<const row_range> ranges,
               std::size_t rows, std::size_t length) {
    const std::size_t width = round_up(shape.head_dim, kv::lane_count), row_bytes = kv::f32::row_bytes(width);
    rotated out{random_floats(rows * shape.heads * shape.head_dim, 1),
                random_floats(rows * shape.kv_heads * shape.head_dim, 2),
                std::vector<std::byte>(ranges.size() * shape.kv_heads * length * row_bytes),
                {}};
    out.values = out.keys;
    const std::vector<float> v = random_floats(rows * shape.kv_heads * shape.head_dim, 3);
    const std::vector<float> cosine = random_floats(rows * dims / 2, 4), sine = random_floats(rows * dims / 2, 5);
    const plain_run<kv::f32> run{
        out.keys.data(),    out.values.data(), 0, static_cast<position>(length), shape.kv_heads * length * row_bytes,
        length * row_bytes, row_bytes,         3};
    auto scratch = backend.make_scratch(shape);
    backend.rope_append({out.q.data(), {rows, shape.heads * shape.head_dim}}, {out.k.data(), {rows, shape.kv_heads * shape.head_dim}},
                        {v.data(), {rows, shape.kv_heads * shape.head_dim}}, shape,
                        {dims, interleaved, {cosine.data(), {rows, dims / 2}}, {sine.data(), {rows, dims / 2}}}, ranges, std::tuple(run),
                        scratch);
    return out;
}

double distance(std::span<const float> a, std::span<const float> b) {
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
    return worst;
}

std::span<const float> floats(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("heads are rotated and appended", "[backend]", architectures) {
    const row_range few[] = {{0, 2, 3}, {2, 1, 0}}, many[] = {{0, 30, 1}, {30, 90, 4}};
    thread_pool pool(3);
    for (const std::size_t head_dim : {2, 16, 30, 64, 100})
        for (const std::size_t dims : {head_dim, head_dim / 4 * 2})
            for (const bool interleaved : {true, false})
                for (const std::span<const row_range> ranges : {std::span<const row_range>(few), std::span<const row_range>(many)}) {
                    CAPTURE(head_dim, dims, interleaved);
                    const attention_shape shape{6, 2, head_dim};
                    const std::size_t rows = ranges.size() == 2 && ranges[1].rows == 1 ? 3 : 120;
                    const rotated want = rotate(naive(), shape, dims, interleaved, ranges, rows, 100);
                    const rotated got = rotate(cpu<TestType>(), shape, dims, interleaved, ranges, rows, 100);
                    const double allowed = 32 * std::numeric_limits<float>::epsilon();  // of values and angles up to about 4
                    CHECK(distance(got.q, want.q) <= allowed);
                    CHECK(distance(got.k, want.k) <= allowed);
                    CHECK(distance(floats(got.keys), floats(want.keys)) <= allowed);
                    CHECK(got.values == want.values);
                    const rotated threaded = rotate(cpu<TestType>({.pool = &pool}), shape, dims, interleaved, ranges, rows, 100);
                    CHECK(same_bits(threaded.q, got.q));
                    CHECK(threaded.keys == got.keys);
                }
}
