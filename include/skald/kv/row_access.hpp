// SPDX-License-Identifier: MIT
#pragma once
// Rows of a cache as floats, whatever its storage and codec: for what moves keys and values between caches. Not for kernels, which read
// rows as they lie.
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/format/hadamard.hpp>
#include <skald/format/vector.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/state.hpp>

namespace skald::kv {

/// A cache of a run-time kind whose rows can be reached as floats.
///
/// | member                                           | meaning                                                                |
/// |--------------------------------------------------|------------------------------------------------------------------------|
/// | c.select(s) → position                           | ends the step; its rows are then those of s; how many are committed    |
/// | c.load_rows(layer, from, to, out)                | keys, then values of [from, to) // (2, kv_heads, to - from, head_dim)  |
/// | c.store_rows(layer, head, from, keys, values, m) | of segment 0 of the planned step // (tokens, head_dim); m is scratch   |
template <class C>
concept row_access = kv_cache<C> && requires(C c, const C k, sequence_id s, std::size_t n, position p, std::span<float> out,
                                             std::span<const float> in, std::vector<float>& scratch) {
    { c.select(s) } -> std::same_as<position>;
    k.load_rows(n, p, p, out);
    k.store_rows(n, n, p, in, in, scratch);
};

/// A cache whose rows can be read and written as floats.
template <class C>
concept transcodable_cache = viewable_cache<C> || row_access<C>;

namespace detail {

template <viewable_cache Cache>
position select_rows(Cache& cache, sequence_id s) {
    cache.select(s);
    return std::apply([](const auto&... run) { return std::max({run.end(0)...}); }, cache.view(0));
}

template <viewable_cache Cache>
void load_rows(const Cache& cache, std::size_t layer, position from, position to, std::span<float> out) {
    const auto view = cache.view(layer);
    const cache_shape shape = cache.shape();
    for (const bool keys : {true, false})
        for (std::size_t h = 0; h < shape.kv_heads; ++h)
            each_stretch(view, from, to, [&](const auto& run, position p, std::size_t count) {
                using codec = typename std::remove_cvref_t<decltype(run)>::codec;
                const std::byte* row = keys ? run.key(0, h, p) : run.value(0, h, p);
                for (std::size_t i = 0; i < count; ++i, row += run.row_bytes(), out = out.subspan(shape.head_dim)) {
                    for (std::size_t c = 0; c < shape.head_dim; ++c) out[c] = codec::template decode<format::scalar>(row, c).value;
                    if constexpr (hadamard_codec<codec>) format::hadamard(out.data(), shape.head_dim);
                }
            });
}

template <viewable_cache Cache>
void store_rows(const Cache& cache, std::size_t layer, std::size_t head, position from, std::span<const float> keys,
                std::span<const float> values, std::vector<float>& padded) {
    const auto view = cache.view(layer);
    const cache_shape shape = cache.shape();
    padded.assign(shape.width(), 0.0f);
    const auto to = from + static_cast<position>(keys.size() / shape.head_dim);
    const auto write = [&](std::span<const float> rows, auto place) {
        each_stretch(view, from, to, [&](const auto& run, position p, std::size_t count) {
            using codec = typename std::remove_cvref_t<decltype(run)>::codec;
            std::byte* row = place(run, p);
            for (std::size_t i = 0; i < count; ++i, row += run.row_bytes(), rows = rows.subspan(shape.head_dim)) {
                std::copy_n(rows.begin(), shape.head_dim, padded.begin());
                if constexpr (hadamard_codec<codec>) format::hadamard(padded.data(), shape.head_dim);
                codec::template encode<format::scalar>(padded.data(), padded.size(), row);
            }
        });
    };
    write(keys, [&](const auto& run, position p) { return run.key(0, head, p); });
    write(values, [&](const auto& run, position p) { return run.value(0, head, p); });
}

template <row_access Cache>
position select_rows(Cache& cache, sequence_id s) {
    return cache.select(s);
}

template <row_access Cache>
void load_rows(const Cache& cache, std::size_t layer, position from, position to, std::span<float> out) {
    cache.load_rows(layer, from, to, out);
}

template <row_access Cache>
void store_rows(const Cache& cache, std::size_t layer, std::size_t head, position from, std::span<const float> keys,
                std::span<const float> values, std::vector<float>& padded) {
    cache.store_rows(layer, head, from, keys, values, padded);
}

}  // namespace detail

}  // namespace skald::kv
