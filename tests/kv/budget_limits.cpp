// SPDX-License-Identifier: MIT
// What caches under a number of bytes refuse, who goes, and what happens when memory fails on the way.
#include <array>
#include <filesystem>
#include <memory_resource>
#include <new>
#include <string>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/io/temporary_file_resource.hpp>
#include <skald/kv/budget.hpp>
#include <skald/kv/group_codec.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;

namespace {

constexpr std::size_t kib = 1024;

template <class Cache>
void add(Cache& cache, kv::sequence_id s, std::size_t rows, std::uint32_t writer) {
    const std::array step{kv::segment{s, 0, rows}};
    test::write_rows(cache, cache.plan(step), {writer});
    cache.commit(s);
}

template <class Cache>
bool has(Cache& cache, kv::sequence_id s, std::size_t rows, std::uint32_t writer) {
    cache.select(s);
    return test::holds(cache, 0, std::vector<std::uint32_t>(rows, writer));
}

/// A pool of `blocks` blocks of 8 tokens under the fewest bytes that hold them.
template <template <class> class Storage, class WhenFull>
kv::budget<Storage<kv::f32>, WhenFull> blocks(std::size_t blocks, WhenFull when_full, std::size_t sequences = 4) {
    const kv::paged_options options{.tokens = 8 * blocks, .sequences = sequences, .block = 8};
    const Storage<kv::f32> storage{options};
    const std::size_t tables = kv::budget_cache<Storage<kv::f32>, WhenFull>::table_bytes(sequences);
    kv::budget<Storage<kv::f32>, WhenFull> out{
        .limit = tables + storage.bytes(test::small_shape), .storage = storage, .when_full = when_full};
    out.storage.options.tokens = 100000;
    return out;
}

struct last_but_the_first {
    std::size_t operator()(std::span<const kv::candidate> candidates) const {
        return candidates.size() == 1 && candidates[0].sequence.index == 0 ? 1 : candidates.size() - 1;
    }
};

/// Fails the allocation number `fails`.
struct failing final : std::pmr::memory_resource {
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        if (count++ == fails) throw std::bad_alloc();
        return counter.allocate(bytes, alignment);
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override { counter.deallocate(p, bytes, alignment); }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    counting_resource counter;
    std::size_t count = 0, fails = ~std::size_t{0};
};

}  // namespace

TEST_CASE("a policy is cut to the most tokens that its bytes have room for", "[kv]") {
    const auto most = [](const auto& policy, std::size_t limit) {
        const auto out = kv::fitted(policy, test::small_shape, limit);
        auto more = out;
        ++more.options.tokens;
        CHECK(out.bytes(test::small_shape) <= limit);
        CHECK((out.options.tokens == policy.options.tokens || more.bytes(test::small_shape) > limit));
        return out.options.tokens;
    };
    for (std::size_t limit = 60 * kib; limit < 400 * kib; limit += 7001) {
        most(kv::contiguous<kv::f16>{{.tokens = 1u << 30, .sequences = 3}}, limit);
        most(kv::paged<kv::q8>{{.tokens = ~std::size_t{0}, .sequences = 3, .block = 5}}, limit);
        most(kv::radix<kv::f32>{{.tokens = 1u << 30}}, limit);
        most(kv::tiered<kv::f16, kv::kivi4>{{.tokens = 1u << 30, .step = 32}}, limit + 200 * kib);
    }
    CHECK(most(kv::paged<>{{.tokens = 100}}, 400 * kib) == 100);
    const std::size_t one = kv::contiguous<>{{.tokens = 1}}.bytes(test::small_shape);
    CHECK(most(kv::contiguous<>{}, one) == 1);
    CHECK(test::code_of([&] { kv::fitted(kv::contiguous<>{}, test::small_shape, one - 1); }) == errc::memory_limit);
    const kv::ring<> ring{{.window = 10, .step = 64}};
    const std::size_t whole = ring.bytes(test::small_shape);
    CHECK(kv::fitted(ring, test::small_shape, whole).bytes(test::small_shape) == whole);
    CHECK(test::code_of([&] { kv::fitted(ring, test::small_shape, whole - 1); }) == errc::memory_limit);
    const kv::budget<kv::paged<>> small{.limit = 1000};
    CHECK(test::code_of([&] { small.make(test::small_shape, std::pmr::new_delete_resource()); }) == errc::memory_limit);
    CHECK(test::code_of([&] { small.bytes(test::small_shape); }) == errc::memory_limit);
    const auto policy = blocks<kv::paged>(6, kv::refuse{});
    CHECK(policy.max_length(test::small_shape) == 48);
    CHECK(kv::max_length(policy, test::small_shape) == 48);
}

