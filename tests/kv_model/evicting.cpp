// SPDX-License-Identifier: MIT
// Models on evicting storage: with room for all of a text the logits are those of contiguous storage; with less they do not depend on
// threads, neighbours, rolled-back rows or cancelled steps.
#include <array>
#include <cmath>
#include <cstring>
#include <stop_token>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/evicting.hpp>
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

constexpr std::uint32_t window = 19;

template <class Backend = cpu<>>
model<Backend> tiny(executor* pool = nullptr, compute policy = compute::exact, std::uint32_t sees = 0) {
    tiny_model t;
    t.replace = [sees](gguf_writer& w, std::string_view name) {
        if (sees != 0 && name == "llama.context_length") w.key("llama.attention.sliding_window", sees);
        return false;
    };
    return load_model<Backend>(open_model(t).file(), {.pool = pool, .compute = policy});
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <class Policy, class Codec = kv::f32>
kv::evicting<Policy, Codec> keeping_tokens(std::size_t budget, std::size_t step, std::size_t sequences = 2, Policy p = {}) {
    return {{.budget = budget, .step = step, .sequences = sequences}, p};
}

/// The positions that are kept, of all layers and heads.
template <class Cache>
std::vector<position> survivors(const Cache& cache, kv::sequence_id s) {
    std::vector<position> out;
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
            const auto kept = cache.positions(s, layer, h);
            out.insert(out.end(), kept.begin(), kept.end());
        }
    return out;
}

using all_policies = std::tuple<kv::recent, kv::h2o, kv::tova, kv::snapkv, kv::pyramid>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("with room for a text the logits are bitwise those of contiguous storage", "[kv]", all_policies) {
    thread_pool pool(2);
    const tokens text = random_tokens(150, 101, 6);
    for (const compute policy : {compute::exact, compute::native}) {
        const model<cpu<>> m = tiny(&pool, policy);
        const auto check = [&]<class Codec>(Codec) {
            runner flat(m, kv::contiguous<Codec>{{.tokens = text.size()}}, text.size());
            const std::vector<float> expected = flat.run(flat.cache().open(), text, text.size());
            for (const std::size_t chunk : {1, 7, 64}) {
                CAPTURE(policy == compute::exact, chunk);
                // PyramidKV gives high layers a part of the budget only.
                runner kept(m, keeping_tokens<TestType, Codec>(text.size() * 40, chunk), chunk);
                CHECK(same_bits(kept.run(kept.cache().open(), text, chunk), expected));
            }
        };
        check(kv::f32{});
        check(kv::f16{});
    }
}

TEMPLATE_LIST_TEST_CASE("what survives does not depend on threads, neighbours or what was rolled back", "[kv]", all_policies) {
    const tokens text = random_tokens(260, 101, 6), other = random_tokens(90, 101, 7);
    constexpr std::size_t budget = 50, chunk = 40;
    const model<cpu<>> alone = tiny();
    runner plain(alone, keeping_tokens<TestType>(budget, chunk), chunk);
    const kv::sequence_id a = plain.cache().open();
    const std::vector<float> expected = plain.run(a, text, chunk);
    const std::vector<position> kept = survivors(plain.cache(), a);
    CHECK(kept.size() < text.size());

    thread_pool pool(3);
    runner threaded(tiny(&pool), keeping_tokens<TestType>(budget, chunk), chunk);
    const kv::sequence_id b = threaded.cache().open();
    CHECK(same_bits(threaded.run(b, text, chunk), expected));
    CHECK(survivors(threaded.cache(), b) == kept);

    // Beside another sequence, after rejected rows, and after a step that was cancelled.
    runner mixed(tiny(&pool), keeping_tokens<TestType>(budget, chunk), 2 * chunk);
    const kv::sequence_id neighbour = mixed.cache().open(), c = mixed.cache().open();
    std::vector<float> got;
    for (std::size_t at = 0, n = 0; at < text.size(); at += chunk, ++n) {
        const auto rows = std::span(text).subspan(at, std::min(chunk, text.size() - at));
        const kv::checkpoint mark = mixed.cache().mark(c);
        const std::array wrong{std::span(other).subspan(n, 11)};
        mixed.step(std::array{c}, wrong);
        mixed.cache().rollback(c, mark);
        std::stop_source stopped;
        stopped.request_stop();
        CHECK(code_of([&] { mixed.step(std::array{c}, wrong, stopped.get_token()); }) == errc::cancelled);
        const std::array both{std::span(other).subspan(n, 9), rows};
        const std::vector<float> logits = mixed.step(std::array{neighbour, c}, both);
        mixed.cache().commit(neighbour);
        mixed.cache().commit(c);
        got.insert(got.end(), logits.begin() + 9 * 101, logits.end());
    }
    CHECK(same_bits(got, expected));
    CHECK(survivors(mixed.cache(), c) == kept);

    // A fork goes on as the sequence would have.
    runner split(alone, keeping_tokens<TestType>(budget, chunk), chunk);
    const kv::sequence_id d = split.cache().open();
    split.run(d, std::span(text).first(160), chunk);
    const kv::sequence_id e = split.cache().fork(d);
    split.run(d, other, chunk);
    CHECK(same_bits(split.run(e, std::span(text).subspan(160), chunk), {expected.begin() + 160 * 101, expected.end()}));
    CHECK(survivors(split.cache(), e) == kept);
}

