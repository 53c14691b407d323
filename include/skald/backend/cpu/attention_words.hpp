// SPDX-License-Identifier: MIT
#pragma once
// The attention fold in integers, for the policy `native`: queries, keys, values and weights are rounded to 16-bit words, each row with
// a scale of its own. Sums of a tile are exact, so that one row and many, and every instruction that multiplies, agree bitwise.
//
// - score = (Σ q · k) · (scale of k) · (scale of q); q and k are vectors of length 32700, so that |Σ q · k| < 2^31 (Cauchy-Schwarz);
// - a weight is multiplied by its value's scale before it is rounded. Values are at most 8190, a tile's 64 weights a vector of length
//   32700: |Σ w · v| ≤ 32700 · 8190 · sqrt(64) < 2^31.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/attention_softmax.hpp>
#include <skald/backend/cpu/attention_state.hpp>
#include <skald/backend/cpu/attention_tiles.hpp>
#include <skald/backend/cpu/code_products.hpp>
#include <skald/backend/cpu/row_words.hpp>
#include <skald/backend/cpu/rows_by_eight.hpp>
#include <skald/backend/cpu/word_sizes.hpp>
#include <skald/backend/cpu/words.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// A tile and the queries that read it; the interface of a fold (attention.hpp says what its members are asked for).
template <class Arch>
class word_fold {
    using V = simd<Arch>;
    using I = simd_int<Arch>;
    static constexpr std::size_t tile_size = attention::tile_size;
    static constexpr std::size_t block = 16;                // queries folded together
    static constexpr std::size_t unit = 2 * lanes;          // words lie in pairs of columns, and of positions, i and i + 16 of each unit
    static constexpr bool multiplies_rows = I::parts == 1;  // shorter registers are too few
    static constexpr std::size_t most_few = 4;              // queries that cost less a row than laying it out does
    static constexpr float length = attention::most_length;

public:
    /// Of heads: of latents, 512 + 64, and some more. Rounding lengthens vectors by sqrt(640) / 2 < 13 at most: |Σ q · k| ≤ 32713² < 2^30.
    static constexpr std::size_t most_width = 640;

    static std::size_t floats_of(std::size_t queries, std::size_t width) noexcept {
        const std::size_t pairs = pairs_of(width);
        return unit * (pairs + lanes) + tile_size * (pairs + width / 2 + 2) + queries * pairs + round_up(queries, lanes) +
               block * (std::max(tile_size, width) + tile_size / 2) +
               (has_amx ? byte_planes::floats * (steps_of(width) * (ceil_div(queries, block) + tile_size / lanes) + width / lanes + 1) : 0);
    }

    word_fold(float* memory, std::size_t queries, std::size_t width) noexcept : width_(width), pairs_(pairs_of(width)) {
        const auto take = [&](std::size_t n) { return std::exchange(memory, memory + n); };
        const auto take_words = [&](std::size_t n) { return reinterpret_cast<std::int32_t*>(take(n)); };
        piece_ = take(unit * (pairs_ + lanes));
        keys_ = take_words(tile_size * pairs_);
        values_ = take_words(tile_size / 2 * width);
        key_scale_ = take(tile_size);
        value_scale_ = take(tile_size);
        queries_ = take_words(queries * pairs_);
        query_scale_ = take(round_up(queries, lanes));
        products_ = take_words(block * std::max(tile_size, width));
        weight_words_ = take_words(block * tile_size / 2);
        if constexpr (has_amx) {
            const auto take_planes = [&](std::size_t n) { return reinterpret_cast<byte_planes*>(take(n * byte_planes::floats)); };
            query_planes_ = take_planes(ceil_div(queries, block) * steps_of(width));
            key_planes_ = take_planes(steps_of(width) * (tile_size / lanes));
            value_planes_ = take_planes(width / lanes);
            weight_planes_ = take_planes(1);
        }
    }

    /// Queries of the next task. With so many tiles of AMX are full; results are the same without.
    void start(std::size_t queries) noexcept {
        may_tile_ = has_amx && queries >= block && may_use_amx();
        if constexpr (has_amx)
            if (may_tile_ && !tiles_) tiles_.emplace(block);
    }