TEST_CASE("no more sequences go than a step needs, and none for a step that cannot be helped", "[kv]") {
    auto cache = blocks<kv::paged>(6, kv::evict_sequences<>{}).make(test::small_shape, std::pmr::new_delete_resource());
    const auto a = cache.open(), b = cache.open(), c = cache.open(), d = cache.open();
    add(cache, a, 16, 1);
    add(cache, b, 16, 2);
    add(cache, c, 8, 3);
    add(cache, a, 1, 1);  // all six are taken, b is the oldest
    const std::array too_much{kv::segment{d, 0, 49}};
    const std::array two{kv::segment{a, 0, 20}, kv::segment{c, 20, 20}};
    CHECK(test::code_of([&] { cache.plan(too_much); }) == errc::cache_full);
    CHECK(test::code_of([&] { cache.plan(two); }) == errc::cache_full);  // 5 and 4 blocks
    const std::array none{kv::segment{d, 0, 0}};
    const std::array twice{kv::segment{d, 0, 9}, kv::segment{d, 9, 9}};
    CHECK(test::code_of([&] { cache.plan(none); }) == errc::invalid_argument);
    CHECK(test::code_of([&] { cache.plan(twice); }) == errc::invalid_argument);
    const std::array<std::uint32_t, 9> parents{1};
    const std::array tree{kv::segment{d, 0, 9, parents}};
    CHECK(test::code_of([&] { cache.plan(tree); }) == errc::invalid_argument);
    CHECK(cache.counts().evicted == 0);

    add(cache, d, 9, 4);
    CHECK(cache.counts().evicted == 1);
    CHECK(cache.evicted(b));
    CHECK(has(cache, a, 17, 1));
    CHECK(has(cache, c, 8, 3));
    const std::array again{kv::segment{b, 0, 1}};
    CHECK(test::code_of([&] { cache.plan(again); }) == errc::cache_full);
    for (const auto& use : std::vector<std::function<void()>>{[&] { cache.commit(b); }, [&] { cache.rollback(b, {16}); },
                                                              [&] { cache.select(b); }, [&] { cache.truncate(b, 3); }})
        CHECK(test::code_of(use) == errc::cache_full);
    CHECK_FALSE(cache.keeps(b, 1));
    CHECK(cache.keeps(b, 0));
    cache.truncate(b, 0);
    CHECK_FALSE(cache.evicted(b));
    add(cache, b, 8, 5);
    CHECK(cache.counts().evicted == 2);
    CHECK(cache.evicted(d));  // a and c have been selected since
    CHECK(has(cache, b, 8, 5));
}

TEST_CASE("pending tokens are not evicted, and shared blocks are counted once", "[kv]") {
    auto cache = blocks<kv::paged>(4, kv::evict_sequences<>{}).make(test::small_shape, std::pmr::new_delete_resource());
    const auto a = cache.open(), b = cache.open();
    add(cache, a, 12, 1);
    const auto c = cache.fork(a), d = cache.fork(a);
    const std::array pending{kv::segment{c, 0, 8}};
    test::write_rows(cache, cache.plan(pending), {2});  // copies a block and takes another
    const std::array two{kv::segment{b, 0, 9}};
    CHECK(test::code_of([&] { cache.plan(two); }) == errc::cache_full);  // c stays, and with it the first block of a and d
    CHECK(cache.counts().evicted == 0);
    add(cache, b, 8, 3);  // when a and d have gone, one block is left
    CHECK(cache.counts().evicted == 2);
    CHECK(cache.evicted(a));
    CHECK(cache.evicted(d));
    cache.commit(c);
    cache.select(c);
    std::vector<std::uint32_t> writers(12, 1);
    writers.resize(20, 2);
    CHECK(test::holds(cache, 0, writers));
}

