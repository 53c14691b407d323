// SPDX-License-Identifier: MIT
// Saved sequences of tiers: what comes back is read and goes on as what was saved would have, can be cut where that could, and no cache
// takes one of another kind.
#include <array>
#include <random>
#include <string>
#include <vector>

#include <skald/kv/radix_tiers.hpp>
#include <skald/kv/tiered.hpp>

#include "kv/policies.hpp"
#include "kv/state_kept.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using saved_tiers =
    std::tuple<tiered_policy<kv::f16, kv::q8, 8, 1, 20, kv::tiered>, tiered_policy<kv::f32, kv::f16, 5, 7, 20, kv::paged_tiered>,
               radix_tiered_policy<kv::q8, 8>, merged_policy<kv::grouped<kv::f16>, kv::paged_merged>>;

/// A sequence of each of two caches, which the same happens to.
template <class Cache>
struct twins {
    Cache &a, &b;
    kv::sequence_id of_a, of_b;
    std::vector<std::uint32_t> writers;

    bool step(std::size_t rows, std::uint32_t writer) {
        bool same = true;
        writers.insert(writers.end(), rows, writer);
        const auto one = [&](Cache& cache, kv::sequence_id s) {
            const std::array segments{kv::segment{s, 0, rows}};
            write_rows(cache, cache.plan(segments), {writer});
            same = same && holds(cache, 0, writers);
        };
        one(a, of_a), one(b, of_b);
        return same;
    }
    void commit() { a.commit(of_a), b.commit(of_b); }
    void rollback(std::size_t to) {
        a.rollback(of_a, {static_cast<position>(to)}), b.rollback(of_b, {static_cast<position>(to)});
        writers.resize(to);
    }
    void truncate(std::size_t to) {
        a.truncate(of_a, static_cast<position>(to)), b.truncate(of_b, static_cast<position>(to));
        writers.resize(to);
    }
    /// Whether both have the same bytes, and can go back to the same lengths.
    bool alike() {
        for (std::size_t l = 0; l <= writers.size(); ++l)
            if (a.keeps(of_a, static_cast<position>(l)) != b.keeps(of_b, static_cast<position>(l))) return false;
        const auto committed = static_cast<std::size_t>(a.committed(of_a));
        return a.length(of_a) == b.length(of_b) && saved(a, of_a, committed) == saved(b, of_b, committed);
    }
};

/// Appends `length` committed tokens in steps of any size.
template <class Cache>
std::vector<std::uint32_t> grow(Cache& cache, kv::sequence_id s, std::size_t length, std::mt19937& random) {
    std::vector<std::uint32_t> writers;
    while (writers.size() < length) {
        const std::size_t rows = std::min({length - writers.size(), std::size_t{1} + random() % 20, kv::step_room(cache, s)});
        const auto writer = static_cast<std::uint32_t>(random() % 97);
        const std::array segments{kv::segment{s, 0, rows}};
        write_rows(cache, cache.plan(segments), {writer});
        cache.commit(s);
        writers.insert(writers.end(), rows, writer);
    }
    return writers;
}

template <class Policy>
auto made(std::pmr::memory_resource* memory = std::pmr::new_delete_resource()) {
    return Policy::make(130, 3).make(small_shape, memory);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a saved sequence of tiers goes on as what was saved does", "[kv]", saved_tiers) {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    for (const std::size_t length : {0, 1, 5, 8, 20, 31, 32, 33, 64, 90}) {
        CAPTURE(length);
        auto from = made<TestType>(), to = made<TestType>();
        const kv::sequence_id s = from.open(), neighbour = to.open();
        const auto writers = grow(from, s, length, random);
        grow(to, neighbour, 23, random);
        const bytes beside_it = saved(to, neighbour, 23), stream = saved(from, s, length);
        const kv::loaded_sequence loaded = kv::load(to, stream, {.model = 3});
        CHECK(loaded.text.tokens == some_tokens(length));
        CHECK(loaded.text.note == "a note");
        twins<decltype(from)> both{from, to, s, loaded.sequence, writers};
        REQUIRE(both.alike());
        for (std::size_t i = 0; i < 12 && both.writers.size() < 105; ++i) {
            const std::size_t before = both.writers.size(), rows = std::min(1 + random() % 12, kv::step_room(from, s));
            REQUIRE(both.step(rows, static_cast<std::uint32_t>(random() % 97)));
            if (random() % 4 == 0) both.rollback(before + random() % (rows + 1));
            both.commit();
            const std::size_t back = random() % (both.writers.size() + 1);
            if (random() % 3 == 0 && from.keeps(s, static_cast<position>(back))) both.truncate(back);
            REQUIRE(both.alike());
        }
        CHECK(saved(to, neighbour, 23) == beside_it);
    }
}

