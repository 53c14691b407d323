// SPDX-License-Identifier: MIT
#pragma once
// The random operations that every cache has: sequences begin, grow, are committed, rolled back, forked, cut and closed.
#include <algorithm>

#include "kv/random_cache.hpp"

namespace skald::test {

template <class Policy>
void open(random_cache<Policy>& c) {
    c.name("open");
    typename random_cache<Policy>::sequence s;
    const auto code = thrown([&] { s.id = c.cache.open(); });
    expect(code == c.without_slot(), "open() of a cache with or without slots");
    if (code) return void(++c.counts.full_slots);
    c.rows.opened(s, 0);
    c.sequences.push_back(std::move(s));
}

template <class Policy>
void step(random_cache<Policy>& c) {
    using cache = random_cache<Policy>;
    c.name("step");
    std::shuffle(c.sequences.begin(), c.sequences.end(), c.random);
    const std::size_t count = 1 + c.pick(c.sequences.size());
    std::array<kv::segment, cache::slots> segments;
    std::array<wish, cache::slots> wishes;
    std::size_t row = 0;
    for (std::size_t i = 0; i < c.sequences.size(); ++i) {
        const auto& s = c.sequences[i];
        std::size_t rows = i >= count ? 0 : 1 + c.pick(c.pick(16) == 0 ? cache::tokens : 8);
        if (c.pick(8) != 0) rows = std::min(rows, kv::step_room(c.cache, s.id));
        wishes[i] = {s.size(), s.pending(), rows, c.rows.observed(s)};
        segments[i] = {s.id, row, wishes[i].rows};
        row += wishes[i].rows;
    }
    std::span<const row_range> ranges;
    const room expected = c.expected(c.rows.room_for(std::span(wishes).first(c.sequences.size())));
    const auto code = thrown([&] { ranges = c.cache.plan(std::span(segments).first(count)); });
    c.check_room(code, expected, "a step");
    if (code) return void(++c.counts.full_steps);
    ++c.counts.steps;
    expect(ranges.size() == count, "another number of ranges than of segments");
    std::array<stepped<typename cache::sequence>, cache::slots> parts;
    for (std::size_t i = 0; i < count; ++i) {
        auto& s = c.sequences[i];
        parts[i] = {&s, s.size()};
        expect(ranges[i].first_position == static_cast<position>(s.size()) && ranges[i].rows == wishes[i].rows &&
                   ranges[i].first_row == segments[i].first_row,
               "a range that is not its segment's");
        for (std::size_t r = 0; r < wishes[i].rows; ++r) s.push(c.next_token(s));
        c.rows.appended(s, parts[i].before);
    }
    if (c.pick(32) == 0) {  // a step that was cancelled before a row was written
        for (std::size_t i = 0; i < count; ++i) {
            auto& s = c.sequences[i];
            c.cache.rollback(s.id, {static_cast<position>(parts[i].before)});
            c.rows.rolled_back(s, parts[i].before);
            s.resize(parts[i].before);
        }
        return;
    }
    c.rows.write(c.cache, std::span(parts).first(count));
    c.rows.check_step(c.cache, std::span(parts).first(count));
}

template <class Policy>
void commit(random_cache<Policy>& c, typename random_cache<Policy>::sequence& s) {
    c.cache.commit(s.id);
    c.rows.committed(s);
    s.committed = s.size();
}
template <class Policy>
void commit(random_cache<Policy>& c) {
    c.name("commit");
    auto& s = c.any_sequence();
    commit(c, s);
    if (c.pick(4) == 0) c.texts[c.pick(c.texts.size())] = s.tokens;
}

template <class Policy>
void roll_back(random_cache<Policy>& c, typename random_cache<Policy>::sequence& s, std::size_t to) {
    c.cache.rollback(s.id, {static_cast<position>(to)});
    c.rows.rolled_back(s, to);
    s.resize(to);
}
template <class Policy>
void roll_back(random_cache<Policy>& c) {
    c.name("rollback");
    auto& s = c.any_sequence();
    roll_back(c, s, s.committed + c.pick(s.pending() + 1));
}

template <class Policy>
void fork(random_cache<Policy>& c) {
    c.name("fork");
    auto copy = c.any_sequence();
    const auto code = thrown([&] { copy.id = c.cache.fork(copy.id); });
    expect(code == c.without_slot(), "fork() of a cache with or without slots");
    if (code) return void(++c.counts.full_slots);
    ++c.counts.forks;
    c.rows.rolled_back(copy, copy.committed);
    copy.resize(copy.committed);
    c.sequences.push_back(std::move(copy));
    c.rows.check(c.cache, c.sequences.back(), 8);
}

template <class Policy>
void truncate(random_cache<Policy>& c, typename random_cache<Policy>::sequence& s, std::size_t to) {
    const auto code = thrown([&] { c.cache.truncate(s.id, static_cast<position>(to)); });
    expect(code == (c.rows.keeps(s, to) ? std::nullopt : std::optional(errc::invalid_argument)),
           "truncate() does otherwise than keeps() says");
    if (code) return void(++c.counts.refused_truncations);
    ++c.counts.truncations;
    c.rows.truncated(s, to);
    s.resize(to);
}
template <class Policy>
void truncate(random_cache<Policy>& c) {
    c.name("truncate");
    auto& s = c.any_sequence();
    truncate(c, s, c.pick(8) == 0 ? 0 : c.pick(s.size() + 1));
}

template <class Policy>
void close(random_cache<Policy>& c) {
    c.name("close");
    auto& s = c.any_sequence();
    c.cache.close(s.id);
    expect(thrown([&] { (void)c.cache.length(s.id); }) == errc::invalid_argument, "a closed sequence has a length");
    std::swap(s, c.sequences.back());
    c.sequences.pop_back();
}

template <class Policy>
void misuse(random_cache<Policy>& c) {
    c.name("misuse");
    const auto& s = c.any_sequence();
    auto& cache = c.cache;
    const auto refused = [&](auto&& f) { expect(thrown(f) == errc::invalid_argument, "misuse is not refused"); };
    const auto length = static_cast<position>(s.size());
    switch (c.pick(6)) {
        case 0: return refused([&] { cache.rollback(s.id, {static_cast<position>(s.committed) - 1}); });
        case 1: return refused([&] { cache.rollback(s.id, {length + 1}); });
        case 2: return refused([&] { cache.truncate(s.id, length + 1 + static_cast<position>(c.pick(3))); });
        case 3: return refused([&] { cache.plan(std::array{kv::segment{s.id, 0, 0}}); });
        case 4: return refused([&] { cache.plan(std::array{kv::segment{s.id, 0, 1}, kv::segment{s.id, 1, 1}}); });
        default: return refused([&] { cache.plan(std::array{kv::segment{s.id, 0, 1}, kv::segment{{random_cache<Policy>::slots}, 1, 1}}); });
    }
}

}  // namespace skald::test
