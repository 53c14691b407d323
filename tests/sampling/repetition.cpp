// SPDX-License-Identifier: MIT
// What looks at the history: penalties by count, forbidden sequences and n-grams, DRY.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <set>
#include <vector>

#include "sampling/naive.hpp"

using namespace skald;
using namespace skald::sampling;
using namespace skald::test;

namespace {

using tokens = std::vector<token_id>;

/// A history over a few tokens, so that much repeats; now and then a stretch is copied.
tokens random_history(std::mt19937& engine, std::size_t length, unsigned alphabet) {
    tokens out;
    while (out.size() < length) {
        if (out.size() > 4 && engine() % 6 == 0) {
            const std::size_t from = engine() % (out.size() - 2), count = 1 + engine() % 9;
            for (std::size_t i = 0; i < count; ++i) out.push_back(out[from + i]);
        } else {
            out.push_back(static_cast<token_id>(engine() % alphabet));
        }
    }
    out.resize(length);
    return out;
}

tokens last(const tokens& history, std::int64_t n) {
    const auto size = static_cast<std::int64_t>(history.size());
    return {history.end() - static_cast<std::ptrdiff_t>(n < 0 ? size : std::min(n, size)), history.end()};
}

bool ends_with(const tokens& history, std::size_t end, const tokens& suffix) {
    return suffix.size() <= end &&
           std::equal(suffix.begin(), suffix.end(), history.begin() + static_cast<std::ptrdiff_t>(end - suffix.size()));
}

/// DRY as its definition reads: how many tokens before each earlier place equal the end, one by one.
std::map<token_id, double> naive_dry(const tokens& history, const dry& d, const std::vector<tokens>& breakers) {
    const tokens h = last(history, d.last_n);
    std::size_t limit = h.size();
    for (std::size_t start = h.size(); start-- > 0 && limit == h.size();)
        for (const tokens& b : breakers)
            if (start + b.size() <= h.size() && ends_with(h, start + b.size(), b)) limit = std::min(limit, h.size() - start - b.size());
    const auto allowed = static_cast<std::size_t>(d.allowed_length);
    std::map<token_id, double> out;
    for (std::size_t next = 1; next < h.size(); ++next) {
        std::size_t length = 0;
        while (length < next && length < limit && h[next - 1 - length] == h[h.size() - 1 - length]) ++length;
        if (length < allowed || std::count(breakers.begin(), breakers.end(), tokens{h[next]}) > 0) continue;
        double& penalty = out[h[next]];
        penalty = std::max(penalty, d.multiplier * std::pow(double{d.base}, static_cast<double>(length - allowed)));
    }
    if (limit < allowed || h.size() <= allowed) out.clear();
    return out;
}

}  // namespace

TEST_CASE("frequency_presence_penalty counts within its window", "[sampling]") {
    const std::vector<float> logits = random_logits(50, 81);
    std::mt19937 engine(82);
    const tokens history = random_history(engine, 60, 20);
    for (const std::int64_t last_n : {-1, 0, 1, 10, 60, 1000}) {
        for (const bool shuffled : {false, true}) {
            CAPTURE(last_n, shuffled);
            const tokens window = last(history, last_n);
            candidates c = all_of(logits);
            if (shuffled) top_k{30}(c);
            frequency_presence_penalty{0.3f, -0.7f, last_n}(c, {history});
            for (const candidate& k : std::as_const(c)) {
                const auto count = std::count(window.begin(), window.end(), k.token);
                const double change = count == 0 ? 0 : 0.3 * static_cast<double>(count) - 0.7;
                REQUIRE(k.logit == Approx(logits[static_cast<std::size_t>(k.token)] - change).margin(1e-5));
            }
        }
    }
}

TEST_CASE("no_repeat_ngram forbids exactly the tokens that complete an n-gram once more", "[sampling]") {
    std::mt19937 engine(83);
    for (int round = 0; round < 300; ++round) {
        const tokens history = random_history(engine, engine() % 60, 1 + engine() % 6);
        for (const int n : {1, 2, 3, 5, 9, 61}) {
            CAPTURE(round, n);
            std::set<token_id> banned;
            const auto size = static_cast<std::size_t>(n);
            if (history.size() >= size)
                for (std::size_t end = size; end <= history.size(); ++end) {
                    const tokens before(history.begin() + static_cast<std::ptrdiff_t>(end - size),
                                        history.begin() + static_cast<std::ptrdiff_t>(end - 1));
                    if (ends_with(history, history.size(), before)) banned.insert(history[end - 1]);
                }
            candidates c = all_of(std::vector<float>(8, 1.0f));
            no_repeat_ngram{n}(c, {history});
            for (const candidate& k : std::as_const(c)) REQUIRE((k.logit == -infinity) == (banned.count(k.token) == 1));
        }
    }
}

TEST_CASE("no_repeat_ngram of zero forbids nothing", "[sampling]") {
    const tokens history{1, 1, 1};
    candidates c = all_of({1, 2});
    no_repeat_ngram{0}(c, {history});
    REQUIRE(logits_of(c) == std::vector<float>{1, 2});
}

