// SPDX-License-Identifier: MIT
#pragma once
// How probable symbols are. Quantized rows are bell-shaped in every channel, so a channel's frequency table is named by its width alone:
// one of 56, six bits or less to transmit; it stands for two, one of them for points halfway between symbols. Numbers beside them (widths,
// means) count as they come. Integers only: tables are the same wherever they are built.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

#include <skald/core/buffer.hpp>
#include <skald/kv/transport/range_coder.hpp>

namespace skald::kv::detail {

/// A frequency table of the symbols -127 … 127 and of one that says that a greater one follows; they sum to 2¹⁶.
struct bell_table {
    static constexpr int radius = 127;
    static constexpr std::size_t symbols = 2 * radius + 2, escape = symbols - 1;
    static constexpr std::uint32_t total = 1u << 16;

    std::array<std::uint32_t, symbols + 1> begins;  ///< symbol k is [begins[k + radius], begins[k + radius + 1])
    std::uint64_t moment;                           ///< mean of k² · 2¹⁶, of the bell itself
};

/// Their widths: standard deviations 0.25 · 2^(i/8) symbols, up to 29.3.
inline constexpr std::size_t bell_widths = 56;
inline constexpr std::size_t widths_an_octave = 8;

/// Floor of the root.
constexpr std::uint64_t root(std::uint64_t x) noexcept {
    std::uint64_t out = 0;
    for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1)
        if ((out | bit) * (out | bit) <= x) out |= bit;
    return out;
}

/// The table of a bell whose middle is at symbol 0 or, `halfway`, between -1 and 0, by the first of its ratios, p(1) / p(0), and that of
/// one ratio to the one before: in 32 binary digits.
inline void make_bell_table(std::uint64_t ratio, std::uint64_t square, bool halfway, bell_table& table) noexcept {
    std::array<std::uint64_t, bell_table::radius + 1> weights;
    weights[0] = std::uint64_t{1} << 32;
    for (std::size_t k = 0; k < bell_table::radius; ++k, ratio = ratio * square >> 32) weights[k + 1] = weights[k] * ratio >> 32;
    const auto weight = [&](int k) { return weights[static_cast<std::size_t>(k >= 0 ? k : halfway ? -1 - k : -k)]; };
    std::uint64_t sum = 0, squares = 0;
    for (int k = -bell_table::radius; k <= bell_table::radius; ++k) {
        sum += weight(k);
        squares += static_cast<std::uint64_t>(k * k) * weight(k);
    }
    constexpr std::uint32_t shared = bell_table::total - bell_table::symbols;  // each has one, whatever its weight
    const auto share = [&](int k) { return static_cast<std::uint32_t>(1 + weight(k) * shared / sum); };
    std::uint32_t given = 1;  // to the escape
    for (int k = -bell_table::radius; k <= bell_table::radius; ++k) given += share(k);
    table.moment = squares / (sum >> 16);
    table.begins[0] = 0;
    for (int k = -bell_table::radius; k <= bell_table::radius; ++k) {
        const std::uint32_t frequency = share(k) + (k == 0 ? bell_table::total - given : 0);
        const auto at = static_cast<std::size_t>(k + bell_table::radius);
        table.begins[at + 1] = table.begins[at] + frequency;
    }
    table.begins[bell_table::symbols] = bell_table::total;
}

/// The tables of all widths. p(k) ∝ q^(k²) with q = exp(-1 / 2σ²), halfway q^(k² + k); a width twice as great has the fourth root of q.
class bell_tables {
public:
    explicit bell_tables(std::pmr::memory_resource* memory) : tables_(2 * bell_widths, memory) {
        std::uint64_t q[widths_an_octave]{1440801, 5145013, 15004422, 36905875, 78665070, 148652826, 253857248, 398132550};
        for (std::size_t i = 0; i < bell_widths; ++i) {
            std::uint64_t& base = q[i % widths_an_octave];
            if (i >= widths_an_octave) base = root(root(base << 32) << 32);
            const std::uint64_t square = base * base >> 32;
            make_bell_table(base, square, false, tables_[i]);
            make_bell_table(square, square, true, tables_[bell_widths + i]);
        }
    }

    const bell_table& at(std::size_t width, bool halfway) const noexcept { return tables_[width + (halfway ? bell_widths : 0)]; }
    std::span<const bell_table> whole() const noexcept { return tables_.span().first(bell_widths); }

private:
    buffer<bell_table> tables_;
};

/// The width whose symbols have a mean square nearest to one: the one that codes them shortest.
inline std::size_t nearest_width(std::span<const bell_table> tables, std::uint64_t moment) noexcept {
    std::size_t i = 0;
    while (i + 1 < tables.size() && moment > (tables[i].moment + tables[i + 1].moment) / 2) ++i;
    return i;
}

/// Frequencies of symbols 0 … N - 1 as they have been met, newer ones counting more.
template <std::size_t N>
class counting_model {
public:
    counting_model() noexcept { counts_.fill(1); }

    void put(range_encoder& out, std::size_t symbol) {
        std::uint32_t begin = 0;
        for (std::size_t i = 0; i < symbol; ++i) begin += counts_[i];
        out.put(begin, counts_[symbol], total_);
        count(symbol);
    }
    std::size_t get(range_decoder& in) noexcept {
        const std::uint32_t at = in.find(total_);
        std::uint32_t begin = 0;
        std::size_t symbol = 0;
        while (at >= begin + counts_[symbol]) begin += counts_[symbol++];
        in.take(begin, counts_[symbol]);
        count(symbol);
        return symbol;
    }

private:
    static constexpr std::uint32_t step = 24, most = 1u << 13;

    void count(std::size_t symbol) noexcept {
        counts_[symbol] += step;
        total_ += step;
        if (total_ <= most) return;
        total_ = 0;
        for (std::uint32_t& c : counts_) total_ += c = (c + 1) / 2;
    }

    std::array<std::uint32_t, N> counts_;
    std::uint32_t total_ = N;
};

/// Whole numbers of 32 bits, small ones in few bits: how many bits, then all but the leading one.
class number_model {
public:
    void put(range_encoder& out, std::int32_t number) {
        const std::uint32_t folded = static_cast<std::uint32_t>(number) << 1 ^ static_cast<std::uint32_t>(number >> 31);
        const auto bits = static_cast<unsigned>(std::bit_width(folded));
        bits_.put(out, bits);
        if (bits < 2) return;
        const unsigned rest = bits - 1, low = rest / 2;
        const std::uint32_t value = folded - (std::uint32_t{1} << rest);
        out.put_bits(value >> low, rest - low);
        out.put_bits(value & ((std::uint32_t{1} << low) - 1), low);
    }
    std::int32_t get(range_decoder& in) noexcept {
        const auto bits = static_cast<unsigned>(bits_.get(in));
        if (bits < 2) return -static_cast<std::int32_t>(bits);
        const unsigned rest = bits - 1, low = rest / 2;
        const std::uint32_t high = in.get_bits(rest - low);
        const std::uint32_t folded = (std::uint32_t{1} << rest) + (high << low | in.get_bits(low));
        return static_cast<std::int32_t>(folded >> 1 ^ (0u - (folded & 1)));
    }

private:
    counting_model<33> bits_;
};

}  // namespace skald::kv::detail
