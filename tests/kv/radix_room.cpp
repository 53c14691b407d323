// SPDX-License-Identifier: MIT
// What radix storage gives up when it needs room, and what not: leaves that nobody holds, the least recently used first.
#include <array>
#include <memory_resource>
#include <new>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/paged.hpp>

#include "kv/radix_texts.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test::radix;
using test::code_of;

TEST_CASE("room is made by forgetting the least recently used leaves", "[kv]") {
    auto cache = make(6, 2);
    const tokens a = text(0, 8), b = text(0, 4) + text(100, 4), c = text(200, 4);
    for (const tokens& t : {a, b, c}) leave(cache, t);
    CHECK(cache.free_blocks() == 2);
    cache.close(cache.open_with(a + tokens{1}).sequence);  // now b's end is the oldest leaf, then c, then a's end, then the root of both
    const auto known = [&](const tokens& t) { return cache.reusable(t + tokens{9}) == t.size(); };

    const kv::sequence_id s = cache.open();
    read(cache, s, text(300, 12));
    CHECK(known(a));
    CHECK(known(c));
    CHECK_FALSE(known(b));
    read(cache, s, text(300, 16));
    CHECK(known(a));
    CHECK_FALSE(known(c));
    CHECK(cache.counts().evicted == 8);
    const std::array four{kv::segment{s, 0, 8}};
    cache.plan(four);
    CHECK(cache.cached_tokens() == 0);
    CHECK(cache.free_blocks() == 0);
    CHECK(cache.counts().evicted == 16);
}

TEST_CASE("what a sequence or a pin holds is not evicted, and a refused step changes nothing", "[kv]") {
    auto cache = make(8, 3);
    const tokens pinned_text = text(0, 8), held_text = text(100, 8), loose = text(200, 8);
    for (const tokens& t : {pinned_text, held_text, loose}) leave(cache, t);
    const kv::pinned_prefix pin = cache.pin(pinned_text + tokens{1, 2, 3}), twice = cache.pin(text(0, 4));
    CHECK(pin.tokens == 8);
    CHECK(twice.tokens == 4);
    CHECK(cache.pin(text(900, 8)).tokens == 0);
    const kv::opened_sequence holder = cache.open_with(held_text + tokens{1});
    CHECK(holder.reused == 8);

    const kv::sequence_id s = cache.open();
    read(cache, s, text(300, 7));
    CHECK(cache.free_blocks() == 0);
    CHECK(cache.cached_tokens() == 24);
    const std::array too_much{kv::segment{s, 0, 10}};  // three more blocks; two can be had
    CHECK(code_of([&] { cache.plan(too_much); }) == errc::cache_full);
    CHECK(cache.cached_tokens() == 24);
    CHECK(cache.free_blocks() == 0);
    CHECK(cache.length(s) == 7);
    CHECK(cache.counts().evicted == 0);
    CHECK(cache.reusable(loose + tokens{1}) == 8);
    CHECK(has_rows_of(cache, s, text(300, 7)));

    read(cache, s, text(300, 16));
    CHECK(cache.reusable(loose + tokens{1}) == 0);
    CHECK(cache.reusable(pinned_text + tokens{1}) == 8);
    cache.truncate(s, 12);
    CHECK(has_rows_of(cache, holder.sequence, held_text));
}

TEST_CASE("pins end one by one", "[kv]") {
    auto cache = make(8, 1);
    leave(cache, text(0, 12));
    const kv::pinned_prefix whole = cache.pin(text(0, 12)), part = cache.pin(text(0, 5)), same = cache.pin(text(0, 4));
    CHECK(part.tokens == 4);
    CHECK(cache.evict(9) == 0);
    cache.unpin(whole);
    CHECK(cache.evict(9) == 2);
    CHECK(code_of([&] { cache.unpin(whole); }) == errc::invalid_argument);
    cache.unpin(part);
    CHECK(cache.evict(9) == 0);
    cache.unpin(same);
    CHECK(code_of([&] { cache.unpin(same); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.unpin({.last = 77, .tokens = 4}); }) == errc::invalid_argument);
    cache.unpin(cache.pin(text(500, 4)));
    CHECK(cache.evict(9) == 1);
    CHECK(cache.free_blocks() == 8);
}

