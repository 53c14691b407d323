// SPDX-License-Identifier: MIT
#pragma once
// The attention variants: which positions a row sees, what happens to a score, and what else stands in the softmax. The roles are described
// in backend/attention.hpp. Each but `causal` is wrapped around another one, and so they combine:
// `sinks{alibi{soft_capped{causal{0.1f}, 30.0f}, slopes}, logits}` caps scores, then adds the biases. Arrays they point to outlive them.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>

#include <skald/backend/attention.hpp>
#include <skald/core/types.hpp>
#include <skald/format/vector.hpp>

namespace skald::attention {

/// A row sees its own position and every one before it (Vaswani et al. 2017), or the last `window` of these (Beltagy et al. 2020).
struct causal {
    float scale = 1.0f;
    position window = std::numeric_limits<position>::max();

    constexpr position begin(position p) const noexcept { return std::max<position>(0, p - window + 1); }

    template <format::float_vector V>
    static constexpr V score(V s, const score_place&) noexcept {
        return s;
    }
};

/// Scores are kept inside (-cap, cap) by cap · tanh(s / cap). (Gemma 2)
template <variant Inner = causal>
struct soft_capped : Inner {
    float cap = 1.0f;

    template <format::float_vector V>
    constexpr V score(V s, const score_place& at) const noexcept {
        return V::broadcast(cap) * tanh(Inner::score(s, at) * V::broadcast(1.0f / cap));
    }
};
template <variant Inner = causal>
soft_capped(Inner, float) -> soft_capped<Inner>;

/// The two above in one, for models that are read at run time: caps scores unless `cap` is 0.
struct optionally_capped : causal {
    float cap = 0.0f;

    template <format::float_vector V>
    constexpr V score(V s, const score_place& at) const noexcept {
        resolve([&](const auto& v) { s = v.score(s, at); });
        return s;
    }
    template <class F>
    constexpr void resolve(const F& f) const {
        if (cap == 0.0f)
            f(static_cast<const causal&>(*this));
        else
            f(soft_capped<>{*this, cap});
    }
};

namespace detail {
inline constexpr float lane_numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}  // namespace detail

/// slopes[head] · (j - p) is added to the score of a row at p for position j. (Press et al. 2022)
template <variant Inner = causal>
struct alibi : Inner {
    static constexpr bool by_distance = true;
    const float* slopes = nullptr;  // (heads)

    template <format::float_vector V>
    constexpr V score(V s, const score_place& at) const noexcept {
        static_assert(V::size <= std::size(detail::lane_numbers));
        const V distance = V::broadcast(static_cast<float>(at.key - at.row)) + V::load(detail::lane_numbers);
        return fma(V::broadcast(slopes[at.head]), distance, Inner::score(s, at));
    }
};
template <variant Inner = causal>
alibi(Inner, const float*) -> alibi<Inner>;

/// The slope that the paper gives a head: 2^(-8 (head + 1) / heads) for powers of two; others take those of the power below, then every
/// other one of the power above.
inline float alibi_slope(std::size_t head, std::size_t heads) noexcept {
    const std::size_t below = std::bit_floor(heads);
    const double exponent = head < below ? 8.0 * static_cast<double>(head + 1) / static_cast<double>(below)
                                         : 4.0 * static_cast<double>(2 * (head - below) + 1) / static_cast<double>(below);
    return static_cast<float>(std::exp2(-exponent));
}

/// A learned score a head that takes its share of the softmax and gives nothing. (GPT-OSS; Miller 2023)
template <variant Inner = causal>
struct sinks : Inner {
    const float* logits = nullptr;  // (heads)

    constexpr float sink(std::size_t head) const noexcept { return logits[head]; }
};
template <variant Inner = causal>
sinks(Inner, const float*) -> sinks<Inner>;

namespace detail {

/// Bits of the positions [from, to) of the tile at t.
constexpr std::uint64_t bits_of(position from, position to, position t) noexcept {
    const auto below = [t](position p) {
        const position n = p - t;
        return n <= 0 ? std::uint64_t{0} : n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
    };
    return below(to) & ~below(from);
}

/// What a variant shows a row at p of the tile at t.
template <variant V>
constexpr std::uint64_t shown(const V& v, position p, position t) noexcept {
    if constexpr (masking<V>)
        return v.shown(p, t) & bits_of(v.begin(p), p + 1, t);
    else
        return bits_of(v.begin(p), p + 1, t);
}

}  // namespace detail

/// A row sees the first `globals` positions besides what it sees without. (Beltagy et al. 2020)
template <variant Inner = causal>
struct with_globals : Inner {
    position globals = 0;

    constexpr position begin(position p) const noexcept { return globals > 0 ? 0 : Inner::begin(p); }
    constexpr std::uint64_t shown(position p, position t) const noexcept {
        return detail::shown(static_cast<const Inner&>(*this), p, t) | detail::bits_of(0, globals, t);
    }
};
template <variant Inner = causal>
with_globals(Inner, position) -> with_globals<Inner>;

/// A row sees what `mask` shows it of what it sees without: mask(p, t) has a bit for each position of the tile at t, as `masking` says.
/// // mask: (position, position) → std::uint64_t
template <class Mask, variant Inner = causal>
struct masked : Inner {
    Mask mask;

    constexpr std::uint64_t shown(position p, position t) const noexcept {
        if constexpr (masking<Inner>)
            return Inner::shown(p, t) & mask(p, t);
        else
            return mask(p, t);
    }
};
template <variant Inner = causal, class Mask>
masked(Inner, Mask) -> masked<Mask, Inner>;

static_assert(variant<causal> && !masking<causal> && !sinking<causal>);
static_assert(variant<soft_capped<>> && variant<alibi<soft_capped<>>>);
static_assert(resolving<optionally_capped> && !resolving<soft_capped<>>);
static_assert(sinking<sinks<>> && sinking<soft_capped<sinks<>>> && !masking<sinks<>>);
static_assert(masking<with_globals<>> && masking<sinks<with_globals<alibi<>>>>);

}  // namespace skald::attention
