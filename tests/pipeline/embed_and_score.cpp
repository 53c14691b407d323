// SPDX-License-Identifier: MIT
// Embeddings and scores against what a plain forward gives.
#include <cmath>
#include <numeric>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/embedder.hpp>
#include <skald/pipeline/scorer.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"
#include "support/tiny_model.hpp"

using namespace skald;

namespace {

using engine = cpu<>;
constexpr std::size_t vocabulary = 101;

model<engine> tiny() {
    const test::open_model file({.vocabulary = vocabulary});
    return load_model<engine>(file.file(), {.compute = compute::exact});
}

/// The state of every row after the last norm, one token a step.
std::vector<std::vector<float>> states_of(const model<engine>& m, const test::tokens& text) {
    auto cache = kv::contiguous<kv::f32>{{.tokens = text.size()}}.make(m.config().cache(), m.backend().memory());
    workspace<engine> w(m.backend(), m.architecture(), m.config(), {.rows = 1, .wanted = 1});
    const kv::sequence_id s = cache.open();
    std::vector<std::vector<float>> out;
    for (const token_id t : text) {
        const kv::segment segment{s, 0, 1};
        const std::size_t row = 0;
        std::vector<float> state(m.config().hidden);
        forward(m, w, cache, batch{{&t, 1}, {&segment, 1}, {&row, 1}}, step_outputs{.hidden = {state.data(), {1, state.size()}}});
        cache.commit(s);
        out.push_back(state);
    }
    return out;
}

double length_of(std::span<const float> v) { return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0)); }

}  // namespace

TEST_CASE("hidden states and logits of one forward belong together") {
    const auto m = tiny();
    const test::tokens text = test::random_tokens(9, vocabulary, 3);
    auto cache = kv::contiguous<kv::f32>{{.tokens = text.size()}}.make(m.config().cache(), m.backend().memory());
    workspace<engine> w(m.backend(), m.architecture(), m.config(), {.rows = 9, .wanted = 2});
    const kv::segment segment{cache.open(), 0, text.size()};
    const std::vector<std::size_t> wanted{8, 2};
    std::vector<float> hidden(2 * m.config().hidden), logits(2 * vocabulary);
    forward(m, w, cache, batch{text, {&segment, 1}, wanted},
            step_outputs{.logits = {logits.data(), {2, vocabulary}}, .hidden = {hidden.data(), {2, m.config().hidden}}});
    const auto states = states_of(m, text);
    const auto all = test::plain_logits(m, text);
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(std::equal(states[wanted[i]].begin(), states[wanted[i]].end(),
                         hidden.begin() + static_cast<std::ptrdiff_t>(i * m.config().hidden)));
        CHECK(std::equal(logits.begin() + static_cast<std::ptrdiff_t>(i * vocabulary),
                         logits.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocabulary),
                         all.begin() + static_cast<std::ptrdiff_t>(wanted[i] * vocabulary)));
    }
    float one = 0;
    CHECK(test::code_of([&] { forward(m, w, cache, batch{text, {&segment, 1}, wanted}, step_outputs{.hidden = {&one, {1, 1}}}); }) ==
          errc::invalid_argument);
}

TEST_CASE("embeddings pool the states of their rows, whatever the chunk and the texts before") {
    const auto m = tiny();
    const test::tokens text = test::random_tokens(13, vocabulary, 5);
    const auto states = states_of(m, text);
    const auto close = [](std::span<const float> a, std::span<const float> b) {
        for (std::size_t i = 0; i < a.size(); ++i)
            if (std::fabs(a[i] - b[i]) > 1e-6f * static_cast<float>(length_of(b))) return false;
        return a.size() == b.size();
    };
    std::vector<float> mean(m.config().hidden);
    for (std::size_t i = 0; i < mean.size(); ++i) {
        double sum = 0;
        for (const auto& s : states) sum += static_cast<double>(s[i]);
        mean[i] = static_cast<float>(sum / static_cast<double>(states.size()));
    }
    std::vector<std::vector<float>> first;
    for (const std::size_t chunk : {64, 1, 4}) {
        embedder e(m, kv::contiguous<kv::f32>{{.tokens = 13}}, {.chunk = chunk});
        e.embed(std::span<const token_id>(text).first(3));
        const std::vector<std::vector<float>> now{e.embed(text, {.pooling = pooling::mean, .normalize = false}),
                                                  e.embed(text, {.pooling = pooling::last, .normalize = false}),
                                                  e.embed(text, {.pooling = pooling::cls, .normalize = false})};
        CHECK(close(now[0], mean));
        CHECK(now[1] == states.back());
        CHECK(now[2] == states.front());
        if (first.empty()) first = now;
        CHECK(now == first);
        CHECK(std::fabs(length_of(e.embed(text)) - 1.0) < 1e-6);
    }
    embedder e(m, kv::contiguous<kv::f32>{{.tokens = 8}});
    CHECK(test::code_of([&] { e.embed(text); }) == errc::cache_full);
    CHECK(test::code_of([&] { e.embed(std::span<const token_id>{}); }) == errc::invalid_argument);
    std::stop_source stop;
    stop.request_stop();
    CHECK(test::code_of([&] { e.embed(std::span<const token_id>(text).first(4), {.cancel = stop.get_token()}); }) == errc::cancelled);
    CHECK(e.embed(std::span<const token_id>(text).first(8)).size() == m.config().hidden);
}

TEST_CASE("a continuation's score is the sum of its tokens' log-probabilities") {
    const auto m = tiny();
    const test::tokens text = test::random_tokens(14, vocabulary, 7);
    const auto logits = test::plain_logits(m, text);
    for (const std::size_t kept : {1, 5, 13}) {
        double expected = 0;
        for (std::size_t i = kept; i < text.size(); ++i) {
            const float* row = logits.data() + (i - 1) * vocabulary;
            double sum = 0;
            for (std::size_t v = 0; v < vocabulary; ++v) sum += std::exp(static_cast<double>(row[v]));
            expected += static_cast<double>(row[text[i]]) - std::log(sum);
        }
        for (const std::size_t wanted : {64, 1, 3}) {
            scorer s(m, kv::contiguous<kv::f32>{{.tokens = 14}}, {.chunk = 4, .wanted = wanted});
            const auto score = s.score(std::span(text).first(kept), std::span(text).subspan(kept));
            CHECK(score.tokens.size() == text.size() - kept);
            CHECK(std::fabs(score.logprob() - expected) < 1e-5 * std::fabs(expected));
            CHECK(std::fabs(std::log(score.perplexity()) * static_cast<double>(score.tokens.size()) + score.logprob()) <
                  1e-9 * std::fabs(expected));
        }
    }
    const float* last = logits.data() + 12 * vocabulary;
    const auto best = static_cast<token_id>(std::max_element(last, last + vocabulary) - last);
    scorer s(m, kv::contiguous<kv::f32>{{.tokens = 14}});
    CHECK(s.score(std::span(text).first(13), std::span(&best, 1)).greedy);
    const token_id other = (best + 1) % static_cast<token_id>(vocabulary), outside = vocabulary;
    CHECK_FALSE(s.score(std::span(text).first(13), std::span(&other, 1)).greedy);
    CHECK(test::code_of([&] { s.score(std::span(text).first(13), std::span(&outside, 1)); }) == errc::invalid_argument);
    CHECK(test::code_of([&] { s.score(std::span(text).first(0), text); }) == errc::invalid_argument);
    CHECK(test::code_of([&] { s.score(text, std::span(text).first(0)); }) == errc::invalid_argument);
}
