// SPDX-License-Identifier: MIT
// Models on window storage: texts past their context, logits that do not depend on the schedule, states, and what is refused.
#include <cmath>
#include <cstring>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/window.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

template <class Backend = cpu<>>
model<Backend> unwindowed(executor* pool = nullptr, compute policy = compute::exact) {
    tiny_model t;
    t.context = 64;
    return load_model<Backend>(open_model(t).file(), {.pool = pool, .compute = policy});
}

}  // namespace

TEMPLATE_TEST_CASE("logits on window storage do not depend on the schedule, past the model's context too", "[kv]", kv::f32, kv::q8) {
    thread_pool pool(2);
    const tokens text = random_tokens(300, 101, 6), wrong = random_tokens(7, 101, 7);
    constexpr kv::window_options options{.window = 19, .sinks = 4, .step = 300, .sequences = 2};
    for (const compute policy : {compute::exact, compute::native}) {
        const model<cpu<>> m = unwindowed(&pool, policy);
        runner whole(m, kv::window<TestType>{options}, text.size());
        const std::vector<float> expected = whole.run(whole.cache().open(), text, text.size());
        for (const std::size_t chunk : {1, 7, 64}) {
            CAPTURE(policy == compute::exact, chunk);
            runner run(unwindowed(nullptr, policy), kv::window<TestType>{{.window = 19, .sinks = 4, .step = chunk}}, chunk);
            CHECK(same_bits(run.run(run.cache().open(), text, chunk), expected));
        }

        // Beside another sequence, after a rejected draft, and in a fork whose sibling goes another way.
        runner run(m, kv::window<TestType>{{.window = 19, .sinks = 4, .step = 10, .sequences = 3}}, 20);
        const kv::sequence_id a = run.cache().open(), other = run.cache().open();
        run.run(a, std::span(text).first(150), 10);
        const std::array both{std::span<const token_id>(wrong), std::span<const token_id>(text).first(9)};
        const kv::checkpoint mark = run.cache().mark(a);
        const std::vector<float> rows = run.step(std::array{a, other}, both);
        CHECK(same_bits(std::span(rows).subspan(7 * 101), std::span(expected).first(9 * 101)));
        run.cache().rollback(a, mark);
        const kv::sequence_id b = run.cache().fork(a);
        run.run(a, wrong, 7);
        CHECK(same_bits(run.run(b, std::span(text).subspan(150), 9), std::span(expected).subspan(150 * 101)));
    }
}

TEST_CASE("a model on window storage agrees with the naive backend, and with itself on whole texts while nothing is missing", "[kv]") {
    const tokens text = random_tokens(90, 101, 8);
    const kv::window<kv::f32> policy{{.window = 19, .sinks = 4, .step = 90}};
    const model<cpu<>> m = unwindowed();
    runner run(m, policy, 90);
    const std::vector<float> got = run.run(run.cache().open(), text, 90);
    runner oracle(unwindowed<reference::naive>(), policy, 90);
    CHECK(greatest_difference(got, oracle.run(oracle.cache().open(), text, 90)) < 1e-3);
    const std::vector<float> plain = plain_logits(m, text);
    CHECK(greatest_difference(std::span(got).first(23 * 101), std::span(plain).first(23 * 101)) < 1e-3);
    CHECK(greatest_difference(got, plain) > 1e-2);
}

TEST_CASE("window storage by its words is that of its type", "[kv]") {
    const tokens text = random_tokens(120, 101, 9);
    const model<cpu<>> m = unwindowed();
    const kv::any<cpu<>> named{kv::parse_spec("window/20+3:f16"), {.tokens = 120}};
    CHECK(named.name() == "window/20+3:f16");
    CHECK(named.max_length() == 120);
    runner fixed(m, kv::window<kv::f16>{{.window = 20, .sinks = 3, .step = 50}}, 50);
    runner chosen(m, named, 80);
    CHECK(same_bits(fixed.run(fixed.cache().open(), text, 50), chosen.run(chosen.cache().open(), text, 80)));
    CHECK(kv::parse_spec("window/20").sinks == 4);
    CHECK(kv::parse_spec("window/20+0:q8").sinks == 0);
    for (const char* word : {"window", "window:f16", "window/0+4", "window/20+", "window/20+x", "window/+4", "window/20+4+1", "ring/20+4"})
        CHECK(code_of([&] { kv::parse_spec(word); }) == errc::invalid_argument);
}

TEST_CASE("learned positions are refused on window storage", "[kv]") {
    tiny_model t;
    t.architecture = "gpt2";
    runner run(load_model<cpu<>>(open_model(t).file(), {}), kv::window<kv::f32>{{.window = 20}}, 8);
    const tokens text = random_tokens(3, 101, 1);
    const kv::sequence_id s = run.cache().open();
    CHECK(code_of([&] { run.run(s, text, 3); }) == errc::unsupported);
    CHECK(run.cache().length(s) == 0);
}

TEST_CASE("a saved window is continued bitwise, and refused by another", "[kv]") {
    const tokens text = random_tokens(60, 101, 10);
    const model<cpu<>> m = unwindowed();
    constexpr kv::window_options options{.window = 19, .sinks = 4, .step = 30};
    runner whole(m, kv::window<kv::f16>{options}, 60);
    const std::vector<float> expected = whole.run(whole.cache().open(), std::span(text).first(40), 20);
    runner run(m, kv::window<kv::f16>{options}, 60);
    const kv::sequence_id s = run.cache().open();
    run.run(s, std::span(text).first(30), 30);
    std::vector<std::byte> bytes;
    const kv::state_sink sink = [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
    kv::save(run.cache(), s, std::span(text).first(30), sink);

    runner again(m, kv::window<kv::f16>{options}, 60);
    const kv::sequence_id t = kv::load(again.cache(), std::span<const std::byte>(bytes)).sequence;
    CHECK(same_bits(again.run(t, std::span(text).subspan(30, 10), 10), std::span(expected).subspan(30 * 101)));
    auto other = kv::window<kv::f16>{{.window = 18, .sinks = 4, .step = 30}}.make(m.config().cache(), std::pmr::new_delete_resource());
    auto flat = kv::contiguous<kv::f16>{{.tokens = 60}}.make(m.config().cache(), std::pmr::new_delete_resource());
    CHECK(code_of([&] { kv::load(other, std::span<const std::byte>(bytes)); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::load(flat, std::span<const std::byte>(bytes)); }) == errc::invalid_argument);
    // What the ring has dropped cannot be saved.
    run.run(s, std::span(text).subspan(30), 10);
    CHECK(code_of([&] { kv::save(run.cache(), s, text, sink); }) == errc::unsupported);
}

TEST_CASE("a pipeline on window storage writes past the model's context", "[kv]") {
    pipeline writer{
        unwindowed(), kv::window<kv::f16>{{.window = 24, .sinks = 4, .step = 16}}, sampling::chain{sampling::greedy{}}, {.chunk = 16}};
    const tokens prompt = random_tokens(90, 101, 12);
    const completion a = writer.run(writer.generate(prompt, {.max_tokens = 200, .ignore_end = true}));
    CHECK(a.tokens.size() == 200);
    pipeline other{
        unwindowed(), kv::window<kv::f16>{{.window = 24, .sinks = 4, .step = 5}}, sampling::chain{sampling::greedy{}}, {.chunk = 5}};
    const completion b = other.run(other.generate(prompt, {.max_tokens = 200, .ignore_end = true}));
    CHECK(std::equal(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end(),
                     [](const generated_token& x, const generated_token& y) { return x.token == y.token; }));
}
