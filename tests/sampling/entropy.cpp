// SPDX-License-Identifier: MIT
// What depends on entropy and on how logits spread: typical, the cutoffs, top_n_sigma, dynamic_temperature; and min_keep.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

namespace {

double entropy_of(const std::vector<double>& p) {
    double sum = 0;
    for (const double x : p)
        if (x > 0) sum -= x * std::log(x);
    return sum;
}

/// Checks that what is kept is what `inside(token)` says, but where `margin(token)`, the distance to the border, is below rounding.
template <class Inside, class Margin>
void check_kept(const candidates& c, std::size_t vocabulary, Inside inside, Margin margin) {
    const std::vector<token_id> kept = sorted_tokens_of(c);
    std::size_t decided = 0;
    for (std::size_t t = 0; t < vocabulary; ++t) {
        if (margin(t) < 1e-5) continue;
        ++decided;
        REQUIRE(std::binary_search(kept.begin(), kept.end(), static_cast<token_id>(t)) == inside(t));
    }
    REQUIRE(decided + 50 >= vocabulary);
}

}  // namespace

TEST_CASE("typical keeps the fewest tokens of typical surprise that hold probability p", "[sampling]") {
    for (const std::size_t n : {1u, 2u, 17u, 1000u, 20000u}) {
        for (const bool ties : {false, true}) {
            const std::vector<float> logits = random_logits(n, 71, ties);
            const std::vector<double> p = distribution(logits);
            const double entropy = entropy_of(p);
            const auto deviation = [&](std::size_t t) { return std::abs(-std::log(p[t]) - entropy); };
            for (const float mass : {0.01f, 0.2f, 0.5f, 0.9f, 0.99f}) {
                CAPTURE(n, ties, mass);
                candidates c = all_of(logits);
                typical{mass}(c);
                double sum = 0, furthest = 0, nearest_left = infinity;
                std::size_t last = 0;
                std::vector<bool> kept(n);
                for (const candidate& k : std::as_const(c)) {
                    const auto t = static_cast<std::size_t>(k.token);
                    kept[t] = true;
                    sum += p[t];
                    if (deviation(t) < furthest) continue;
                    furthest = deviation(t);
                    last = t;
                }
                for (std::size_t t = 0; t < n; ++t)
                    if (!kept[t]) nearest_left = std::min(nearest_left, deviation(t));
                REQUIRE(furthest <= nearest_left + 1e-5);
                REQUIRE(sum > mass - 1e-5);
                REQUIRE(sum - p[last] < mass + 1e-5);
            }
        }
    }
}

TEST_CASE("typical may drop the most probable token, which top_p never does", "[sampling]") {
    // Entropy 1.27 nats; surprisals 0.69 (far), 1.2 and 2.3.
    const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.1f), std::log(0.1f)};
    candidates c = all_of(logits);
    typical{0.25f}(c);
    REQUIRE(tokens_of(c) == std::vector<token_id>{1});
}

TEST_CASE("typical of one or more keeps all, of zero one token, and of equals the first", "[sampling]") {
    candidates all = all_of({1, 3, -infinity});
    typical{1}(all);
    REQUIRE(all.size() == 3);
    candidates equal = all_of({2, 2, 2, 2});
    typical{0}(equal);
    REQUIRE(tokens_of(equal) == std::vector<token_id>{0});
    candidates half = all_of({2, 2, 2, 2});
    typical{0.5f}(half);
    REQUIRE(sorted_tokens_of(half) == std::vector<token_id>{0, 1});
}

