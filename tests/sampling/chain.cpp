// SPDX-License-Identifier: MIT
// The chains as a whole: what they choose, how often, and what they refuse.
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <type_traits>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

static_assert(std::is_default_constructible_v<chain<greedy>>);
static_assert(std::is_default_constructible_v<chain<>>);
static_assert(std::is_same_v<decltype(chain{min_p{0.05f}, temperature{0.8f}}), chain<min_p, temperature>>);
static_assert(processor<decltype([](candidates&) {})> && processor<decltype([](candidates&, const context&) {})>);
static_assert(selector<decltype([](candidates& c) { return c.best().token; })>);
static_assert(!chain_part<decltype([](int) {})>);

TEST_CASE("an empty chain samples from the model's distribution", "[sampling]") {
    const std::vector<float> logits{0.5f, -1, 2, 1.5f, -infinity, 0};
    chain<> c;
    REQUIRE(chi_square(run(c, logits, 1234, 20000), distribution(logits)) < 23.5);  // 4 degrees of freedom, one in 10000
}

TEST_CASE("a chain samples from the distribution its processors make", "[sampling]") {
    const std::vector<float> logits = random_logits(50, 31);
    const std::vector<token_id> best = ranking(logits);
    std::vector<float> expected(logits.size(), -infinity);
    for (std::size_t i = 0; i < 6; ++i) expected[static_cast<std::size_t>(best[i])] = logits[static_cast<std::size_t>(best[i])] / 1.7f;
    chain c{top_k{6}, temperature{1.7f}};
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
        CAPTURE(seed);
        REQUIRE(chi_square(run(c, logits, seed, 20000), distribution(expected)) < 25.8);  // 5 degrees of freedom, one in 10000
    }
}

TEST_CASE("successive steps of one request are independent", "[sampling]") {
    chain<> c;
    const std::vector<float> logits{0, 0};
    const std::vector<token_id> seen = run(c, logits, 77, 20001);
    std::vector<token_id> pairs;
    for (std::size_t i = 0; i + 1 < seen.size(); i += 2) pairs.push_back(2 * seen[i] + seen[i + 1]);
    REQUIRE(chi_square(pairs, {0.25, 0.25, 0.25, 0.25}) < 21.1);  // 3 degrees of freedom, one in 10000
}

TEST_CASE("the same seed and steps give the same tokens, in any order, from any chain object", "[sampling]") {
    const std::vector<float> logits = random_logits(300, 32);
    chain a{min_p{0.02f}, temperature{1.2f}};
    const std::vector<token_id> first = run(a, logits, 9, 200);
    chain b{min_p{0.02f}, temperature{1.2f}};
    const std::vector<float> other = random_logits(900, 33);
    for (std::uint64_t s = 200; s-- > 0;) {
        b.choose(other, {}, 4, s);  // another request in between
        REQUIRE(b.choose(logits, {}, 9, s).token == first[static_cast<std::size_t>(s)]);
    }
    REQUIRE(run(b, logits, 10, 200) != first);
}

TEST_CASE("a dynamic chain chooses what the same chain of fixed parts chooses", "[sampling]") {
    const std::vector<float> logits = random_logits(300, 34);
    const std::vector<token_id> history{3, 5, 5, 250};
    chain fixed{repetition_penalty{1.2f, 3}, top_k{50}, top_p{0.95f}, min_p{0.01f}, temperature{1.5f}};
    dynamic_chain made;
    made.add(repetition_penalty{1.2f, 3}).add(top_k{50}).add(top_p{0.95f}).add(min_p{0.01f}).add(temperature{1.5f});
    REQUIRE(made.size() == 5);
    for (std::uint64_t s = 0; s < 300; ++s) {
        const choice a = fixed.choose(logits, history, 6, s), b = made.choose(logits, history, 6, s);
        REQUIRE(a.token == b.token);
        REQUIRE(a.logprob == b.logprob);
    }
    candidates a = all_of(logits), b = all_of(logits);
    fixed.process(a, {history});
    made.process(b, {history});
    REQUIRE(tokens_of(a) == tokens_of(b));
    REQUIRE(logits_of(a) == logits_of(b));
    REQUIRE(a.size() < 51);
    REQUIRE(made.select(greedy{}).choose(logits, history, 6, 0).token ==
            chain{repetition_penalty{1.2f, 3}, greedy{}}.choose(logits, history, 0, 0).token);
}