TEST_CASE("bad_words forbids the last token of a sequence that is otherwise there", "[sampling]") {
    const bad_words words{{3}, {1, 2}, {5, 1, 0}, {1, 4}, {9, 9, 9, 9, 9}, {1, 77}, {1, -5}};
    const auto left = [&](const tokens& history) {
        candidates c = all_of({0, 1, 2, 3, 4});
        words(c, {history});
        tokens out;
        for (const candidate& k : std::as_const(c))
            if (k.logit > -infinity) out.push_back(k.token);
        return out;
    };
    REQUIRE(left({}) == tokens{0, 1, 2, 4});
    REQUIRE(left({1}) == tokens{0, 1});
    REQUIRE(left({5, 1}) == tokens{1});
    REQUIRE(left({1, 5}) == tokens{0, 1, 2, 4});
    REQUIRE(error_of([] { bad_words{{1}, {}}; }) == "invalid_argument bad_words: a sequence of no tokens; leave it out");
}

TEST_CASE("forbidding works on candidates in any order", "[sampling]") {
    const tokens history{0, 1, 0};
    candidates c = all_of({1, 2, 3, 4});
    top_k{3}(c);
    no_repeat_ngram{2}(c, {history});
    bad_words{{3}}(c, {history});
    REQUIRE(logits_of(c) == std::vector<float>{-infinity, 3, -infinity});
    top_k{1}(c);
    REQUIRE(tokens_of(c) == tokens{2});
}

TEST_CASE("dry penalizes what its definition penalizes", "[sampling]") {
    std::mt19937 engine(84);
    std::size_t penalized = 0;
    for (int round = 0; round < 3000; ++round) {
        CAPTURE(round);
        const tokens history = random_history(engine, engine() % 70, 1 + engine() % 8);
        std::vector<tokens> breakers;
        for (std::size_t i = engine() % 3; i > 0; --i) breakers.push_back(random_history(engine, 1 + engine() % 3, 8));
        const dry d{.multiplier = 0.8f,
                    .base = 1.0f + static_cast<float>(engine() % 4) / 4,
                    .allowed_length = static_cast<std::int64_t>(engine() % 5),
                    .last_n = engine() % 3 == 0 ? -1 : static_cast<std::int64_t>(engine() % 80),
                    .breakers = sequence_breakers(breakers)};
        const std::map<token_id, double> expected = naive_dry(history, d, breakers);
        candidates c = all_of(std::vector<float>(8, 0.0f));
        if (engine() % 2 == 0) std::swap(c[1], c[6]);
        d(c, {history});
        for (const candidate& k : std::as_const(c)) {
            const auto found = expected.find(k.token);
            REQUIRE(-k.logit == Approx(found == expected.end() ? 0.0 : found->second));
        }
        penalized += expected.size();
    }
    REQUIRE(penalized > 1000);
}

TEST_CASE("dry on the example of its description", "[sampling]") {
    // a b c c b c y a b c: "a b c" was followed by c, "c" by b, "b c" by y.
    const tokens history{0, 1, 2, 2, 1, 2, 5, 0, 1, 2};
    candidates c = all_of(std::vector<float>(6, 10.0f));
    dry{.multiplier = 1, .base = 2, .allowed_length = 1}(c, {history});
    REQUIRE(logits_of(c) == std::vector<float>{10, 9, 6, 10, 10, 8});
}

TEST_CASE("dry stays finite however long the repetition, and is linear in the history", "[sampling]") {
    const tokens history(200000, 0);
    candidates c = all_of({0, 0});
    dry{.multiplier = 3, .base = 4}(c, {history});
    REQUIRE(std::isfinite(std::as_const(c)[0].logit));
    REQUIRE(std::as_const(c)[0].logit < -1e38f);
    REQUIRE(std::as_const(c)[1].logit == 0);
    no_repeat_ngram{100000}(c, {history});
    REQUIRE(std::as_const(c)[0].logit == -infinity);
}

TEST_CASE("dry refuses parameters without a meaning, by name", "[sampling]") {
    candidates c = all_of({1, 2});
    const auto message = [&](const dry& d) { return error_of([&] { d(c, {}); }); };
    REQUIRE(message({.multiplier = infinity}) == "invalid_argument dry: the multiplier is inf; it must be a finite number");
    REQUIRE(message({.base = 0.5f}) == "invalid_argument dry: the base is 0.5; it must be a finite number of 1 or more");
    REQUIRE(message({.allowed_length = -1}) == "invalid_argument dry: the allowed length is -1; it must be 0 or more");
    REQUIRE(message({}) == "no error");
    REQUIRE(error_of([] { sequence_breakers{{{1}, {}}}; }) == "invalid_argument sequence_breakers: a sequence of no tokens; leave it out");
    REQUIRE(error_of([&] { frequency_presence_penalty{infinity}(c, {}); }) ==
            "invalid_argument frequency penalty: is inf; it must be a finite number");
    REQUIRE(error_of([&] { frequency_presence_penalty{0, not_a_number}(c, {}); }) ==
            "invalid_argument presence penalty: is nan; it must be a finite number");
}
