// SPDX-License-Identifier: MIT
#pragma once
// What random operations on a cache are compared with: sequences as vectors of tokens, rows that follow from the tokens up to them, and
// what a policy says it has room for. Which of them a cache has kept is random_positions.hpp's and random_evictions.hpp's matter. Types of
// policies (kv/policies.hpp) tell:
//
// | member                                          | meaning; what holds without it                                        |
// |-------------------------------------------------|-----------------------------------------------------------------------|
// | P::first(p), P::keeps(…), P::most_after(…), P::step | as `keeping` has them                                             |
// | P::sinks                                        | so many first tokens are read and kept always; none                   |
// | P::hot, P::group, P::pool                       | of tiers: the hot codec, tokens of a group, whether groups are shared |
// | P::leads                                        | of tiers: a sequence with whole groups takes a place more            |
// | P::whole_steps                                  | of tiers: no step goes past the end of a group                        |
// | P::same_merged(…)                               | of tiers: whether a row is what two layers' rows were merged into     |
// | P::full_layers, P::read(…), P::same_bounds(…)   | of pages that rows choose: as `choosing_policy` has them              |
// | P::layers                                       | layers; 2                                                             |
// | P::most_opened(n)                               | what counts as `most` of a sequence that began with n tokens; n       |
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <skald/core/checked.hpp>

#include "kv/policies.hpp"

namespace skald::test {

struct mismatch {
    std::string what;
};
inline void expect(bool fact, std::string_view otherwise) {
    if (!fact) throw mismatch{std::string(otherwise)};
}

/// A sequence as the operations left it, with what a model of its rows notes.
template <class Extra>
struct known_sequence {
    kv::sequence_id id{};
    std::vector<token_id> tokens{};
    std::vector<std::uint32_t> prefixes{};  // of each token, a number for all tokens up to it
    std::size_t committed = 0;
    std::size_t most = 0;  // tokens it has had since it was empty
    Extra extra{};

    std::size_t size() const noexcept { return tokens.size(); }
    std::size_t pending() const noexcept { return tokens.size() - committed; }
    void push(token_id t) {
        std::uint32_t h = prefixes.empty() ? 2166136261u : prefixes.back();
        h = (h ^ static_cast<std::uint32_t>(t + 1)) * 2654435761u;
        prefixes.push_back(h ^ h >> 15);
        tokens.push_back(t);
        most = std::max(most, tokens.size());
    }
    void resize(std::size_t length) {
        tokens.resize(length);
        prefixes.resize(length);
        committed = std::min(committed, length);
    }
};

/// Rows of random floats and how a codec encodes them, or encodes what another one kept of them. What stands at a place of a sequence is
/// one of them, chosen by the tokens up to it, so that equal beginnings have equal rows and others are told apart in all but one of 1021
/// places.
template <class Codec, class Source = Codec>
class row_book {
public:
    static constexpr std::size_t size = 1021;

    explicit row_book(std::size_t width) : width_(width), bytes_(size * Codec::row_bytes(width)) {
        std::mt19937 random(1);
        std::vector<float> row(width);
        std::vector<std::byte> kept(Source::row_bytes(width));
        for (std::size_t i = 0; i < size; ++i) {
            for (float& x : row) x = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 250.0f;
            if constexpr (!std::is_same_v<Codec, Source>) {
                Source::template encode<format::scalar>(row.data(), width, kept.data());
                for (std::size_t c = 0; c < width; ++c) row[c] = Source::template decode<format::scalar>(kept.data(), c).value;
            }
            Codec::template encode<format::scalar>(row.data(), width, bytes_.data() + i * Codec::row_bytes(width));
        }
    }

    /// How a key or value is kept at a place, after the tokens that `prefix` stands for.
    std::span<const std::byte> bytes(std::uint32_t prefix, std::size_t layer, std::size_t head, bool value) const noexcept {
        const std::uint32_t place = static_cast<std::uint32_t>((layer * 64 + head) * 2 + (value ? 1 : 0)) + 1;
        const std::size_t bytes = Codec::row_bytes(width_);
        return std::span(bytes_).subspan((prefix ^ place * 2246822519u) % size * bytes, bytes);
    }

private:
    std::size_t width_;
    std::vector<std::byte> bytes_;  // (size, row_bytes)
};

/// Whether a row of a run, kept by its codec from what Source kept, is that of a place; the same row is written where there is none.
template <class Source, class Run>
bool same_row(const Run& run, const std::byte* kept, std::size_t width, std::uint32_t prefix, std::size_t layer, std::size_t head,
              bool value) {
    static const row_book<typename Run::codec, Source> book(width);
    const std::span<const std::byte> row = book.bytes(prefix, layer, head, value);
    return run.row_bytes() == row.size() && std::memcmp(kept, row.data(), row.size()) == 0;
}
template <class Run>
void put_row(const Run&, std::byte* out, std::size_t width, std::uint32_t prefix, std::size_t layer, std::size_t head, bool value) {
    static const row_book<typename Run::codec> book(width);
    std::ranges::copy(book.bytes(prefix, layer, head, value), out);
}

/// What a step wants of one sequence; of those that it leaves alone, no rows.
struct wish {
    std::size_t length = 0, pending = 0, rows = 0;
    std::size_t observed = 0;  // observations of pending rows
};

enum class room { enough, none, either };

inline room steps_fit(std::size_t step, std::span<const wish> wishes) {
    return std::ranges::all_of(wishes, [&](const wish& w) { return w.rows == 0 || w.pending + w.rows <= step; }) ? room::enough
                                                                                                                 : room::none;
}

/// Options of a pool of blocks that sequences hold whole or in part, and the tokens of a block.
template <class Options>
concept options_of_blocks = requires(const Options o) { o.block; } || requires(const Options o) { o.page; };
std::size_t block_of(const options_of_blocks auto& o) {
    if constexpr (requires { o.block; })
        return o.block;
    else
        return o.page;
}

/// Whether sequences that take so many tokens each have room where every one owns `most`, or where all share blocks: enough where all
/// could have some of their own, none where one alone has too few; sharing decides between.
template <class Blocks>
room blocks_fit(std::size_t blocks, std::span<const wish> wishes, const Blocks& blocks_for) {
    std::size_t sum = 0, most = 0;
    for (const wish& w : wishes) {
        sum += blocks_for(w.length + w.rows);
        most = std::max(most, blocks_for(w.length + w.rows));
    }
    return sum <= blocks ? room::enough : most > blocks ? room::none : room::either;
}
inline room each_fits(std::size_t most, std::span<const wish> wishes) {
    return std::ranges::all_of(wishes, [&](const wish& w) { return w.length + w.rows <= most; }) ? room::enough : room::none;
}

}  // namespace skald::test