TEST_CASE("forgetting everything leaves sequences what they hold", "[kv]") {
    auto cache = make(8, 2);
    leave(cache, text(0, 12));
    cache.pin(text(0, 8));
    cache.pin(text(0, 12));
    const kv::opened_sequence o = cache.open_with(text(0, 10));
    CHECK(o.reused == 8);
    cache.forget_all();
    CHECK(cache.cached_tokens() == 0);
    CHECK(cache.free_blocks() == 6);
    CHECK(cache.reusable(text(0, 10)) == 0);
    CHECK(has_rows_of(cache, o.sequence, text(0, 8)));
    cache.remember(o.sequence, text(0, 8));
    CHECK(cache.reusable(text(0, 10)) == 8);
    cache.close(o.sequence);
    CHECK(cache.evict(9) == 2);
    CHECK(cache.free_blocks() == 8);
}

TEST_CASE("random sequences on a small pool read what a model wrote, and never less than on paged storage", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    constexpr std::size_t slots = 4, blocks = 14;

    struct sequence {
        kv::sequence_id id;
        kv::sequence_id plain;
        tokens all;
    };
    auto cache = make(blocks, slots);
    auto paged = kv::paged<kv::f32>{{.tokens = blocks * block, .sequences = slots, .block = block}}.make(test::small_shape,
                                                                                                         std::pmr::new_delete_resource());
    std::vector<sequence> open;
    std::vector<kv::pinned_prefix> pins;
    std::size_t reused = 0, refused = 0;
    const auto random_text = [&](std::size_t n) {
        tokens t(n);
        for (std::size_t i = 0; i < n; ++i) t[i] = static_cast<token_id>(pick(i % block == 0 ? 2 : 1));  // prefixes meet often
        return t;
    };
    const auto close = [&](std::size_t i) {
        cache.close(open[i].id);
        paged.close(open[i].plain);
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
    };

    for (int i = 0; i < 6000; ++i) {
        const std::size_t operation = pick(12);
        if (open.empty() || (operation == 0 && open.size() < slots)) {
            tokens prompt = random_text(1 + pick(20));
            const std::size_t expected = cache.reusable(prompt);
            const kv::opened_sequence o = cache.open_with(prompt);
            REQUIRE(o.reused == expected);
            REQUIRE(o.reused < prompt.size());
            reused += o.reused;
            prompt.resize(o.reused);
            open.push_back({o.sequence, paged.open(), prompt});
            if (o.reused == 0) continue;
            const std::array rows{kv::segment{open.back().plain, 0, o.reused}};
            try {
                paged.plan(rows);
                paged.commit(open.back().plain);
            } catch (const error&) {
                close(open.size() - 1);
            }
            continue;
        }
        const std::size_t at = pick(open.size());
        sequence& s = open[at];
        if (operation == 1 && open.size() < slots) {
            sequence copy{cache.fork(s.id), paged.fork(s.plain), s.all};
            open.push_back(std::move(copy));
        } else if (operation == 2 && pick(3) == 0) {
            cache.remember(s.id, s.all);
            close(at);
        } else if (operation == 3) {
            cache.remember(s.id, std::span(s.all).first(pick(s.all.size() + 1)));
        } else if (operation == 4) {
            const std::size_t to = pick(s.all.size() + 1);
            cache.truncate(s.id, static_cast<position>(to));
            paged.truncate(s.plain, static_cast<position>(to));
            s.all.resize(to);
        } else if (operation == 5 && pins.size() < 3) {
            pins.push_back(cache.pin(random_text(pick(13))));
        } else if (operation == 6 && !pins.empty()) {
            cache.unpin(pins.back());
            pins.pop_back();
        } else if (operation == 7) {
            if (pick(20) == 0) {
                cache.forget_all();
                pins.clear();
            } else {
                cache.evict(pick(3));
            }
        } else {  // one step over some of the sequences, each row a token
            std::vector<kv::segment> segments, plain;
            std::vector<sequence*> stepped;
            std::vector<tokens> added;
            std::size_t row = 0;
            for (sequence& t : open) {
                const std::size_t rows = pick(7);
                if (rows == 0 || t.all.size() + rows > 40) continue;
                segments.push_back({t.id, row, rows});
                plain.push_back({t.plain, row, rows});
                stepped.push_back(&t);
                added.push_back(random_text(rows));
                row += rows;
            }
            if (segments.empty()) continue;
            bool fits = true;
            try {
                paged.plan(plain);
                for (const kv::segment& p : plain) paged.commit(p.sequence);
            } catch (const error&) {
                fits = false;
            }
            const std::size_t free = cache.free_blocks(), cached = cache.cached_tokens();
            std::vector<row_range> ranges;
            try {
                const std::span<const row_range> planned = cache.plan(segments);
                ranges.assign(planned.begin(), planned.end());
            } catch (const error& e) {
                REQUIRE(e.code() == errc::cache_full);
                REQUIRE((!fits || !pins.empty()));
                REQUIRE(cache.free_blocks() == free);
                REQUIRE(cache.cached_tokens() == cached);
                ++refused;
            }
            if (ranges.empty() || !fits) {
                for (std::size_t k = 0; k < segments.size(); ++k) {
                    cache.rollback(segments[k].sequence, {static_cast<position>(stepped[k]->all.size())});
                    paged.truncate(plain[k].sequence, static_cast<position>(stepped[k]->all.size()));
                }
                if (!ranges.empty())  // forks were copied apart that are still one on paged storage
                    while (!open.empty()) close(0);
                while (open.size() > 1 && pick(2) == 0) close(pick(open.size()));  // makes room
                continue;
            }
            for (std::size_t k = 0; k < segments.size(); ++k) stepped[k]->all = stepped[k]->all + added[k];
            // Every row has its own writer here, so it is written as a segment of one row.
            for (std::size_t k = 0; k < segments.size(); ++k) {
                const std::vector<std::uint32_t> writers = writers_of(stepped[k]->all);
                for (std::size_t r = 0; r < ranges[k].rows; ++r) {
                    std::vector<row_range> rows(ranges.size(), row_range{});
                    rows[k] = {.first_row = 0, .rows = 1, .first_position = ranges[k].first_position + static_cast<position>(r)};
                    std::vector<std::uint32_t> by(ranges.size(), writers[static_cast<std::size_t>(rows[k].first_position)]);
                    test::write_rows(cache, rows, by);
                }
            }
            for (std::size_t k = 0; k < segments.size(); ++k) {
                cache.commit(segments[k].sequence);
                REQUIRE(test::holds(cache, k, writers_of(stepped[k]->all)));
            }
        }
        for (const sequence& t : open) REQUIRE(cache.length(t.id) == static_cast<position>(t.all.size()));
    }
    CHECK(reused > 100);
    CHECK(refused > 10);
    CHECK(cache.counts().evicted > 100);
    while (!open.empty()) close(0);
    for (const kv::pinned_prefix& p : pins) cache.unpin(p);
    cache.evict(blocks);
    CHECK(cache.cached_tokens() == 0);
    CHECK(cache.free_blocks() == blocks);  // nothing leaked
}

