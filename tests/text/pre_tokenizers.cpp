// SPDX-License-Identifier: MIT
// How texts are divided into words.
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <skald/text/published_division.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;
using words = std::vector<std::string>;

namespace {

words split_by(std::string_view pre, std::string_view text) {
    words out;
    const text::pre_tokenizer p = text::make_pre_tokenizer(text::find_division(pre, "test"));
    text::text_divider(p).divide(text, true, [&](std::string_view w) { out.emplace_back(w); });
    return out;
}

}  // namespace

TEST_CASE("each pre-tokenizer treats digits, contractions, spaces and newlines its own way") {
    const std::string_view text = "It's IT'S 12345  x\n\n y";
    CHECK(split_by("gpt-2", text) == words{"It", "'s", " IT", "'", "S", " 12345", " ", " x", "\n\n", " y"});
    CHECK(split_by("smollm", text) == words{"It", "'s", " IT", "'", "S", " ", "1", "2", "3", "4", "5", " ", " x", "\n\n", " y"});
    CHECK(split_by("llama-bpe", text) == words{"It", "'s", " IT", "'S", " ", "123", "45", " ", " x", "\n\n", " y"});
    CHECK(split_by("qwen2", text) == words{"It", "'s", " IT", "'S", " ", "1", "2", "3", "4", "5", " ", " x", "\n\n", " y"});
    CHECK(split_by("deepseek-coder", text) ==
          words{"It", "'", "s", " IT", "'", "S", " ", "1", "2", "3", "4", "5", " ", " x", "\n", "\n", " y"});
    CHECK(split_by("gpt-4o", text) == words{"It's", " IT'S", " ", "123", "45", " ", " x", "\n\n", " y"});
    CHECK(split_by("tekken", text) == words{"It", "'s", " IT", "'S", " ", "1", "2", "3", "4", "5", " ", " x", "\n\n", " y"});
}

TEST_CASE("the last of several spaces goes to the next word, all of them to the end of the text") {
    CHECK(split_by("gpt-2", "a   b   ") == words{"a", "  ", " b", "   "});
    CHECK(split_by("llama-bpe", "a \t\n  \r\n  b") == words{"a", " \t\n  \r\n", " ", " b"});
    CHECK(split_by("qwen2", " \n ") == words{" \n", " "});
}

TEST_CASE("U+017F is an s for contractions without regard to case") {
    CHECK(split_by("llama-bpe", "it'\u017Fa") == words{"it", "'\u017F", "a"});
    CHECK(split_by("gpt-2", "it'\u017Fa") == words{"it", "'", "\u017Fa"});
}

TEST_CASE("words with case end where capitals begin, and marks belong to letters") {
    CHECK(split_by("gpt-4o", "camelCaseHTTPServer") == words{"camel", "Case", "HTTPServer"});
    CHECK(split_by("gpt-4o", "\u4E2DABC") == words{"\u4E2D", "ABC"});
    CHECK(split_by("gpt-4o", "e\u0301A") == words{"e\u0301", "A"});
    CHECK(split_by("gpt-4o", "!\n/\r\nx") == words{"!\n/\r\n", "x"});
}

TEST_CASE("bytes that are no UTF-8 count as symbols and are kept") {
    CHECK(split_by("gpt-2", "ab\xFF\x80 \xC3 c") == words{"ab", "\xFF\x80", " \xC3", " c"});
    CHECK(split_by("llama-bpe", "\xE4\xB8z") == words{"\xE4\xB8", "z"});
}

TEST_CASE("the words together are the text, for every pre-tokenizer and any bytes") {
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const text::published_division& d : text::published_divisions) {
        const text::pre_tokenizer p = text::make_pre_tokenizer(d);
        text::text_divider divider(p);
        for (int i = 0; i < 200; ++i) {
            const std::string text = random_text(random, random() % 60, i % 2 == 0);
            std::string joined;
            bool empty = false;
            divider.divide(text, true, [&](std::string_view w) {
                joined += w;
                empty |= w.empty();
            });
            REQUIRE(joined == text);
            REQUIRE_FALSE(empty);
        }
    }
}

TEST_CASE("a pre-tokenizer that is not known is refused by name") {
    check_error([] { text::find_division("no-such", "m.gguf"); }, errc::unsupported, "m.gguf",
                {"'no-such'", "tokenizer.ggml.pre", "qwen2"});
}
