// SPDX-License-Identifier: MIT
#pragma once
// One channel of a chunk's keys or values as symbols: its mean, what its neighbours tell of it (neighbours.hpp), and the token deltas of
// CacheGen (Liu et al. 2023), generalized: what is coded is a token's difference from a share of the one before it, as it was decoded, and
// the share is the channel's own. Values without correlation have a share of 0, deltas as in the paper one of 1. Symbols are those of a
// trellis (trellis.hpp), except in channels so narrow that a point halfway between bins would only cost. Works on whole numbers of units,
// eight to a bin, so that a decoder ends where the encoder did, bit by bit.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/kv/transport/neighbours.hpp>
#include <skald/kv/transport/range_coder.hpp>
#include <skald/kv/transport/symbol_model.hpp>
#include <skald/kv/transport/trellis.hpp>

namespace skald::kv::detail {

inline constexpr std::int32_t most_units = 1 << 20;                 // magnitude of a value
inline constexpr std::size_t anchor_widths = 3 * widths_an_octave;  // units are 2³ times finer than bins
inline constexpr std::size_t least_trellis_width = 8;               // half a bin: there a halfway point costs what it brings

/// What is learned while a chunk's keys, or its values, are coded.
struct channel_models {
    counting_model<bell_widths> widths;
    counting_model<33> shares;  // sixteenths from -16 to 16
    counting_model<most_neighbours + 1> neighbours;
    counting_model<2 * most_weight + 1> weights;
    number_model means, escapes;
};

inline void put_symbol(range_encoder& out, const bell_table& table, number_model& escapes, std::int32_t symbol) {
    const bool within = symbol >= -bell_table::radius && symbol <= bell_table::radius;
    const std::size_t at = within ? static_cast<std::size_t>(symbol + bell_table::radius) : bell_table::escape;
    out.put(table.begins[at], table.begins[at + 1] - table.begins[at], bell_table::total);
    if (!within) escapes.put(out, symbol);
}

inline std::int32_t get_symbol(range_decoder& in, const bell_table& table, number_model& escapes) noexcept {
    const std::uint32_t place = in.find(bell_table::total);
    std::size_t at = bell_table::radius;
    while (place < table.begins[at]) --at;
    while (place >= table.begins[at + 1]) ++at;
    in.take(table.begins[at], table.begins[at + 1] - table.begins[at]);
    return at == bell_table::escape ? escapes.get(in) : static_cast<std::int32_t>(at) - bell_table::radius;
}

/// Codes the channels of a head.
class delta_encoder {
public:
    delta_encoder(std::size_t head_dim, std::size_t tokens, std::string_view place, std::pmr::memory_resource* memory)
        : search_(head_dim, tokens, place, memory),
          trellis_(tokens, memory),
          decoded_(head_dim, tokens, place, memory),
          values_(tokens, memory),
          expected_(tokens, memory),
          symbols_(tokens, memory) {}

    /// Channel c, after those before it, in units of magnitude most_units at most. `anchor` tells which tokens are coded to a unit instead
    /// of a bin.
    void put(range_encoder& out, channel_models& models, const bell_tables& tables, std::size_t c, std::span<const std::int32_t> values,
             std::span<const std::uint8_t> anchor) {
        const std::size_t n = values.size();
        const bool all = std::find(anchor.begin(), anchor.end(), 0) == anchor.end();
        std::int64_t sum = 0, count = 0;
        for (std::size_t i = 0; i < n; ++i)
            if (all || anchor[i] == 0) sum += values[i], ++count;
        const auto mean = static_cast<std::int32_t>(sum / count);
        const std::span<std::int32_t> rest = values_.span().first(n), expected = expected_.span().first(n),
                                      symbols = symbols_.span().first(n);
        for (std::size_t i = 0; i < n; ++i) rest[i] = values[i] - mean;
        const neighbours told = search_.find(c, rest, anchor, share_of(rest, anchor));
        decoded_.expect(told, expected);
        for (std::size_t i = 0; i < n; ++i) rest[i] -= expected[i];
        const std::int32_t share = share_of(rest, anchor);

        std::size_t width = quantize(tables, rest, anchor, share, all, symbols);
        bool trellis = !all && width >= least_trellis_width;
        if (trellis) {
            trellis_.find(rest, anchor, share, symbols);
            width = std::max(nearest_width(tables.whole(), moment_of(symbols, anchor)), least_trellis_width);
        }
        models.widths.put(out, width);
        models.shares.put(out, static_cast<std::size_t>(share + 16));
        models.means.put(out, mean);
        models.neighbours.put(out, told.count);
        for (std::size_t k = 0; k < told.count; ++k) {
            out.put(static_cast<std::uint32_t>(told.all[k].channel), 1, static_cast<std::uint32_t>(c));
            models.weights.put(out, static_cast<std::size_t>(told.all[k].weight + most_weight));
        }
        trellis = width >= least_trellis_width;
        channel_state state{.share = share};
        const std::span<std::int32_t> decoded = decoded_.channel(c).first(n);
        for (std::size_t i = 0; i < n; ++i) {
            const bool exact = anchor[i] != 0;
            put_symbol(out, exact ? tables.whole()[std::min(width + anchor_widths, bell_widths - 1)] : tables.at(width, state.halfway()),
                       models.escapes, symbols[i]);
            const std::int32_t token = exact ? state.next(symbols[i]) : state.next_symbol(symbols[i], trellis);
            decoded[i] = decoded_channels::clamp(expected[i] + token);
        }
        search_.learn(c, decoded, anchor);
    }

private:
    static std::int32_t share_of(std::span<const std::int32_t> values, std::span<const std::uint8_t> anchor) noexcept {
        std::int64_t squares = 0, products = 0;
        for (std::size_t i = 1; i < values.size(); ++i) {
            if (anchor[i] != 0 || anchor[i - 1] != 0) continue;
            squares += std::int64_t{values[i - 1]} * values[i - 1];
            products += std::int64_t{values[i - 1]} * values[i];
        }
        if (squares == 0) return 0;
        return static_cast<std::int32_t>(
            std::clamp<std::int64_t>((16 * products + (products < 0 ? -squares : squares) / 2) / squares, -16, 16));
    }

