// SPDX-License-Identifier: MIT
// The samplers that draw: xtc and mirostat.
#include <cmath>
#include <numbers>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

namespace {

/// Logits of the probabilities given.
std::vector<float> logits_for(const std::vector<double>& probabilities) {
    std::vector<float> out;
    for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
    return out;
}

/// The sum of `weights`, scaled to 1.
std::vector<double> normalized(std::vector<double> weights) {
    double sum = 0;
    for (const double w : weights) sum += w;
    for (double& w : weights) w /= sum;
    return weights;
}

}  // namespace

TEST_CASE("xtc always keeps the least likely of the likely tokens and all below", "[sampling]") {
    const std::vector<float> logits = logits_for({0.05, 0.3, 0.2, 0.4, 0.05});
    const auto kept = [&](float threshold, std::size_t min_keep = 1) {
        candidates c = all_of(logits);
        xtc{1.0f, threshold, min_keep}(c, {});
        return tokens_of(c);
    };
    REQUIRE(kept(0.1f) == std::vector<token_id>{0, 2, 4});
    REQUIRE(kept(0.25f) == std::vector<token_id>{0, 1, 2, 4});
    REQUIRE(kept(0.35f).size() == 5);  // one alone is above
    REQUIRE(kept(0.51f).size() == 5);
    REQUIRE(kept(0.0f) == std::vector<token_id>{4});  // of equals the last
    REQUIRE(kept(0.1f, 3).size() == 3);
    REQUIRE(kept(0.1f, 4).size() == 5);
}

TEST_CASE("xtc at probability 0 never excludes, with one candidate neither", "[sampling]") {
    for (std::uint64_t step = 0; step < 1000; ++step) {
        candidates c = all_of({1, 1});
        xtc{0.0f, 0.1f}(c, {{}, step});
        REQUIRE(c.size() == 2);
    }
    candidates one = all_of({1});
    xtc{1.0f, 0.0f}(one, {});
    REQUIRE(one.size() == 1);
}

TEST_CASE("a chain with xtc samples from the mixture of both distributions", "[sampling]") {
    const std::vector<double> p{0.05, 0.3, 0.2, 0.4, 0.05};
    const std::vector<double> excluded = normalized({0.05, 0, 0.2, 0, 0.05});
    for (const double probability : {0.25, 0.5, 1.0}) {
        std::vector<double> mixture;
        for (std::size_t t = 0; t < p.size(); ++t) mixture.push_back((1 - probability) * p[t] + probability * excluded[t]);
        chain c{xtc{static_cast<float>(probability), 0.1f}};
        CAPTURE(probability);
        REQUIRE(chi_square(run(c, logits_for(p), 91, 20000), mixture) < 23.5);  // 4 degrees of freedom, one in 10000
    }
}

TEST_CASE("what xtc draws is independent of what sample draws", "[sampling]") {
    std::vector<token_id> pairs;
    for (std::uint64_t step = 0; step < 20000; ++step) {
        const bool excludes = counter_rng(92).uniform_double(xtc_stream, step) < 0.5;
        const bool low = counter_rng(92).uniform_double(sample_stream, step) < 0.5;
        pairs.push_back(2 * excludes + low);
    }
    REQUIRE(chi_square(pairs, {0.25, 0.25, 0.25, 0.25}) < 21.1);  // 3 degrees of freedom, one in 10000
}

TEST_CASE("mirostat_v2 draws among the tokens of at most mu bits and moves mu towards the target", "[sampling]") {
    const std::vector<float> logits = random_logits(300, 93);
    const std::vector<double> p = distribution(logits);
    const double target = 3, rate = 0.2;
    chain c{mirostat_v2{static_cast<float>(target), static_cast<float>(rate)}};
    double mu = 2 * target;
    for (std::uint64_t step = 0; step < 500; ++step) {
        const auto token = static_cast<std::size_t>(c.choose(logits, {}, 5, step).token);
        const double surprise = -std::log2(p[token]);
        double largest = 0;
        for (const double x : p) largest = std::max(largest, x);
        REQUIRE((surprise < mu + 1e-4 || p[token] == largest));
        mu -= rate * (surprise - target);
    }
}

