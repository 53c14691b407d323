// SPDX-License-Identifier: MIT
#pragma once
// The attention fold in f32, for the policy `exact`: a tile of keys and values is decoded to floats once, then folded into the
// states of all queries of a task.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/checked.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// A tile and the queries that read it; the interface of a fold (attention.hpp says what its members are asked for).
template <class Arch>
class float_fold {
    using V = simd<Arch>;
    static constexpr std::size_t tile_size = attention::tile_size;

    // Queries folded together, and vectors of the head that each gathers at once: accumulators that fit the registers.
    static constexpr std::size_t most_queries = V::parts == 1 ? 4 : 2;
    static constexpr std::size_t most_vectors = V::parts == 1 ? 4 : V::parts == 2 ? 2 : 1;

public:
    static std::size_t floats_of(std::size_t queries, std::size_t width) noexcept { return width * (2 * tile_size + queries); }

    float_fold(float* memory, std::size_t, std::size_t width) noexcept
        : width_(width), keys_(memory), values_(keys_ + tile_size * width), queries_(values_ + tile_size * width) {}

    void start(std::size_t) noexcept {}

    void load_query(std::size_t query, const float* x, std::size_t head_dim, V scale) noexcept {
        float* y = queries_ + query * width_;
        for (std::size_t d = 0; d < width_; d += lanes) (V::load_first(x + d, head_dim - d) * scale).store(y + d);
    }

    /// Positions [from, to) of the tile.
    template <class Source>
    void read(std::size_t from, std::size_t to, const Source& source, std::size_t, std::size_t) noexcept {
        source.keys(from, to, decode_into(keys_));
        source.values(from, to, decode_into(values_));
    }

    /// Queries that see the same part of the tile go together.
    template <class Variant, class Visible>
    void fold(const Variant& variant, const Visible& visible, std::size_t first, std::size_t queries, const fold_state& state) noexcept {
        const std::size_t last = first + queries;
        for (std::size_t query = first, end; query < last; query = end) {
            const auto part = visible(query);
            for (end = query + 1; end < last && visible(end) == part;) ++end;
            if (part.from == part.to) continue;
            std::size_t left = end - query;
            for (; left >= most_queries; query += most_queries, left -= most_queries)
                fold<most_queries>(variant, visible, part, state, query);
            if constexpr (most_queries == 4) {
                if (left == 3) fold<3>(variant, visible, part, state, query);
                if (left == 2) fold<2>(variant, visible, part, state, query);
            }
            if (left == 1) fold<1>(variant, visible, part, state, query);
        }
    }

private:
    auto decode_into(float* rows) const noexcept {
        return [this, rows]<class Codec>(Codec, std::size_t j, std::size_t n, const auto& addresses, std::size_t) {
            const std::byte* bytes[tile_size];
            addresses(0, n, bytes);
            for (std::size_t i = 0; i < n; ++i)
                for (std::size_t d = 0; d < width_; d += lanes) Codec::template decode<V>(bytes[i], d).store(rows + (j + i) * width_ + d);
        };
    }

    /// Q queries that see the same part of the tile.
    template <std::size_t Q, class Variant, class Visible, class Part>
    void fold(const Variant& variant, const Visible& visible, const Part& part, const fold_state& state, std::size_t query) noexcept {
        const std::size_t from = part.from, to = part.to, first = from / lanes * lanes;
        alignas(64) float weight[Q][tile_size];
        V rescale[Q];
        for (std::size_t q = 0; q < Q; ++q) {
            const attention::score_place at = visible.place(query + q);
            for (std::size_t j = first; j < to; j += lanes)
                variant.score(scores(queries_ + (query + q) * width_, j), at.after(j)).store(weight[q] + j);
            rescale[q] = weigh<Arch>(weight[q], part, first, round_up(to, lanes), state.most[query + q], state.sum[query + q]);
        }
        float* acc = state.acc + query * width_;
        std::size_t d = 0;
        for (; d + most_vectors * lanes <= width_; d += most_vectors * lanes)
            gather<Q, most_vectors>(weight, from, to, rescale, acc + d, values_ + d);
        for (; d < width_; d += lanes) gather<Q, 1>(weight, from, to, rescale, acc + d, values_ + d);
    }

    /// q · k of 16 keys.
    SKALD_INLINE V scores(const float* q, std::size_t j) const noexcept {
        switch (width_) {
            case 4 * lanes: return scores<4>(q, j);
            case 8 * lanes: return scores<8>(q, j);
            default: return scores<0>(q, j);
        }
    }
    /// The same for heads of N vectors; 0: of any width.
    template <std::size_t N>
    SKALD_INLINE V scores(const float* q, std::size_t j) const noexcept {
        V part[lanes];
        const std::size_t width = N == 0 ? width_ : N * lanes;
        const float* k = keys_ + j * width;
#pragma GCC unroll 16
        for (std::size_t i = 0; i < lanes; ++i) {
            part[i] = V::load(q) * V::load(k + i * width);
            if constexpr (N != 0) {
#pragma GCC unroll 8
                for (std::size_t n = 1; n < N; ++n) part[i] = fma(V::load(q + n * lanes), V::load(k + i * width + n * lanes), part[i]);
            } else {
                for (std::size_t d = lanes; d < width; d += lanes) part[i] = fma(V::load(q + d), V::load(k + i * width + d), part[i]);
            }
        }
        return sum_rows(part);
    }

    /// acc = acc · rescale + Σ weight · value, position after position, for N vectors of the head.
    template <std::size_t Q, std::size_t N>
    SKALD_INLINE void gather(const float (&weight)[Q][tile_size], std::size_t from, std::size_t to, const V (&rescale)[Q], float* acc,
                             const float* values) noexcept {
        V a[Q][N];
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 4
            for (std::size_t n = 0; n < N; ++n) a[q][n] = V::load(acc + q * width_ + n * lanes) * rescale[q];
        for (std::size_t j = from; j < to; ++j) {
            V v[N];
#pragma GCC unroll 4
            for (std::size_t n = 0; n < N; ++n) v[n] = V::load(values + j * width_ + n * lanes);
#pragma GCC unroll 4
            for (std::size_t q = 0; q < Q; ++q) {
                const V w = V::broadcast(weight[q][j]);
#pragma GCC unroll 4
                for (std::size_t n = 0; n < N; ++n) a[q][n] = fma(w, v[n], a[q][n]);
            }
        }
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q)
#pragma GCC unroll 4
            for (std::size_t n = 0; n < N; ++n) a[q][n].store(acc + q * width_ + n * lanes);
    }

    std::size_t width_;
    float *keys_, *values_, *queries_;  // (tile_size, width), (tile_size, width), (queries, width)
};

}  // namespace skald::inline SKALD_ISA::kernels
