// SPDX-License-Identifier: MIT
// Tokens that are found in the text itself, the special ids, and pieces.
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <skald/text/tokenizer.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;
using ids = std::vector<token_id>;

TEST_CASE("control tokens are made from text on request only") {
    const text::tokenizer t = fixture_tokenizer();
    const token_id start = t.find("<|im_start|>"), end = t.find("<|im_end|>");
    REQUIRE(t.is_special(start));
    CHECK(t.encode("<|im_start|><|im_end|>", {.parse_special = true}) == ids{start, end});
    for (const token_id id : t.encode("<|im_start|><|im_end|>")) CHECK_FALSE(t.is_special(id));
}

TEST_CASE("of added tokens at one place the longest counts, and user-defined ones always") {
    const text::tokenizer t = fixture_tokenizer();
    const token_id two = t.find("<<"), four = t.find("<<<<"), think = t.find("<think>"), both = t.find("<|im_end|><|im_start|>");
    CHECK(t.encode("<<<<<<") == ids{four, two});
    CHECK(t.encode("<<<think>") == ids{two, think});
    CHECK(t.encode("<|im_end|><|im_start|>", {.parse_special = true}) == ids{both});
    CHECK(t.encode("<think>")[0] == think);
    CHECK_FALSE(t.is_special(think));
    CHECK(t.piece(t.find("été")) == "été");  // user-defined tokens are stored as they read
}

TEST_CASE("control tokens are recognised inside trusted segments only, never across their borders") {
    const text::tokenizer t = fixture_tokenizer();
    const token_id end = t.find("<|im_end|>");
    const auto has_end = [&](const std::vector<text::text_segment>& s) {
        const ids got = t.encode(s);
        return std::find(got.begin(), got.end(), end) != got.end();
    };
    CHECK(has_end({{"a", false}, {"<|im_end|>", true}}));
    CHECK_FALSE(has_end({{"<|im_", true}, {"end|>", false}}));
    CHECK_FALSE(has_end({{"<|im_", false}, {"end|>", true}}));
    CHECK_FALSE(has_end({{"<|im_end|>", false}, {"\n", true}}));
}

TEST_CASE("words cross the borders of segments as if the text were one") {
    const text::tokenizer t = fixture_tokenizer("llama-bpe");
    CHECK(t.encode(std::vector<text::text_segment>{{"user\n", true}, {"\nhel", false}, {"", true}, {"lo", false}}) ==
          t.encode("user\n\nhello"));
    CHECK(t.encode(std::vector<text::text_segment>{}).empty());
}

TEST_CASE("BOS and EOS are added on request, and asking for one that is missing is an error") {
    vocabulary_parts parts = vocabulary_parts::read();
    parts.source.bos = 5;
    const text::tokenizer t = parts.make();
    CHECK(t.encode("", {.add_bos = true}) == ids{5});
    CHECK_FALSE(t.add_bos());
    CHECK(t.eos() == -1);
    check_error([&] { t.encode("", {.add_eos = true}); }, errc::invalid_argument, "add_eos", {"no EOS token"});
    parts.pre = "llama-bpe";  // whose texts start with BOS by default
    CHECK(parts.make().add_bos());
}

TEST_CASE("generation ends at EOS, at EOT and at tokens of certain names, which are control tokens whatever the file says") {
    vocabulary_parts parts = vocabulary_parts::read();
    parts.source.eos = 7;
    for (std::size_t i = 0; i < parts.tokens.size(); ++i)
        if (parts.tokens[i] == "<|im_end|>") parts.kinds[i] = 1;
    const text::tokenizer t = parts.make();
    const token_id im_end = t.find("<|im_end|>");
    CHECK(t.is_end(7));
    CHECK(t.is_end(im_end));
    CHECK(t.is_special(im_end));
    CHECK(t.eot() == im_end);
    CHECK(t.is_end(t.find("<|endoftext|>")));
    CHECK_FALSE(t.is_end(t.find("<|im_start|>")));
    CHECK_FALSE(t.is_end(-1));
}

TEST_CASE("special tokens can be left out of decoded text; ids outside the vocabulary are refused") {
    const text::tokenizer t = fixture_tokenizer();
    const ids got = t.encode("<|im_start|>hi<think><|im_end|>", {.parse_special = true});
    CHECK(t.decode(got) == "<|im_start|>hi<think><|im_end|>");
    CHECK(t.decode(got, {.skip_special = true}) == "hi<think>");
    check_error([&] { t.piece(static_cast<token_id>(t.size())); }, errc::invalid_argument, "token", {"outside the vocabulary"});
    check_error([&] { t.decode(ids{-1}); }, errc::invalid_argument, "token", {"-1"});
}

TEST_CASE("a text of 2^31 bytes is refused before it is read") {
    const text::tokenizer t = fixture_tokenizer();
    const std::string_view text("", std::size_t{1} << 31);
    check_error([&] { t.encode(text); }, errc::invalid_argument, "text", {"2147483648"});
}
