// SPDX-License-Identifier: MIT
#pragma once
// Keys turned back by their positions' rope (Su et al. 2021), and turned again. Rope turns what is alike in a channel from token to token
// into waves; keys before it have means of their own a channel and little spread about them, and take fewer bits at the same error.
//
// Every machine turns alike: the cosines are of whole numbers, and products of two floats are exact in double, so that it does not matter
// which of them a compiler fuses. They are not the forward's (model/rope.hpp) to the last bit, and need not be: both ways use them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>

namespace skald::kv {

/// The rope of one layer's keys. No rope: no frequencies.
struct key_rope {
    std::span<const float> frequencies{};  ///< radians a token, of magnitude 4 at most // (pairs)
    bool interleaved = false;              ///< pairs are (2i, 2i + 1), else (i, i + pairs)
    float magnitude = 1;                   ///< turned keys are that much longer
};

namespace detail {

struct turn {
    float cosine, sine;
};

/// Of phase · 2⁻³² turns, to 2⁻²⁴: Taylor's polynomials over an eighth of a turn on either side of a quarter's multiple, whose first
/// missing terms are 1.2 · 10⁻¹⁰ and less, in numbers of 2⁻³⁰.
constexpr turn turn_of(std::uint32_t phase) noexcept {
    constexpr std::int64_t one = std::int64_t{1} << 30, quarter_turn = 6746518852;  // π / 2 · 2³²
    constexpr auto times = [](std::int64_t a, std::int64_t b) { return a * b >> 30; };
    const std::uint32_t quarter = (phase + (std::uint32_t{1} << 29)) >> 30;
    const std::int64_t x = std::int64_t{static_cast<std::int32_t>(phase - (quarter << 30))} * quarter_turn >> 32, s = times(x, x);
    std::int64_t cosine = one, sine = one;
    for (const std::int64_t k : {5, 4, 3, 2, 1}) {
        cosine = one - times(s, cosine) / (2 * k * (2 * k - 1));
        sine = one - times(s, sine) / (2 * k * (2 * k + 1));
    }
    sine = times(x, sine);
    const std::array<std::int64_t, 4> of_quarters{cosine, -sine, -cosine, sine};
    constexpr float unit = 1.0f / static_cast<float>(one);
    return {static_cast<float>(of_quarters[quarter % 4]) * unit, static_cast<float>(of_quarters[(quarter + 3) % 4]) * unit};
}
static_assert(turn_of(0).cosine == 1 && turn_of(0).sine == 0 && turn_of(3u << 30).cosine == 0 && turn_of(3u << 30).sine == -1);

/// Which way keys go.
enum class turning : std::uint8_t { none, forth, back };

/// Turns the keys of a chunk.
class key_turner {
public:
    /// `ropes` are of every layer, or of none. Throws errc::invalid_argument for others and for those that the shape cannot have.
    key_turner(std::span<const key_rope> ropes, const cache_shape& shape, std::size_t chunk, std::string_view place,
               std::pmr::memory_resource* memory)
        : ropes_(ropes), head_dim_(shape.head_dim), turns_((checked_size(chunk, place) * most_pairs(ropes, shape, place)).size(), memory) {}

    /// Keys of `count` tokens from `first` on; those that are not finite count as 0. // keys: (kv_heads, count, head_dim)
    void turn_keys(turning way, std::size_t layer, position first, std::size_t count, std::span<float> keys) noexcept {
        if (way == turning::none) return;
        const key_rope& rope = ropes_[layer];
        const std::size_t pairs = rope.frequencies.size();
        if (pairs == 0) return;
        fill(rope, first, count);
        const double length = way == turning::back ? 1.0 / static_cast<double>(rope.magnitude) : static_cast<double>(rope.magnitude);
        const std::size_t step = rope.interleaved ? 2 : 1, other = rope.interleaved ? 1 : pairs;
        for (std::size_t row = 0; row * head_dim_ < keys.size(); ++row) {
            const turn* turns = turns_.data() + row % count * pairs;
            float* x = keys.data() + row * head_dim_;
            for (std::size_t i = 0; i < pairs; ++i) {
                float &a = x[i * step], &b = x[i * step + other];
                const double cosine = static_cast<double>(turns[i].cosine);
                const double sine = static_cast<double>(way == turning::back ? -turns[i].sine : turns[i].sine);
                const double u = finite(a), v = finite(b);
                a = narrow((u * cosine - v * sine) * length);
                b = narrow((v * cosine + u * sine) * length);
            }
        }
    }

private:
    static constexpr float most_frequency = 4;

    static std::size_t most_pairs(std::span<const key_rope> ropes, const cache_shape& shape, std::string_view place) {
        if (!ropes.empty() && ropes.size() != shape.layers)
            fail(errc::invalid_argument, place, "there are ropes of ", ropes.size(), " layers; the cache has ", shape.layers);
        std::size_t most = 0;
        for (const key_rope& rope : ropes) {
            most = std::max(most, rope.frequencies.size());
            if (2 * most > shape.head_dim)
                fail(errc::invalid_argument, place, "a rope turns ", most, " pairs; heads have ", shape.head_dim, " channels");
            if (!(rope.magnitude > 0 && std::isfinite(rope.magnitude)))
                fail(errc::invalid_argument, place, "a rope's magnitude is ", rope.magnitude, "; it must be positive");
            for (const float f : rope.frequencies)
                if (!(std::fabs(f) <= most_frequency))
                    fail(errc::invalid_argument, place, "a rope's frequency is ", f, "; it must be from -4 to 4");
        }
        return most;
    }

    static double finite(float x) noexcept { return std::isfinite(x) ? static_cast<double>(x) : 0.0; }
    static float narrow(double x) noexcept { return static_cast<float>(std::clamp(x, -3e38, 3e38)); }

    void fill(const key_rope& rope, position first, std::size_t count) noexcept {
        if (rope.frequencies.data() == frequencies_ && first == first_ && count == count_) return;
        constexpr double phases = 683565275.5764316;  // 2³² / 2π
        for (std::size_t i = 0; i < count; ++i)
            for (std::size_t p = 0; p < rope.frequencies.size(); ++p) {
                const float angle = static_cast<float>(first + static_cast<position>(i)) * rope.frequencies[p];
                turns_[i * rope.frequencies.size() + p] =
                    turn_of(static_cast<std::uint32_t>(static_cast<std::int64_t>(static_cast<double>(angle) * phases)));
            }
        frequencies_ = rope.frequencies.data();
        first_ = first;
        count_ = count;
    }

    std::span<const key_rope> ropes_;
    std::size_t head_dim_;
    buffer<turn> turns_;                  // (tokens, pairs)
    const float* frequencies_ = nullptr;  // of turns_, and its tokens
    position first_ = 0;
    std::size_t count_ = 0;
};

}  // namespace detail

}  // namespace skald::kv