TEST_CASE("a radix cache takes its memory at once, and a refused allocation leaves nothing behind", "[kv]") {
    const kv::radix<kv::f16> policy{{.tokens = 100, .sequences = 3, .block = 7}};
    counting_resource memory;
    std::size_t allocations = 0;
    {
        auto cache = policy.make(test::small_shape, &memory);
        CHECK(cache.bytes() == memory.bytes());
        CHECK(policy.bytes(test::small_shape) == memory.bytes());
        allocations = memory.allocations();
        const kv::sequence_id s = cache.open();
        const std::array rows{kv::segment{s, 0, 100}};
        cache.plan(rows);
        cache.commit(s);
        cache.remember(s, text(0, 100));
        cache.close(s);
        CHECK(cache.pin(text(0, 100)).tokens == 98);
        CHECK(memory.allocations() == allocations);
    }
    CHECK(memory.bytes() == 0);

    /// Refuses its n-th allocation.
    struct refusing final : std::pmr::memory_resource {
        explicit refusing(std::size_t n) : left(n) {}
        std::size_t left, live = 0;
        void* do_allocate(std::size_t bytes, std::size_t alignment) override {
            if (left-- == 0) throw std::bad_alloc();
            void* p = std::pmr::new_delete_resource()->allocate(bytes, alignment);
            live += bytes;
            return p;
        }
        void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
            live -= bytes;
            std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
        }
        bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    };
    for (std::size_t n = 0; n < allocations; ++n) {
        refusing little(n);
        CHECK_THROWS_AS(policy.make(test::small_shape, &little), std::bad_alloc);
        CHECK(little.live == 0);
    }
    refusing enough(allocations);
    CHECK_NOTHROW(policy.make(test::small_shape, &enough));
    CHECK(code_of([] { (void)kv::radix<>{{.block = 0}}.make(test::small_shape, std::pmr::new_delete_resource()); }) ==
          errc::invalid_argument);
}
