// SPDX-License-Identifier: MIT
// Prefixes that are pinned, and those that beam searches and readers know from earlier texts; prompts longer than a step of the cache.
#include <string>
#include <utility>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/ring.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/beam_search.hpp>
#include <skald/pipeline/embedder.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/pipeline/scorer.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/counted_rows.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using test::code_of;
using test::tokens;

namespace {

constexpr std::uint32_t window = 19;

model<cpu<>> tiny() { return load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf", {.compute = compute::exact}); }

/// A model whose layers see the last 19 positions.
model<cpu<>> windowed() {
    test::tiny_model t;
    t.replace = [](test::gguf_writer& w, std::string_view name) {
        if (name == "llama.context_length") w.key("llama.attention.sliding_window", window);
        return false;
    };
    return load_model<cpu<>>(test::open_model(t).file(), {});
}

tokens operator+(tokens a, const tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

/// Tokens with their log-probabilities.
using facts = std::vector<std::pair<token_id, float>>;

template <class Pipeline>
std::pair<facts, statistics> ask(Pipeline& p, const tokens& prompt, std::size_t n = 4) {
    const completion c = p.run(p.generate(prompt, {.max_tokens = n, .ignore_end = true}));
    facts out;
    for (const generated_token& t : c.tokens) out.emplace_back(t.token, t.logprob);
    return {out, c.stats};
}

template <class Search>
std::vector<facts> search(Search& s, const tokens& prompt) {
    std::vector<facts> out;
    for (const beam& b : s.run(prompt, {.max_tokens = 6, .returned = 3, .ignore_end = true})) {
        out.emplace_back();
        for (const scored_token& t : b.tokens) out.back().emplace_back(t.token, t.logprob);
    }
    return out;
}

template <class Scorer>
facts score(Scorer& s, const tokens& prompt, const tokens& continuation) {
    facts out;
    for (const scored_token& t : s.score(prompt, continuation).tokens) out.emplace_back(t.token, t.logprob);
    return out;
}

}  // namespace

TEST_CASE("a pinned prefix stays through prompts that fill the cache, until it is unpinned", "[pipeline]") {
    const model<cpu<>> m = tiny();
    const std::size_t vocabulary = m.config().vocabulary;
    std::size_t rows = 0;
    pipeline p{m, test::counted_rows{kv::radix<kv::f32>{{.tokens = 96, .block = 8}}, &rows}};
    pipeline plain{m, kv::contiguous<kv::f32>{{.tokens = 96}}};
    const tokens system = test::random_tokens(29, vocabulary, 1);
    const auto prompt = [&](unsigned seed) { return system + test::random_tokens(20, vocabulary, seed); };
    const auto fill = [&](unsigned seed) {
        const tokens other = test::random_tokens(60, vocabulary, seed);
        CHECK(ask(p, other).first == ask(plain, other).first);
    };

    const kv::pinned_prefix pinned = p.pin(system);
    CHECK(pinned.tokens == 24);
    CHECK(rows == system.size());
    for (unsigned seed = 2; seed < 8; ++seed) {
        fill(100 + seed);
        rows = 0;
        const auto [got, stats] = ask(p, prompt(seed));
        CHECK(stats.reused_tokens == 24);
        CHECK(rows == system.size() + 20 - 24 + 3);
        CHECK(got == ask(plain, prompt(seed)).first);
    }
    rows = 0;
    const kv::pinned_prefix again = p.pin(system);  // known already: only what is behind its last whole block is read
    CHECK(again.tokens == 24);
    CHECK(rows <= 5);
    p.unpin(again);
    fill(200);
    CHECK(ask(p, prompt(8)).second.reused_tokens == 24);  // the first pin holds it
    p.unpin(pinned);
    fill(201);
    fill(202);
    CHECK(ask(p, prompt(9)).second.reused_tokens == 0);
    CHECK(code_of([&] { p.unpin(pinned); }) == errc::invalid_argument);
}

TEST_CASE("pins of texts and conversations hold what prompts begin with", "[pipeline]") {
    const model<cpu<>> m = tiny();
    pipeline p{m, kv::any<cpu<>>{kv::parse_spec("radix/4:f32"), {.tokens = 600}}};
    const std::vector<text::message> shots{{"system", "be brief"}, {"user", "one?"}, {"assistant", "1"}};
    const kv::pinned_prefix pinned = p.pin(shots);
    CHECK(pinned.tokens > 0);
    for (const char* question : {"two?", "what is three?"}) {
        std::vector<text::message> all = shots;
        all.push_back({"user", question});
        CHECK(p.run(p.chat(all, {.max_tokens = 2})).stats.reused_tokens >= pinned.tokens);
    }
    const std::string text = "a text that other texts begin with, ";
    const kv::pinned_prefix beginning = p.pin(text);
    CHECK(beginning.tokens > 0);
    (void)p.complete("another text", {.max_tokens = 2});
    CHECK(p.complete(text + "and go on", {.max_tokens = 2}).stats.reused_tokens >= beginning.tokens - 4);
    p.unpin(beginning);
    p.unpin(pinned);

    CHECK(code_of([&] { p.pin(tokens{}); }) == errc::invalid_argument);
    CHECK(code_of([&] { p.pin(tokens(601, 3)); }) == errc::cache_full);
    const auto running = p.generate("text");
    CHECK(code_of([&] { p.pin(text); }) == errc::busy);
    std::stop_source stop;
    stop.request_stop();
    pipeline cancelled{m, kv::radix<kv::f32>{{.tokens = 64, .block = 4}}};
    CHECK(code_of([&] { cancelled.pin(text, stop.get_token()); }) == errc::cancelled);
    CHECK(cancelled.complete(text, {.max_tokens = 2}).stats.reused_tokens == 0);

    pipeline none{m, kv::any<cpu<>>{kv::parse_spec("paged/4:f32"), {.tokens = 64}}};
    CHECK(none.pin(text).tokens == 0);
}

TEST_CASE("beam searches take over what earlier prompts left", "[pipeline]") {
    const model<cpu<>> m = tiny();
    const std::size_t vocabulary = m.config().vocabulary;
    std::size_t rows = 0;
    const beam_search_options three{.beams = 3};
    beam_search shared{m, test::counted_rows{kv::radix<kv::f32>{{.tokens = 400, .sequences = 3, .block = 8}}, &rows}, sampling::chain<>{},
                       three};
    beam_search plain{m, kv::contiguous<kv::f32>{{.tokens = 120, .sequences = 3}}, sampling::chain<>{}, three};
    const tokens a = test::random_tokens(50, vocabulary, 1), b = test::random_tokens(50, vocabulary, 2);
    const auto prompt_rows = [&](const tokens& prompt) {
        rows = 0;
        CHECK(search(shared, prompt) == search(plain, prompt));
        return rows - 3 * 5;  // of the beams, a row each for all tokens but the last
    };
    CHECK(prompt_rows(a) == 50);
    CHECK(prompt_rows(b) == 50);
    CHECK(prompt_rows(a) == 2);       // six whole blocks of a prompt of 50
    CHECK(prompt_rows(b + a) == 52);  // six of b
    CHECK(prompt_rows(b + a) == 1);
    CHECK(prompt_rows(a + b) == 52);
}

TEST_CASE("scores and embeddings read no row again that nobody asks for", "[pipeline]") {
    const model<cpu<>> m = tiny();
    const std::size_t vocabulary = m.config().vocabulary;
    const tokens a = test::random_tokens(40, vocabulary, 1), b = test::random_tokens(40, vocabulary, 2),
                 x = test::random_tokens(5, vocabulary, 3), y = test::random_tokens(7, vocabulary, 4);
    std::size_t rows = 0;
    const auto check = [&](auto policy, std::size_t back) {
        scorer known{m, test::counted_rows{policy, &rows}, {.chunk = 16}};
        const auto rows_of = [&](const tokens& prompt, const tokens& continuation) {
            rows = 0;
            scorer fresh{m, kv::contiguous<kv::f32>{{.tokens = 60}}};
            CHECK(score(known, prompt, continuation) == score(fresh, prompt, continuation));
            return rows;
        };
        CHECK(rows_of(a, x) == 44);
        CHECK(rows_of(a, y) == 7);  // the prompt's last token on
        CHECK(rows_of(a, y) == 7);
        CHECK(rows_of(b, x) == 44);
        CHECK(rows_of(a, x) == back);
        CHECK(code_of([&] { known.score(a + a, x); }) == errc::cache_full);
        CHECK(rows_of(a, y) == 7);

        embedder e{m, test::counted_rows{policy, &rows}, {.chunk = 16}};
        embedder fresh{m, kv::contiguous<kv::f32>{{.tokens = 60}}};
        const auto rows_of_embedding = [&](const tokens& text, pooling how) {
            rows = 0;
            CHECK(e.embed(text, {.pooling = how}) == fresh.embed(text, {.pooling = how}));
            return rows;
        };
        CHECK(rows_of_embedding(a, pooling::last) == 40);
        CHECK(rows_of_embedding(a + x, pooling::last) == 5);
        CHECK(rows_of_embedding(a + x, pooling::mean) == 45);
    };
    check(kv::contiguous<kv::f32>{{.tokens = 60}}, 44);
    check(kv::radix<kv::f32>{{.tokens = 160, .block = 8, .context = 60}}, 12);
}

TEST_CASE("prompts longer than a ring's step are read in steps of the ring", "[pipeline]") {
    const model<cpu<>> m = windowed();
    const tokens prompt = test::random_tokens(90, 101, 5);
    const kv::contiguous<kv::f32> flat{{.tokens = 200, .sequences = 4}};
    const kv::ring<kv::f32> ring{{.window = window, .step = 5, .sequences = 4}};
    pipeline plain{m, flat};
    pipeline on_ring{m, ring};
    CHECK(ask(on_ring, prompt, 20).first == ask(plain, prompt, 20).first);
    pipeline on_any{m, kv::any<cpu<>>{kv::parse_spec("ring/19:f32"), {.tokens = 200, .step = 6}}};
    CHECK(ask(on_any, prompt, 20).first == ask(plain, prompt, 20).first);

    const kv::ring<kv::f32> narrow{{.window = window, .step = 2, .sequences = 4}};
    beam_search beams{m, flat};
    beam_search ring_beams{m, narrow};  // more beams than rows a step
    CHECK(search(ring_beams, prompt) == search(beams, prompt));

    scorer scores{m, flat};
    scorer ring_scores{m, ring};
    CHECK(score(ring_scores, prompt, prompt) == score(scores, prompt, prompt));
    embedder vectors{m, flat};
    embedder ring_vectors{m, ring};
    CHECK(ring_vectors.embed(prompt) == vectors.embed(prompt));
}
