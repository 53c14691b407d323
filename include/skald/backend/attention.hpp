// SPDX-License-Identifier: MIT
#pragma once
// What every backend's attention keeps to: the canonical order, so that prompt rows, decode rows, chunks, paged blocks and
// restored caches agree bitwise within a backend, and the role of a variant, the small closure that makes one attention differ
// from another.
//
// The canonical order:
// - keys in ascending logical position, in tiles of `tile_size` absolute positions;
// - a score is q · k summed in one fixed lane order over head_dim, scaled through q;
// - per tile: one maximum over the row's visible positions; then the state is rescaled once, the weights exp(s - m) are summed
//   in a fixed lane order, and acc gains weight · value position after position;
// - a row's invisible positions contribute nothing: what a row does in a tile depends on its own position only;
// - the state restarts every `restart_size` positions; the segments' states merge from left to right.
//
// The fold is the online softmax of Milakov & Gimelshein (2018), as used by FlashAttention (Dao et al. 2022).
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <skald/core/types.hpp>
#include <skald/format/vector.hpp>

namespace skald::attention {

inline constexpr std::size_t tile_size = 64;
inline constexpr std::size_t restart_size = 1024;
static_assert(restart_size % tile_size == 0);

/// A codec of keys and values (kv/codec.hpp) whose rows are small integers under one scale, which a kernel that multiplies integers reads
/// as they lie. A row's words are 16-bit integers in units of 32 values, of which lane i holds values i and i + 16.
///
/// | member               | meaning                                                                                                    |
/// |----------------------|------------------------------------------------------------------------------------------------------------|
/// | scale(row)           | value i = scale · word i                                                                                   |
/// | words<I>(row, unit)  | the 32 words of a unit, as I::load() (64 bytes of words), I::widen() (32 bytes, one a word) or             |
/// |                      | scale_words(I::widen_nibbles(16 bytes), factor, offset) give them                                          |
///
/// Kernels add up products of words in 32 bits: no word of a row is greater than `most_word`, their vector is no longer than `most_length`
/// but for rounding, and all words of a row of zeros are zero.
template <class C>
concept word_codec = requires(const std::byte* row) {
    { C::scale(row) } -> std::same_as<float>;
};
inline constexpr float most_word = 8190.0f, most_length = 32700.0f;

/// 32 channels of 32 tokens in codes: a table of 32 steps by 32 columns, whose words are code · multiple + offset of the step. Words i and
/// i + 16 of the steps stand in one lane, the lower one first. Of keys steps are channels and columns tokens, of values steps are tokens
/// and columns channels. A strip has 16 columns, a lane each: lines of 16 lanes, each the codes of `pairs` lanes of steps, those of the
/// lower words from bit 0 on and those of the upper ones from bit 16 on.
struct woven_unit {
    const std::byte *multiples, *offsets;  // (16) lanes of two words
    const std::byte* strips[2];

    /// Strips that rows of `width` channels have of values' unit i.
    static constexpr std::size_t strips_of_values(std::size_t i, std::size_t width) noexcept { return 32 * i + 16 < width ? 2 : 1; }
};

/// A word_codec that keeps the rows of 32 tokens, from a multiple of 32 on, together in woven units. It holds keys or values, not both.
///
/// | member                                  | meaning                                                                              |
/// |-----------------------------------------|--------------------------------------------------------------------------------------|
/// | woven                                   | true                                                                                 |
/// | codes                                   | how a strip is kept: codes::bits, codes::pairs; codes::lay_out<I>() writes words     |
/// | scales<I>(row, out)                     | the scales of the 32 rows from `row` on                                              |
/// | each_unit<I>(row, width, next, f)       | f(unit number, woven_unit) for each 32 channels of these rows; on the way, the codes |
/// |                                         | of the 32 rows from `next` on are brought to the second cache                        |
template <class C>
concept woven_codec = word_codec<C> && C::woven;

/// What a vector of scores belongs to: head `head` of the row at position `row`, and the keys at positions `key`, key + 1, …
struct score_place {
    std::size_t head;
    position row, key;

    /// That of the keys j further on.
    constexpr score_place after(std::size_t j) const noexcept { return {head, row, key + static_cast<position>(j)}; }
};

/// | member               | meaning                                                                                                    |
/// |----------------------|------------------------------------------------------------------------------------------------------------|
/// | scale                | float; q · k is multiplied by it (the kernel folds it into q)                                              |
/// | begin(p)             | the first position that a row at position p sees; it sees [begin(p), p]                                    |
/// | score(s, place)      | maps a vector of scaled scores (soft caps, biases); a backend's vector has tanh                            |
template <class V>
concept variant = std::is_trivially_copyable_v<V> && requires(const V v, position p, format::scalar s, score_place place) {
    { v.scale } -> std::convertible_to<float>;
    { v.begin(p) } -> std::same_as<position>;
    { v.score(s, place) } -> std::same_as<format::scalar>;
};

namespace detail {
struct takes_any {
    template <class V>
    constexpr void operator()(const V&) const noexcept {}
};
}  // namespace detail

/// A variant that is one of several, which only a run tells: resolve(f) calls f with that one. A kernel asks where it scores a tile, so
/// that the rest of it is compiled once for all of them.
template <class V>
concept resolving = variant<V> && requires(const V v) { v.resolve(detail::takes_any{}); };

/// f(the variant that v is)
template <variant V, class F>
constexpr void resolve(const V& v, const F& f) {
    if constexpr (resolving<V>)
        v.resolve(f);
    else
        f(v);
}

/// A variant that hides some of [begin(p), p] from a row: shown(p, t) has a bit for each of the positions t … t + 63 of the tile at t, the
/// first in bit 0, set where a row at p sees it; what lies outside [begin(p), p] is not seen, whatever its bit. Tiles that no row of a task
/// sees are not read. Every row sees something, unless the variant has a sink.
template <class V>
concept masking = variant<V> && requires(const V v, position p) {
    { v.shown(p, p) } -> std::same_as<std::uint64_t>;
};
static_assert(tile_size == 64, "a tile's mask is one word");

/// A variant with a score for no position at all: exp(sink(head)) is added to the sum of a row's weights, once, after its last position.
template <class V>
concept sinking = variant<V> && requires(const V v, std::size_t head) {
    { v.sink(head) } -> std::same_as<float>;
};

/// A variant whose scores depend on how far a row and a key are apart, as those of ALiBi: it says so by `by_distance = true`, and what is
/// wrapped around it has that from it.
template <class V>
concept by_distance = variant<V> && V::by_distance;

}  // namespace skald::attention
