// SPDX-License-Identifier: MIT
#pragma once
// What the processors should do, written over sorted copies and double; random logits; which error a call ends in.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <skald/sampling/sampling.hpp>

#include "support/catch.hpp"

namespace skald::test {

using sampling::candidate;
using sampling::candidates;

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Logits like a model's: normal, or on a coarse grid so that many are equal.
inline std::vector<float> random_logits(std::size_t n, unsigned seed, bool ties = false) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0f, 3.0f);
    std::vector<float> out(n);
    for (float& x : out) x = ties ? std::round(normal(engine)) : normal(engine);
    return out;
}

/// The candidates at the beginning of a step.
inline candidates all_of(const std::vector<float>& logits) {
    candidates c;
    c.assign(logits);
    return c;
}

inline std::vector<candidate> listed(const candidates& c) { return {c.begin(), c.end()}; }

/// The tokens in the order they stand.
inline std::vector<token_id> tokens_of(const candidates& c) {
    std::vector<token_id> out;
    for (const candidate& k : c) out.push_back(k.token);
    return out;
}

inline std::vector<float> logits_of(const candidates& c) {
    std::vector<float> out;
    for (const candidate& k : c) out.push_back(k.logit);
    return out;
}

inline std::vector<token_id> sorted_tokens_of(const candidates& c) {
    std::vector<token_id> out = tokens_of(c);
    std::sort(out.begin(), out.end());
    return out;
}

/// All tokens, best first, the lowest first among equals.
inline std::vector<token_id> ranking(const std::vector<float>& logits) {
    std::vector<std::pair<double, token_id>> order;
    for (std::size_t i = 0; i < logits.size(); ++i) order.emplace_back(-logits[i], static_cast<token_id>(i));
    std::sort(order.begin(), order.end());
    std::vector<token_id> out;
    for (const auto& [negative, token] : order) out.push_back(token);
    return out;
}

/// softmax(logits) in double, by token.
inline std::vector<double> distribution(const std::vector<float>& logits) {
    double max = -INFINITY, sum = 0;
    for (const float x : logits) max = std::max<double>(max, x);
    std::vector<double> out;
    for (const float x : logits) out.push_back(std::exp(x - max));
    for (const double x : out) sum += x;
    for (double& x : out) x /= sum;
    return out;
}

/// The tokens of successive steps with the same logits.
template <class Chain>
std::vector<token_id> run(Chain& c, const std::vector<float>& logits, std::uint64_t seed, std::uint64_t steps) {
    std::vector<token_id> out;
    for (std::uint64_t s = 0; s < steps; ++s) out.push_back(c.choose(logits, {}, seed, s).token);
    return out;
}

/// Sum of (seen - expected)² / expected over the tokens with a chance; tokens without one must not appear.
inline double chi_square(const std::vector<token_id>& seen, const std::vector<double>& probability) {
    std::vector<double> counts(probability.size());
    for (const token_id t : seen) counts[static_cast<std::size_t>(t)] += 1;
    double sum = 0;
    for (std::size_t t = 0; t < counts.size(); ++t) {
        const double expected = probability[t] * static_cast<double>(seen.size());
        if (expected == 0)
            REQUIRE(counts[t] == 0);
        else
            sum += (counts[t] - expected) * (counts[t] - expected) / expected;
    }
    return sum;
}

/// "code place: sentence" of the error a call ends in.
inline std::string error_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const error& e) {
        return std::string(to_string(e.code())) + " " + e.what();
    }
    return "no error";
}

}  // namespace skald::test
