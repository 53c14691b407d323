// SPDX-License-Identifier: MIT
#pragma once
// Rotary embedding of queries and keys in place (Su et al. 2021), and the append of keys and values to a cache.
#include <algorithm>
#include <cstddef>
#include <span>
#include <tuple>

#include <skald/backend/cpu/attention_scratch.hpp>
#include <skald/backend/cpu/parallel.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/ops.hpp>
#include <skald/format/hadamard.hpp>

namespace skald::inline SKALD_ISA::kernels {

namespace detail {

/// Element pairs (i, i + dims/2) of `count` heads that lie `head_dim` apart.
template <class Arch>
void rotate_halves(float* heads, std::size_t count, std::size_t head_dim, std::size_t pairs, const float* cosine,
                   const float* sine) noexcept {
    using V = simd<Arch>;
    for (std::size_t i = 0; i < pairs; i += lanes) {
        const std::size_t left = pairs - i;
        const V c = V::load_first(cosine + i, left), s = V::load_first(sine + i, left);
        for (std::size_t h = 0; h < count; ++h) {
            float* a = heads + h * head_dim + i;
            float* b = a + pairs;
            const V x = V::load_first(a, left), y = V::load_first(b, left);
            fma(x, c, V::zero() - y * s).store_first(a, left);
            fma(x, s, y * c).store_first(b, left);
        }
    }
}

alignas(64) inline constexpr float rotation_signs[lanes] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};

/// Element pairs (2i, 2i + 1): x · c + swapped x · (-s, s), with each cosine and sine twice.
template <class Arch>
void rotate_neighbours(float* heads, std::size_t count, std::size_t head_dim, std::size_t pairs, const float* cosine,
                       const float* sine) noexcept {
    using V = simd<Arch>;
    constexpr std::size_t vector = lanes / 2;
    const V signs = V::load(rotation_signs);
    std::size_t i = 0;
    for (; i + vector <= pairs; i += vector) {
        const V c = V::load_twice(cosine + i), s = V::load_twice(sine + i) * signs;
        for (std::size_t h = 0; h < count; ++h) {
            float* x = heads + h * head_dim + 2 * i;
            const V v = V::load(x);
            fma(v, c, swap_pairs(v) * s).store(x);
        }
    }
    for (; i < pairs; i += vector) {
        const std::size_t here = std::min(vector, pairs - i), left = 2 * here;
        alignas(64) float twice[2][lanes] = {};
        for (std::size_t j = 0; j < here; ++j) {
            twice[0][2 * j] = twice[0][2 * j + 1] = cosine[i + j];
            twice[1][2 * j] = -sine[i + j];
            twice[1][2 * j + 1] = sine[i + j];
        }
        const V c = V::load(twice[0]), s = V::load(twice[1]);
        for (std::size_t h = 0; h < count; ++h) {
            float* x = heads + h * head_dim + 2 * i;
            const V v = V::load_first(x, left);
            fma(v, c, swap_pairs(v) * s).store_first(x, left);
        }
    }
}

template <class Arch>
void rotate(float* heads, std::size_t count, std::size_t head_dim, const rope_rows& rope, const float* cosine, const float* sine) noexcept {
    const std::size_t pairs = rope.dims / 2;
    if (pairs == 0) return;
    if (rope.interleaved)
        rotate_neighbours<Arch>(heads, count, head_dim, pairs, cosine, sine);
    else
        rotate_halves<Arch>(heads, count, head_dim, pairs, cosine, sine);
}

template <class Arch>
void rotate(float* heads, std::size_t count, std::size_t head_dim, const rope_rows& rope, std::size_t row) noexcept {
    rotate<Arch>(heads, count, head_dim, rope, rope.cosine.data() + row * rope.cosine.strides()[0],
                 rope.sine.data() + row * rope.sine.strides()[0]);
}

/// The cosines and sines that lead from the position of a row to the one that queries are turned to, of the difference of both angles.
/// // cosine, sine: (dims / 2)
template <class Arch>
void turn_of(const rope_rows& rope, std::size_t row, float* cosine, float* sine) noexcept {
    using V = simd<Arch>;
    const float* c = rope.cosine.data() + row * rope.cosine.strides()[0];
    const float* s = rope.sine.data() + row * rope.sine.strides()[0];
    for (std::size_t i = 0; i < rope.dims / 2; i += lanes) {
        const std::size_t left = rope.dims / 2 - i;
        const V to_c = V::load_first(rope.turned_cosine + i, left), to_s = V::load_first(rope.turned_sine + i, left);
        const V at_c = V::load_first(c + i, left), at_s = V::load_first(s + i, left);
        fma(to_c, at_c, to_s * at_s).store_first(cosine + i, left);
        fma(to_s, at_c, V::zero() - to_c * at_s).store_first(sine + i, left);
    }
}

/// Encodes one head, padded with zeros to whole vectors. // padded: room for that, which the head may lie in
template <class Arch, class Codec>
void encode_head(const float* x, std::size_t head_dim, float* padded, std::byte* out) noexcept {
    const std::size_t width = round_up(head_dim, lanes);
    if (width == head_dim) {
        Codec::template encode<simd<Arch>>(x, width, out);
        return;
    }
    std::copy_n(x, head_dim, padded);
    std::fill_n(padded + head_dim, width - head_dim, 0.0f);
    Codec::template encode<simd<Arch>>(padded, width, out);
}

}  // namespace detail