TEST_CASE("epsilon_cutoff and eta_cutoff keep what is probable enough", "[sampling]") {
    for (const bool ties : {false, true}) {
        const std::vector<float> logits = random_logits(3000, 72, ties);
        const std::vector<double> p = distribution(logits);
        for (const float epsilon : {1e-5f, 3e-4f, 1e-2f, 0.9f}) {
            CAPTURE(ties, epsilon);
            const auto best = static_cast<std::size_t>(ranking(logits)[0]);
            const double eta = std::min<double>(epsilon, std::sqrt(double{epsilon}) * std::exp(-entropy_of(p)));
            for (const bool absolute : {true, false}) {
                const double least = absolute ? epsilon : eta;
                candidates c = all_of(logits);
                if (absolute)
                    epsilon_cutoff{epsilon}(c);
                else
                    eta_cutoff{epsilon}(c);
                check_kept(
                    c, logits.size(), [&](std::size_t t) { return p[t] >= least || t == best; },
                    [&](std::size_t t) { return std::abs(p[t] / least - 1); });
            }
        }
    }
}

TEST_CASE("top_n_sigma keeps what is within n deviations of the best logit", "[sampling]") {
    for (const float offset : {0.0f, 1000.0f}) {
        for (const bool ties : {false, true}) {
            std::vector<float> logits = random_logits(3000, 73, ties);
            for (float& x : logits) x += offset;
            logits[7] = -infinity;
            double sum = 0, squares = 0, best = -infinity;
            for (const float x : logits) {
                if (x == -infinity) continue;
                sum += x;
                best = std::max<double>(best, x);
            }
            for (const float x : logits)
                if (x != -infinity) squares += (x - sum / 2999) * (x - sum / 2999);
            for (const float n : {0.1f, 1.0f, 2.5f}) {
                CAPTURE(offset, ties, n);
                const double least = best - n * std::sqrt(squares / 2999);
                candidates c = all_of(logits);
                top_n_sigma{n}(c);
                check_kept(
                    c, logits.size(), [&](std::size_t t) { return logits[t] >= least; },
                    [&](std::size_t t) { return std::abs(logits[t] - least); });
            }
        }
    }
}

TEST_CASE("a temperature before top_n_sigma does not change what it keeps", "[sampling]") {
    const std::vector<float> logits = random_logits(500, 74);
    candidates plain = all_of(logits), hot = all_of(logits);
    top_n_sigma{1.3f}(plain);
    temperature{4}(hot);
    top_n_sigma{1.3f}(hot);
    REQUIRE(sorted_tokens_of(plain) == sorted_tokens_of(hot));
}

TEST_CASE("dynamic_temperature follows the entropy from its lowest to its highest", "[sampling]") {
    for (const std::size_t n : {2u, 17u, 3000u}) {
        const std::vector<float> logits = random_logits(n, 75);
        const double share = entropy_of(distribution(logits)) / std::log(static_cast<double>(n));
        for (const float value : {0.3f, 0.8f, 2.0f})
            for (const float range : {0.2f, 0.5f})
                for (const float exponent : {0.0f, 0.5f, 1.0f, 3.0f}) {
                    CAPTURE(n, value, range, exponent);
                    const double low = std::max(0.0f, value - range), high = value + range;
                    const double t = low + (high - low) * std::pow(share, exponent);
                    candidates c = all_of(logits);
                    dynamic_temperature{value, range, exponent}(c);
                    REQUIRE(c.size() == n);
                    for (const candidate& k : std::as_const(c))
                        REQUIRE(k.logit == Approx(logits[static_cast<std::size_t>(k.token)] / t).epsilon(1e-5));
                }
    }
}

TEST_CASE("dynamic_temperature at its borders", "[sampling]") {
    candidates flat = all_of({1, 1, 1});
    dynamic_temperature{0.8f, 0.5f}(flat);
    REQUIRE(logits_of(flat)[0] == Approx(1 / 1.3));
    candidates sure = all_of({1000, 0, 0});
    dynamic_temperature{0.5f, 1.0f}(sure);  // the lowest is 0: the best alone stays
    REQUIRE(tokens_of(sure) == std::vector<token_id>{0});
    candidates fixed = all_of({1, 2});
    dynamic_temperature{0.5f, 0.0f}(fixed);
    REQUIRE(logits_of(fixed) == std::vector<float>{2, 4});
    candidates one = all_of({3});
    dynamic_temperature{0.5f, 0.2f}(one);
    REQUIRE(logits_of(one) == std::vector<float>{3});
}