    /// Without a trellis: each value the nearest bin. Returns the width.
    static std::size_t quantize(const bell_tables& tables, std::span<const std::int32_t> values, std::span<const std::uint8_t> anchor,
                                std::int32_t share, bool all, std::span<std::int32_t> symbols) noexcept {
        channel_state state{.share = share};
        std::int64_t squares = 0, count = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::int32_t delta = values[i] - state.expected();
            const bool exact = anchor[i] != 0;
            symbols[i] = exact ? delta : (delta + units_a_bin / 2) >> 3;
            exact ? state.next(delta) : state.next_symbol(symbols[i], false);
            if (all || !exact) squares += std::int64_t{symbols[i]} * symbols[i], ++count;
        }
        const std::size_t width = nearest_width(tables.whole(), mean_of(squares, count));
        return all ? width - std::min(width, anchor_widths) : width;
    }

    /// The mean square of the trellis' points that are no anchors, in bins · 2¹⁶.
    static std::uint64_t moment_of(std::span<const std::int32_t> symbols, std::span<const std::uint8_t> anchor) noexcept {
        channel_state state;
        std::int64_t squares = 0, count = 0;
        for (std::size_t i = 0; i < symbols.size(); ++i) {
            if (anchor[i] != 0) continue;
            const std::int64_t halves = 2 * std::int64_t{symbols[i]} + (state.halfway() ? 1 : 0);
            squares += halves * halves;
            ++count;
            state.state = trellis_next(state.state, symbols[i]);
        }
        return mean_of(squares / 4, count);
    }

    static std::uint64_t mean_of(std::int64_t squares, std::int64_t count) noexcept {
        return static_cast<std::uint64_t>(std::min(squares, std::int64_t{1} << 46)) * bell_table::total / static_cast<std::uint64_t>(count);
    }

    neighbour_search search_;
    trellis_search trellis_;
    decoded_channels decoded_;
    buffer<std::int32_t> values_, expected_, symbols_;
};

/// Decodes them.
class delta_decoder {
public:
    delta_decoder(std::size_t head_dim, std::size_t tokens, std::string_view place, std::pmr::memory_resource* memory)
        : decoded_(head_dim, tokens, place, memory), expected_(tokens, memory) {}

    /// Channel c, after those before it: f(token, value in units) for every token. Values have magnitudes of 2²³ at most, whatever the
    /// bytes.
    template <class F>
    void get(range_decoder& in, channel_models& models, const bell_tables& tables, std::size_t c, std::span<const std::uint8_t> anchor,
             F&& f) noexcept {
        const std::size_t n = anchor.size(), width = models.widths.get(in);
        channel_state state{.share = static_cast<std::int32_t>(models.shares.get(in)) - 16};
        const std::int32_t mean = std::clamp(models.means.get(in), -most_units, most_units);
        neighbours told{.count = models.neighbours.get(in)};
        if (c == 0) told.count = 0;
        for (std::size_t k = 0; k < told.count; ++k) {
            told.all[k].channel = in.find(static_cast<std::uint32_t>(c));
            in.take(static_cast<std::uint32_t>(told.all[k].channel), 1);
            told.all[k].weight = static_cast<std::int32_t>(models.weights.get(in)) - most_weight;
        }
        const std::span<std::int32_t> expected = expected_.span().first(n), decoded = decoded_.channel(c).first(n);
        decoded_.expect(told, expected);
        const bool trellis = width >= least_trellis_width;
        const std::array<const bell_table*, 2> table{&tables.at(width, false), &tables.at(width, true)};
        const bell_table& fine = tables.whole()[std::min(width + anchor_widths, bell_widths - 1)];
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t token = anchor[i] != 0 ? state.next(get_symbol(in, fine, models.escapes))
                                                      : state.next_symbol(get_symbol(in, *table[state.state % 2], models.escapes), trellis);
            decoded[i] = decoded_channels::clamp(expected[i] + token);
            f(i, mean + decoded[i]);
        }
    }

private:
    decoded_channels decoded_;
    buffer<std::int32_t> expected_;
};

}  // namespace skald::kv::detail
