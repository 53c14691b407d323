// SPDX-License-Identifier: MIT
#pragma once
// The random operations that save a sequence and read it back, into a new sequence or an emptied one; some of the streams are damaged.
#include <skald/kv/state.hpp>

#include "kv/random_cache.hpp"
#include "kv/random_steps.hpp"

namespace skald::test {

template <class Policy>
void save(random_cache<Policy>& c) {
    c.name("save");
    const auto& s = c.any_sequence();
    const std::size_t length = c.pick(4) == 0 ? c.pick(s.committed + 1) : s.committed;
    std::vector<std::byte> bytes;
    const auto code = thrown([&] {
        kv::save(c.cache, s.id, std::span(s.tokens).first(length),
                 [&](std::span<const std::byte> some) { bytes.insert(bytes.end(), some.begin(), some.end()); });
    });
    expect(code == (c.rows.saves(s, length) ? std::nullopt : std::optional(errc::unsupported)),
           "save() of what is kept or not does otherwise");
    if (code) return void(++c.counts.refused_saves);
    ++c.counts.saves;
    c.saved[c.pick(c.saved.size())] = {c.rows.saved(s, length), std::move(bytes)};
}

template <class Policy>
void restore(random_cache<Policy>& c) {
    using cache = random_cache<Policy>;
    const auto& from = c.saved[c.pick(c.saved.size())];
    if (from.bytes.empty()) return;
    c.name("restore");
    const bool fresh = c.has_slot();
    if (fresh) open(c);
    auto& s = fresh ? c.sequences.back() : c.any_sequence();
    truncate(c, s, 0);
    std::array<wish, cache::slots> wishes;
    for (std::size_t i = 0; i < c.sequences.size(); ++i)
        wishes[i] = {c.sequences[i].size(), c.sequences[i].pending(), &c.sequences[i] == &s ? from.known.size() : 0};
    const room expected = c.expected(c.rows.room_to_restore(std::span(wishes).first(c.sequences.size())));
    std::vector<std::byte> bytes = from.bytes;
    const bool damaged = c.pick(8) == 0;
    if (damaged) bytes[c.pick(bytes.size())] ^= std::byte{0x10};
    kv::saved_text text;
    const auto code = thrown([&] { text = kv::restore(c.cache, s.id, std::span<const std::byte>(bytes)); });
    if (damaged) return expect(code.has_value(), "a damaged state is restored");
    c.check_room(code, expected, "a saved state");
    if (code) return void(++c.counts.full_restores);
    ++c.counts.restores;
    expect(text.tokens == from.known.tokens, "other tokens than were saved");
    const kv::sequence_id id = s.id;
    s = from.known;
    s.id = id;
    c.rows.check(c.cache, s, 16);
}

}  // namespace skald::test
