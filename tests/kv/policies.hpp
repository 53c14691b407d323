// SPDX-License-Identifier: MIT
#pragma once
// The policies every cache test runs over, and a way to write and read a cache as a kernel does.
#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/radix.hpp>

namespace skald::test {

inline constexpr kv::cache_shape small_shape{.layers = 2, .kv_heads = 3, .head_dim = 20};

/// Policies with equal room, as types with a static make().
template <class Codec>
struct contiguous_policy {
    static constexpr std::size_t waste = 0;
    static kv::contiguous<Codec> make(std::size_t tokens, std::size_t sequences) { return {{.tokens = tokens, .sequences = sequences}}; }
};
template <class Codec, std::size_t Block>
struct paged_policy {
    static constexpr std::size_t waste = Block - 1;
    static kv::paged<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = (tokens + 2 * Block) * sequences, .sequences = sequences, .block = Block}};
    }
};
template <class Codec, std::size_t Block>
struct radix_policy {
    static kv::radix<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {paged_policy<Codec, Block>::make(tokens, sequences).options};
    }
};

using policies = std::tuple<contiguous_policy<kv::f32>, contiguous_policy<kv::f16>, contiguous_policy<kv::bf16>, paged_policy<kv::f32, 1>,
                            paged_policy<kv::f32, 8>, paged_policy<kv::f16, 16>, paged_policy<kv::bf16, 5>, radix_policy<kv::f32, 5>,
                            radix_policy<kv::f16, 16>>;

/// What a test writes at a place: small integers, exact in every plain codec.
inline float mark_of(std::uint32_t writer, position p, std::size_t layer, std::size_t head) {
    return static_cast<float>((writer * 31 + static_cast<std::uint32_t>(p) * 7 + layer * 3 + head) % 255);
}

/// Writes the planned rows of all segments: every value of a row is its mark; values are the negative of keys.
template <class Cache>
void write_rows(Cache& cache, std::span<const row_range> ranges, const std::vector<std::uint32_t>& writers) {
    std::vector<float> row(cache.shape().width());
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const auto [run] = cache.view(layer);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        for (std::size_t s = 0; s < ranges.size(); ++s)
            for (std::size_t i = 0; i < ranges[s].rows; ++i)
                for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
                    const position p = ranges[s].first_position + static_cast<position>(i);
                    row.assign(row.size(), mark_of(writers[s], p, layer, h));
                    codec::template encode<format::scalar>(row.data(), row.size(), run.key(s, h, p));
                    for (float& x : row) x = -x;
                    codec::template encode<format::scalar>(row.data(), row.size(), run.value(s, h, p));
                }
    }
}

/// The marks that segment s of the planned step reads at positions [0, n), or nothing where keys, values, heads or layers disagree.
template <class Cache>
bool holds(Cache& cache, std::size_t s, const std::vector<std::uint32_t>& writers) {
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const auto [run] = cache.view(layer);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
            for (std::size_t p = 0; p < writers.size(); ++p) {
                const float expected = mark_of(writers[p], static_cast<position>(p), layer, h);
                for (const std::size_t i : {std::size_t{0}, cache.shape().head_dim - 1}) {
                    const auto at = static_cast<position>(p);
                    if (codec::template decode<format::scalar>(run.key(s, h, at), i).value != expected) return false;
                    if (codec::template decode<format::scalar>(run.value(s, h, at), i).value != -expected) return false;
                }
            }
    }
    return true;
}

}  // namespace skald::test
