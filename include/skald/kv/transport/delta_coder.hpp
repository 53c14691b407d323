// SPDX-License-Identifier: MIT
#pragma once
// One channel of a chunk's keys or values as symbols: its mean, and the token deltas of CacheGen (Liu et al. 2023), generalized: what is
// coded is a token's difference from a share of the one before it, as it was decoded, and the share is the channel's own. Values without
// correlation have a share of 0, deltas as in the paper one of 1. Works on whole numbers of units, eight to a bin, so that a decoder ends
// where the encoder did, bit by bit.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <skald/kv/transport/range_coder.hpp>
#include <skald/kv/transport/symbol_model.hpp>

namespace skald::kv::detail {

inline constexpr std::int32_t units_a_bin = 8;                      // anchors are coded to a unit
inline constexpr std::int32_t most_units = 1 << 20;                 // magnitude of a value
inline constexpr std::size_t anchor_widths = 3 * widths_an_octave;  // units are 2³ times finer than bins

/// What is learned while a chunk's keys, or its values, are coded.
struct channel_models {
    counting_model<bell_widths> widths;
    counting_model<33> shares;  // sixteenths from -16 to 16
    number_model means, escapes;
};

/// The state that encoder and decoder go through alike.
struct channel_state {
    std::int32_t mean = 0, share = 0;
    std::int64_t last = 0;  // the token before, less the mean

    std::int64_t expected() const noexcept { return (share * last + 8) >> 4; }

    /// The token whose delta this is.
    std::int32_t next(std::int64_t delta) noexcept {
        last = std::clamp<std::int64_t>(expected() + delta, -4 * most_units, 4 * most_units);
        return static_cast<std::int32_t>(mean + last);
    }
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

/// Codes the values of one channel, in units of magnitude most_units at most; `symbols` is scratch of the same length. `anchor` tells which
/// tokens are coded to a unit instead of a bin.
inline void put_channel(range_encoder& out, channel_models& models, std::span<const bell_table> tables,
                        std::span<const std::int32_t> values, std::span<const std::uint8_t> anchor, std::span<std::int32_t> symbols) {
    const std::size_t n = values.size();
    const bool all = std::find(anchor.begin(), anchor.end(), 0) == anchor.end();
    std::int64_t sum = 0, count = 0, squares = 0, products = 0;
    for (std::size_t i = 0; i < n; ++i)
        if (all || anchor[i] == 0) sum += values[i], ++count;
    channel_state state{.mean = static_cast<std::int32_t>(sum / count)};
    for (std::size_t i = 1; i < n; ++i) {
        if (anchor[i] != 0 || anchor[i - 1] != 0) continue;
        const std::int64_t before = values[i - 1] - state.mean;
        squares += before * before;
        products += before * (values[i] - state.mean);
    }
    if (squares != 0)
        state.share = static_cast<std::int32_t>(
            std::clamp<std::int64_t>((16 * products + (products < 0 ? -squares : squares) / 2) / squares, -16, 16));

    channel_state coded = state;
    std::int64_t moment = 0;  // of symbols, in units
    for (std::size_t i = 0; i < n; ++i) {
        const std::int64_t delta = values[i] - coded.mean - coded.expected();
        const std::int64_t bins = (delta + units_a_bin / 2) >> 3;
        const bool fine = anchor[i] != 0;
        symbols[i] = static_cast<std::int32_t>(fine ? delta : bins);
        coded.next(fine ? delta : units_a_bin * bins);
        if (all || !fine) moment += std::int64_t{symbols[i]} * symbols[i];
    }
    moment = std::min<std::int64_t>(moment, std::int64_t{1} << 46);
    std::size_t width = nearest_width(tables, static_cast<std::uint64_t>(moment) * bell_table::total / static_cast<std::uint64_t>(count));
    if (all) width -= std::min(width, anchor_widths);

    models.widths.put(out, width);
    models.shares.put(out, static_cast<std::size_t>(state.share + 16));
    models.means.put(out, state.mean);
    const bell_table &table = tables[width], &fine = tables[std::min(width + anchor_widths, bell_widths - 1)];
    for (std::size_t i = 0; i < n; ++i) put_symbol(out, anchor[i] != 0 ? fine : table, models.escapes, symbols[i]);
}

/// The same back: f(token, value in units) for every token. Values have magnitudes of 2²³ at most, whatever the bytes.
template <class F>
void get_channel(range_decoder& in, channel_models& models, std::span<const bell_table> tables, std::span<const std::uint8_t> anchor,
                 F&& f) {
    const std::size_t width = models.widths.get(in);
    channel_state state{.share = static_cast<std::int32_t>(models.shares.get(in)) - 16};
    state.mean = std::clamp(models.means.get(in), -most_units, most_units);
    const bell_table &table = tables[width], &fine = tables[std::min(width + anchor_widths, bell_widths - 1)];
    for (std::size_t i = 0; i < anchor.size(); ++i)
        f(i, anchor[i] != 0 ? state.next(get_symbol(in, fine, models.escapes))
                            : state.next(std::int64_t{units_a_bin} * get_symbol(in, table, models.escapes)));
}

}  // namespace skald::kv::detail
