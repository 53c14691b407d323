// SPDX-License-Identifier: MIT
#pragma once
// The state of the attention fold, a row of it a query: what remains of the positions read so far.
#include <algorithm>
#include <cstddef>
#include <limits>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/math.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/checked.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Greatest score, sum of weights, weighted values.
struct fold_state {
    std::size_t width;  // of a head, padded to whole vectors
    float* acc;         // (queries, width)
    float* most;        // (queries)
    float* sum;         // (queries)

    static std::size_t floats_of(std::size_t queries, std::size_t width) noexcept { return queries * width + 2 * round_up(queries, lanes); }

    static fold_state at(float* memory, std::size_t queries, std::size_t width) noexcept {
        float* most = memory + queries * width;
        return {width, memory, most, most + round_up(queries, lanes)};
    }

    void restart(std::size_t queries) const noexcept {
        std::fill_n(acc, queries * width, 0.0f);
        std::fill_n(most, queries, -std::numeric_limits<float>::infinity());
        std::fill_n(sum, queries, 0.0f);
    }
};

/// e^x - 2e-35 for x ≤ 0, at least zero, which it is from -80 on: subnormal results would cost hundreds of cycles each.
template <class Arch>
SKALD_INLINE simd<Arch> decay(simd<Arch> x) noexcept {
    using V = simd<Arch>;
    return max(V::zero(), exp(max(V::broadcast(-80.0f), x)) - V::broadcast(2e-35f));
}

/// total = total merged with next. A state that saw nothing leaves the other as it is.
template <class Arch>
void merge(const fold_state& total, const fold_state& next, std::size_t queries) noexcept {
    using V = simd<Arch>;
    for (std::size_t i = 0; i < queries; ++i) {
        if (next.most[i] == -std::numeric_limits<float>::infinity()) continue;
        const float most = std::max(total.most[i], next.most[i]);
        const V a = decay(V::broadcast(total.most[i] - most)), b = decay(V::broadcast(next.most[i] - most));
        float* x = total.acc + i * total.width;
        const float* y = next.acc + i * next.width;
        for (std::size_t d = 0; d < total.width; d += lanes) fma(V::load(x + d), a, V::load(y + d) * b).store(x + d);
        fma(V::broadcast(total.sum[i]), a, V::broadcast(next.sum[i]) * b).store_first(total.sum + i, 1);
        total.most[i] = most;
    }
}

/// What rows see of the runs they are folded over: all that their variant shows them …
struct all_seen {
    position_range operator()(position) const noexcept { return {0, std::numeric_limits<position>::max()}; }
};
/// … or what one run shows them.
template <selective_run Run>
struct seen_of {
    const Run& run;
    std::size_t segment;
    position_range operator()(position p) const noexcept { return seen(run, segment, p); }
};

/// The positions of one tile that each query sees.
template <class Variant, class Seen>
struct visible_part {
    const Variant& variant;
    Seen seen;
    std::size_t group;        // queries a row
    position first_position;  // of row 0
    position origin;          // of the tile

    struct range {
        std::size_t from, to;  // in [0, tile_size]; nothing: from == to
        bool operator==(const range&) const = default;
    };

    range operator()(std::size_t query) const noexcept {
        const position at = first_position + static_cast<position>(query / group);
        const position_range shown = seen(at);
        const position from = std::max({variant.begin(at), shown.from, origin});
        const position to = std::min({at + 1, shown.to, origin + static_cast<position>(attention::tile_size)});
        const auto begin = static_cast<std::size_t>(std::min(from, to) - origin);
        return {begin, to <= from ? begin : static_cast<std::size_t>(to - origin)};
    }
};

/// Of the lanes j … j + 15 those in [from, to) of a, the others of b.
template <class Arch>
SKALD_INLINE simd<Arch> choose_range(std::size_t from, std::size_t to, std::size_t j, simd<Arch> a, simd<Arch> b) noexcept {
    if (to < j + lanes) a = choose_first(to > j ? to - j : 0, a, b);
    if (j < from) a = choose_first(std::min(from - j, lanes), b, a);
    return a;
}

/// Scores to weights, in place: those of [from, to), the rest of [first, last) made zero. The query's greatest score and sum follow;
/// returns what its acc is to be multiplied by. // first, last: multiples of 16 around [from, to)
template <class Arch>
SKALD_INLINE simd<Arch> weigh(float* weight, std::size_t from, std::size_t to, std::size_t first, std::size_t last, float& most,
                              float& sum) noexcept {
    using V = simd<Arch>;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const V nothing = V::broadcast(-infinity);
    V greatest = nothing;
    for (std::size_t j = first; j < last; j += lanes) {
        const V s = choose_range<Arch>(from, to, j, V::load(weight + j), nothing);
        greatest = max(greatest, s);
        s.store(weight + j);
    }
    const float now = std::max(most, reduce_max(greatest));
    const V shift = V::broadcast(now == -infinity ? 0.0f : now);  // weights are zero then, not NaN
    const V rescale = decay(V::broadcast(most) - shift);
    V total = V::zero();
    for (std::size_t j = first; j < last; j += lanes) {
        const V w = decay(V::load(weight + j) - shift);
        total = total + w;
        w.store(weight + j);
    }
    most = now;
    fma(V::broadcast(sum), rescale, V::broadcast(reduce_add(total))).store_first(&sum, 1);
    return rescale;
}

}  // namespace skald::inline SKALD_ISA::kernels
