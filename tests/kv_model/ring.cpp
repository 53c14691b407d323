// SPDX-License-Identifier: MIT
// Models on ring storage: logits and texts are those of contiguous storage, and a model that sees more than the ring keeps is refused.
#include <cstring>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/ring.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/beam_search.hpp>
#include <skald/pipeline/embedder.hpp>
#include <skald/pipeline/pipeline.hpp>

#include "support/catch.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr std::uint32_t window = 19;

/// A model whose layers see the last 19 positions; with a period of 2, every other layer sees them all.
model<cpu<>> windowed(executor* pool = nullptr, compute policy = compute::exact, std::uint32_t period = 0, std::uint32_t context = 512) {
    tiny_model t;
    t.context = context;
    t.replace = [period](gguf_writer& w, std::string_view name) {
        if (name != "llama.context_length") return false;
        w.key("llama.attention.sliding_window", window);
        if (period != 0) w.key("llama.attention.sliding_window_pattern", period);
        return false;
    };
    return load_model<cpu<>>(open_model(t).file(), {.pool = pool, .compute = policy});
}

model<cpu<>> unwindowed(std::uint32_t context) {
    tiny_model t;
    t.context = context;
    return load_model<cpu<>>(open_model(t).file(), {});
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The error that a step of `rows` tokens throws, and that the sequence is as long as before.
template <class Runner>
void refused(Runner& run, kv::sequence_id s, std::size_t rows, std::string_view words) {
    const tokens text = random_tokens(rows, 75, 1);
    const position before = run.cache().length(s);
    const std::array all{std::span<const token_id>(text)};
    try {
        run.step(std::array{s}, all);
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::unsupported);
        CAPTURE(e.what(), words);
        CHECK(std::string_view(e.what()).find(words) != std::string_view::npos);
    }
    CHECK(run.cache().length(s) == before);
}

std::vector<token_id> ids(const std::vector<generated_token>& all) {
    std::vector<token_id> out;
    for (const generated_token& t : all) out.push_back(t.token);
    return out;
}

}  // namespace

TEMPLATE_TEST_CASE("logits on a ring are bitwise those on contiguous storage", "[kv]", kv::f32, kv::f16) {
    thread_pool pool(2);
    const tokens text = random_tokens(400, 101, 6), wrong = random_tokens(7, 101, 7);
    for (const compute policy : {compute::exact, compute::native}) {
        const model<cpu<>> m = windowed(&pool, policy);
        runner flat(m, kv::contiguous<TestType>{{.tokens = text.size()}}, text.size());
        const std::vector<float> expected = flat.run(flat.cache().open(), text, text.size());
        for (const std::size_t kept : {std::size_t{window}, std::size_t{100}})
            for (const std::size_t chunk : {1, 7, 64}) {
                CAPTURE(policy == compute::exact, kept, chunk);
                runner ring(m, kv::ring<TestType>{{.window = kept, .step = chunk, .sequences = 2}}, 2 * chunk);
                CHECK(same_bits(ring.run(ring.cache().open(), text, chunk), expected));
            }

        // After a rejected draft, and in a fork whose sibling goes another way.
        runner ring(m, kv::ring<TestType>{{.window = window, .step = 10, .sequences = 2}}, 20);
        const kv::sequence_id a = ring.cache().open();
        ring.run(a, std::span(text).first(150), 10);
        const std::array rejected{std::span<const token_id>(wrong)};
        const kv::checkpoint mark = ring.cache().mark(a);
        ring.step(std::array{a}, rejected);
        ring.cache().rollback(a, mark);
        const kv::sequence_id b = ring.cache().fork(a);
        ring.run(a, wrong, 7);
        const std::vector<float> rest = ring.run(b, std::span(text).subspan(150), 9);
        const std::vector<float> tail(expected.begin() + 150 * 101, expected.end());
        CHECK(same_bits(rest, tail));
    }
    const model<cpu<>> m = windowed();
    runner fixed(m, kv::ring<TestType>{{.window = 20, .step = 50}}, 50);
    const std::string word = concat("ring/20:", TestType::name);
    const kv::any<cpu<>> named{kv::parse_spec(word), {.tokens = 400}};
    CHECK(named.name() == word);
    CHECK(named.max_length() == 400);
    runner chosen(m, named, 80);
    CHECK(chosen.cache().window() == 20);
    CHECK(same_bits(fixed.run(fixed.cache().open(), text, 50), chosen.run(chosen.cache().open(), text, 80)));
}

