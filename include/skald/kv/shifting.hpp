// SPDX-License-Identifier: MIT
#pragma once
// Tokens removed from the middle of a sequence, or moved within it: rows change their places so that positions stay without holes, and
// keys, which are kept before rope (unroped.hpp), are rotated by their new positions when they are read. What storages have in common.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>

namespace skald::kv {

/// A cache whose sequences can lose tokens in the middle.
///
/// | member                     | meaning                                                                                    |
/// |----------------------------|--------------------------------------------------------------------------------------------|
/// | c.remove(s, first, last)   | drops the tokens [first, last); those behind move down                                     |
/// | c.shift(s, first, last, n) | the tokens [first, last) stand n further, n < 0: before; those they pass change sides      |
/// | c.can_shift()              | of a cache of a run-time kind: whether the one it holds can; others need not have it       |
///
/// Both end the step, and throw errc::invalid_argument for what is outside the sequence and while it has pending tokens, errc::unsupported
/// for models whose positions are not by rope alone, and errc::cache_full where rows that are to change are shared and there are no blocks
/// to copy them to; nothing has changed then. Logits that follow are those of a cache that was given the same keys, unrotated, and values
/// at the new positions: not of a text without the removed tokens, whose influence on others' values remains.
template <class C>
concept shifting_cache = kv_cache<C> && C::shifts_positions && requires(C c, sequence_id s, position p) {
    c.remove(s, p, p);
    c.shift(s, p, p, p);
};

/// Whether tokens of its sequences can be removed or shifted, where the model's positions are by rope.
template <class Cache>
bool can_shift([[maybe_unused]] const Cache& cache) noexcept {
    if constexpr (shifting_cache<Cache> && requires { cache.can_shift(); })
        return cache.can_shift();
    else
        return shifting_cache<Cache>;
}

namespace detail {

template <class Codec>
constexpr void require_shifting() {
    static_assert(unrotated_codec<Codec>,
                  "skald: tokens can be removed or shifted where keys are kept before rope only, as by kv::paged<kv::unroped<kv::f16>>");
}

inline void require_rope(const cache_shape& shape) {
    if (shape.rope_pairs == 0)
        fail(errc::unsupported, "kv cache", "tokens cannot be removed or shifted: the model's positions are not those of a rope");
    if (shape.latent) fail(errc::unsupported, "kv cache", "tokens cannot be removed or shifted: rows of latents are key and value in one");
}

/// Throws unless [first, last) is a part of the sequence and none of its tokens is pending.
inline void require_part(sequence_id s, const sequence_state& state, position first, position last) {
    if (state.length != state.committed)
        fail(errc::invalid_argument, "kv cache", "sequence ", s.index, " has ", state.length - state.committed,
             " pending tokens; commit them or roll them back before tokens are removed or shifted");
    if (first < 0 || first > last || last > state.length)
        fail(errc::invalid_argument, "kv cache", "tokens ", first, " to ", last, " of a sequence of ", state.length);
}

/// The same for a part that moves; as three positions that std::rotate takes.
struct rotated_part {
    position first, middle, last;
};
inline rotated_part require_move(sequence_id s, const sequence_state& state, position first, position last, position by) {
    require_part(s, state, first, last);
    if (by < -first || by > state.length - last)
        fail(errc::invalid_argument, "kv cache", "tokens ", first, " to ", last, " shifted by ", by, " in a sequence of ", state.length);
    return by < 0 ? rotated_part{first + by, first, last} : rotated_part{first, last, last + by};
}

/// f(address) for keys and values: address(p) is the row of segment 0 at p.
template <class Run, class F>
void each_rows(const Run& run, std::size_t kv_heads, const F& f) {
    for (std::size_t h = 0; h < kv_heads; ++h) {
        f([&](position p) { return run.key(0, h, p); });
        f([&](position p) { return run.value(0, h, p); });
    }
}

/// Rows [from, from + count) of segment 0 to `to` < from.
template <class Run>
void move_rows(const Run& run, std::size_t kv_heads, position to, position from, std::size_t count) {
    each_rows(run, kv_heads, [&](const auto& row) {
        for (std::size_t done = 0; done < count;) {
            const position at = to + static_cast<position>(done), of = from + static_cast<position>(done);
            const std::size_t here = std::min({run.stretch(at), run.stretch(of), count - done});
            std::memmove(row(at), row(of), here * run.row_bytes());
            done += here;
        }
    });
}

/// Rows [first, middle) of segment 0 change sides with [middle, last).
template <class Run>
void rotate_rows(const Run& run, std::size_t kv_heads, const rotated_part& part) {
    each_rows(run, kv_heads, [&](const auto& row) {
        const auto reverse = [&](position first, position last) {
            for (; first < --last; ++first) std::swap_ranges(row(first), row(first) + run.row_bytes(), row(last));
        };
        reverse(part.first, part.middle);
        reverse(part.middle, part.last);
        reverse(part.first, part.last);
    });
}

}  // namespace detail

}  // namespace skald::kv
