// SPDX-License-Identifier: MIT
// Log-probabilities against sums in double.
#include <cmath>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

TEST_CASE("top_logprobs are the best n with their log-probabilities", "[sampling]") {
    for (const bool ties : {false, true}) {
        for (const std::size_t size : {1u, 15u, 16u, 33u, 5000u}) {
            const std::vector<float> logits = random_logits(size, 51, ties);
            const std::vector<double> p = distribution(logits);
            const std::vector<token_id> order = ranking(logits);
            for (const std::size_t n : {1u, 2u, 20u, 10000u}) {
                CAPTURE(ties, size, n);
                const std::vector<choice> top = top_logprobs(logits, n);
                REQUIRE(top.size() == std::min(n, size));
                for (std::size_t i = 0; i < top.size(); ++i) {
                    REQUIRE(top[i].token == order[i]);
                    REQUIRE(top[i].logprob == Approx(std::log(p[static_cast<std::size_t>(order[i])])).epsilon(1e-6).margin(1e-6));
                }
            }
        }
    }
}

TEST_CASE("top_logprobs of none does not read the logits", "[sampling]") {
    const std::vector<float> broken{not_a_number};
    REQUIRE(top_logprobs(broken, 0).empty());
}

TEST_CASE("impossible tokens have the log-probability -inf", "[sampling]") {
    const std::vector<choice> top = top_logprobs(std::vector<float>{-infinity, 2, -infinity}, 3);
    REQUIRE(top[0].logprob == 0);
    REQUIRE(top[1].token == 0);
    REQUIRE(top[1].logprob == -infinity);
    const std::vector<choice> infinite = top_logprobs(std::vector<float>{1, infinity}, 2);
    REQUIRE(infinite[0].logprob == 0);
    REQUIRE(infinite[1].logprob == -infinity);
}

TEST_CASE("logits of any finite size give finite log-probabilities", "[sampling]") {
    const std::vector<choice> top = top_logprobs(std::vector<float>{3e38f, -3e38f, 3e38f}, 3);
    REQUIRE(top[0].logprob == Approx(std::log(0.5)));
    REQUIRE(top[1].token == 2);
    REQUIRE(top[2].logprob < -3e38f);
}

TEST_CASE("the exponential of the log-sum is exact to 2e-7", "[sampling]") {
    sampling::detail::exp_block x;
    for (float start = -87.0f; start < 0;) {
        sampling::detail::exp_block in;
        for (float& v : in) v = start = std::min(0.0f, start + 0.00037f);
        x = in;
        sampling::detail::exp_nonpositive(x);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double exact = std::exp(static_cast<double>(in[i]));
            if (!(std::abs(x[i] - exact) <= 2e-7 * exact)) FAIL("exp(" << in[i] << ") = " << x[i]);
        }
    }
    x.fill(0);
    x[1] = -87.7f;
    x[2] = -infinity;
    sampling::detail::exp_nonpositive(x);
    REQUIRE(x[0] == 1);
    REQUIRE(x[1] == 0);
    REQUIRE(x[2] == 0);
}