TEST_CASE("a layer that sees more than a ring keeps is refused by name", "[kv]") {
    const auto on = [](const model<cpu<>>& m, std::size_t kept) { return runner(m, kv::ring<kv::f32>{{.window = kept, .step = 32}}, 32); };
    runner narrow = on(windowed(), window - 1);
    refused(narrow, narrow.cache().open(), 1,
            "layer 0 sees the last 19 positions, the cache keeps the last 18 of a sequence; raise .window");
    runner mixed = on(windowed(nullptr, compute::exact, 2), 400);
    refused(mixed, mixed.cache().open(), 1, "layer 1 sees every position, the cache keeps the last 400 of a sequence; use contiguous");
    runner chosen(unwindowed(512), kv::any<cpu<>>{kv::parse_spec("ring/511:f32"), {}}, 4);
    refused(chosen, chosen.cache().open(), 1, "layer 0 sees every position");

    // A ring that keeps the whole context serves every layer, as far as that goes.
    const model<cpu<>> whole = unwindowed(60);
    const tokens text = random_tokens(60, 101, 8);
    runner ring = on(whole, 60);
    const kv::sequence_id s = ring.cache().open();
    CHECK(same_bits(ring.run(s, text, 32), plain_logits(whole, text)));
    refused(ring, s, 1, "layer 0 sees every position");
    runner short_context = on(windowed(nullptr, compute::exact, 0, 12), 12);
    const kv::sequence_id t = short_context.cache().open();
    short_context.run(t, std::span(text).first(12), 12);
    refused(short_context, t, 1, "layer 0 sees the last 19 positions, the cache keeps the last 12");
}

TEST_CASE("a pipeline on a ring reads a prompt again where the ring does not keep its beginning", "[kv]") {
    const model<cpu<>> m = windowed();
    pipeline ring{m, kv::ring<kv::f32>{{.window = window, .step = 16}}, sampling::chain{sampling::greedy{}}, {.chunk = 16}};
    const auto run = [](auto& p, const tokens& prompt, std::size_t n) {
        return p.run(p.generate(prompt, {.max_tokens = n, .ignore_end = true}));
    };
    const auto expected = [&](const tokens& prompt, std::size_t n) {
        pipeline flat{m, kv::contiguous<kv::f32>{{.tokens = 600}}, sampling::chain{sampling::greedy{}}};
        return ids(run(flat, prompt, n).tokens);
    };
    tokens prompt = random_tokens(90, 101, 12);
    const completion first = run(ring, prompt, 60);
    CHECK(first.stats.reused_tokens == 0);
    CHECK(ids(first.tokens) == expected(prompt, 60));

    // Back to the prompt's end: 59 tokens are more than the step.
    const completion again = run(ring, prompt, 8);
    CHECK(again.stats.reused_tokens == 0);
    CHECK(ids(again.tokens) == expected(prompt, 8));
    // 7 tokens are not.
    const completion near = run(ring, prompt, 8);
    CHECK(near.stats.reused_tokens == 89);
    CHECK(ids(near.tokens) == expected(prompt, 8));
    // What goes on from there is read on.
    for (const generated_token& t : near.tokens) prompt.push_back(t.token);
    prompt.push_back(5);
    const completion longer = run(ring, prompt, 300);
    CHECK(longer.stats.reused_tokens == 97);
    CHECK(ids(longer.tokens) == expected(prompt, 300));
    // Another text.
    const tokens other = random_tokens(70, 101, 13);
    const completion fresh = run(ring, other, 20);
    CHECK(fresh.stats.reused_tokens == 0);
    CHECK(ids(fresh.tokens) == expected(other, 20));

    pipeline refused{unwindowed(512), kv::ring<kv::f32>{{.window = 64}}};
    CHECK_THROWS_AS(run(refused, other, 3), error);
}

TEST_CASE("beams on a ring are those on contiguous storage", "[kv]") {
    const model<cpu<>> m = windowed();
    const beam_search_options three{.beams = 3, .chunk = 8};
    beam_search ring{m, kv::ring<kv::f32>{{.window = window, .step = 8, .sequences = 3}}, sampling::chain<>{}, three};
    beam_search flat{m, kv::contiguous<kv::f32>{{.tokens = 300, .sequences = 3}}, sampling::chain<>{}, three};
    const tokens prompt = random_tokens(60, 101, 21);
    for (const std::size_t n : {5, 40, 6}) {  // the second leaves nothing of the prompt to go back to
        CAPTURE(n);
        const beam_options options{.max_tokens = n, .returned = 3, .ignore_end = true};
        const std::vector<beam> a = ring.run(prompt, options), b = flat.run(prompt, options);
        REQUIRE(a.size() == b.size());
        for (std::size_t i = 0; i < a.size(); ++i) {
            CHECK(a[i].score == b[i].score);
            CHECK(a[i].tokens.size() == b[i].tokens.size());
            CHECK(std::equal(a[i].tokens.begin(), a[i].tokens.end(), b[i].tokens.begin(),
                             [](const scored_token& x, const scored_token& y) { return x.token == y.token; }));
        }
    }
}