TEST_CASE("rows committed after part of a step was rolled back leave what a shorter step leaves", "[kv]") {
    const tokens text = random_tokens(120, 101, 9);
    const model<cpu<>> m = tiny();
    const auto run = [&]<class Policy>(Policy p, std::size_t planned, std::size_t accepted) {
        runner r(m, keeping_tokens(30, 64, 1, p), 64);
        const kv::sequence_id s = r.cache().open();
        r.run(s, std::span(text).first(40), 20);
        for (std::size_t at = 40; at + planned <= 100; at += accepted) {
            const std::array rows{std::span<const token_id>(text).subspan(at, planned)};
            r.step(std::array{s}, rows);
            r.cache().rollback(s, {static_cast<position>(at + accepted)});
            r.cache().commit(s);
        }
        return survivors(r.cache(), s);
    };
    for (const std::size_t accepted : {1, 3, 5}) {
        CAPTURE(accepted);
        for (std::size_t planned = accepted + 1; planned <= 16; planned += 5) {
            // As many steps of both kinds.
            const auto steps = [&](std::size_t n) { return (60 - n) / accepted; };
            if (steps(planned) != steps(accepted)) continue;
            CHECK(run(kv::h2o{}, planned, accepted) == run(kv::h2o{}, accepted, accepted));
            CHECK(run(kv::tova{}, planned, accepted) == run(kv::tova{}, accepted, accepted));
        }
    }
}

TEST_CASE("the last tokens of a cache are what a window of as many shows", "[kv]") {
    const tokens text = random_tokens(200, 101, 5);
    const model<cpu<>> windowed = tiny<cpu<>>(nullptr, compute::exact, window);
    const std::vector<float> expected = plain_logits(windowed, text);
    runner last(tiny(), keeping_tokens<kv::recent>(window - 1, 1), 1);
    const std::vector<float> got = last.run(last.cache().open(), text, 1);
    double furthest = 0;
    for (std::size_t i = 0; i < got.size(); ++i) furthest = std::max(furthest, std::fabs(static_cast<double>(got[i]) - expected[i]));
    CHECK(furthest < 1e-4);
}

TEST_CASE("both backends let the same tokens survive", "[kv]") {
    const tokens text = random_tokens(90, 101, 15);
    const auto run = [&]<class Backend, class Policy>(const model<Backend>& m, Policy p) {
        runner r(m, keeping_tokens(24, 10, 1, p), 10);
        const kv::sequence_id s = r.cache().open();
        r.run(s, text, 10);
        return survivors(r.cache(), s);
    };
    const model<cpu<>> fast = tiny();
    const model<reference::naive> plain = tiny<reference::naive>();
    CHECK(run(fast, kv::h2o{}) == run(plain, kv::h2o{}));
    CHECK(run(fast, kv::tova{}) == run(plain, kv::tova{}));
    CHECK(run(fast, kv::snapkv{.window = 8}) == run(plain, kv::snapkv{.window = 8}));
    CHECK(run(fast, kv::h2o{}) != run(fast, kv::recent{}));
}

TEST_CASE("layers with a window are refused by name", "[kv]") {
    runner r(tiny<cpu<>>(nullptr, compute::exact, window), keeping_tokens<kv::h2o>(40, 8), 8);
    const kv::sequence_id s = r.cache().open();
    const tokens text = random_tokens(8, 101, 1);
    const std::array rows{std::span<const token_id>(text)};
    CHECK(code_of([&] { r.step(std::array{s}, rows); }) == errc::unsupported);
    CHECK(r.cache().length(s) == 0);
    // Where the context ends inside the window, all is seen.
    runner fits(tiny<cpu<>>(nullptr, compute::exact, window), kv::evicting<kv::h2o>{{.budget = 6, .step = 8, .context = window}}, 8);
    const kv::sequence_id t = fits.cache().open();
    fits.run(t, text, 8);
    fits.run(t, text, 8);
    CHECK(code_of([&] { fits.step(std::array{t}, rows); }) == errc::unsupported);
    CHECK(fits.cache().length(t) == 16);
}

TEST_CASE("a pipeline on evicting storage reads a prompt again where its beginning is gone", "[kv]") {
    const model<cpu<>> m = tiny();
    const tokens prompt = random_tokens(80, 101, 12);
    const auto run = [](auto& p, const tokens& text, std::size_t n) {
        return p.run(p.generate(text, {.max_tokens = n, .ignore_end = true}));
    };
    pipeline small{m, keeping_tokens<kv::h2o>(40, 16, 1), sampling::chain{sampling::greedy{}}, {.chunk = 16}};
    const completion first = run(small, prompt, 30), again = run(small, prompt, 30);
    CHECK(again.stats.reused_tokens == 0);
    REQUIRE(first.tokens.size() == 30);
    CHECK(std::equal(first.tokens.begin(), first.tokens.end(), again.tokens.begin(), again.tokens.end(),
                     [](const generated_token& a, const generated_token& b) { return a.token == b.token; }));
    pipeline large{m, keeping_tokens<kv::recent>(400, 16, 1), sampling::chain{sampling::greedy{}}, {.chunk = 16}};
    run(large, prompt, 30);
    CHECK(run(large, prompt, 30).stats.reused_tokens == 79);
}