    void load_query(std::size_t query, const float* x, std::size_t head_dim, V scale) noexcept {
        with_vectors([&](auto vectors) {
            V scaled[most_width / lanes], squares = V::zero();
            for (std::size_t i = 0; i < vectors; ++i) {
                scaled[i] = V::load_first(x + i * lanes, head_dim - i * lanes) * scale;
                squares = fma(scaled[i], scaled[i], squares);
            }
            const float norm = std::max(std::sqrt(reduce_add(squares)), least_size);
            query_scale_[query] = norm * (1.0f / length);
            const V by = V::broadcast(length / norm);
            std::int32_t* out = queries_ + query * pairs_;
            for (std::size_t i = 0; i < vectors; i += 2, out += lanes)
                low_words(to_words(scaled[i], by), i + 1 < vectors ? to_words(scaled[i + 1], by) : I::broadcast(0)).store(out);
        });
        if (may_tile_) split_row(queries_ + query * pairs_, pairs_, query_planes_ + query / block * steps_of(width_), query % block);
    }

    /// Positions [from, to) of the tile, in pieces of 32, for queries [query, query + queries). Where these are few, keys are multiplied on
    /// the way and not laid out, and codes of values are left to fold().
    template <class Source>
    void read(std::size_t from, std::size_t to, const Source& source, std::size_t query, std::size_t queries) noexcept {
        few_ = multiplies_rows && queries <= most_few ? queries : 0;
        few_queries_ = queries_ + query * pairs_;
        multiplied_ = left_ = 0;
        for (std::size_t at = from / unit * unit; at < to; at += unit) {
            const std::size_t first = std::max(from, at), last = std::min(to, at + unit);
            const std::size_t asked = first == at ? last - at : 0;
            read_piece<word_size::length>(
                at, asked, [&](const auto& f) { source.keys(first, last, f); },
                [&]<class Codec>(Codec c, const auto&... rows) { lay_out_keys(at, c, rows...); });
            read_piece<word_size::greatest>(
                at, asked, [&](const auto& f) { source.values(first, last, f); },
                [&]<class Codec>(Codec c, const auto&... rows) { lay_out_values(at, c, rows...); });
        }
    }

    template <class Variant, class Visible>
    void fold(const Variant& variant, const Visible& visible, std::size_t first, std::size_t queries, const fold_state& state) noexcept {
        by_tiles_ = may_tile_ && queries >= block && first % block == 0;
        if (by_tiles_) split_tile();
        for (std::size_t query = first; query < first + queries; query += block)
            fold_block(variant, visible, query, std::min(block, first + queries - query), state);
    }

private:
    /// Pairs of words in a row.
    static std::size_t pairs_of(std::size_t width) noexcept { return round_up(width, unit) / 2; }

    /// A row that was made words before: an attention::word_codec whose scale has a line to itself.
    struct stored_words {
        static constexpr std::size_t row_bytes(std::size_t) noexcept { return 0; }  // none is to be fetched
        static float scale(const std::byte* row) noexcept { return *reinterpret_cast<const float*>(row); }
        template <class Ints>
        static Ints words(const std::byte* row, std::size_t i) noexcept {
            return Ints::load(row + (i + 1) * stored_line);
        }
    };
    static constexpr std::size_t stored_line = lanes * sizeof(float);

    /// lay_out(codec, rows, next) of the 32 rows of a piece: as one codec keeps them where one run has all that are asked for (the first
    /// `asked`, if these are known), else made words one by one, zeros where no run has anything. A row's words are the same either way.
    template <word_size Size, class Each, class LayOut>
    SKALD_INLINE void read_piece(std::size_t at, std::size_t asked, const Each& each, const LayOut& lay_out) noexcept {
        bool whole = false, zeroed = false;
        const std::size_t stored = pairs_ + lanes;
        const auto zero = [&] {
            if (!zeroed) std::fill_n(piece_, unit * stored, 0.0f);
            zeroed = true;
        };
        each([&]<class Codec>(Codec codec, std::size_t j, std::size_t n, const auto& addresses, std::size_t held) {
            whole = true;
            if constexpr (attention::woven_codec<Codec>) {  // the first row is all that lay_out() needs
                if (n == unit) {
                    // Two pieces ahead, since memory answers later than the next is read; and what tells where these lie, four ahead.
                    const std::byte *row = addresses.one(0), *next = addresses.one(std::min(2 * unit, held - 1));
                    __builtin_prefetch(addresses.one(std::min(4 * unit, held - 1)));
                    return lay_out(codec, row, next);
                }
            } else if (rows_by_eight rows, next; n == unit && addresses.by_eight(0, rows)) {
                if (held < 2 * unit || !addresses.by_eight(unit, next)) next = rows;
                return lay_out(codec, rows, next);
            } else if (n < unit && n == asked && last_rows<Codec>(n, addresses, rows)) {
                return lay_out(codec, rows, rows);
            }
            whole = false;
            zero();
            const std::byte* rows[unit];
            addresses(0, n, rows);
            for (std::size_t i = 0; i < n; ++i) store_words<Size, Codec>(rows[i], piece_ + (j - at + i) * stored);
        });
        if (whole) return;
        zero();
        const auto rows = rows_by_eight::from(reinterpret_cast<const std::byte*>(piece_), stored * sizeof(float));
        lay_out(stored_words{}, rows, rows);
    }

