// SPDX-License-Identifier: MIT
#pragma once
// Rows of one cache put into another, as the reference of what becomes of rows that change their places.
#include <algorithm>
#include <array>
#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

#include "support/run_model.hpp"

namespace skald::test {

/// f(layer, head, row of a key, row of a value) of every position of a selected sequence or a planned step.
template <class Cache, class F>
void each_row(Cache& cache, position p, const F& f) {
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
            const auto [run] = cache.view(layer);
            f(layer, h, run.key(0, h, p), run.value(0, h, p));
        }
}

/// A sequence in a new cache whose token i has the rows of token from[i] of another one; `change` may change a key that now stands at i.
template <class Backend, class Policy, class Cache, class Change>
runner<Backend, Policy> rows_of(const model<Backend>& m, const Policy& policy, Cache& cache, kv::sequence_id s,
                                const std::vector<position>& from, std::size_t rows, const Change& change) {
    runner<Backend, Policy> out(m, policy, rows);
    const kv::sequence_id to = out.cache().open();
    const std::array step{kv::segment{to, 0, from.size()}};
    out.cache().plan(step);
    cache.select(s);
    using codec = typename std::tuple_element_t<0, decltype(cache.view(0))>::codec;
    const std::size_t bytes = codec::row_bytes(cache.shape().width());
    std::vector<std::byte> kept;
    for (std::size_t i = 0; i < from.size(); ++i) {
        kept.clear();
        each_row(cache, from[i], [&](std::size_t, std::size_t, const std::byte* key, const std::byte* value) {
            kept.insert(kept.end(), key, key + bytes);
            kept.insert(kept.end(), value, value + bytes);
        });
        auto at = kept.begin();
        each_row(out.cache(), static_cast<position>(i), [&](std::size_t layer, std::size_t, std::byte* key, std::byte* value) {
            std::copy_n(at, bytes, key);
            std::copy_n(at + static_cast<std::ptrdiff_t>(bytes), bytes, value);
            at += static_cast<std::ptrdiff_t>(2 * bytes);
            change(layer, static_cast<position>(i), reinterpret_cast<float*>(key));
        });
    }
    out.cache().commit(to);
    return out;
}

}  // namespace skald::test
