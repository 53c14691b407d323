// SPDX-License-Identifier: MIT
#pragma once
// Trellis-coded quantization (Marcellin and Fischer 1990, with Ungerboeck's code of eight states as in JPEG 2000): the points of a bin's
// multiples and those halfway between them take turns as the trellis goes, whose state is known from the symbols before. A value takes the
// bits of a bin and has an error 1.1 dB smaller. Symbols are chosen for the whole channel (Viterbi 1967), by the error alone: a choice by
// the bits as well, a dead zone, makes keys and values lean to their means and gains nothing over coarser bins (kv/README.md).
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
    static constexpr numbers halves{0, units_a_bin / 2, 0, units_a_bin / 2, 0, units_a_bin / 2, 0, units_a_bin / 2};
    static constexpr numbers turns = [] {
        numbers out{};
        for (std::size_t s = 0; s < trellis_states; ++s) out[s] = trellis_turn[s];
        return out;
    }();
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
        // The nearest point of each state and the one on the value's other side: one leads to 2s, one to 2s + 1. Without branches, which
        // would go either way as often; a mask has all bits or none.
        constexpr auto choose = [](std::int32_t mask, std::int32_t a, std::int32_t b) { return b ^ ((a ^ b) & mask); };
        numbers begin, symbol0, symbol1, cost0, cost1;
        for (std::size_t s = 0; s < trellis_states; ++s) begin[s] = ((share * now.last[s] + 8) >> 4) + halves[s];
        for (std::size_t s = 0; s < trellis_states; ++s) {
            const std::int32_t delta = value - begin[s], near = (delta + units_a_bin / 2) >> 3, error = delta - units_a_bin * near;
            const std::int32_t below = error >> 31, far = near + (below | 1), other = units_a_bin - ((error ^ below) - below);
            const std::int32_t second = -((near ^ turns[s]) & 1);
            symbol0[s] = choose(second, far, near);
            symbol1[s] = choose(second, near, far);
            cost0[s] = now.cost[s] + choose(second, other * other, error * error);
            cost1[s] = now.cost[s] + choose(second, error * error, other * other);
        }
        constexpr std::size_t half = trellis_states / 2;
        const auto join = [&](const numbers& cost, const numbers& symbol, std::size_t k) {
            for (std::size_t s = 0; s < half; ++s) {
                const std::int32_t upper = (cost[s + half] - cost[s]) >> 31;
                const std::int32_t best = choose(upper, symbol[s + half], symbol[s]);
                now.cost[2 * s + k] = choose(upper, cost[s + half], cost[s]);
                now.last[2 * s + k] = choose(upper, begin[s + half], begin[s]) + units_a_bin * best;
                symbols[2 * s + k] = best;
                from[2 * s + k] = static_cast<std::uint8_t>(static_cast<std::int32_t>(s) - static_cast<std::int32_t>(half) * upper);
            }
        };
        join(cost0, symbol0, 0);
        join(cost1, symbol1, 1);
    }

    buffer<std::int32_t> symbols_;  // (tokens, states), of the best way into each
    buffer<std::uint8_t> from_;     // where it came from
};

}  // namespace skald::kv::detail
