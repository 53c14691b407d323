// SPDX-License-Identifier: MIT
// The processors that remove candidates, against sorted copies in double.
#include <cmath>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

namespace {

/// The first `n` of the ranking.
std::vector<token_id> best_of(const std::vector<float>& logits, std::size_t n) {
    std::vector<token_id> all = ranking(logits);
    all.resize(std::min(n, all.size()));
    return all;
}

}  // namespace

TEST_CASE("top_k keeps the k best, sorted, the lowest token first among equals", "[sampling]") {
    for (const bool ties : {false, true}) {
        for (const std::size_t n : {1u, 2u, 17u, 1000u, 20000u}) {
            const std::vector<float> logits = random_logits(n, 11, ties);
            for (const int k : {1, 2, 16, 17, 40, 999, 5000, 20000, 1 << 30}) {
                CAPTURE(ties, n, k);
                candidates c = all_of(logits);
                top_k{k}(c);
                REQUIRE(tokens_of(c) == best_of(logits, static_cast<std::size_t>(k)));
                REQUIRE(std::as_const(c).sorted());
            }
        }
    }
}

TEST_CASE("top_k of zero or less keeps all", "[sampling]") {
    for (const int k : {0, -1, -40}) {
        candidates c = all_of({1, 3, 2});
        top_k{k}(c);
        REQUIRE(tokens_of(c) == std::vector<token_id>{0, 1, 2});
    }
}

TEST_CASE("top_p keeps the fewest best candidates that hold probability p", "[sampling]") {
    constexpr double rounding = 1e-5;  // of float probabilities, up to 20000 of them
    for (const bool ties : {false, true}) {
        for (const std::size_t n : {1u, 2u, 17u, 1000u, 20000u}) {
            const std::vector<float> logits = random_logits(n, 12, ties);
            const std::vector<double> probability = distribution(logits);
            for (const float p : {1e-6f, 0.1f, 0.5f, 0.9f, 0.99f}) {
                CAPTURE(ties, n, p);
                candidates c = all_of(logits);
                top_p{p}(c);
                const std::vector<token_id> kept = tokens_of(c);
                REQUIRE(kept == best_of(logits, kept.size()));
                double sum = 0;
                for (const token_id t : kept) sum += probability[static_cast<std::size_t>(t)];
                REQUIRE(sum > p - rounding);
                REQUIRE(sum - probability[static_cast<std::size_t>(kept.back())] < p + rounding);
            }
        }
    }
}

TEST_CASE("top_p of zero or less keeps the best, of one or more keeps all", "[sampling]") {
    for (const float p : {0.0f, -1.0f}) {
        candidates c = all_of({1, 3, 2});
        top_p{p}(c);
        REQUIRE(tokens_of(c) == std::vector<token_id>{1});
    }
    for (const float p : {1.0f, 7.0f}) {
        candidates c = all_of({1, 3, 2});
        top_p{p}(c);
        REQUIRE(c.size() == 3);
    }
}

TEST_CASE("min_p keeps what is at least p times as probable as the best", "[sampling]") {
    constexpr double rounding = 1e-5;
    for (const bool ties : {false, true}) {
        const std::vector<float> logits = random_logits(3000, 13, ties);
        const std::vector<double> probability = distribution(logits);
        const double best = *std::max_element(probability.begin(), probability.end());
        for (const float p : {1e-4f, 0.05f, 0.3f, 0.9f, 1.0f}) {
            CAPTURE(ties, p);
            candidates c = all_of(logits);
            min_p{p}(c);
            const std::vector<token_id> kept = sorted_tokens_of(c);
            for (std::size_t t = 0; t < logits.size(); ++t) {
                const double ratio = probability[t] / best;
                if (std::abs(ratio - p) < rounding * p) continue;
                REQUIRE(std::binary_search(kept.begin(), kept.end(), static_cast<token_id>(t)) == (ratio > p));
            }
        }
    }
}

TEST_CASE("min_p of zero keeps all, of one or more the best and its equals", "[sampling]") {
    candidates all = all_of({1, 3, -infinity});
    min_p{0}(all);
    REQUIRE(all.size() == 3);
    for (const float p : {1.0f, 1.5f}) {
        candidates c = all_of({1, 3, 2, 3});
        min_p{p}(c);
        REQUIRE(tokens_of(c) == std::vector<token_id>{1, 3});
    }
}

TEST_CASE("one candidate survives every truncation", "[sampling]") {
    candidates c = all_of({-4});
    top_k{1}(c);
    top_p{0}(c);
    min_p{1}(c);
    temperature{0}(c);
    REQUIRE(tokens_of(c) == std::vector<token_id>{0});
}

TEST_CASE("truncations leave the infinite logits and drop the impossible ones", "[sampling]") {
    const std::vector<float> logits{0, infinity, -infinity, infinity, 5};
    candidates p = all_of(logits), m = all_of(logits), k = all_of(logits);
    top_p{0.9f}(p);
    REQUIRE(tokens_of(p) == std::vector<token_id>{1, 3});
    min_p{0.1f}(m);
    REQUIRE(tokens_of(m) == std::vector<token_id>{1, 3});
    top_k{3}(k);
    REQUIRE(tokens_of(k) == std::vector<token_id>{1, 3, 4});
}

TEST_CASE("truncations compose: each sees what the one before left", "[sampling]") {
    const std::vector<float> logits{std::log(0.5f), std::log(0.25f), std::log(0.15f), std::log(0.1f)};
    candidates c = all_of(logits);
    top_k{2}(c);     // leaves 2/3 and 1/3
    top_p{0.6f}(c);  // of the whole vocabulary 0.5 would not do
    REQUIRE(tokens_of(c) == std::vector<token_id>{0});
}

TEST_CASE("a change of logits after sorting is seen by the next truncation", "[sampling]") {
    candidates c = all_of({1, 2, 3, 4});
    top_k{3}(c);
    c[2].logit = 10;  // token 1
    top_k{1}(c);
    REQUIRE(tokens_of(c) == std::vector<token_id>{1});
}

TEST_CASE("parameters of NaN are refused by name", "[sampling]") {
    candidates c = all_of({1, 2});
    REQUIRE(error_of([&] { top_p{not_a_number}(c); }) == "invalid_argument top_p: is NaN; it must be a number, commonly in (0, 1]");
    REQUIRE(error_of([&] { min_p{not_a_number}(c); }) == "invalid_argument min_p: is NaN; it must be a number in [0, 1]");
}
