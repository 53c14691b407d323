// SPDX-License-Identifier: MIT
// Models on storage that skips pages: logits that do not depend on the schedule, and are those of paged storage where nothing is skipped.
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/quest.hpp>
#include <skald/model/load.hpp>

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

constexpr kv::quest_options options{.tokens = 1200, .sequences = 3, .budget = 96, .page = 16, .full_layers = 1};

}  // namespace

TEST_CASE("logits on storage that skips pages do not depend on the schedule", "[kv]") {
    thread_pool pool(2);
    const tokens text = random_tokens(300, 101, 6), wrong = random_tokens(7, 101, 7);
    for (const compute policy : {compute::exact, compute::native}) {
        const model<cpu<>> m = tiny(&pool, policy);
        runner whole(m, kv::quest<kv::f16>{options}, text.size());
        const std::vector<float> expected = whole.run(whole.cache().open(), text, text.size());
        for (const std::size_t chunk : {1, 7, 100}) {
            CAPTURE(policy == compute::exact, chunk);
            runner run(chunk == 7 ? tiny(nullptr, policy) : m, kv::quest<kv::f16>{options}, chunk);
            CHECK(same_bits(run.run(run.cache().open(), text, chunk), expected));
        }

        // Beside another sequence, after a rejected draft, and in a fork whose sibling goes another way.
        runner run(m, kv::quest<kv::f16>{options}, 150);
        const kv::sequence_id a = run.cache().open(), other = run.cache().open();
        run.run(a, std::span(text).first(150), 50);
        const std::array both{std::span<const token_id>(wrong), std::span<const token_id>(text).first(140)};
        const kv::checkpoint mark = run.cache().mark(a);
        const std::vector<float> rows = run.step(std::array{a, other}, both);
        CHECK(same_bits(std::span(rows).subspan(7 * 101), std::span(expected).first(140 * 101)));
        run.cache().rollback(a, mark);
        const kv::sequence_id b = run.cache().fork(a);
        run.run(a, wrong, 7);
        CHECK(same_bits(run.run(b, std::span(text).subspan(150), 9), std::span(expected).subspan(150 * 101)));

        // A budget for all of the text skips nothing.
        runner flat(m, kv::paged<kv::f16>{{.tokens = 1200}}, text.size());
        const std::vector<float> plain = flat.run(flat.cache().open(), text, text.size());
        CHECK_FALSE(same_bits(plain, expected));
        runner roomy(m, kv::quest<kv::f16>{{.tokens = 1200, .budget = 304, .full_layers = 0}}, 100);
        CHECK(same_bits(roomy.run(roomy.cache().open(), text, 100), plain));
    }
}

TEST_CASE("a model on storage that skips pages agrees with the naive backend", "[kv]") {
    const tokens text = random_tokens(200, 101, 8);
    runner run(tiny(), kv::quest<kv::f16>{options}, 200);
    runner oracle(tiny<reference::naive>(), kv::quest<kv::f16>{options}, 200);
    const std::vector<float> got = run.run(run.cache().open(), text, 200), expected = oracle.run(oracle.cache().open(), text, 200);
    double most = 0;
    for (std::size_t i = 0; i < got.size(); ++i) most = std::max(most, std::fabs(static_cast<double>(got[i]) - expected[i]));
    CHECK(most < 1e-3);
}
