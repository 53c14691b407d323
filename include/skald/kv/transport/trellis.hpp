// SPDX-License-Identifier: MIT
#pragma once
// Trellis-coded quantization (Marcellin and Fischer 1990, with Ungerboeck's code of eight states as in JPEG 2000): the points of a bin's
// multiples and those halfway between them take turns as the trellis goes, whose state is known from the symbols before. A value has the
// bits of a bin and nearly the error of half as great a one: 1.2 dB less. Every symbol is chosen for the whole channel (Viterbi 1967), by
// the error alone: symbols chosen for the bits they take lean towards the channel's mean, which costs three times what it saves.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

#include <skald/core/buffer.hpp>

namespace skald::kv::detail {

inline constexpr std::int32_t units_a_bin = 8;      // anchors are coded to a unit
inline constexpr std::int32_t most_rest = 1 << 26;  // magnitude of what is coded of a value, in units
inline constexpr std::size_t trellis_states = 8;

/// State s leads to 2s and 2s + 1, modulo 8: even symbols to the first of them where this is 0, to the second where it is 1. In odd states
/// symbols are points halfway between bins' multiples.
inline constexpr std::array<std::uint8_t, trellis_states> trellis_turn{0, 1, 1, 0, 1, 0, 0, 1};

/// Where a symbol leads.
constexpr std::size_t trellis_next(std::size_t state, std::int32_t symbol) noexcept {
    return 2 * state % trellis_states + ((static_cast<std::uint32_t>(symbol) ^ trellis_turn[state]) & 1u);
}

/// What encoder and decoder of a channel go through alike.
struct channel_state {
    std::int32_t share = 0;  // sixteenths of the token before that are expected
    std::int32_t last = 0;   // the token before, in units
    std::size_t state = 0;   // of the trellis

    std::int32_t expected() const noexcept { return (share * last + 8) >> 4; }
    bool halfway() const noexcept { return state % 2 != 0; }

    /// The token that differs by so many units from the one expected.
    std::int32_t next(std::int64_t delta) noexcept {
        const std::int64_t value = expected() + delta;
        last = static_cast<std::int32_t>(value < -most_rest ? -most_rest : value > most_rest ? most_rest : value);
        return last;
    }
    /// The token of a symbol; without a trellis the state stays 0.
    std::int32_t next_symbol(std::int32_t symbol, bool trellis) noexcept {
        const std::int32_t token = next(std::int64_t{units_a_bin} * symbol + (halfway() ? units_a_bin / 2 : 0));
        if (trellis) state = trellis_next(state, symbol);
        return token;
    }
};

/// Finds the symbols of a channel.
class trellis_search {
public:
    trellis_search(std::size_t tokens, std::pmr::memory_resource* memory)
        : symbols_(tokens * trellis_states, memory), from_(tokens * trellis_states, memory) {}

    /// Values in units, of which a share of the one before is expected; those of anchors are met exactly, and have the unit as symbol.
    void find(std::span<const std::int32_t> values, std::span<const std::uint8_t> anchor, std::int32_t share,
              std::span<std::int32_t> symbols) noexcept {
        constexpr std::int32_t unreached = 1 << 28;
        states now;
        now.last.fill(0);
        now.cost.fill(unreached);
        now.cost[0] = 0;
        for (std::size_t i = 0; i < values.size(); ++i) step(now, values[i], anchor[i] != 0, share, i * trellis_states);
        std::size_t state = 0;
        for (std::size_t s = 1; s < trellis_states; ++s)
            if (now.cost[s] < now.cost[state]) state = s;
        for (std::size_t i = values.size(); i-- > 0;) {
            const std::size_t at = i * trellis_states + state;
            symbols[i] = symbols_[at];
            state = from_[at];
        }
    }

private:
    using numbers = std::array<std::int32_t, trellis_states>;
    struct states {
        numbers last, cost;  // cost: the sum of squared errors, in units
    };

    void step(states& now, std::int32_t value, bool exact, std::int32_t share, std::size_t at) noexcept {
        std::int32_t* symbols = symbols_.data() + at;
        std::uint8_t* from = from_.data() + at;
        if (exact) {
            for (std::size_t s = 0; s < trellis_states; ++s) {
                symbols[s] = value - ((share * now.last[s] + 8) >> 4);
                from[s] = static_cast<std::uint8_t>(s);
                now.last[s] = value;
            }
            return;
        }
        // The nearest point of each state and the one on the value's other side: one leads to 2s, one to 2s + 1.
        std::array<numbers, 2> symbol, last, cost;
        for (std::size_t s = 0; s < trellis_states; ++s) {
            const std::int32_t begin = ((share * now.last[s] + 8) >> 4) + (s % 2 != 0 ? units_a_bin / 2 : 0), delta = value - begin;
            const std::int32_t near = (delta + units_a_bin / 2) >> 3, error = delta - units_a_bin * near;
            const std::int32_t far = near + (error < 0 ? -1 : 1), other = units_a_bin - (error < 0 ? -error : error);
            const bool second = ((near ^ trellis_turn[s]) & 1) != 0;
            symbol[0][s] = second ? far : near;
            symbol[1][s] = second ? near : far;
            cost[0][s] = now.cost[s] + (second ? other * other : error * error);
            cost[1][s] = now.cost[s] + (second ? error * error : other * other);
            last[0][s] = begin + units_a_bin * symbol[0][s];
            last[1][s] = begin + units_a_bin * symbol[1][s];
        }
        constexpr std::size_t half = trellis_states / 2;
        for (std::size_t s = 0; s < half; ++s)
            for (std::size_t k = 0; k < 2; ++k) {
                const bool upper = cost[k][s + half] < cost[k][s];
                now.cost[2 * s + k] = upper ? cost[k][s + half] : cost[k][s];
                now.last[2 * s + k] = upper ? last[k][s + half] : last[k][s];
                symbols[2 * s + k] = upper ? symbol[k][s + half] : symbol[k][s];
                from[2 * s + k] = static_cast<std::uint8_t>(upper ? s + half : s);
            }
    }

    buffer<std::int32_t> symbols_;  // (tokens, states), of the best way into each
    buffer<std::uint8_t> from_;     // where it came from
};

}  // namespace skald::kv::detail