TEMPLATE_LIST_TEST_CASE("of tiers what could be truncated to can be saved", "[kv]", saved_tiers) {
    std::mt19937 random(5);
    auto cache = made<TestType>();
    const kv::sequence_id s = cache.open();
    grow(cache, s, 90, random);
    const std::array pending{kv::segment{s, 0, 3}};
    write_rows(cache, cache.plan(pending), {4});
    std::size_t refused = 0;
    for (std::size_t length = 0; length <= 90; ++length) {
        CAPTURE(length);
        if (!cache.keeps(s, static_cast<position>(length))) {
            ++refused;
            REQUIRE(code_of([&] { saved(cache, s, length); }) == errc::unsupported);
            continue;
        }
        const bytes stream = saved(cache, s, length);
        auto cut = made<TestType>();
        const kv::loaded_sequence loaded = kv::load(cut, stream, {.model = 3});
        REQUIRE(saved(cut, loaded.sequence, length) == stream);
        for (std::size_t l = 0; l <= length; ++l)
            REQUIRE(cut.keeps(loaded.sequence, static_cast<position>(l)) == cache.keeps(s, static_cast<position>(l)));
    }
    CHECK(refused > 0);
    CHECK(cache.length(s) == 93);
}

TEMPLATE_LIST_TEST_CASE("damaged tiers and failures while they are saved leave the cache as it was", "[kv]", saved_tiers) {
    constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 1, .head_dim = 4};
    std::mt19937 random(7);
    counting_resource memory;
    auto cache = TestType::make(130, 3).make(shape, &memory);
    const kv::sequence_id other = cache.open(), s = cache.open();
    grow(cache, other, 37, random);
    grow(cache, s, 35, random);
    const bytes stream = saved(cache, s, 35);
    cache.close(s);
    beside<decltype(cache)> all{cache, memory, other, 37, stream, 35};
    all.check_failures();
    all.check_damage();
    all.check_forgeries([&](kv::sequence_id taken) { CHECK(cache.length(taken) == 35); });
}

TEST_CASE("groups whose rows would be found outside them are refused", "[kv]") {
    std::mt19937 random(8);
    counting_resource memory;
    auto cache = kv::paged_tiered<kv::f16, kv::kivi2>{{.tokens = 130, .sequences = 3, .step = 20}}.make(
        {.layers = 2, .kv_heads = 1, .head_dim = 4}, &memory);
    const kv::sequence_id other = cache.open(), s = cache.open();
    grow(cache, other, 37, random);
    grow(cache, s, 33, random);
    const bytes stream = saved(cache, s, 33);
    cache.close(s);
    beside<decltype(cache)> all{cache, memory, other, 37, stream, 33};
    float sum = 0;
    all.check_forgeries([&](kv::sequence_id taken) {
        const std::array step{kv::segment{taken, 0, 1}};
        cache.plan(step);
        const auto read = [&]<class Run>(const Run& run) {
            const position_range part = seen(run, 0, 33);
            for (position p = part.from; p < std::min<position>(part.to, 33); ++p)
                for (std::size_t i = 0; i < 4; ++i)
                    sum += codec_of<Run, true>::template decode<format::scalar>(run.key(0, 0, p), i).value +
                           codec_of<Run, false>::template decode<format::scalar>(run.value(0, 0, p), i).value;
        };
        std::apply([&](const auto&... run) { (read(run), ...); }, cache.view(1));
    });
    CHECK(sum != 0.0f);
    constexpr std::size_t values = kv::kivi2::value_bytes(16);
    bytes changed = stream;
    changed[stream.size() - 8 - values + 5] ^= std::byte{0x40};  // the number of a token's values
    CHECK(code_of([&] { kv::load(cache, with_right_sums(changed), {.model = 3}); }) == errc::bad_file);
}