    /// The first n rows of a piece, with others behind them that nobody sees; false where those of some eight do not lie together.
    template <class Codec>
    bool last_rows(std::size_t n, const auto& addresses, rows_by_eight& out) const noexcept {
        const std::byte* rows[unit];
        addresses(0, n, rows);
        out.row_bytes = Codec::row_bytes(width_);
        auto* spare = reinterpret_cast<std::byte*>(piece_);
        std::fill_n(spare, 8 * out.row_bytes, std::byte{0});
        for (std::size_t k = 0; k < std::size(out.first); ++k) {
            const std::byte* const* eight = rows + 8 * k;
            out.first[k] = spare;
            if (8 * k + 8 <= n) {
                for (std::size_t i = 1; i < 8; ++i)
                    if (eight[i] != eight[0] + i * out.row_bytes) return false;
                out.first[k] = eight[0];
            } else if (8 * k < n) {
                for (std::size_t i = 0; i < n - 8 * k; ++i) std::memcpy(spare + i * out.row_bytes, eight[i], out.row_bytes);
            }
        }
        return true;
    }

    template <word_size Size, class Codec>
    void store_words(const std::byte* row, float* out) const noexcept {
        const std::size_t vectors = width_ / lanes;
        alignas(64) float factor[lanes] = {}, scale[lanes];
        if constexpr (attention::word_codec<Codec>) {
            scale[0] = Codec::scale(row);
        } else {
            V size[lanes];
            for (V& s : size) s = V::zero();
            for (std::size_t i = 0; i < vectors; ++i)
                size[0] = measured<Arch, Size>::grow(size[0], Codec::template decode<V>(row, i * lanes));
            measured<Arch, Size>::store(measured<Arch, Size>::size_of(size), factor, scale);
        }
        out[0] = scale[0];
        for (std::size_t i = 0; i < vectors; i += 2)
            words_of_row<Codec>(row, i, vectors, V::broadcast(factor[0])).store(out + (i / 2 + 1) * lanes);
    }

    /// f(the head's vectors), as a constant where heads are common.
    template <class F>
    SKALD_INLINE void with_vectors(const F& f) const noexcept {
        switch (width_) {
            case 4 * lanes: return f(std::integral_constant<std::size_t, 4>{});
            case 8 * lanes: return f(std::integral_constant<std::size_t, 8>{});
            default: return f(width_ / lanes);
        }
    }

    template <class Codec>
    SKALD_INLINE void lay_out_keys(std::size_t at, Codec, const std::byte* row, const std::byte* next) noexcept {
        Codec::template scales<I>(row, key_scale_ + at);
        if constexpr (multiplies_rows)
            if (few_ > 0) {
                multiplied_ |= 1u << at / unit;
                multiply_key_codes<Arch, Codec>({few_queries_, pairs_, few_, row, next, width_, products_ + at, tile_size});
                return;
            }
        Codec::template each_unit<I>(row, width_, next, [&](std::size_t i, const attention::woven_unit& some) {
            Codec::codes::template lay_out<I>(some, 2, keys_ + i * lanes * tile_size + at, tile_size);
        });
    }