TEST_CASE("leaves of a tree of prefixes go before sequences do", "[kv]") {
    auto cache = blocks<kv::radix>(6, kv::evict_sequences<>{}).make(test::small_shape, std::pmr::new_delete_resource());
    const std::vector<token_id> text(24, 7);
    const auto a = cache.open();
    add(cache, a, 24, 1);
    cache.remember(a, text);
    cache.close(a);
    const auto b = cache.open();
    add(cache, b, 16, 2);
    CHECK(cache.reusable(text) == 16);
    const auto c = cache.open();
    add(cache, c, 24, 3);
    CHECK(cache.counts().evicted == 0);
    CHECK(cache.reusable(text) == 8);  // one block of the tree's three is left, and no token of it is asked for again
    const auto d = cache.open_with(text);
    CHECK(d.reused == 8);
    add(cache, d.sequence, 9, 4);
    CHECK(cache.evicted(b));
    CHECK(has(cache, c, 24, 3));
}

TEST_CASE("sequences that hold nothing give up their slots under any policy", "[kv]") {
    const kv::budget<kv::contiguous<kv::f32>> policy{.limit = 100 * kib, .storage = {{.tokens = 16, .sequences = 1}}, .sequences = 3};
    auto cache = policy.make(test::small_shape, std::pmr::new_delete_resource());
    const auto a = cache.open(), b = cache.open(), c = cache.open();
    CHECK(test::code_of([&] { cache.open(); }) == errc::cache_full);
    const std::array step{kv::segment{a, 0, 5}}, other{kv::segment{b, 0, 5}};
    cache.plan(step);
    CHECK(test::code_of([&] { cache.plan(other); }) == errc::cache_full);
    cache.rollback(a, {0});
    add(cache, b, 5, 2);
    CHECK(test::code_of([&] { cache.plan(step); }) == errc::cache_full);
    CHECK(has(cache, b, 5, 2));
    cache.close(b);
    add(cache, c, 16, 3);
    CHECK(has(cache, c, 16, 3));

    auto one_place = blocks<kv::radix>(6, kv::evict_sequences<>{}, 1);
    one_place.sequences = 2;
    auto tree = one_place.make(test::small_shape, std::pmr::new_delete_resource());
    const auto d = tree.open();
    add(tree, d, 8, 1);
    CHECK(tree.open_with(std::vector<token_id>(3, 1)).reused == 0);
    CHECK(tree.evicted(d));  // it took part in the last step, but not in this
}

TEST_CASE("groups of a pool of tiers are made room for, and steps that are too long are refused before anybody goes", "[kv]") {
    const kv::budget<kv::paged_tiered<kv::f16, kv::grouped<kv::q8, 8>>, kv::evict_sequences<>> policy{
        .limit = 1 << 20, .storage = {{.tokens = 64, .sequences = 3, .step = 32}}};
    auto cache = policy.make(test::small_shape, std::pmr::new_delete_resource());
    const auto a = cache.open(), b = cache.open(), c = cache.open();
    add(cache, a, 24, 1);
    add(cache, b, 24, 2);
    add(cache, c, 16, 3);  // all eight groups are taken
    CHECK(cache.counts().evicted == 0);
    const std::array too_long{kv::segment{c, 0, 33}};
    CHECK(test::code_of([&] { cache.plan(too_long); }) == errc::cache_full);
    CHECK(cache.counts().evicted == 0);
    add(cache, c, 8, 3);
    CHECK(cache.counts().evicted == 1);
    CHECK(cache.evicted(a));
    CHECK(cache.length(b) == 24);
}

