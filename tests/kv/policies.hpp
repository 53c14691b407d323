// SPDX-License-Identifier: MIT
#pragma once
// The policies every cache test runs over, and a way to write and read a cache as a kernel does.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <skald/kv/contiguous.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/ring.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::test {

inline constexpr kv::cache_shape small_shape{.layers = 2, .kv_heads = 3, .head_dim = 20};

/// What a policy keeps: tokens that a row reads, and pending ones of a sequence.
template <std::size_t Window, std::size_t Step>
struct keeping {
    static constexpr bool keeps_all = Window == kv::all_tokens;
    static constexpr std::size_t step = Step;

    /// The first position that a row at p reads.
    static constexpr std::size_t first(std::size_t p) { return p - std::min(p, Window - 1); }
    /// Whether a sequence that has had `most` tokens since it was empty can go back to `length`.
    static constexpr bool keeps(std::size_t length, std::size_t most) {
        return keeps_all || length == 0 || most <= Window + Step || length + Step + 1 >= most;
    }
};
using keeping_all = keeping<kv::all_tokens, std::numeric_limits<std::size_t>::max()>;

/// Policies with equal room, as types with a static make().
template <class Codec>
struct contiguous_policy : keeping_all {
    static kv::contiguous<Codec> make(std::size_t tokens, std::size_t sequences) { return {{.tokens = tokens, .sequences = sequences}}; }
};
template <class Codec, std::size_t Block>
struct paged_policy : keeping_all {
    static kv::paged<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = (tokens + 2 * Block) * sequences, .sequences = sequences, .block = Block}};
    }
};
template <class Codec, std::size_t Block>
struct radix_policy : keeping_all {
    static kv::radix<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {paged_policy<Codec, Block>::make(tokens, sequences).options};
    }
};

/// Of any room.
template <class Codec, std::size_t Window, std::size_t Step>
struct ring_policy : keeping<Window, Step> {
    static kv::ring<Codec> make(std::size_t, std::size_t sequences) { return {{.window = Window, .step = Step, .sequences = sequences}}; }
};

/// With a budget that no test reaches, it keeps all.
template <class Policy, class Codec>
struct evicting_policy : keeping<kv::all_tokens, 23> {
    static kv::evicting<Policy, Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.budget = tokens, .step = 23, .sequences = sequences, .undo = 23}, {}};
    }
};

/// Of those that keep all tokens, and of rings.
using keeping_policies =
    std::tuple<contiguous_policy<kv::f32>, contiguous_policy<kv::f16>, contiguous_policy<kv::bf16>, paged_policy<kv::f32, 1>,
               paged_policy<kv::f32, 8>, paged_policy<kv::f16, 16>, paged_policy<kv::bf16, 5>, contiguous_policy<kv::fp8>,
               contiguous_policy<kv::i16>, contiguous_policy<kv::q8>, contiguous_policy<kv::q4>, paged_policy<kv::fp8, 16>,
               paged_policy<kv::i16, 16>, paged_policy<kv::q8, 16>, paged_policy<kv::q4, 16>, radix_policy<kv::f32, 5>,
               radix_policy<kv::f16, 16>, radix_policy<kv::q8, 16>>;
using ring_policies =
    std::tuple<ring_policy<kv::f32, 7, 20>, ring_policy<kv::f16, 2, 23>, ring_policy<kv::bf16, 30, 40>, ring_policy<kv::q8, 7, 20>,
               ring_policy<kv::q4, 7, 20>, ring_policy<kv::i16, 7, 20>, ring_policy<kv::fp8, 7, 20>>;
using evicting_policies = std::tuple<evicting_policy<kv::recent, kv::f32>, evicting_policy<kv::h2o, kv::q8>>;
using policies = decltype(std::tuple_cat(keeping_policies{}, ring_policies{}, evicting_policies{}));

/// What a test writes at a place: small integers, told apart in every codec when a row has nothing else.
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

/// What is read where every value of a row was `mark`.
template <class Codec>
float read_back(float mark, std::size_t width, std::size_t i) {
    std::vector<std::byte> bytes(Codec::row_bytes(width));
    Codec::template encode<format::scalar>(std::vector<float>(width, mark).data(), width, bytes.data());
    return Codec::template decode<format::scalar>(bytes.data(), i).value;
}

/// The marks that segment s of the planned step reads at positions [0, n), or nothing where keys, values, heads or layers disagree.
template <class Cache>
bool holds(Cache& cache, std::size_t s, const std::vector<std::uint32_t>& writers, std::size_t first = 0) {
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const auto [run] = cache.view(layer);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        if (run.begin(s) < 0 || run.begin(s) > static_cast<position>(first)) return false;
        if (run.end(s) != static_cast<position>(writers.size())) return false;
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
            for (auto p = static_cast<std::size_t>(run.begin(s)); p < writers.size(); ++p) {
                const float expected = mark_of(writers[p], static_cast<position>(p), layer, h);
                const auto next = static_cast<position>(p + 1);
                if (run.stretch(next - 1) == 0) return false;
                if (run.stretch(next - 1) > 1 && p + 1 < writers.size() && run.key(s, h, next) != run.key(s, h, next - 1) + run.row_bytes())
                    return false;
                for (const std::size_t i : {std::size_t{0}, cache.shape().head_dim - 1}) {
                    const auto at = static_cast<position>(p);
                    if (codec::template decode<format::scalar>(run.key(s, h, at), i).value !=
                        read_back<codec>(expected, cache.shape().width(), i))
                        return false;
                    if (codec::template decode<format::scalar>(run.value(s, h, at), i).value !=
                        read_back<codec>(-expected, cache.shape().width(), i))
                        return false;
                }
            }
    }
    return true;
}

}  // namespace skald::test