    template <class Codec>
    SKALD_INLINE void lay_out_keys(std::size_t at, Codec, const rows_by_eight& rows, const rows_by_eight& next) noexcept {
        with_vectors([&](auto vectors) {
            alignas(64) float factor[unit] = {};
            for (std::size_t h = 0; h < unit; h += lanes)
                measure_rows<Arch, word_size::length, Codec>(rows, h, vectors, factor + h, key_scale_ + at + h);
            if constexpr (multiplies_rows)
                if (few_ > 0) {
                    multiplied_ |= 1u << at / unit;
                    return with_few(few_, [&](auto queries) {
                        for (std::size_t h = 0; h < unit; h += lanes)
                            multiply_rows<queries, Codec>(at + h, rows, h, next, vectors, factor + h);
                    });
                }
            alignas(64) std::int32_t words[lanes][lanes];
            for (std::size_t h = 0; h < unit; h += lanes) {
                for (std::size_t i = 0; i < vectors; i += 2) {
                    for (std::size_t r = 0; r < lanes; ++r) {
                        fetch_row<Codec>(next[h + r], i, vectors);
                        words_of_row<Codec>(rows[h + r], i, vectors, V::broadcast(factor[h + r])).store(words[r]);
                    }
                    transpose<Arch>(words[0], lanes, keys_ + i / 2 * lanes * tile_size + at + h, tile_size);
                }
            }
        });
    }

    /// products = few queries · 16 keys, rows first … first + 15 of the piece, as they are read.
    template <std::size_t Q, class Codec>
    SKALD_INLINE void multiply_rows(std::size_t at, const rows_by_eight& rows, std::size_t first, const rows_by_eight& next, auto vectors,
                                    const float* factor) noexcept {
        typename I::reg quads[Q][4];
        const auto four = [&](std::size_t k) {
            typename I::reg sum[Q][4];
#pragma GCC unroll 4
            for (auto& some : sum)
#pragma GCC unroll 4
                for (auto& s : some) s = I::broadcast(0).part(0);
            for (std::size_t i = 0; i < vectors; i += 2) {
                I query[Q];
#pragma GCC unroll 4
                for (std::size_t q = 0; q < Q; ++q) query[q] = I::load(few_queries_ + q * pairs_ + i / 2 * lanes);
#pragma GCC unroll 4
                for (std::size_t r = 0; r < 4; ++r) {
                    const std::size_t j = 4 * k + r;
                    fetch_of_four<Codec>(next, first + 4 * k, r, i, vectors);
                    const I row = words_of_row<Codec>(rows[first + j], i, vectors, V::broadcast(factor[j]));
#pragma GCC unroll 4
                    for (std::size_t q = 0; q < Q; ++q) sum[q][r] = words_of<Arch>::dot(sum[q][r], row.part(0), query[q].part(0));
                }
            }
#pragma GCC unroll 4
            for (std::size_t q = 0; q < Q; ++q) quads[q][k] = words_of<Arch>::quad_sums(sum[q]);
        };
        if constexpr (std::is_same_v<decltype(vectors), std::integral_constant<std::size_t, 4>>) {  // short rows: a loop costs a tenth
#pragma GCC unroll 4
            for (std::size_t k = 0; k < 4; ++k) four(k);
        } else {
#pragma GCC unroll 1
            for (std::size_t k = 0; k < 4; ++k) four(k);
        }
#pragma GCC unroll 4
        for (std::size_t q = 0; q < Q; ++q) {
            I sums;
            sums.part(0) = words_of<Arch>::join_quads(quads[q]);
            sums.store(products_ + q * tile_size + at);
        }
    }

    template <class Codec>
    SKALD_INLINE void lay_out_values(std::size_t at, Codec, const std::byte* row, const std::byte* next) noexcept {
        Codec::template scales<I>(row, value_scale_ + at);
        if constexpr (multiplies_rows)
            if (few_ > 0) {
                left_ |= 1u << at / unit;
                left_piece_[at / unit] = {row, next, &multiply_value_codes<Arch, Codec>};
                return;
            }
        Codec::template each_unit<I>(row, width_, next, [&](std::size_t i, const attention::woven_unit& some) {
            Codec::codes::template lay_out<I>(some, some.strips_of_values(i, width_), values_ + at / 2 * width_ + i * unit, width_);
        });
    }