TEST_CASE("greedy takes the highest logit, the lowest token among equals", "[sampling]") {
    const std::vector<float> logits{1, 5, 5, -2};
    chain<greedy> direct;
    chain through{temperature{0.5f}, greedy{}};
    chain cold{temperature{0}};
    for (std::uint64_t s = 0; s < 20; ++s) {
        REQUIRE(direct.choose(logits, {}, 3, s).token == 1);
        REQUIRE(through.choose(logits, {}, 3, s).token == 1);
        REQUIRE(cold.choose(logits, {}, 3, s).token == 1);
    }
}

TEST_CASE("a lambda is a processor, with or without the context, and may be a selector", "[sampling]") {
    const std::vector<float> logits{1, 5, 4, -2};
    const std::vector<token_id> history{1};
    chain forbids{[](candidates& c, const context& x) { c.keep_if([&](const candidate& k) { return k.token != x.history.back(); }); },
                  [](candidates& c) { c[0].logit += 1; }, greedy{}};
    REQUIRE(forbids.choose(logits, history, 0, 0).token == 2);
    chain last{[](candidates& c) { return c[c.size() - 1].token; }};
    REQUIRE(last.choose(logits, history, 0, 0).token == 3);
    chain counts{[calls = 0](candidates& c) mutable { c.keep_if([&](const candidate& k) { return k.token == calls; }), ++calls; }};
    REQUIRE(run(counts, logits, 0, 4) == std::vector<token_id>{0, 1, 2, 3});
}

TEST_CASE("the logprob is that of the unprocessed distribution", "[sampling]") {
    const std::vector<float> logits = random_logits(1003, 35);
    const std::vector<double> p = distribution(logits);
    chain c{logit_bias{{17, 30.0f}}, top_k{3}, temperature{0.3f}};
    const choice chosen = c.choose(logits, {}, 1, 0);
    REQUIRE(chosen.token == 17);
    REQUIRE(chosen.logprob == Approx(std::log(p[17])).epsilon(1e-6));
}

TEST_CASE("sample inverts the cumulative distribution at the number it draws", "[sampling]") {
    const std::vector<float> logits = random_logits(40, 36);
    const std::vector<double> p = distribution(logits);
    chain<> c;
    for (std::uint64_t s = 0; s < 500; ++s) {
        const double u = counter_rng(8).uniform_double(sample_stream, s);
        double sum = 0;
        std::size_t t = 0;
        while (t + 1 < p.size() && (sum += p[t]) <= u) ++t;
        if (std::abs(sum - u) > 1e-6) REQUIRE(c.choose(logits, {}, 8, s).token == static_cast<token_id>(t));
    }
}

TEST_CASE("logits of +inf share the choice, whatever the chain", "[sampling]") {
    const std::vector<float> logits{0, infinity, 3, infinity, -infinity};
    chain plain{};
    chain full{repetition_penalty{1.1f, -1}, top_k{4}, top_p{0.9f}, min_p{0.1f}, temperature{0.8f}};
    REQUIRE(chi_square(run(plain, logits, 1, 2000), {0, 0.5, 0, 0.5, 0}) < 15.2);  // 1 degree of freedom, one in 10000
    REQUIRE(chi_square(run(full, logits, 2, 2000), {0, 0.5, 0, 0.5, 0}) < 15.2);
    const choice c = chain<greedy>{}.choose(logits, {}, 0, 0);
    REQUIRE(c.token == 1);
    REQUIRE(c.logprob == Approx(std::log(0.5)));
}

