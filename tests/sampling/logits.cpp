// SPDX-License-Identifier: MIT
// The processors that change logits.
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

TEST_CASE("temperature divides every logit and keeps the order known", "[sampling]") {
    const std::vector<float> logits = random_logits(500, 21);
    for (const float t : {0.1f, 0.8f, 1.0f, 2.5f}) {
        candidates c = all_of(logits);
        temperature{t}(c);
        for (const candidate& k : std::as_const(c)) REQUIRE(k.logit == Approx(double{logits[static_cast<std::size_t>(k.token)]} / t));
    }
    candidates sorted = all_of(logits);
    sorted.sort_descending();
    temperature{0.7f}(sorted);
    REQUIRE(sorted.sorted());
    REQUIRE(tokens_of(sorted) == ranking(logits));
}

TEST_CASE("temperature of zero or less keeps the best alone, the lowest among equals", "[sampling]") {
    for (const float t : {0.0f, -0.0f, -1.0f}) {
        candidates c = all_of({1, 4, 4, 2});
        temperature{t}(c);
        REQUIRE(tokens_of(c) == std::vector<token_id>{1});
    }
}

TEST_CASE("a temperature close to zero is as good as zero", "[sampling]") {
    for (const float base : {-80.0f, 0.0f, 80.0f}) {
        candidates c = all_of({base, base + 1, base + 1, base - 1, -infinity});
        temperature{1e-42f}(c);
        c.softmax();
        std::vector<float> p;
        for (const candidate& k : std::as_const(c)) p.push_back(k.probability);
        REQUIRE(p == std::vector<float>{0, 0.5f, 0.5f, 0, 0});
    }
}

TEST_CASE("temperature keeps infinite logits as they are", "[sampling]") {
    candidates c = all_of({infinity, 3, -infinity});
    temperature{0.5f}(c);
    REQUIRE(logits_of(c) == std::vector<float>{infinity, 6, -infinity});
}

TEST_CASE("a temperature that is not finite is refused", "[sampling]") {
    candidates c = all_of({1, 2});
    REQUIRE(error_of([&] { temperature{infinity}(c); }) == "invalid_argument temperature: is inf; it must be a finite number");
    REQUIRE(error_of([&] { temperature{not_a_number}(c); }) == "invalid_argument temperature: is nan; it must be a finite number");
}

TEST_CASE("repetition_penalty follows the sign rule once for each token of the window", "[sampling]") {
    const std::vector<float> logits = random_logits(100, 22);
    std::vector<token_id> history;
    std::mt19937 engine(5);
    for (int i = 0; i < 60; ++i) history.push_back(static_cast<token_id>(engine() % 40));
    for (const std::int64_t last_n : {-1, 0, 1, 10, 60, 1000}) {
        for (const bool shuffled : {false, true}) {
            CAPTURE(last_n, shuffled);
            const std::size_t n = last_n < 0 || last_n > 60 ? 60 : static_cast<std::size_t>(last_n);
            const std::set<token_id> window(history.end() - static_cast<std::ptrdiff_t>(n), history.end());
            candidates c = all_of(logits);
            if (shuffled) top_k{70}(c);
            repetition_penalty{1.3f, last_n}(c, {history});
            for (const candidate& k : std::as_const(c)) {
                const double before = logits[static_cast<std::size_t>(k.token)];
                const double after = window.count(k.token) == 0 ? before : before > 0 ? before / 1.3f : before * 1.3f;
                REQUIRE(k.logit == Approx(after));
            }
        }
    }
}

TEST_CASE("repetition_penalty passes over tokens that are no candidates", "[sampling]") {
    const std::vector<token_id> history{-1, 7, 1, std::numeric_limits<token_id>::max()};
    candidates c = all_of({2, 2, 0});
    repetition_penalty{2.0f, -1}(c, {history});
    REQUIRE(logits_of(c) == std::vector<float>{2, 1, 0});
}

TEST_CASE("repetition_penalty unsorts, so that a later top_k sorts again", "[sampling]") {
    const std::vector<token_id> history{0};
    candidates c = all_of({5, 4, 3});
    c.sort_descending();
    repetition_penalty{2.0f, 8}(c, {history});
    top_k{1}(c);
    REQUIRE(tokens_of(c) == std::vector<token_id>{1});
}

TEST_CASE("a repetition_penalty that is no positive finite number is refused", "[sampling]") {
    candidates c = all_of({1, 2});
    for (const float p : {0.0f, -1.0f, infinity, not_a_number}) {
        CAPTURE(p);
        REQUIRE(error_of([&] { repetition_penalty{p}(c, {}); }).find("invalid_argument repetition_penalty: is ") == 0);
    }
}

TEST_CASE("logit_bias adds, adds up, forbids and forces", "[sampling]") {
    candidates c = all_of({1, 2, 3, infinity, -infinity});
    logit_bias{{0, 2.0f}, {0, -0.5f}, {1, -infinity}, {3, -infinity}, {4, infinity}}(c);
    REQUIRE(logits_of(c) == std::vector<float>{2.5f, -infinity, 3, -infinity, infinity});
}

TEST_CASE("logit_bias finds its tokens wherever they stand and passes over the others", "[sampling]") {
    candidates c = all_of({1, 2, 3, 4});
    top_k{2}(c);  // tokens 3, 2
    logit_bias{{2, 10.0f}, {0, 100.0f}, {-1, 5.0f}, {99, 5.0f}}(c);
    REQUIRE(logits_of(c) == std::vector<float>{4, 13});
    top_k{1}(c);
    REQUIRE(tokens_of(c) == std::vector<token_id>{2});
}

TEST_CASE("a logit_bias of NaN is refused when it is made", "[sampling]") {
    REQUIRE(error_of([] { logit_bias{{3, not_a_number}}; }) == "invalid_argument logit_bias: of token 3 is NaN; it must be a number");
}

TEST_CASE("softmax is the distribution of the candidates left", "[sampling]") {
    for (const float scale : {1.0f, 100.0f, 1e38f}) {
        std::vector<float> logits = random_logits(2000, 23);
        for (float& x : logits) x = x / 10 * scale;
        const std::vector<double> expected = distribution(logits);
        candidates c = all_of(logits);
        c.softmax();
        for (const candidate& k : std::as_const(c)) {
            const double p = expected[static_cast<std::size_t>(k.token)];
            REQUIRE(k.probability == Approx(p).epsilon(1e-5).margin(1e-30));
        }
    }
}