    template <class Codec>
    SKALD_INLINE void lay_out_values(std::size_t at, Codec, const rows_by_eight& rows, const rows_by_eight& next) noexcept {
        with_vectors([&](auto vectors) {
            alignas(64) float factor[unit] = {};
            for (std::size_t h = 0; h < unit; h += lanes)
                measure_rows<Arch, word_size::greatest, Codec>(rows, h, vectors, factor + h, value_scale_ + at + h);
            std::int32_t* out = values_ + at / 2 * vectors * lanes;
            for (std::size_t r = 0; r < lanes; ++r, out += vectors * lanes) {
                const std::byte* const row[] = {rows[r], rows[r + lanes]};
                if constexpr (attention::word_codec<Codec>) {
                    for (std::size_t i = 0; i < vectors; i += 2) {
                        fetch_row<Codec>(next[r], i, vectors);
                        fetch_row<Codec>(next[r + lanes], i, vectors);
                        const I a = Codec::template words<I>(row[0], i / 2), b = Codec::template words<I>(row[1], i / 2);
                        low_words(a, b).store(out + i * lanes);
                        if (i + 1 < vectors) high_words(a, b).store(out + (i + 1) * lanes);
                    }
                } else {
                    const V by_a = V::broadcast(factor[r]), by_b = V::broadcast(factor[r + lanes]);
                    for (std::size_t i = 0; i < vectors; ++i) {
                        fetch_of_pair<Codec>(next, r, i, vectors);
                        low_words(to_words<Arch>(Codec::template decode<V>(row[0], i * lanes), by_a),
                                  to_words<Arch>(Codec::template decode<V>(row[1], i * lanes), by_b))
                            .store(out + i * lanes);
                    }
                }
            }
        });
    }

    /// At most 16 queries.
    template <class Variant, class Visible>
    void fold_block(const Variant& variant, const Visible& visible, std::size_t query, std::size_t count,
                    const fold_state& state) noexcept {
        std::size_t first = tile_size, last = 0;
        decltype(visible(query)) parts[block];
        visible.each(query, count, parts);
        for (std::size_t q = 0; q < count; ++q) {
            const auto& part = parts[q];
            if (part.from == part.to) continue;
            first = std::min(first, part.from / unit * unit);
            last = std::max(last, round_up(part.to, unit));
        }
        if (first >= last) return;
        multiply_keys(query, count, first, last);
        alignas(64) float rescale[block + lanes], worth[block + lanes];
        weigh<Arch>(word_scores{products_, query_scale_ + query, key_scale_, value_scale_, weight_words_, state.most + query,
                                state.sum + query, rescale, worth},
                    variant, visible, parts, query, count);
        multiply_values(count, first, last);
        with_vectors([&](auto vectors) {
            float* acc = state.acc + query * width_;
            const std::int32_t* products = products_;
            for (std::size_t q = 0; q < count; ++q) {
                const V old = V::broadcast(rescale[q]), by = V::broadcast(worth[q]);
                for (std::size_t i = 0; i < vectors; ++i, acc += lanes, products += lanes)
                    fma(V::load(acc), old, to_float(I::load(products)) * by).store(acc);
            }
        });
    }

    /// products = queries · keys. // (count, tile_size)
    void multiply_keys(std::size_t query, std::size_t count, std::size_t first, std::size_t last) noexcept {
        if (by_tiles_)
            for (std::size_t j = first; j < last; j += lanes)
                multiply_tiles(query_planes_ + query / block * steps_of(width_), key_planes_ + j / lanes, tile_size / lanes,
                               steps_of(width_), count, products_ + j, tile_size);
        else
            for (std::size_t next; first < last; first = next) {
                const bool done = multiplied_ >> first / unit & 1;
                for (next = first + unit; next < last && (multiplied_ >> next / unit & 1) == done;) next += unit;
                if (!done)
                    multiply_words<Arch>(
                        {queries_ + query * pairs_, pairs_, keys_ + first, tile_size, products_ + first, tile_size, pairs_}, count,
                        next - first);
            }
    }

    /// products = weights · values. // (count, width)
    void multiply_values(std::size_t count, std::size_t first, std::size_t last) noexcept {
        constexpr std::size_t pairs = tile_size / 2;
        if (!by_tiles_) {
            static_assert(tile_size == 2 * unit, "what is laid out of a tile lies together");
            const std::uint32_t all = (1u << last / unit) - (1u << first / unit), laid_out = all & ~left_;
            if (laid_out != 0) {
                const std::size_t from = static_cast<std::size_t>(std::countr_zero(laid_out)) * lanes,  // pairs
                    to = static_cast<std::size_t>(std::bit_width(laid_out)) * lanes;
                multiply_words<Arch>({weight_words_ + from, pairs, values_ + from * width_, width_, products_, width_, to - from}, count,
                                     width_);
            }
            for (std::size_t i = first / unit; i < last / unit; ++i)
                if (left_ >> i & 1) {
                    const auto& [row, next, multiply] = left_piece_[i];
                    multiply({weight_words_ + i * lanes, pairs, count, row, next, width_, products_, width_},
                             laid_out != 0 || i > first / unit);
                }
            return;
        }
        for (std::size_t q = 0; q < count; ++q) {
            std::fill_n(weight_words_ + q * pairs, first / 2, 0);
            std::fill(weight_words_ + q * pairs + last / 2, weight_words_ + (q + 1) * pairs, 0);
            split_row(weight_words_ + q * pairs, pairs, weight_planes_, q);
        }
        for (std::size_t d = 0; d < width_; d += lanes)
            multiply_tiles(weight_planes_, value_planes_ + d / lanes, 1, 1, count, products_ + d, width_);
    }