TEST_CASE("logits without a choice are refused, saying why", "[sampling]") {
    const auto refusal = [](const std::vector<float>& logits) {
        const std::string fixed = error_of([&] { chain{top_k{3}}.choose(logits, {}, 0, 0); });
        REQUIRE(error_of([&] { chain<greedy>{}.choose(logits, {}, 0, 0); }) == fixed);
        REQUIRE(error_of([&] { dynamic_chain{}.choose(logits, {}, 0, 0); }) == fixed);
        REQUIRE(error_of([&] { top_logprobs(logits, 2); }) == fixed);
        return fixed;
    };
    for (const std::size_t size : {1u, 16u, 50u}) {
        for (std::size_t at = 0; at < size; ++at) {
            std::vector<float> logits(size, 1.0f);
            logits[at] = not_a_number;
            REQUIRE(refusal(logits) == concat("invalid_argument logits: the logit of token ", at,
                                              " is NaN; the model's weights or its computation are broken"));
        }
    }
    REQUIRE(refusal({-infinity, -infinity}) == "invalid_argument logits: all 2 are -inf; no token can be chosen");
    REQUIRE(refusal({}) == "invalid_argument logits: are empty; a step needs one for every token of the vocabulary");
}

TEST_CASE("processors that leave nothing to choose are refused, and the chain works on", "[sampling]") {
    const std::vector<float> logits{1, 2, 3};
    bool ban = true;
    chain none{[&](candidates& c) { c.keep_if([&](const candidate&) { return !ban; }); }};
    REQUIRE(error_of([&] { none.choose(logits, {}, 0, 0); }) ==
            "invalid_argument sampling: a processor removed every candidate; at least one token must stay possible");
    ban = false;
    REQUIRE(none.choose(logits, {}, 0, 0).token >= 0);

    chain forbidden{logit_bias{{0, -infinity}, {1, -infinity}, {2, -infinity}}};
    REQUIRE(error_of([&] { forbidden.choose(logits, {}, 0, 0); }) ==
            "invalid_argument logits: none of the 3 candidates left has a logit above -inf");
    chain broken{[](candidates& c) { c[1].logit = not_a_number; }, top_k{3}};
    REQUIRE(error_of([&] { broken.choose(logits, {}, 0, 0); }) ==
            "invalid_argument logits: a candidate's logit is NaN; a processor of the sampling chain made it");
    chain outside{[](candidates&) { return token_id{3}; }};
    REQUIRE(error_of([&] { outside.choose(logits, {}, 0, 0); }) ==
            "invalid_argument sampling: the selector chose token 3; the vocabulary has 3");
}

TEST_CASE("logits from a processor may be anything", "[sampling]") {
    const std::array<float, 7> values{not_a_number, infinity, -infinity, 0.0f, -0.0f, 3e38f, -3e38f};
    std::mt19937 engine(41);
    for (int round = 0; round < 2000; ++round) {
        CAPTURE(round);
        chain c{[&](candidates& all) {
                    for (candidate& k : all) k.logit = engine() % 3 == 0 ? values[engine() % 7] : static_cast<float>(engine() % 9);
                },
                repetition_penalty{1.5f, -1},
                no_repeat_ngram{2},
                dry{},
                top_n_sigma{static_cast<float>(engine() % 9)},
                typical{static_cast<float>(engine() % 11) / 10},
                eta_cutoff{static_cast<float>(engine() % 11) / 100},
                xtc{0.5f, 0.1f},
                top_k{static_cast<int>(engine() % 50)},
                top_p{static_cast<float>(engine() % 11) / 10},
                min_p{static_cast<float>(engine() % 11) / 10},
                dynamic_temperature{static_cast<float>(engine() % 3) / 2, static_cast<float>(engine() % 2)},
                mirostat{static_cast<float>(engine() % 9)}};
        const std::vector<token_id> history{0, 3, 9, 3, 9, 3};
        try {
            const choice chosen = c.choose(std::vector<float>(40, 1.0f), history, 1, 0);
            REQUIRE(chosen.token >= 0);
            REQUIRE(chosen.token < 40);
        } catch (const error& e) {
            REQUIRE(e.code() == errc::invalid_argument);
        }
    }
}
