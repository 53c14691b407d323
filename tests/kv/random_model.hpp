// SPDX-License-Identifier: MIT
#pragma once
// What random operations on a cache are compared with: sequences as vectors of tokens, rows that follow from the tokens up to them, and
// what a policy says it has room for. Policies that keep rows otherwise than their codec encodes them say so by members of their type in
// kv/policies.hpp:
//
// | member                                | meaning; what holds without it                                                  |
// |---------------------------------------|---------------------------------------------------------------------------------|
// | P::first(p), P::keeps(…), P::step     | as `keeping` has them                                                           |
// | P::same_row<Codec>(kept, row)         | whether these bytes are how a row of floats is kept; the codec's own encoding   |
// | P::room(policy, wishes)               | whether a step fits; that of the storage's options                              |
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <skald/core/checked.hpp>

#include "kv/policies.hpp"

namespace skald::test {

/// A sequence as the operations left it.
struct known_sequence {
    kv::sequence_id id;
    std::vector<token_id> tokens;
    std::vector<std::uint32_t> prefixes;  // of each token, a number for all tokens up to it
    std::size_t committed = 0;
    std::size_t most = 0;  // tokens it has had since it was empty

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

/// Rows of random floats and how a codec encodes them. What stands at a place of a sequence is one of them, chosen by the tokens up to it,
/// so that equal beginnings have equal rows and others are told apart in all but one of 1021 places.
template <class Codec>
class row_book {
public:
    static constexpr std::size_t size = 1021;

    explicit row_book(std::size_t width) : width_(width), floats_(size * width), bytes_(size * Codec::row_bytes(width)) {
        std::mt19937 random(1);
        for (float& x : floats_) x = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 250.0f;
        for (std::size_t i = 0; i < size; ++i)
            Codec::template encode<format::scalar>(floats_.data() + i * width, width, bytes_.data() + i * Codec::row_bytes(width));
    }

    static std::size_t index(std::uint32_t prefix, std::size_t layer, std::size_t head, bool value) noexcept {
        const std::uint32_t place = static_cast<std::uint32_t>((layer * 64 + head) * 2 + (value ? 1 : 0)) + 1;
        return (prefix ^ place * 2246822519u) % size;
    }
    std::span<const float> floats(std::size_t i) const noexcept { return std::span(floats_).subspan(i * width_, width_); }
    std::span<const std::byte> bytes(std::size_t i) const noexcept {
        return std::span(bytes_).subspan(i * Codec::row_bytes(width_), Codec::row_bytes(width_));
    }

private:
    std::size_t width_;
    std::vector<float> floats_;     // (size, width)
    std::vector<std::byte> bytes_;  // (size, row_bytes)
};

/// What a step wants of one sequence; of those that it leaves alone, no rows.
struct wish {
    std::size_t length = 0, pending = 0, rows = 0;
};

enum class room { enough, none, either };

inline room room_of(const kv::contiguous_options& o, std::span<const wish> wishes) {
    return std::ranges::all_of(wishes, [&](const wish& w) { return w.length + w.rows <= o.tokens; }) ? room::enough : room::none;
}

inline room room_of(const kv::ring_options& o, std::span<const wish> wishes) {
    return std::ranges::all_of(wishes, [&](const wish& w) { return w.pending + w.rows <= o.step; }) ? room::enough : room::none;
}

/// Enough where every sequence could have blocks of its own, none where one alone has too few; sharing decides between.
inline room room_of(const kv::paged_options& o, std::span<const wish> wishes) {
    const std::size_t blocks = ceil_div(o.tokens, o.block);
    std::size_t sum = 0, most = 0;
    for (const wish& w : wishes) {
        sum += ceil_div(w.length + w.rows, o.block);
        most = std::max(most, ceil_div(w.length + w.rows, o.block));
    }
    return sum <= blocks ? room::enough : most > blocks ? room::none : room::either;
}

}  // namespace skald::test
