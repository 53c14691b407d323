// SPDX-License-Identifier: MIT
// Prefixes that sequences share are found, read once for all of them, and give the bits that unshared ones give.
#include "kv_model/shared_prefix.hpp"

#include <array>
#include <atomic>
#include <tuple>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/word_codec.hpp>

#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// What a list must say of the runs it is of: the longest common beginnings before the step's rows, in whole blocks.
template <class Run>
bool lists_right(const Run& run, std::span<const row_range> ranges, std::size_t block) {
    const auto common = [&](std::size_t a, std::size_t b) {
        const position last = std::min(ranges[a].first_position, ranges[b].first_position);
        position p = 0;
        while (p < last && run.key(a, 0, p) == run.key(b, 0, p)) ++p;
        return p / static_cast<position>(block) * static_cast<position>(block);
    };
    const std::span<const shared_prefix> list = run.sharing();
    std::vector<bool> listed(ranges.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (list[i].segment >= ranges.size() || listed[list[i].segment]) return false;
        listed[list[i].segment] = true;
        position least = std::numeric_limits<position>::max();
        for (std::size_t j = i; j-- > 0;) {
            least = std::min(least, list[j + 1].length);
            if (least != common(list[i].segment, list[j].segment)) return false;
        }
    }
    bool any = false;
    for (std::size_t i = 0; i < ranges.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) any = any || common(i, j) > 0;
    return list.size() == (any ? ranges.size() : 0);
}

/// Counts the keys that are asked for.
template <class Run>
struct counted_run : Run {
    std::atomic<std::size_t>* count;
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        count->fetch_add(1, std::memory_order_relaxed);
        return Run::key(segment, kv_head, p);
    }
};

}  // namespace

TEST_CASE("a plan lists what its sequences share", "[kv]") {
    const unsigned first = std::random_device()();
    CAPTURE(first);
    for (unsigned seed = first; seed < first + 40; ++seed) {
        std::mt19937 random(seed);
        const std::size_t block = 1 + random() % 20, sequences = 2 + random() % 8;
        auto cache =
            kv::paged<kv::f32>{{.tokens = 8000, .sequences = sequences, .block = block}}.make({1, 1, 16}, std::pmr::new_delete_resource());
        std::vector<kv::sequence_id> all{cache.open()};
        while (all.size() < sequences) {
            const kv::sequence_id s = random() % 4 == 0 ? cache.open() : cache.fork(all[random() % all.size()]);
            all.push_back(s);
            for (const kv::sequence_id some : {s, all[random() % all.size()]}) {
                if (random() % 2 == 0) continue;
                cache.plan(std::array{kv::segment{some, 0, 1 + random() % 50}});
                cache.commit(some);
            }
        }
        std::ranges::shuffle(all, random);
        all.resize(1 + random() % all.size());
        std::vector<kv::segment> step;
        for (const kv::sequence_id s : all) step.push_back({s, step.size(), 1});
        const std::span<const row_range> ranges = cache.plan(step);
        CAPTURE(seed, block);
        CHECK(lists_right(std::get<0>(cache.view(0)), ranges, block));
        cache.select(all[0]);
        CHECK(std::get<0>(cache.view(0)).sharing().empty());
    }
}

TEST_CASE("conversations that a radix cache begins alike share what it knows", "[kv]") {
    auto cache = kv::radix<kv::f32>{{.tokens = 400, .sequences = 3, .block = 8}}.make({1, 1, 16}, std::pmr::new_delete_resource());
    const std::vector<token_id> text(100, 7);
    const kv::sequence_id a = cache.open(), b = cache.open();
    for (const kv::sequence_id s : {a, b}) {  // each reads it for itself …
        cache.plan(std::array{kv::segment{s, 0, text.size()}});
        cache.commit(s);
        cache.remember(s, text);  // … and the second gives its blocks up
    }
    const kv::sequence_id c = cache.open_with(text).sequence;
    const std::span<const row_range> ranges = cache.plan(std::array{kv::segment{a, 0, 1}, kv::segment{b, 1, 1}, kv::segment{c, 2, 1}});
    const auto run = std::get<0>(cache.view(0));
    CHECK(lists_right(run, ranges, 8));
    REQUIRE(run.sharing().size() == 3);
    CHECK(run.sharing()[1].length == 96);
    CHECK(run.sharing()[2].length == 96);
}

TEST_CASE("what sequences share is read once", "[kv]") {
    const attention_shape shape{2, 1, 16};
    auto cache = kv::paged<kv::f16>{{.tokens = 4000, .sequences = 8}}.make({1, 1, 16}, std::pmr::new_delete_resource());
    std::vector<kv::segment> step{{cache.open(), 0, 1}};
    cache.plan(std::array{kv::segment{step[0].sequence, 0, 1280}});
    cache.commit(step[0].sequence);
    while (step.size() < 8) step.push_back({cache.fork(step[0].sequence), step.size(), 1});
    const std::span<const row_range> ranges = cache.plan(step);
    std::atomic<std::size_t> count = 0;
    using run = kv::paged_cache<kv::f16>::run;
    const std::tuple runs{counted_run<run>{std::get<0>(cache.view(0)), &count}};
    const std::vector<float> q = random_floats(8 * 32, 1);
    for (const std::size_t threads : {1, 2}) {
        thread_pool pool(threads);
        const cpu<> backend({.pool = &pool});
        auto out = backend.make_activations(8, 32);
        out.resize(8, 32);
        auto scratch = backend.make_scratch(shape);
        count = 0;
        backend.attend({q.data(), {8, 32}}, shape, attention::causal{0.3f}, ranges, runs, out, scratch);
        CHECK(count >= 1280 / 16);           // a block of 16 at a time, for one sequence,
        CHECK(count <= 2 * 1280 / 16 + 16);  // and once more ahead of its use
    }
}

TEMPLATE_TEST_CASE("shared prefixes give the bits of unshared ones in every codec", "[kv]", kv::f32, kv::bf16, kv::fp8, kv::q8, kv::q4) {
    const unsigned seed = std::random_device()();
    for (unsigned i = 0; i < 3; ++i) {
        check_family<TestType>({6, 2, 24}, 16, seed + i, attention::causal{0.2f});
        check_family<TestType>({3, 1, 16}, std::array{8, 64, 128, 5, 32}[(seed + i) % 5], seed + 10 + i, attention::causal{0.2f});
    }
}
