// SPDX-License-Identifier: MIT
#pragma once
// What saved sequences of caches that look at weights must do: go on as what was saved does, and be refused or taken in part where the
// sequence could be cut or not. For evicting storage and for tiers by importance.
#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "kv/evicting_reference.hpp"
#include "kv/state_kept.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

namespace skald::test {

inline constexpr kv::cache_shape twin_shape{.layers = 2, .kv_heads = recorded_kv_heads, .head_dim = 5};

template <class Policy>
auto made(const Policy& p) {
    return p.make(twin_shape, std::pmr::new_delete_resource());
}

/// Appends `length` tokens in steps of any size, each committed.
template <class Cache>
recorded_sequence grown(Cache& cache, std::size_t length, std::mt19937& random) {
    recorded_sequence s{cache.open(), {}, 0};
    auto writer = static_cast<std::uint32_t>(random());
    while (s.writers.size() < length) {
        take_step(cache, {&s}, {std::min<std::size_t>(length - s.writers.size(), 1 + random() % 12)}, writer);
        cache.commit(s.id);
        s.committed = s.writers.size();
    }
    return s;
}

/// What the next row of a sequence would read, all of it.
template <class Cache>
bytes shown(Cache& cache, kv::sequence_id s) {
    bytes out;
    const auto add = [&](std::span<const std::byte> some) { out.insert(out.end(), some.begin(), some.end()); };
    const auto add_run = [&]<class Run>(const Run& run, std::size_t h) {
        for (position p = run.begin(0); p < run.end(0); ++p) {
            add({run.key(0, h, p), row_bytes_of<true>(run)});
            add({run.value(0, h, p), row_bytes_of<false>(run)});
        }
        if constexpr (choosing_run<Run>)
            for (position t = 0; t < run.end(0); t += static_cast<position>(attention::tile_size)) {
                const std::uint64_t bits = run.shown(0, h, run.end(0) - 1, t);
                add(std::as_bytes(std::span(&bits, 1)));
            }
        const std::array ends{run.begin(0), run.end(0)};
        add(std::as_bytes(std::span(ends)));
    };
    cache.select(s);
    for (std::size_t layer = 0; layer < twin_shape.layers; ++layer)
        for (std::size_t h = 0; h < twin_shape.kv_heads; ++h)
            std::apply([&](const auto&... run) { (add_run(run, h), ...); }, cache.view(layer));
    return out;
}

/// Whether both sequences have the same bytes and positions, and can go back to the same lengths.
template <class Cache>
bool alike(Cache& a, const recorded_sequence& in_a, Cache& b, const recorded_sequence& in_b) {
    for (std::size_t l = 0; l <= in_a.writers.size(); ++l)
        if (a.keeps(in_a.id, static_cast<position>(l)) != b.keeps(in_b.id, static_cast<position>(l))) return false;
    for (std::size_t layer = 0; layer < twin_shape.layers; ++layer)
        for (std::size_t h = 0; h < twin_shape.kv_heads; ++h)
            if (!std::ranges::equal(a.positions(in_a.id, layer, h), b.positions(in_b.id, layer, h))) return false;
    return a.length(in_a.id) == b.length(in_b.id) && shown(a, in_a.id) == shown(b, in_b.id) &&
           saved(a, in_a.id, in_a.committed) == saved(b, in_b.id, in_b.committed);
}

template <class Policy>
void check_twins(const Policy& policy, unsigned seed) {
    CAPTURE(policy.name(), seed);
    std::mt19937 random(seed);
    for (const std::size_t length : {0, 1, 9, 14, 15, 60}) {
        CAPTURE(length);
        auto from = made(policy), to = made(policy);
        recorded_sequence a = grown(from, length, random);
        const recorded_sequence neighbour = grown(to, 23, random);
        const bytes beside_it = saved(to, neighbour.id, 23);
        const kv::loaded_sequence loaded = kv::load(to, saved(from, a.id, length), {.model = 3});
        CHECK(loaded.text.tokens == some_tokens(length));
        recorded_sequence b = a;
        b.id = loaded.sequence;
        REQUIRE(alike(from, a, to, b));
        for (std::size_t i = 0; i < 10; ++i) {
            const std::size_t before = a.writers.size(), rows = 1 + random() % 12, left = before + random() % (rows + 1);
            auto writer = static_cast<std::uint32_t>(random()), same_writer = writer;
            take_step(from, {&a}, {rows}, writer);
            take_step(to, {&b}, {rows}, same_writer);
            const bool rolled_back = random() % 3 == 0;
            const auto finish = [&](auto& cache, recorded_sequence& s) {
                if (rolled_back) {
                    cache.rollback(s.id, {static_cast<position>(left)});
                    s.writers.resize(left);
                }
                cache.commit(s.id);
                s.committed = s.writers.size();
            };
            finish(from, a), finish(to, b);
            REQUIRE(alike(from, a, to, b));
        }
        CHECK(saved(to, neighbour.id, 23) == beside_it);
    }
}

/// Of a sequence of 34 tokens that has dropped some.
template <class Policy>
void check_beginnings(const Policy& policy) {
    CAPTURE(policy.name());
    std::mt19937 random(5);
    auto cache = made(policy);
    recorded_sequence s = grown(cache, 34, random);
    std::uint32_t writer = 1;
    take_step(cache, {&s}, {3}, writer);
    std::size_t refused = 0;
    for (std::size_t length = 0; length <= 34; ++length) {
        CAPTURE(length);
        if (!cache.keeps(s.id, static_cast<position>(length))) {
            ++refused;
            REQUIRE(code_of([&] { saved(cache, s.id, length); }) == errc::unsupported);
            continue;
        }
        auto whole = made(policy), cut = made(policy);
        const bytes stream = saved(cache, s.id, length);
        const kv::sequence_id t = kv::load(whole, stream, {.model = 3}).sequence;
        REQUIRE(saved(whole, t, length) == stream);
        const kv::sequence_id u = kv::load(cut, saved(cache, s.id, 34), {.model = 3}).sequence;
        cut.truncate(u, static_cast<position>(length));
        REQUIRE(saved(cut, u, length) == stream);
    }
    CHECK(refused > 0);
    CHECK(refused < 34);
    CHECK(cache.length(s.id) == 37);
}

/// Of a policy with room for three sequences.
template <class Policy>
void check_damages(const Policy& policy) {
    CAPTURE(policy.name());
    std::mt19937 random(7);
    counting_resource memory;
    auto cache = policy.make(twin_shape, &memory);
    const recorded_sequence other = grown(cache, 37, random), s = grown(cache, 35, random);
    const bytes stream = saved(cache, s.id, 35);
    cache.close(s.id);
    beside<decltype(cache)> all{cache, memory, other.id, 37, stream, 35};
    all.check_failures();
    all.check_damage();
    // Whatever is taken can be gone on with.
    all.check_forgeries([&](kv::sequence_id taken) {
        recorded_sequence more{taken, std::vector<std::uint32_t>(35, 1), 35};
        std::uint32_t writer = 1;
        take_step(cache, {&more}, {2}, writer);
        cache.commit(taken);
        for (position l = 0; l <= 37; ++l)
            if (cache.keeps(taken, l)) (void)saved(cache, taken, static_cast<std::size_t>(l));
        cache.truncate(taken, 0);
    });
}

/// Two sequences of a budget with room for one: each step of one spills the other, which comes back as it was.
template <class Cache>
void check_spilling(Cache cache) {
    const kv::sequence_id a = cache.open(), b = cache.open();
    const auto step = [&](kv::sequence_id s) {
        const std::array segments{kv::segment{s, 0, 15}};
        cache.plan(segments);
        cache.commit(s);
    };
    step(a);
    bytes before, after;
    kv::save(cache, a, some_tokens(15), into(before));
    step(b);
    CHECK(cache.spilled(a));
    kv::save(cache, a, some_tokens(15), into(after));
    CHECK(before == after);
    CHECK(cache.spilled(b));
    CHECK(cache.counts().restored == 1);
}

}  // namespace skald::test
