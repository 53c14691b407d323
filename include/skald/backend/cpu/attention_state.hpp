// SPDX-License-Identifier: MIT
#pragma once
// The state of the attention fold, a row of it a query: what remains of the positions read so far.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
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
    float* most;        // (queries), and a vector more: whole ones can be read from any query on
    float* sum;         // the same

    static std::size_t floats_of(std::size_t queries, std::size_t width) noexcept { return queries * width + 2 * padded(queries); }

    static fold_state at(float* memory, std::size_t queries, std::size_t width) noexcept {
        float* most = memory + queries * width;
        return {width, memory, most, most + padded(queries)};
    }

    void restart(std::size_t queries) const noexcept {
        std::fill_n(acc, queries * width, 0.0f);
        std::fill_n(most, queries, -std::numeric_limits<float>::infinity());
        std::fill_n(sum, queries, 0.0f);
    }

private:
    static std::size_t padded(std::size_t queries) noexcept { return round_up(queries, lanes) + lanes; }
};

/// x = e^x - 2e-35 for x ≤ 0, at least zero, which it is from -80 on: subnormal results would cost hundreds of cycles each.
template <class Arch, std::size_t N>
SKALD_INLINE void decay(simd<Arch> (&x)[N]) noexcept {
    using V = simd<Arch>;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) x[i] = max(V::broadcast(-80.0f), x[i]);
    bounded_exp(x);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) x[i] = max(V::zero(), x[i] - V::broadcast(2e-35f));
}
template <class Arch>
SKALD_INLINE simd<Arch> decay(simd<Arch> x) noexcept {
    simd<Arch> one[] = {x};
    decay(one);
    return one[0];
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

/// Adds a score that belongs to no position.
template <class Arch>
void add_sink(const fold_state& state, std::size_t query, float sink) noexcept {
    using V = simd<Arch>;
    const float most = std::max(state.most[query], sink);
    const V a = decay(V::broadcast(state.most[query] - most)), b = decay(V::broadcast(sink - most));
    float* x = state.acc + query * state.width;
    for (std::size_t d = 0; d < state.width; d += lanes) (V::load(x + d) * a).store(x + d);
    fma(V::broadcast(state.sum[query]), a, b).store_first(state.sum + query, 1);
    state.most[query] = most;
}

/// What each row of a task sees of the runs it is folded over: all that its variant shows it …
struct all_seen {
    position_range operator()(std::size_t) const noexcept { return {0, std::numeric_limits<position>::max()}; }
    position standing(position p) const noexcept { return p; }
};
/// … or what one run shows it, found once for all tiles. The run's type is forgotten, so that folds are compiled once for all runs.
struct seen_rows {
    const position_range* shown;  // (rows)
    position farthest;            // where a row stands at most

    position_range operator()(std::size_t row) const noexcept { return shown[row]; }
    position standing(position p) const noexcept { return std::min(p, farthest); }
};
/// … or what was chosen for each of them, by bits of a tile; its type is forgotten, too.
class chosen_of {
public:
    template <choosing_run Run>
    chosen_of(const Run& run, std::size_t segment, std::size_t kv_head) noexcept
        : run_(&run),
          segment_(segment),
          kv_head_(kv_head),
          shown_([](const void* r, std::size_t s, std::size_t h, position p, position t) noexcept {
              return static_cast<const Run*>(r)->shown(s, h, p, t);
          }) {}

    position_range operator()(std::size_t) const noexcept { return {0, std::numeric_limits<position>::max()}; }
    position standing(position p) const noexcept { return p; }
    std::uint64_t bits(position p, position tile) const noexcept { return shown_(run_, segment_, kv_head_, p, tile); }

private:
    const void* run_;
    std::size_t segment_, kv_head_;
    std::uint64_t (*shown_)(const void*, std::size_t, std::size_t, position, position) noexcept;
};
template <class Seen>
concept choosing_seen = requires(const Seen s, position p) { s.bits(p, p); };

/// What a query sees of a tile: positions [from, to) of it, in [0, tile_size]; nothing: from == to. …
struct tile_part {
    std::size_t from, to;
    bool operator==(const tile_part&) const = default;
};
/// … Or those of them whose bits are set, the first and the last among them.
struct masked_part : tile_part {
    std::uint64_t bits;
    bool operator==(const masked_part&) const = default;
};

/// The part of one tile that each query sees.
template <class Variant, class Seen>
struct visible_part {
    const Variant& variant;
    Seen seen;
    std::size_t kv_head, group;  // group: queries a row
    const position* rows;        // where each row stands
    position origin;             // of the tile

    static constexpr bool masks = attention::masking<Variant> || choosing_seen<Seen>;  // whether parts have bits

    /// The queries of a row see the same.
    auto of_row(std::size_t number) const noexcept {
        const position at = rows[number];
        const position_range shown = seen(number);
        const position from = std::max({variant.begin(at), shown.from, origin});
        const position to = std::min({at + 1, shown.to, origin + static_cast<position>(attention::tile_size)});
        const auto begin = static_cast<std::size_t>(std::min(from, to) - origin);
        const tile_part part{begin, to <= from ? begin : static_cast<std::size_t>(to - origin)};
        if constexpr (masks) {
            std::uint64_t bits = ~std::uint64_t{0};
            if constexpr (attention::masking<Variant>) bits = variant.shown(at, origin);
            if constexpr (choosing_seen<Seen>) bits &= seen.bits(at, origin);
            return masked(part, bits);
        } else {
            return part;
        }
    }
    auto operator()(std::size_t query) const noexcept { return of_row(query / group); }

    /// out[i] = that of query first + i.
    template <class Part>
    void each(std::size_t first, std::size_t count, Part* out) const noexcept {
        std::size_t number = first / group, left = (number + 1) * group - first;
        for (Part* const end = out + count; out != end; ++number, left = group) {
            const Part part = of_row(number);
            const std::size_t n = std::min(left, static_cast<std::size_t>(end - out));
            out = std::fill_n(out, n, part);
        }
    }

    /// Of the tile's first position.
    attention::score_place place(std::size_t query) const noexcept {
        return {.head = kv_head * group + query % group, .row = seen.standing(rows[query / group]), .key = origin};
    }

private:
    static masked_part masked(tile_part part, std::uint64_t bits) noexcept {
        const std::size_t count = part.to - part.from;
        if (count < attention::tile_size) bits &= ((std::uint64_t{1} << count) - 1) << part.from;
        if (bits == 0) return {{part.from, part.from}, 0};
        return {{static_cast<std::size_t>(std::countr_zero(bits)), attention::tile_size - static_cast<std::size_t>(std::countl_zero(bits))},
                bits};
    }
};

/// A run as a row of a tree reads it: its ancestors at the positions of their depths. // where: (tile_size), of the positions from `origin`
/// on
template <class Run>
struct path_run {
    using codec = typename Run::codec;
    const Run& run;
    const position* where;
    position origin, first, last;  // first, last: of the ancestors, the row itself the last one

    position begin(std::size_t segment) const noexcept { return run.begin(segment); }
    position end(std::size_t segment) const noexcept {
        return std::min({run.end(segment), last + 1, origin + static_cast<position>(attention::tile_size)});
    }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return run.key(segment, kv_head, stored(p)); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return run.value(segment, kv_head, stored(p)); }
    std::size_t row_bytes() const noexcept { return run.row_bytes(); }
    std::size_t stretch(position p) const noexcept {
        return p < first ? std::min(run.stretch(p), static_cast<std::size_t>(first - p)) : std::size_t{1};
    }

private:
    position stored(position p) const noexcept { return p < first ? p : where[p - origin]; }
};