TEST_CASE("mirostat holds the mean surprise at its target", "[sampling]") {
    const std::vector<float> logits = random_logits(2000, 94);
    const std::vector<double> p = distribution(logits);
    const auto mean = [&](auto selector) {
        chain c{selector};
        double sum = 0;
        for (const token_id t : run(c, logits, 6, 4000)) sum -= std::log2(p[static_cast<std::size_t>(t)]);
        return sum / 4000;
    };
    for (const float target : {3.0f, 4.0f, 5.0f}) {  // the best token has 2.6 bits
        CAPTURE(target);
        REQUIRE(mean(mirostat_v2{target}) == Approx(target).margin(0.05));
        REQUIRE(mean(mirostat{target}) == Approx(target).margin(0.05));
    }
}

TEST_CASE("mirostat's first step draws from the k best of its formula", "[sampling]") {
    // A Zipf law of exponent 1.5 over 1000 tokens is fitted exactly.
    std::vector<double> weights;
    for (int rank = 1; rank <= 1000; ++rank) weights.push_back(std::pow(rank, -1.5));
    const std::vector<float> logits = logits_for(weights);
    const double k = std::pow(0.5 * std::exp2(4.0) / (1 - std::pow(1000.0, -0.5)), 1 / 1.5);  // 4.1
    std::vector<double> expected(1000);
    for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) expected[i] = weights[i];
    std::vector<token_id> seen;
    for (std::uint64_t seed = 0; seed < 20000; ++seed) {
        chain c{mirostat{2.0f}};
        seen.push_back(c.choose(logits, {}, seed, 0).token);
    }
    REQUIRE(static_cast<int>(k) == 4);
    REQUIRE(chi_square(seen, normalized(expected)) < 21.1);  // 3 degrees of freedom, one in 10000
}

TEST_CASE("mirostat's tokens are a function of the request, also after a broken one and for a repeated step", "[sampling]") {
    const std::vector<float> logits = random_logits(300, 95);
    const auto check = [&](auto selector) {
        chain fresh{selector}, used{selector};
        const std::vector<token_id> expected = run(fresh, logits, 7, 50);
        run(used, random_logits(20, 96), 8, 13);
        REQUIRE(run(used, logits, 7, 50) == expected);
        run(used, logits, 7, 20);
        REQUIRE(used.choose(logits, {}, 7, 19).token == expected[19]);
        REQUIRE(used.choose(logits, {}, 7, 20).token == expected[20]);
        REQUIRE(error_of([&] { used.choose(logits, {}, 7, 10); }) ==
                "invalid_argument mirostat: step 10 after step 20; give every request a sampler of its own");
        REQUIRE(used.choose(logits, {}, 7, 0).token == expected[0]);
    };
    check(mirostat{3.0f});
    check(mirostat_v2{3.0f});
}

TEST_CASE("mirostat chooses from what the chain leaves, down to one candidate", "[sampling]") {
    const std::vector<float> logits{1, 5, 4, -infinity, infinity, 5};
    const auto check = [&](auto selector) {
        chain finite{logit_bias{{4, -infinity}}, top_k{1}, selector};
        for (const token_id t : run(finite, logits, 1, 20)) REQUIRE(t == 1);
        chain infinite{selector};
        for (const token_id t : run(infinite, logits, 1, 20)) REQUIRE(t == 4);
        chain alone{selector};
        for (const token_id t : run(alone, {-3}, 1, 20)) REQUIRE(t == 0);
        chain flat{selector};
        for (const token_id t : run(flat, std::vector<float>(50, 1.0f), 1, 200)) REQUIRE(t >= 0);
    };
    check(mirostat{});
    check(mirostat_v2{});
}

TEST_CASE("xtc and mirostat refuse parameters without a meaning, by name", "[sampling]") {
    candidates c = all_of({1, 2});
    REQUIRE(error_of([&] { xtc{not_a_number}(c, {}); }) == "invalid_argument xtc: the probability is NaN; it must be a number in [0, 1]");
    REQUIRE(error_of([&] { xtc{1, not_a_number}(c, {}); }) ==
            "invalid_argument xtc: the threshold is NaN; it must be a number in [0, 0.5]");
    REQUIRE(error_of([] { mirostat{-1.0f}; }) ==
            "invalid_argument mirostat: the target surprise is -1; it must be a finite number of bits, 0 or more");
    REQUIRE(error_of([] { mirostat_v2{5.0f, infinity}; }) ==
            "invalid_argument mirostat: the learning rate is inf; it must be a finite number of 0 or more");
    candidates broken = all_of({1, not_a_number});
    REQUIRE(error_of([&] { xtc{1.0f}(broken, {}); }).find("invalid_argument logits: a candidate's logit is NaN") == 0);
}