TEST_CASE("min_keep candidates stay, the first in each truncation's own order", "[sampling]") {
    const std::vector<float> logits{9, 1, 4, 3, -2};
    const auto kept = [&](auto part) {
        candidates c = all_of(logits);
        part(c);
        return sorted_tokens_of(c);
    };
    REQUIRE(kept(top_p{0.1f, 3}) == std::vector<token_id>{0, 2, 3});
    REQUIRE(kept(min_p{0.9f, 2}) == std::vector<token_id>{0, 2});
    REQUIRE(kept(min_p{0.9f, 99}).size() == 5);
    REQUIRE(kept(epsilon_cutoff{0.9f, 3}) == std::vector<token_id>{0, 2, 3});
    REQUIRE(kept(eta_cutoff{0.9f, 2}) == std::vector<token_id>{0, 2});
    REQUIRE(kept(typical{0.1f, 2}) == std::vector<token_id>{0, 2});
    REQUIRE(kept(epsilon_cutoff{2.0f, 0}) == std::vector<token_id>{0});
}

TEST_CASE("infinite logits pass the entropy samplers alone, impossible ones do not pass", "[sampling]") {
    const std::vector<float> logits{0, infinity, -infinity, infinity, 5};
    const auto kept = [&](auto part) {
        candidates c = all_of(logits);
        part(c);
        return sorted_tokens_of(c);
    };
    const std::vector<token_id> both{1, 3};
    REQUIRE(kept(typical{0.9f}) == both);
    REQUIRE(kept(epsilon_cutoff{0.1f}) == both);
    REQUIRE(kept(eta_cutoff{0.1f}) == both);
    REQUIRE(kept(top_n_sigma{1}) == both);
    candidates c = all_of(logits);
    dynamic_temperature{1, 0.5f}(c);
    c.softmax();
    REQUIRE(std::as_const(c)[3].probability == 0.5f);
}

TEST_CASE("a NaN among the logits ends the entropy samplers with an error", "[sampling]") {
    const auto message = [](auto part) {
        candidates c = all_of({1, not_a_number, 2});
        return error_of([&] { part(c); });
    };
    const std::string expected = "invalid_argument logits: a candidate's logit is NaN; a processor of the sampling chain made it";
    REQUIRE(message(typical{0.5f}) == expected);
    REQUIRE(message(epsilon_cutoff{}) == expected);
    REQUIRE(message(eta_cutoff{}) == expected);
    REQUIRE(message(top_n_sigma{}) == expected);
    REQUIRE(message(dynamic_temperature{1, 0.5f}) == expected);
}

TEST_CASE("parameters of the entropy samplers are refused by name", "[sampling]") {
    candidates c = all_of({1, 2});
    REQUIRE(error_of([&] { typical{not_a_number}(c); }) == "invalid_argument typical: is NaN; it must be a number, commonly in (0, 1]");
    REQUIRE(error_of([&] { epsilon_cutoff{not_a_number}(c); }) == "invalid_argument epsilon_cutoff: is NaN; it must be a number in [0, 1)");
    REQUIRE(error_of([&] { eta_cutoff{not_a_number}(c); }) == "invalid_argument eta_cutoff: is NaN; it must be a number in [0, 1)");
    REQUIRE(error_of([&] { top_n_sigma{not_a_number}(c); }) ==
            "invalid_argument top_n_sigma: is NaN; it must be a number, commonly near 1");
    REQUIRE(error_of([&] { dynamic_temperature{infinity, 1}(c); }) == "invalid_argument temperature: is inf; it must be a finite number");
    REQUIRE(error_of([&] { dynamic_temperature{1, infinity}(c); }) ==
            "invalid_argument dynamic_temperature: the range is inf; it must be a finite number");
    REQUIRE(error_of([&] { dynamic_temperature{1, 1, -1}(c); }) ==
            "invalid_argument dynamic_temperature: the exponent is -1; it must be a finite number of 0 or more");
}