/// Of the lanes j … j + 15 those in the part of a, the others of b.
template <class Arch>
SKALD_INLINE simd<Arch> choose_part(const tile_part& part, std::size_t j, simd<Arch> a, simd<Arch> b) noexcept {
    if (part.to < j + lanes) a = choose_first(part.to > j ? part.to - j : 0, a, b);
    if (j < part.from) a = choose_first(std::min(part.from - j, lanes), b, a);
    return a;
}
template <class Arch>
SKALD_INLINE simd<Arch> choose_part(const masked_part& part, std::size_t j, simd<Arch> a, simd<Arch> b) noexcept {
    return choose_bits(static_cast<std::uint32_t>(part.bits >> j & 0xffff), a, b);
}

/// Scores to weights, in place: those of the part, the rest of [first, last) made zero. The query's greatest score and sum follow;
/// returns what its acc is to be multiplied by. // first, last: multiples of 16 around [part.from, part.to)
template <class Arch, class Part>
SKALD_INLINE simd<Arch> weigh(float* weight, const Part& part, std::size_t first, std::size_t last, float& most, float& sum) noexcept {
    using V = simd<Arch>;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const V nothing = V::broadcast(-infinity);
    V greatest = nothing;
    for (std::size_t j = first; j < last; j += lanes) {
        const V s = choose_part<Arch>(part, j, V::load(weight + j), nothing);
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