template <class Arch, kv_run... Runs>
void rope_append(matrix_view<float> q, matrix_view<float> k, matrix_view<const float> v, const attention_shape& shape,
                 const rope_rows& rope, std::span<const row_range> ranges, const std::tuple<Runs...>& runs, attention_scratch& scratch,
                 const workers& w) {
    constexpr bool before_rope = (unrotated_run<Runs> || ...);
    static_assert(!before_rope || (unrotated_run<Runs> && ...), "a view's runs all hold keys before rope, or none does");
    const auto do_row = [&](std::size_t s, std::size_t row, position p, float* room) {
        float* keys = k.data() + row * k.strides()[0];
        const float* values = v.data() + row * v.strides()[0];
        detail::rotate<Arch>(q.data() + row * q.strides()[0], shape.heads, shape.head_dim, rope, row);
        if constexpr (!before_rope) detail::rotate<Arch>(keys, shape.kv_heads, shape.head_dim, rope, row);
        const auto put = [&]<class Run>(const Run& run) {
            if constexpr (!sealing_run<Run, simd<Arch>>) {
                if (p < run.begin(s) || p >= run.end(s)) return;
                const auto keep = [&](const float* head, std::byte* out) {
                    if constexpr (hadamard_run<Run>) {
                        std::copy_n(head, shape.head_dim, room);
                        format::hadamard(room, shape.head_dim);
                        head = room;
                    }
                    detail::encode_head<Arch, row_codec<typename Run::codec>>(head, shape.head_dim, room, out);
                };
                for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                    keep(keys + h * shape.head_dim, run.key(s, h, p));
                    if (run.value(s, h, p) != run.key(s, h, p)) keep(values + h * shape.head_dim, run.value(s, h, p));
                }
            }
        };
        std::apply([&](const auto&... run) { (put(run), ...); }, runs);
    };
    std::size_t rows = 0;
    for (const row_range& range : ranges) rows += range.rows;
    // A thread takes rows [begin, end) counted over all ranges.
    w.split(rows, 1 + 8192 / ((shape.heads + 2 * shape.kv_heads) * shape.head_dim + 1),
            [&](std::size_t begin, std::size_t end, std::size_t piece) {
                std::size_t before = 0;
                for (std::size_t s = 0; s < ranges.size() && before < end; before += ranges[s++].rows)
                    for (std::size_t i = std::max(begin, before); i < std::min(end, before + ranges[s].rows); ++i)
                        do_row(s, ranges[s].first_row + (i - before), ranges[s].first_position + static_cast<position>(i - before),
                               scratch.of(piece));
            });
    const auto seal = [&]<class Run>(const Run& run) {
        if constexpr (sealing_run<Run, simd<Arch>>)
            w.split(ranges.size() * shape.kv_heads, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
                for (std::size_t i = begin; i < end; ++i) {
                    const row_range& range = ranges[i / shape.kv_heads];
                    run.template seal<simd<Arch>>(i / shape.kv_heads, i % shape.kv_heads, range.first_position,
                                                  range.first_position + static_cast<position>(range.rows));
                }
            });
    };
    std::apply([&](const auto&... run) { (seal(run), ...); }, runs);
}

}  // namespace skald::inline SKALD_ISA::kernels
