// SPDX-License-Identifier: MIT
#include <random>

#include <skald/pipeline/stop_strings.hpp>

#include "support/catch.hpp"

using skald::stop_strings;

TEST_CASE("text is held back only while it can start a stop string", "[pipeline]") {
    stop_strings s({"END", "\n\n"});
    std::string out;
    s.push("abE", out);
    CHECK(out == "ab");
    s.push("N", out);
    CHECK(out == "ab");
    s.push("x\n", out);
    CHECK(out == "abENx");
    s.push("y", out);
    CHECK(out == "abENx\ny");
    s.push("EEN", out);
    s.push("D tail", out);
    CHECK(out == "abENx\nyE");
    CHECK(s.stopped());
    s.push("more", out);
    s.flush(out);
    CHECK(out == "abENx\nyE");
}

TEST_CASE("cutting a text anywhere shows the same", "[pipeline]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    for (int round = 0; round < 2000; ++round) {
        const auto word = [&](std::size_t most) {
            std::string w;
            for (std::size_t n = random() % (most + 1); n > 0; --n) w += static_cast<char>('a' + random() % 2);
            return w;
        };
        const std::string text = word(30);
        const std::vector<std::string> strings{word(5), word(4)};
        std::size_t cut = text.size();
        // The first end of any stop string in reading order decides; among those ending there, the longest starts first.
        for (std::size_t end = 0; end <= text.size() && cut == text.size(); ++end)
            for (const std::string& s : strings)
                if (!s.empty() && end >= s.size() && text.compare(end - s.size(), s.size(), s) == 0) cut = std::min(cut, end - s.size());
        stop_strings matcher(strings);
        std::string out;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t n = std::min<std::size_t>(1 + random() % 6, text.size() - at);
            matcher.push(std::string_view(text).substr(at, n), out);
            at += n;
        }
        matcher.flush(out);
        CAPTURE(text, strings[0], strings[1]);
        REQUIRE(out == text.substr(0, cut));
    }
}

TEST_CASE("no stop strings, or empty ones, hold nothing back", "[pipeline]") {
    stop_strings s({"", ""});
    std::string out;
    s.push("anything", out);
    CHECK(out == "anything");
    CHECK_FALSE(s.stopped());
}
