// SPDX-License-Identifier: MIT
// Ids against Hugging Face's tokenizers, against a naive merge loop, and back to text.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Byte-pair encoding as it is defined: look through all pairs, merge the best, begin again.
std::vector<token_id> naive_bpe(const text::vocabulary& tokens, const text::merge_table& merges, std::string_view word) {
    std::vector<token_id> ids;
    for (const char c : word) ids.push_back(tokens.byte_token(static_cast<std::uint8_t>(c)));
    for (;;) {
        const text::merge* best = nullptr;
        std::size_t at = 0;
        for (std::size_t i = 0; i + 1 < ids.size(); ++i)
            if (const text::merge* m = merges.find(ids[i], ids[i + 1]); m != nullptr && (best == nullptr || m->rank < best->rank)) {
                best = m;
                at = i;
            }
        if (best == nullptr) return ids;
        ids[at] = best->result;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
}

}  // namespace

TEST_CASE("ids are those of Hugging Face's tokenizers for every pre-tokenizer") {
    std::map<std::string, text::tokenizer> tokenizers;
    for (const expected_ids& e : read_expected_ids()) {
        const auto at = tokenizers.try_emplace(e.pre, fixture_tokenizer(e.pre)).first;
        CAPTURE(e.text, e.pre, e.special);
        CHECK(at->second.encode(e.text, {.parse_special = e.special}) == e.ids);
        CHECK(at->second.decode(e.ids) == e.text);
    }
    CHECK(tokenizers.size() == 7);
}

TEST_CASE("merging gives what the definition gives, for short and for long words") {
    const vocabulary_parts parts = vocabulary_parts::read();
    const std::vector<std::string_view> t(parts.tokens.begin(), parts.tokens.end()), m(parts.merges.begin(), parts.merges.end());
    text::vocabulary_source source = parts.source;
    source.tokens = t;
    source.merges = m;
    source.kinds = parts.kinds;
    const text::vocabulary tokens(source, std::pmr::get_default_resource());
    const text::merge_table merges(source, tokens, std::pmr::get_default_resource());
    const text::bpe_symbols symbols(source);
    text::word_merger merger(tokens, merges, symbols);
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (std::size_t length = 0; length < 150; ++length)
        for (int i = 0; i < 8; ++i) {
            const std::string letters = i % 2 == 0 ? "aeinrst " : "ab=";
            std::string word;
            while (word.size() < length) word += letters[random() % letters.size()];
            std::vector<token_id> got;
            merger.encode(word, got);
            CAPTURE(word);
            REQUIRE(got == naive_bpe(tokens, merges, word));
        }
}

TEST_CASE("decoding gives back every byte string") {
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const std::string_view pre : {"gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-coder", "gpt-4o", "tekken"}) {
        const text::tokenizer t = fixture_tokenizer(pre);
        for (int i = 0; i < 300; ++i) {
            const std::string text = random_text(random, random() % 200, i % 2 == 0);
            REQUIRE(t.decode(t.encode(text)) == text);
            REQUIRE(t.decode(t.encode(text, {.parse_special = true})) == text);
        }
    }
}

TEST_CASE("a word that is a token is that token where the pre-tokenizer says so, even if no merge leads to it") {
    const text::tokenizer gpt2 = fixture_tokenizer("gpt-2"), llama = fixture_tokenizer("llama-bpe");
    const token_id whole = llama.find(" wholewordtoken");
    REQUIRE(whole >= 0);
    CHECK(llama.encode(" wholewordtoken") == std::vector<token_id>{whole});
    CHECK(gpt2.encode(" wholewordtoken").size() > 1);
}

TEST_CASE("bytes that the vocabulary lacks are left out, and the tokenizer says which") {
    vocabulary_parts parts = vocabulary_parts::read();
    const std::size_t at =
        static_cast<std::size_t>(std::find(parts.tokens.begin(), parts.tokens.end(), "\u0101") - parts.tokens.begin());  // byte 1
    REQUIRE(at < parts.tokens.size());
    parts.tokens[at] = "\u0101\u0101\u0101";
    const text::tokenizer t = parts.make();
    CHECK_FALSE(t.has_byte(1));
    CHECK(t.has_byte(2));
    CHECK(t.decode(t.encode("a\x01z")) == "az");
    CHECK(t.encode("=\x01\x01=") == t.encode("=="));
    CHECK(t.encode("\x01").empty());
}

TEST_CASE("a word of a megabyte takes time that hardly grows faster than the word") {
    const text::tokenizer t = fixture_tokenizer("llama-bpe");
    std::mt19937 random(3);
    std::string word(1 << 20, 'a');
    for (char& c : word) c = "aeinrst"[random() % 7];
    const auto start = std::chrono::steady_clock::now();
    const auto ids = t.encode(word);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    CHECK(ids.size() > word.size() / 8);
    CHECK(seconds < 60);  // about one; a quadratic loop takes an hour
    CHECK(t.decode(ids) == word);
}

TEST_CASE("everything that lives on lies in the memory resource given, and is given back") {
    counting_resource memory;
    const vocabulary_parts parts = vocabulary_parts::read();
    std::size_t used = 0;
    {
        const text::tokenizer t = parts.make(&memory);
        used = memory.bytes();
        CHECK(used > 10 * parts.tokens.size());
        CHECK(used == memory.peak_bytes());
        t.encode("The memory is for the tables; a text in work is the host's.");
        CHECK(memory.bytes() == used);
        counting_resource again;
        const text::tokenizer u = parts.make(&again);
        CHECK(again.bytes() == used);
    }
    CHECK(memory.bytes() == 0);
}
