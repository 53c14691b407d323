// SPDX-License-Identifier: MIT
// The list of tests every KV cache passes.
#include <array>
#include <optional>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Appends `rows` tokens to a sequence and commits them.
template <class Cache>
void grow(Cache& cache, kv::sequence_id s, std::size_t rows, std::uint32_t writer) {
    const std::array segments{kv::segment{s, 0, rows}};
    write_rows(cache, cache.plan(segments), {writer});
    cache.commit(s);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a cache takes from its resource exactly what it says", "[kv]", policies) {
    counting_resource memory;
    const auto policy = TestType::make(37, 3);
    {
        const auto cache = policy.make(small_shape, &memory);
        CHECK(cache.bytes() == memory.bytes());
        CHECK(policy.bytes(small_shape) == memory.bytes());
    }
    CHECK(memory.bytes() == 0);
}

TEMPLATE_LIST_TEST_CASE("what was appended is read back", "[kv]", policies) {
    auto cache = TestType::make(100, 2).make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    grow(cache, a, 13, 1);
    grow(cache, a, 1, 2);
    const std::array segments{kv::segment{a, 0, 3}};
    const auto ranges = cache.plan(segments);
    REQUIRE(ranges.size() == 1);
    CHECK(ranges[0].first_position == 14);
    write_rows(cache, ranges, {3});
    std::vector<std::uint32_t> writers(13, 1);
    writers.push_back(2);
    writers.insert(writers.end(), 3, 3);
    CHECK(holds(cache, 0, writers, TestType::first(14)));
    CHECK(std::apply([](const auto&... run) { return std::max({run.end(0)...}); }, cache.view(0)) == 17);
}

TEMPLATE_LIST_TEST_CASE("a full cache refuses a step and stays as it was", "[kv]", policies) {
    auto cache = TestType::make(16, 1).make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    grow(cache, a, 10, 1);
    const std::array segments{kv::segment{a, 0, 1000}};
    CHECK(code_of([&] { cache.plan(segments); }) == errc::cache_full);
    CHECK(cache.length(a) == 10);
    CHECK(code_of([&] { cache.open(); }) == errc::cache_full);
    grow(cache, a, 6, 2);
    CHECK(cache.length(a) == 16);
}

TEMPLATE_LIST_TEST_CASE("rollback drops pending tokens only", "[kv]", policies) {
    auto cache = TestType::make(64, 1).make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    grow(cache, a, 5, 1);
    const kv::checkpoint mark = cache.mark(a);
    const std::array segments{kv::segment{a, 0, 20}};
    write_rows(cache, cache.plan(segments), {9});
    CHECK(cache.length(a) == 25);
    CHECK(code_of([&] { cache.rollback(a, {4}); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.rollback(a, {26}); }) == errc::invalid_argument);
    cache.rollback(a, mark);
    CHECK(cache.length(a) == 5);
    const std::array one{kv::segment{a, 0, 1}};
    write_rows(cache, cache.plan(one), {2});
    CHECK(holds(cache, 0, {1, 1, 1, 1, 1, 2}, TestType::first(5)));
}

TEMPLATE_LIST_TEST_CASE("misuse is refused by name", "[kv]", policies) {
    auto cache = TestType::make(64, 2).make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    const std::array twice{kv::segment{a, 0, 1}, kv::segment{a, 1, 1}};
    const std::array none{kv::segment{a, 0, 0}};
    const std::array stranger{kv::segment{kv::sequence_id{1}, 0, 1}};
    CHECK(code_of([&] { cache.plan(twice); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.plan(none); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.plan(stranger); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.length(kv::sequence_id{77}); }) == errc::invalid_argument);
    CHECK(code_of([&] { cache.truncate(a, 1); }) == errc::invalid_argument);
    cache.close(a);
    CHECK(code_of([&] { cache.length(a); }) == errc::invalid_argument);
}

TEMPLATE_LIST_TEST_CASE("random operations agree with a list of tokens a sequence", "[kv]", policies) {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    constexpr std::size_t slots = 4, room = 48;

    struct sequence {
        kv::sequence_id id;
        std::vector<std::uint32_t> tokens;  // who wrote each
        std::size_t committed = 0;
        std::size_t most = 0;  // tokens it has had since it was empty
    };
    auto cache = TestType::make(room, slots).make(small_shape, std::pmr::new_delete_resource());
    std::vector<sequence> model;
    std::uint32_t writer = 0;

    for (int i = 0; i < 3000; ++i) {
        const std::size_t operation = pick(7);
        if (model.empty() || (operation == 0 && model.size() < slots)) {
            model.push_back({cache.open(), {}, 0, 0});
            continue;
        }
        sequence& s = model[pick(model.size())];
        if (operation == 1 && model.size() < slots) {
            sequence copy{cache.fork(s.id), s.tokens, s.committed, s.most};
            copy.tokens.resize(s.committed);
            model.push_back(std::move(copy));
        } else if (operation == 2) {
            cache.commit(s.id);
            s.committed = s.tokens.size();
        } else if (operation == 3) {
            const std::size_t to = s.committed + pick(s.tokens.size() - s.committed + 1);
            cache.rollback(s.id, {static_cast<position>(to)});
            s.tokens.resize(to);
        } else if (operation == 4 && pick(4) == 0) {
            const std::size_t to = pick(s.tokens.size() + 1);
            REQUIRE(cache.keeps(s.id, static_cast<position>(to)) == TestType::keeps(to, s.most));
            REQUIRE_FALSE(cache.keeps(s.id, cache.length(s.id) + 1));
            REQUIRE_FALSE(cache.keeps(s.id, -1));
            if (!TestType::keeps(to, s.most)) {
                REQUIRE(code_of([&] { cache.truncate(s.id, static_cast<position>(to)); }) == errc::invalid_argument);
                continue;
            }
            cache.truncate(s.id, static_cast<position>(to));
            s.most = TestType::most_after(to, s.most);
            s.tokens.resize(to);
            s.committed = std::min(s.committed, to);
        } else if (operation == 5 && pick(6) == 0) {
            cache.close(s.id);
            s = std::move(model.back());
            model.pop_back();
        } else {  // one step over some of the sequences
            std::vector<kv::segment> segments;
            std::vector<std::uint32_t> writers;
            std::vector<sequence*> stepped;
            std::vector<std::size_t> firsts;
            std::size_t row = 0;
            for (sequence& t : model) {
                const std::size_t rows = std::min(pick(9), kv::step_room(cache, t.id));
                if (rows == 0 || t.tokens.size() + rows > room || t.tokens.size() - t.committed + rows > TestType::step) continue;
                segments.push_back({t.id, row, rows});
                writers.push_back(++writer);
                firsts.push_back(TestType::first(t.tokens.size()));
                t.tokens.insert(t.tokens.end(), rows, writer);
                t.most = std::max(t.most, t.tokens.size());
                stepped.push_back(&t);
                row += rows;
            }
            if (segments.empty()) continue;
            write_rows(cache, cache.plan(segments), writers);
            for (std::size_t k = 0; k < stepped.size(); ++k) REQUIRE(holds(cache, k, stepped[k]->tokens, firsts[k]));
        }
        for (const sequence& t : model) REQUIRE(cache.length(t.id) == static_cast<position>(t.tokens.size()));
    }
}
