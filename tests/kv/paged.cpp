// SPDX-License-Identifier: MIT
// What paged storage has beyond the common list: sharing and giving back blocks.
#include <array>

#include <skald/kv/any_cpu.hpp>

#include "kv/policies.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;

TEST_CASE("a fork shares blocks until it writes into one", "[kv]") {
    const kv::paged<kv::f32> policy{{.tokens = 64, .sequences = 3, .block = 8}};
    auto cache = policy.make(test::small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    const std::array first{kv::segment{a, 0, 12}};
    test::write_rows(cache, cache.plan(first), {1});
    cache.commit(a);
    CHECK(cache.free_blocks() == 6);
    const kv::sequence_id b = cache.fork(a);
    CHECK(cache.free_blocks() == 6);
    const std::array both{kv::segment{a, 0, 1}, kv::segment{b, 1, 1}};
    test::write_rows(cache, cache.plan(both), {2, 3});
    CHECK(cache.free_blocks() == 5);  // one of the two copied the half-filled block
    std::vector<std::uint32_t> of_a(12, 1), of_b(12, 1);
    of_a.push_back(2);
    of_b.push_back(3);
    CHECK(test::holds(cache, 0, of_a));
    CHECK(test::holds(cache, 1, of_b));
    cache.close(a);
    CHECK(cache.free_blocks() == 6);
    cache.close(b);
    CHECK(cache.free_blocks() == 8);
}

TEST_CASE("a step takes no more blocks than it writes: the last to hold a block does not copy it", "[kv]") {
    auto cache = kv::paged<kv::f32>{{.tokens = 32, .sequences = 3, .block = 8}}.make(test::small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    const std::array first{kv::segment{a, 0, 12}};
    test::write_rows(cache, cache.plan(first), {1});
    cache.commit(a);
    const kv::sequence_id b = cache.fork(a), c = cache.fork(a);
    CHECK(cache.free_blocks() == 2);
    const std::array all{kv::segment{a, 0, 1}, kv::segment{b, 1, 1}, kv::segment{c, 2, 1}};
    test::write_rows(cache, cache.plan(all), {2, 3, 4});
    CHECK(cache.free_blocks() == 0);
    for (std::uint32_t i = 0; i < 3; ++i) {
        std::vector<std::uint32_t> expected(12, 1);
        expected.push_back(2 + i);
        CHECK(test::holds(cache, i, expected));
    }
}

TEST_CASE("sequences of a paged cache share the pool, and waste less than a block each", "[kv]") {
    const kv::paged<kv::f16> policy{{.tokens = 160, .sequences = 8, .block = 16}};
    auto cache = policy.make(test::small_shape, std::pmr::new_delete_resource());
    for (const std::size_t rows : {100, 17, 3}) {
        const std::array one{kv::segment{cache.open(), 0, rows}};
        cache.plan(one);
    }
    CHECK(cache.free_blocks() == 0);  // 7 + 2 + 1 blocks
}

TEST_CASE("the words of a cache spec are the policies' own names", "[kv]") {
    for (const char* text :
         {"contiguous:f32", "contiguous:bf16", "paged/8:f32", "paged/16:f16", "paged/7:bf16", "ring/1:f32", "ring/4096:f16",
          "window/9+0:q8", "contiguous:kivi4", "paged:kivi2", "tiered:f16/256,q4", "tiered:f16/64,kivi2"})
        CHECK(kv::any<cpu<>>{kv::parse_spec(text), {}}.name() == text);
    CHECK(kv::any<cpu<>>{kv::parse_spec("paged"), {}}.name() == "paged/16:f16");
    CHECK(kv::any<cpu<>>{kv::parse_spec("window:1024+4:f16"), {}}.name() == "window/1024+4:f16");
    CHECK(kv::any<cpu<>>{kv::parse_spec("tiered/256:q4"), {}}.name() == "tiered:f16/256,q4");
    for (const char* text : {"", "ring:f16", "paged:q9", "paged/0:f16", "paged/x:f16", "contiguous/4:f16", "paged/99999999999:f16", "ring",
                             "ring/0:f16", "ring/x:f32", "ring/:f16", "rings/4:f16", "ring/99999999999:f16"})
        CHECK_THROWS_AS(kv::parse_spec(text), error);
}

TEST_CASE("blocks are taken again in the order in which they lie", "[kv]") {
    auto cache = kv::paged<kv::f32>{{.tokens = 32, .sequences = 1, .block = 8}}.make(test::small_shape, std::pmr::new_delete_resource());
    for (int round = 0; round < 3; ++round) {
        const kv::sequence_id s = cache.open();
        const std::array all{kv::segment{s, 0, 32}};
        cache.plan(all);
        const auto view = cache.view(0);
        const auto& run = std::get<0>(view);
        for (position p = 8; p < 32; p += 8) CHECK(run.key(0, 0, p) > run.key(0, 0, p - 8));
        cache.close(s);
    }
}

TEST_CASE("a block of no tokens, or of more than there are positions, is refused", "[kv]") {
    for (const std::size_t block : {std::size_t{0}, std::size_t{1} << 31, std::size_t{1} << 32}) {
        const kv::paged<kv::f32> policy{{.tokens = 32, .block = block}};
        CHECK(test::code_of([&] { (void)policy.make(test::small_shape, std::pmr::new_delete_resource()); }) == errc::invalid_argument);
        CHECK(test::code_of([&] { (void)policy.bytes(test::small_shape); }) == errc::invalid_argument);
    }
}
