// SPDX-License-Identifier: MIT
#pragma once
// From scores to weights, in the fold of integers (attention_words.hpp): the products of queries with a tile's keys become exponentials
// under the greatest score so far, and these, each times the scale of its value, words.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/cpu/words.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Size of a row of keys, values or weights; what is smaller becomes zero.
inline constexpr float least_size = 1e-15f;

/// The nearest integer of x · factor, in the lower word of each lane.
template <class Arch>
SKALD_INLINE simd_int<Arch> to_words(simd<Arch> x, simd<Arch> factor) noexcept {
    const simd<Arch> shifted = fma(x, factor, simd<Arch>::broadcast(sums_zero));
    simd_int<Arch> out;
    for (std::size_t i = 0; i < out.parts; ++i) std::memcpy(&out.part(i), &shifted.part(i), sizeof out.part(i));
    return out;
}

/// What some queries and a tile come to; the first of each array is that of the first query. Arrays of floats, one a query, have room for a
/// vector more.
struct word_scores {
    const std::int32_t* products;                        // (queries, tile_size), of words
    const float *query_scale, *key_scale, *value_scale;  // of these words: (queries), (tile_size), (tile_size)
    std::int32_t* weights;                               // words, two a lane: (queries, tile_size / 2)
    float *most, *sum;                                   // of fold_state
    float *rescale, *worth;                              // what acc, and products of weights with values, are to be multiplied by
};

inline bool whole(const tile_part& part) noexcept { return part.from == 0 && part.to == attention::tile_size; }
inline bool whole(const masked_part& part) noexcept { return part.bits == ~std::uint64_t{0}; }

/// Queries first … first + Q - 1, step after step for all of them, so that none waits for another's sums across lanes. Whole: they see all
/// of the tile, else each its part.
template <class Arch, std::size_t Q, bool Whole, class Variant, class Visible, class Part>
[[gnu::noinline]] void weigh_some(const word_scores& s, const Variant& variant, const Visible& visible, const Part* parts,
                                  std::size_t query, std::size_t first) noexcept {
    using V = simd<Arch>;
    using I = simd_int<Arch>;
    constexpr float infinity = std::numeric_limits<float>::infinity(), length = attention::most_length;
    constexpr std::size_t vectors = attention::tile_size / lanes;
    const auto seen = [&](std::size_t q, std::size_t i, V a, float otherwise) {
        if constexpr (Whole)
            return a;
        else
            return choose_part<Arch>(parts[first + q], i * lanes, a, V::broadcast(otherwise));
    };
    V w[Q][vectors], each[Q];
#pragma GCC unroll 4
    for (std::size_t q = 0; q < Q; ++q) {
        const V scale = V::broadcast(s.query_scale[first + q]);
        const attention::score_place place = visible.place(query + first + q);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < vectors; ++i) {
            const V sum = to_float(I::load(s.products + (first + q) * attention::tile_size + i * lanes));
            w[q][i] = sum * V::load(s.key_scale + i * lanes) * scale;
        }
        attention::resolve(variant, [&](const auto& one) {
#pragma GCC unroll 4
            for (std::size_t i = 0; i < vectors; ++i) w[q][i] = one.score(w[q][i], place.after(i * lanes));
        });
#pragma GCC unroll 4
        for (std::size_t i = 0; i < vectors; ++i) {
            w[q][i] = seen(q, i, w[q][i], -infinity);
            each[q] = i == 0 ? w[q][i] : max(each[q], w[q][i]);
        }
    }
    const V before = V::load(s.most + first), now = max(before, each_greatest<Arch>(each));
    choose_first(Q, now, before).store(s.most + first);
    const V shift = max(now, V::broadcast(-std::numeric_limits<float>::max()));  // where nothing was seen, weights are zero, not NaN
    const V keep = decay(before - shift);
    keep.store(s.rescale + first);
    alignas(64) float number[lanes];
    shift.store(number);
#pragma GCC unroll 4
    for (std::size_t q = 0; q < Q; ++q) {
#pragma GCC unroll 4
        for (std::size_t i = 0; i < vectors; ++i) w[q][i] = w[q][i] - V::broadcast(number[q]);
        decay(w[q]);
        each[q] = V::zero();
#pragma GCC unroll 4
        for (std::size_t i = 0; i < vectors; ++i) each[q] = each[q] + w[q][i];
    }
    const V old = V::load(s.sum + first);
    choose_first(Q, fma(old, keep, each_sum<Arch>(each)), old).store(s.sum + first);
#pragma GCC unroll 4
    for (std::size_t q = 0; q < Q; ++q) {
        each[q] = V::broadcast(least_size * least_size);  // so that none is subnormal
#pragma GCC unroll 4
        for (std::size_t i = 0; i < vectors; ++i) {
            w[q][i] = seen(q, i, w[q][i] * V::load(s.value_scale + i * lanes), 0.0f);
            each[q] = fma(w[q][i], w[q][i], each[q]);
        }
    }
    const V norm = square_root(each_sum<Arch>(each));
    (norm * V::broadcast(1.0f / length)).store(s.worth + first);
    (V::broadcast(length) / norm).store(number);
#pragma GCC unroll 4
    for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 2
        for (std::size_t i = 0; i < vectors; i += 2)
            low_words(to_words(w[q][i], V::broadcast(number[q])), to_words(w[q][i + 1], V::broadcast(number[q])))
                .store(s.weights + ((first + q) * attention::tile_size + i * lanes) / 2);
}

/// All of them: as many together as registers have room for. // parts: (count), what each sees
template <class Arch, class Variant, class Visible, class Part>
void weigh(const word_scores& s, const Variant& variant, const Visible& visible, const Part* parts, std::size_t query,
           std::size_t count) noexcept {
    constexpr std::size_t most = simd<Arch>::parts == 1 ? 4 : 1;
    for (std::size_t q = 0; q < count;) {
        const std::size_t together = std::min(most, count - q);
        bool all = true;
        for (std::size_t i = 0; i < together; ++i) all = all && whole(parts[q + i]);
        const auto some = [&]<std::size_t Q, bool Whole>() { weigh_some<Arch, Q, Whole>(s, variant, visible, parts, query, q); };
        if constexpr (most == 1) {
            all ? some.template operator()<1, true>() : some.template operator()<1, false>();
        } else {
            if (together == 1)
                some.template operator()<1, false>();
            else if (together == 2)
                some.template operator()<2, false>();
            else if (together == 3)
                some.template operator()<3, false>();
            else if (all)
                some.template operator()<4, true>();
            else
                some.template operator()<4, false>();
        }
        q += together;
    }
}

}  // namespace skald::inline SKALD_ISA::kernels