    /// Planes of 32 pairs a row.
    static std::size_t steps_of(std::size_t width) noexcept { return ceil_div(width, 2 * unit); }

#if defined(SKALD_ISA_HAS_AMX)
    using tiles = amx_tiles;

    static void multiply_tiles(const byte_planes* left, const byte_planes* right, std::size_t right_stride, std::size_t steps,
                               std::size_t rows, std::int32_t* out, std::size_t out_stride) noexcept {
        multiply_planes(left, right, right_stride, steps, rows, out, out_stride);
    }
    /// Row r of an operand on the left. // row: (pairs)
    static void split_row(const std::int32_t* row, std::size_t pairs, byte_planes* out, std::size_t r) noexcept {
        for (std::size_t i = 0; i < pairs; i += unit, ++out) split_words(row + i, i + lanes < pairs ? row + i + lanes : nullptr, *out, r);
    }
    /// The operands on the right, from keys and values.
    void split_tile() const noexcept {
        for (std::size_t i = 0; i < pairs_; i += unit)
            for (std::size_t r = 0; r < lanes; ++r) {
                const std::int32_t *a = keys_ + (i + r) * tile_size, *b = i + lanes < pairs_ ? a + lanes * tile_size : nullptr;
                byte_planes* out = key_planes_ + i / unit * (tile_size / lanes);
                for (std::size_t j = 0; j < tile_size; j += lanes) split_words(a + j, b == nullptr ? b : b + j, out[j / lanes], r);
            }
        for (std::size_t r = 0; r < lanes; ++r)
            for (std::size_t d = 0; d < width_; d += lanes) {
                const std::int32_t* a = values_ + r * width_ + d;
                split_words(a, a + lanes * width_, value_planes_[d / lanes], r);
            }
    }
#else
    struct tiles {
        explicit tiles(std::size_t) noexcept {}
    };
    static void multiply_tiles(const byte_planes*, const byte_planes*, std::size_t, std::size_t, std::size_t, std::int32_t*,
                               std::size_t) noexcept {}
    static void split_row(const std::int32_t*, std::size_t, byte_planes*, std::size_t) noexcept {}
    static void split_tile() noexcept {}
#endif

    bool may_tile_ = false, by_tiles_ = false;   // in this task, in this tile
    std::size_t few_ = 0;                        // queries that rows of keys are multiplied with as they are read; 0: they are laid out
    const std::int32_t* few_queries_ = nullptr;  // (few, pairs)
    std::uint32_t multiplied_ = 0;               // pieces of the tile whose products stand, a bit each
    std::uint32_t left_ = 0;                     // pieces whose values are left in codes
    struct {
        const std::byte *row, *next;
        void (*multiply)(const code_product&, bool add) noexcept;
    } left_piece_[tile_size / unit];
    std::optional<tiles> tiles_;
    std::size_t width_, pairs_;
    float* piece_;                          // (32, 16 + pairs): scales and words of rows that no run has all of
    std::int32_t* keys_;                    // (pairs, tile_size)
    std::int32_t* values_;                  // (tile_size / 2, width), pairs of positions
    float *key_scale_, *value_scale_;       // (tile_size)
    std::int32_t* queries_;                 // (queries, pairs)
    float* query_scale_;                    // (queries)
    std::int32_t* products_;                // (block, tile_size) or (block, width)
    std::int32_t* weight_words_;            // (block, tile_size / 2)
    byte_planes* query_planes_ = nullptr;   // (queries / block, steps)
    byte_planes* key_planes_ = nullptr;     // (steps, tile_size / 16)
    byte_planes* value_planes_ = nullptr;   // (width / 16)
    byte_planes* weight_planes_ = nullptr;  // (1)
};

}  // namespace skald::inline SKALD_ISA::kernels
