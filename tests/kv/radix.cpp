// SPDX-License-Identifier: MIT
// What radix storage has beyond the common list: what is shared, and what is refused. For what is given up for room, radix_room.cpp.
#include <array>
#include <map>
#include <memory_resource>

#include <skald/kv/any_cpu.hpp>

#include "kv/radix_texts.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test::radix;
using test::code_of;

TEST_CASE("a new sequence takes over what an earlier one left", "[kv]") {
    auto cache = make(16, 3);
    const tokens a = text(0, 11);
    const kv::sequence_id first = cache.open();
    read(cache, first, a);
    CHECK(cache.reusable(a) == 0);
    cache.remember(first, a);
    CHECK(cache.cached_tokens() == 8);
    CHECK(cache.free_blocks() == 13);
    cache.close(first);
    CHECK(cache.free_blocks() == 14);  // the third block was not whole

    const tokens b = text(0, 8) + text(100, 5);
    const kv::opened_sequence o = cache.open_with(b);
    CHECK(o.reused == 8);
    CHECK(cache.length(o.sequence) == 8);
    CHECK(cache.free_blocks() == 14);
    read(cache, o.sequence, b);
    CHECK(has_rows_of(cache, o.sequence, b));
    CHECK(cache.counts().hits == 8);
    CHECK(cache.counts().misses == 5);

    // The last token of a prompt is always left to compute.
    CHECK(cache.reusable(text(0, 8)) == 4);
    CHECK(cache.reusable(text(0, 9)) == 8);
    CHECK(cache.reusable(text(0, 7) + text(50, 9)) == 4);
    CHECK(cache.reusable({}) == 0);
    const kv::opened_sequence none = cache.open_with({});
    CHECK(none.reused == 0);
    CHECK(cache.length(none.sequence) == 0);
    // Two sequences at once on the same blocks.
    const kv::opened_sequence again = cache.open_with(text(0, 9));
    CHECK(again.reused == 8);
    CHECK(has_rows_of(cache, again.sequence, text(0, 8)));
    CHECK(code_of([&] { cache.open_with(a); }) == errc::cache_full);
    CHECK(cache.counts().hits == 16);
}

TEST_CASE("a sequence that goes on inside a remembered block copies it", "[kv]") {
    auto cache = make(8, 2);
    const tokens a = text(0, 8);
    const kv::sequence_id s = cache.open();
    read(cache, s, a);
    cache.remember(s, a);
    CHECK(cache.free_blocks() == 6);
    cache.truncate(s, 6);
    CHECK(cache.free_blocks() == 6);  // both blocks are still held
    const tokens b = text(0, 6) + text(100, 4);
    read(cache, s, b);
    CHECK(cache.free_blocks() == 4);  // a copy, and a third block
    CHECK(has_rows_of(cache, s, b));
    const kv::opened_sequence o = cache.open_with(a + tokens{1});
    CHECK(o.reused == 8);
    CHECK(has_rows_of(cache, o.sequence, a));
    cache.remember(s, b);
    CHECK(cache.cached_tokens() == 12);  // the first block is common
}

TEST_CASE("equal blocks of two sequences become one when they are remembered", "[kv]") {
    auto cache = make(16, 4);
    const tokens a = text(0, 8), ab = a + text(100, 4), ac = a + text(200, 4);
    const kv::sequence_id s = cache.open(), t = cache.open();
    read(cache, s, ab);
    read(cache, t, ac);
    const kv::sequence_id fork = cache.fork(t);
    CHECK(cache.free_blocks() == 10);
    cache.remember(s, ab);
    cache.remember(t, ac);
    CHECK(cache.free_blocks() == 12);
    CHECK(cache.cached_tokens() == 16);
    for (const kv::sequence_id u : {t, fork}) CHECK(has_rows_of(cache, u, ac));
    CHECK(has_rows_of(cache, s, ab));
    cache.remember(fork, ac);  // changes nothing
    CHECK(cache.cached_tokens() == 16);
    for (const kv::sequence_id u : {s, t, fork}) cache.close(u);
    CHECK(cache.free_blocks() == 12);
    CHECK(cache.evict(100) == 4);
    CHECK(cache.free_blocks() == 16);
}

TEST_CASE("tokens that are not the sequence's are refused where it can be seen", "[kv]") {
    auto cache = make(8, 2);
    const kv::sequence_id s = cache.open();
    const tokens a = text(0, 8);
    read(cache, s, a);
    CHECK(code_of([&] { cache.remember(s, text(0, 9)); }) == errc::invalid_argument);
    const std::array pending{kv::segment{s, 0, 4}};
    cache.plan(pending);
    CHECK(code_of([&] { cache.remember(s, text(0, 12)); }) == errc::invalid_argument);
    cache.rollback(s, {8});
    CHECK(cache.cached_tokens() == 0);
    cache.remember(s, a);
    CHECK(code_of([&] { cache.remember(s, text(0, 4) + text(70, 4)); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.remember(s, text(70, 8)); }) == errc::invalid_argument);
    CHECK(cache.cached_tokens() == 8);
    CHECK(cache.reusable(a + tokens{1}) == 8);
    CHECK(code_of([&] { cache.remember(kv::sequence_id{1}, a); }) == errc::invalid_argument);
}

TEST_CASE("one sequence can fill the whole pool, whatever was remembered of it", "[kv]") {
    auto cache = make(4, 1);
    const tokens a = text(0, 16), b = text(0, 14) + text(100, 2), c = text(0, 5) + text(200, 11);
    const kv::sequence_id s = cache.open();
    read(cache, s, a);
    cache.remember(s, a);
    cache.truncate(s, 14);
    read(cache, s, b);  // no block is free for a copy: the tree forgets the one that would be copied
    CHECK(cache.cached_tokens() == 12);
    cache.remember(s, b);
    cache.truncate(s, 5);
    read(cache, s, c);  // here a copy is possible
    CHECK(test::holds(cache, 0, writers_of(c)));
    CHECK(cache.cached_tokens() == 4);
}

TEST_CASE("a cache chosen at run time shares prefixes where the named one does", "[kv]") {
    using any = kv::any<cpu<>>;
    CHECK(any{kv::parse_spec("radix"), {}}.name() == "radix/16:f16");
    CHECK(any{kv::parse_spec("radix/8:bf16"), {}}.name() == "radix/8:bf16");
    CHECK_THROWS_AS(kv::parse_spec("radix/0:f16"), error);
    for (const auto& [spec, expected] : std::map<const char*, std::size_t>{{"radix/4:f32", 8}, {"paged/4:f32", 0}, {"contiguous:f32", 0}}) {
        CAPTURE(spec);
        auto cache = any{kv::parse_spec(spec), {.tokens = 32, .sequences = 2}}.make(test::small_shape, std::pmr::new_delete_resource());
        static_assert(kv::prefix_sharing<decltype(cache)>);
        const kv::sequence_id s = cache.open();
        const std::array rows{kv::segment{s, 0, 10}};
        cache.plan(rows);
        cache.commit(s);
        cache.remember(s, text(0, 10));
        CHECK(cache.reusable(text(0, 20)) == expected);
        const kv::opened_sequence o = cache.open_with(text(0, 20));
        CHECK(o.reused == expected);
        CHECK(cache.length(o.sequence) == static_cast<position>(expected));
    }
}