TEST_CASE("which sequence goes is the caller's choice, and none may be", "[kv]") {
    auto cache = blocks<kv::paged>(3, kv::evict_sequences{last_but_the_first{}}).make(test::small_shape, std::pmr::new_delete_resource());
    const auto a = cache.open(), b = cache.open(), c = cache.open(), d = cache.open();
    add(cache, a, 8, 1);
    add(cache, b, 8, 2);
    add(cache, c, 8, 3);
    add(cache, d, 8, 4);
    CHECK(cache.evicted(c));
    const std::array all{kv::segment{d, 0, 16}};
    CHECK(test::code_of([&] { cache.plan(all); }) == errc::cache_full);
    CHECK_FALSE(cache.evicted(b));
    CHECK(has(cache, a, 8, 1));
    CHECK(has(cache, b, 8, 2));
}

TEST_CASE("when memory fails while sequences go or come back, all hold what they held", "[kv]") {
    for (std::size_t fails = 0, worked = 0; worked < 3; ++fails) {
        failing memory;
        auto cache = blocks<kv::paged>(4, kv::spill_sequences<>{&memory}).make(test::small_shape, std::pmr::new_delete_resource());
        const auto a = cache.open(), b = cache.open(), c = cache.open();
        add(cache, a, 8, 1);
        add(cache, b, 16, 2);
        memory.fails = fails;
        const auto attempt = [&](auto&& f) {
            try {
                f();
            } catch (const std::bad_alloc&) {
                worked = 0;
                memory.fails = ~std::size_t{0};
                CHECK(cache.length(a) == 8);
                CHECK(cache.length(b) == 16);
                CHECK(cache.length(c) == 0);
                f();
            }
        };
        ++worked;
        attempt([&] {
            const std::array step{kv::segment{c, 0, 24}};
            test::write_rows(cache, cache.plan(step), {3});
            cache.rollback(c, {0});
        });
        bool right = false;
        attempt([&] { right = has(cache, a, 8, 1); });
        CHECK(right);
        attempt([&] { right = has(cache, b, 16, 2); });
        CHECK(right);
        cache.close(a);
        cache.close(b);
        CHECK(memory.counter.bytes() == 0);
    }
}

TEST_CASE("sequences spill to files, no more than a cap allows", "[kv]") {
    io::temporary_file_resource files(std::filesystem::temp_directory_path());
    capped_resource disk(400 * kib, &files);
    auto cache = blocks<kv::paged>(40, kv::spill_sequences<>{&disk}).make(test::small_shape, std::pmr::new_delete_resource());
    const auto a = cache.open(), b = cache.open(), c = cache.open(), d = cache.open();
    const std::size_t rows = 100;  // of 1536 bytes each
    add(cache, a, rows, 1);
    add(cache, b, rows, 2);
    add(cache, c, rows, 3);
    add(cache, d, rows, 4);
    CHECK(cache.spilled(a));
    CHECK(cache.spilled_bytes() > rows * 1536);
    CHECK(cache.spilled_bytes() == disk.bytes());
    add(cache, a, 1, 5);
    CHECK(cache.spilled(b));
    cache.select(a);
    std::vector<std::uint32_t> writers(rows, 1);
    writers.push_back(5);
    CHECK(test::holds(cache, 0, writers));
    const std::array all{kv::segment{d, 0, 220}};
    CHECK(test::code_of([&] { cache.plan(all); }) == errc::memory_limit);  // three would be there
    CHECK(has(cache, c, rows, 3));
    CHECK(has(cache, b, rows, 2));
    CHECK(test::code_of([&] {
              kv::budget<kv::ring<>, kv::spill_sequences<>>{.limit = 1 << 20, .storage = {{.window = 8, .step = 8}}}.make(
                  test::small_shape, std::pmr::new_delete_resource());
          }) == errc::invalid_argument);
}
