// SPDX-License-Identifier: MIT
// Models on tiers by importance: logits are those of contiguous storage where all tokens are hot, those of the naive backend where some are
// not, and do not depend on threads, neighbours, forks or rows that were rolled back.
#include <array>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/model/load.hpp>

#include "kv_model/naive_any.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

template <class Backend = cpu<>>
model<Backend> tiny(executor* pool = nullptr, compute policy = compute::exact) {
    return load_model<Backend>(open_model(tiny_model{}).file(), {.pool = pool, .compute = policy});
}

template <class Backend = cpu<>>
kv::any<Backend> named(std::string_view spec) {
    return {kv::parse_spec(spec), {.tokens = 320, .sequences = 3, .step = 300}};
}

}  // namespace

TEST_CASE("a model whose tokens are all hot gives the logits of contiguous storage", "[kv]") {
    const tokens text = random_tokens(300, 101, 6);
    for (const compute policy : {compute::exact, compute::native}) {
        runner plain(tiny(nullptr, policy), named("contiguous:f16"), text.size());
        const std::vector<float> expected = plain.run(plain.cache().open(), text, text.size());
        for (const std::size_t chunk : {1, 37}) {
            runner run(tiny(nullptr, policy), named("tiered-h2o:300:f16,kivi2"), chunk);
            CHECK(same_bits(run.run(run.cache().open(), text, chunk), expected));
        }
        runner some(tiny(nullptr, policy), named("tiered-h2o:290:f16,kivi2"), 37);
        CHECK_FALSE(same_bits(some.run(some.cache().open(), text, 37), expected));
    }
}

TEST_CASE("logits on tiers by importance depend on the sequence's own steps only", "[kv]") {
    thread_pool pool(2);
    const tokens text = random_tokens(300, 101, 6), wrong = random_tokens(7, 101, 7);
    for (const auto& [policy, spec] :
         {std::pair{compute::exact, "tiered-tova:64:f16,kivi2"}, std::pair{compute::native, "tiered-h2o:64:q8,kivi2"}}) {
        const model<cpu<>> m = tiny(&pool, policy);
        runner whole(m, named(spec), 20);
        const std::vector<float> expected = whole.run(whole.cache().open(), text, 20);
        runner alone(tiny(nullptr, policy), named(spec), 20);
        CHECK(same_bits(alone.run(alone.cache().open(), text, 20), expected));

        // Beside another sequence, after a rejected draft that ends a group, and in a fork whose sibling goes another way.
        runner run(m, named(spec), 40);
        const kv::sequence_id a = run.cache().open(), other = run.cache().open();
        run.run(a, std::span(text).first(120), 20);
        const std::array both{std::span<const token_id>(wrong), std::span<const token_id>(text).first(20)};
        const kv::checkpoint mark = run.cache().mark(a);
        const std::vector<float> rows = run.step(std::array{a, other}, both);
        CHECK(same_bits(std::span(rows).subspan(7 * 101), std::span(expected).first(20 * 101)));
        run.cache().rollback(a, mark);
        const std::array more{std::span<const token_id>(text).subspan(140, 15)};
        run.step(std::array{a}, more);
        run.cache().rollback(a, mark);
        const kv::sequence_id b = run.cache().fork(a);
        run.run(a, wrong, 7);
        CHECK(same_bits(run.run(b, std::span(text).subspan(120), 20), std::span(expected).subspan(120 * 101)));
        run.cache().truncate(a, 0);
        CHECK(same_bits(run.run(a, std::span(text).first(200), 20), std::span(expected).first(200 * 101)));
    }
}

TEST_CASE("a model on tiers by importance agrees with the naive backend", "[kv]") {
    const tokens text = random_tokens(200, 101, 8);
    runner run(tiny(), named("tiered-sinks:40:f16,kivi2"), 25);
    runner oracle(tiny<reference::naive>(), named<reference::naive>("tiered-sinks:40:f16,kivi2"), 25);
    const std::vector<float> got = run.run(run.cache().open(), text, 25), expected = oracle.run(oracle.cache().open(), text, 25);
    CHECK(greatest_difference(got, expected) < 1e-3);
    runner plain(tiny(), named("contiguous:f16"), 25);
    CHECK(greatest_difference(plain.run(plain.cache().open(), text, 25), expected) > 1e-2);
}
