// SPDX-License-Identifier: MIT
// Saved sequences of evicting storage: what comes back has the tokens, rows and scores that were kept, drops what would have been dropped,
// and can be cut where that could.
#include <random>
#include <string>
#include <vector>

#include <skald/kv/budget.hpp>
#include <skald/kv/evicting.hpp>

#include "kv/evicting_reference.hpp"
#include "kv/state_kept.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr kv::cache_shape shape{.layers = 2, .kv_heads = recorded_kv_heads, .head_dim = 5};

template <class Policy, class Codec = kv::f16>
kv::evicting<Policy, Codec> keeping_tokens(std::size_t budget, Policy p = {}, std::size_t slack = 0) {
    return {{.budget = budget, .step = 20, .sequences = 3, .slack = slack, .undo = 20}, p};
}

template <class Policy>
auto made(const Policy& p) {
    return p.make(shape, std::pmr::new_delete_resource());
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

/// Whether both sequences have the same bytes and positions, and can go back to the same lengths.
template <class Cache>
bool alike(Cache& a, const recorded_sequence& in_a, Cache& b, const recorded_sequence& in_b) {
    for (std::size_t l = 0; l <= in_a.writers.size(); ++l)
        if (a.keeps(in_a.id, static_cast<position>(l)) != b.keeps(in_b.id, static_cast<position>(l))) return false;
    for (std::size_t layer = 0; layer < shape.layers; ++layer)
        for (std::size_t h = 0; h < shape.kv_heads; ++h)
            if (!std::ranges::equal(a.positions(in_a.id, layer, h), b.positions(in_b.id, layer, h))) return false;
    return a.length(in_a.id) == b.length(in_b.id) && saved(a, in_a.id, in_a.committed) == saved(b, in_b.id, in_b.committed);
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

}  // namespace

TEST_CASE("a saved sequence of evicting storage goes on as what was saved does", "[kv]") {
    const unsigned seed = Catch::rngSeed();
    check_twins(keeping_tokens<kv::recent, kv::f32>(14, {.sinks = 2}), seed);
    check_twins(keeping_tokens<kv::h2o>(14), seed);
    check_twins(keeping_tokens<kv::h2o>(14, {}, 5), seed);
    check_twins(keeping_tokens<kv::snapkv>(14, {.window = 4, .pool = 3}), seed);
}

TEST_CASE("of evicting storage all can be saved, or a beginning of which nothing was dropped", "[kv]") {
    std::mt19937 random(5);
    const auto policy = keeping_tokens<kv::h2o>(30, {.recent_share = 0.9f});
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

TEST_CASE("damaged states of evicting storage and failures leave the cache as it was", "[kv]") {
    std::mt19937 random(7);
    counting_resource memory;
    auto cache = keeping_tokens<kv::h2o>(12).make(shape, &memory);
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

TEST_CASE("evicting storage refuses what another cache saved by what differs", "[kv]") {
    std::mt19937 random(3);
    auto from = made(keeping_tokens<kv::h2o>(14));
    const bytes stream = saved(from, grown(from, 30, random).id, 30);
    const auto said = [&](const auto& policy) {
        auto cache = policy.make(shape, std::pmr::new_delete_resource());
        return refusal(cache, stream);
    };
    CHECK(said(keeping_tokens<kv::tova>(14)) ==
          "here: is of a cache whose policy is h2o (recent_share 0.5); this one's is tova (each_head false)");
    CHECK(said(keeping_tokens<kv::h2o>(14, {.recent_share = 0.25f})) ==
          "here: is of a cache whose policy is h2o (recent_share 0.5); this one's is h2o (recent_share 0.25)");
    CHECK(said(keeping_tokens<kv::h2o>(15)) == "here: is of a cache whose budget is 14 tokens; this one's is 15 tokens");
    CHECK(said(keeping_tokens<kv::h2o>(14, {}, 2)) == "here: is of a cache whose slack is 0 tokens; this one's is 2 tokens");
    CHECK(said(keeping_tokens<kv::h2o, kv::q8>(14)) == "here: the codec is f16; this cache's is q8");
    CHECK(said(kv::contiguous<kv::f16>{{.tokens = 40}}) == "here: is of a cache whose kind is evicting; this one's is rows by position");
}

TEST_CASE("evicting storage can spill its sequences", "[kv]") {
    std::mt19937 random(9);
    const kv::budget<kv::evicting<kv::recent, kv::f16>, kv::spill_sequences<>> policy{
        .limit = std::size_t{1} << 20, .storage = {{.budget = 10, .step = 20, .sequences = 1}, {.sinks = 1}}, .sequences = 2};
    auto cache = policy.make(shape, std::pmr::new_delete_resource());
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