TEST_CASE("storages of the same tiers take each other's sequences, longer hot tiers too", "[kv]") {
    std::mt19937 random(2);
    using groups = kv::grouped<kv::q8, 8>;
    auto own = kv::tiered<kv::f16, groups>{{.tokens = 120, .step = 90}}.make(small_shape, std::pmr::new_delete_resource());
    auto pool = kv::paged_tiered<kv::f16, groups>{{.tokens = 120, .step = 30}}.make(small_shape, std::pmr::new_delete_resource());
    auto tree = kv::radix_tiered<kv::f16, groups>{{.tokens = 120, .step = 20}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = own.open();
    auto writers = grow(own, s, 85, random);
    const kv::sequence_id t = kv::load(pool, saved(own, s, 85), {.model = 3}).sequence;
    const kv::sequence_id u = kv::load(tree, saved(pool, t, 85), {.model = 3}).sequence;
    CHECK(own.keeps(s, 1));
    CHECK_FALSE(pool.keeps(t, 20));
    CHECK(pool.keeps(t, 25));
    CHECK_FALSE(tree.keeps(u, 49));
    writers.insert(writers.end(), 9, 5);
    const auto goes_on = [&](auto& cache, kv::sequence_id q) {
        const std::array step{kv::segment{q, 0, 9}};
        write_rows(cache, cache.plan(step), {5});
        return holds(cache, 0, writers);
    };
    CHECK(goes_on(own, s));
    CHECK(goes_on(pool, t));
    CHECK(goes_on(tree, u));
}

TEST_CASE("tiers refuse what another cache saved by what differs", "[kv]") {
    std::mt19937 random(3);
    auto from = kv::tiered<kv::f16, kv::grouped<kv::q8, 8>>{{.tokens = 40, .hot = 9}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = from.open();
    grow(from, s, 30, random);
    const bytes stream = saved(from, s, 30);
    const auto said = [&](const auto& policy) {
        auto cache = policy.make(small_shape, std::pmr::new_delete_resource());
        return refusal(cache, stream);
    };
    CHECK(said(kv::tiered<kv::f16, kv::grouped<kv::q8, 8>>{{.tokens = 40, .hot = 10}}) ==
          "here: is of a cache whose hot tier is 9 tokens; this one's is 10 tokens");
    CHECK(said(kv::paged_tiered<kv::f16, kv::grouped<kv::q8, 4>>{{.tokens = 40, .hot = 9}}) ==
          "here: is of a cache whose group is 8 tokens; this one's is 4 tokens");
    CHECK(said(kv::tiered<kv::f16, kv::grouped<kv::f16, 8>>{{.tokens = 40, .hot = 9}}) ==
          "here: is of a cache whose cold codec is q8; this one's is f16");
    CHECK(said(kv::tiered<kv::f32, kv::grouped<kv::q8, 8>>{{.tokens = 40, .hot = 9}}) == "here: the codec is f16; this cache's is f32");
    CHECK(said(kv::merged<kv::grouped<kv::q8>>{{.tokens = 40}}) == "here: is of a cache whose kind is tiers; this one's is merged tiers");
    CHECK(said(kv::contiguous<kv::f16>{{.tokens = 40}}) == "here: is of a cache whose kind is tiers; this one's is rows by position");
    auto flat = kv::contiguous<kv::f16>{{.tokens = 40}}.make(small_shape, std::pmr::new_delete_resource());
    (void)flat.open();
    bytes plain;
    kv::save(flat, {0}, {}, into(plain), {.model = 3});
    auto empty = kv::tiered<kv::f16, kv::grouped<kv::q8, 8>>{{.tokens = 40, .hot = 9}}.make(small_shape, std::pmr::new_delete_resource());
    CHECK(refusal(empty, plain) == "here: is of a cache whose kind is rows by position; this one's is tiers");
    CHECK(code_of([&] { kv::require_fit(empty, kv::check(plain).header, {.model = 3}); }) == errc::invalid_argument);
    kv::require_fit(empty, kv::check(stream).header, {.model = 3});
}

TEST_CASE("tiers without room refuse a saved sequence and stay as they were", "[kv]") {
    std::mt19937 random(4);
    using groups = kv::grouped<kv::q8, 8>;
    auto from = kv::tiered<kv::f16, groups>{{.tokens = 120}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = from.open();
    grow(from, s, 100, random);
    const bytes stream = saved(from, s, 100);
    counting_resource memory;
    auto full = kv::paged_tiered<kv::f16, groups>{{.tokens = 120, .sequences = 3}}.make(small_shape, &memory);
    const kv::sequence_id other = full.open();
    grow(full, other, 40, random);
    beside<decltype(full)> all{full, memory, other, 40, stream, 100};
    CHECK(code_of([&] { kv::load(full, stream, {.model = 3}); }) == errc::cache_full);
    CHECK(all.as_it_was());
    full.truncate(other, 16);
    CHECK(full.length(kv::load(full, stream, {.model = 3}).sequence) == 100);
}
