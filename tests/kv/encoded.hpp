// SPDX-License-Identifier: MIT
#pragma once
// What tests of encoded sequences share: rows as models make them, rows read back, and a cache with a sequence to decode into that is
// watched.
#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include <skald/kv/contiguous.hpp>
#include <skald/kv/transport.hpp>

#include "kv/streams.hpp"
#include "kv/watched.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

namespace skald::test {

/// Appends rows as models make them: channels with means of their own, correlated from token to token, and a first token unlike the others.
template <class Cache>
void grow(Cache& cache, kv::sequence_id s, std::size_t rows, std::mt19937& random) {
    const std::array segments{kv::segment{s, 0, rows}};
    const position first = cache.plan(segments)[0].first_position;
    const kv::cache_shape shape = cache.shape();
    std::normal_distribution<float> normal;
    std::vector<float> keys(rows * shape.head_dim), values(keys.size()), padded;
    for (std::size_t layer = 0; layer < shape.layers; ++layer)
        for (std::size_t h = 0; h < shape.kv_heads; ++h) {
            for (std::size_t c = 0; c < shape.head_dim; ++c) {
                const float mean = 3 * normal(random);
                float last = normal(random);
                for (std::size_t i = 0; i < rows; ++i) {
                    last = 0.8f * last + 0.6f * normal(random);
                    keys[i * shape.head_dim + c] = mean + last;
                    values[i * shape.head_dim + c] = normal(random) * (first + static_cast<position>(i) == 0 ? 0.1f : 1.0f);
                }
            }
            kv::detail::store_rows(cache, layer, h, first, keys, values, padded);
        }
    cache.commit(s);
}

/// Keys and values of the first committed tokens. // (layers, 2, kv_heads, rows, head_dim)
template <class Cache>
std::vector<float> rows_of(Cache& cache, kv::sequence_id s, std::size_t rows) {
    const kv::cache_shape shape = cache.shape();
    std::vector<float> out(shape.layers * 2 * shape.kv_heads * rows * shape.head_dim);
    cache.select(s);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const std::size_t size = out.size() / shape.layers;
        kv::detail::load_rows(cache, layer, 0, static_cast<position>(rows), std::span(out).subspan(layer * size, size));
    }
    return out;
}

inline double rms(const std::vector<float>& x) {
    double sum = 0;
    for (const float f : x) sum += static_cast<double>(f) * static_cast<double>(f);
    return std::sqrt(sum / static_cast<double>(x.size()));
}

inline double greatest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    return most;
}

/// A small encoded sequence of 9 tokens.
struct small_state {
    static constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 1, .head_dim = 4};
    std::vector<token_id> tokens = some_tokens(9);
    bytes encoded;

    small_state() {
        std::mt19937 random(7);
        auto cache = kv::contiguous<kv::f32>{{.tokens = 16}}.make(shape, std::pmr::new_delete_resource());
        const kv::sequence_id s = cache.open();
        grow(cache, s, 9, random);
        kv::encode(cache, s, tokens, into(encoded), {.model = 42}, "note");
    }
};

struct watched : watched_cache {
    kv::sequence_id empty = cache.open();

    bool as_it_was() { return cache.length(empty) == 0 && watched_cache::as_it_was(2); }
    template <class Source>
    errc refused(const Source& source, std::uint64_t model = 42) {
        return code_of([&] { kv::decode(cache, empty, source, {.model = model, .memory = &memory}); });
    }
};

}  // namespace skald::test
