// SPDX-License-Identifier: MIT
#pragma once
// The vocabulary of tests/data/tokenizer and what Hugging Face's tokenizers makes of texts with it
// (tests/scripts/make_tokenizer_fixture.py), and random bytes.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory_resource>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/gguf.hpp>
#include <skald/text/published_division.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::test {

inline std::string tokenizer_data(std::string_view name) { return std::string(SKALD_TEST_DATA "/tokenizer/").append(name); }

/// The fixture's vocabulary, to be changed and made into tokenizers.
struct vocabulary_parts {
    std::vector<std::string> tokens, merges;
    std::vector<std::int32_t> kinds;
    text::vocabulary_source source{};  // without the arrays
    std::string pre = "gpt-2";

    static vocabulary_parts read(std::string_view pre = "gpt-2") {
        const auto file = io::gguf_file::open(tokenizer_data("bpe.gguf"));
        vocabulary_parts out;
        for (const auto s : file.meta().strings("tokenizer.ggml.tokens")) out.tokens.emplace_back(s);
        for (const auto s : file.meta().strings("tokenizer.ggml.merges")) out.merges.emplace_back(s);
        out.kinds = file.meta().ints("tokenizer.ggml.token_type");
        out.source.place = "fixture";
        out.pre = pre;
        return out;
    }

    text::tokenizer make(std::pmr::memory_resource* memory = std::pmr::get_default_resource()) const {
        const std::vector<std::string_view> t(tokens.begin(), tokens.end()), m(merges.begin(), merges.end());
        text::vocabulary_source s = source;
        s.tokens = t;
        s.merges = m;
        s.kinds = kinds;
        const text::published_division& division = text::find_division(pre, "fixture");
        s.whole_words = division.whole_words;
        s.add_bos = s.add_bos || (division.add_bos && s.bos >= 0);
        return text::tokenizer(s, {.pre = text::make_pre_tokenizer(division)}, memory);
    }
};

inline text::tokenizer fixture_tokenizer(std::string_view pre = "gpt-2") { return vocabulary_parts::read(pre).make(); }

/// One line of bpe.ids with its text.
struct expected_ids {
    std::string text, pre;
    bool special;
    std::vector<token_id> ids;
};

inline std::vector<expected_ids> read_expected_ids() {
    std::ifstream in(tokenizer_data("bpe.ids"));
    std::vector<expected_ids> out;
    std::string text;
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string first, second;
        words >> first >> second;
        if (first == "text") {
            text.clear();
            for (std::size_t i = 0; i + 1 < second.size(); i += 2) text += static_cast<char>(std::stoi(second.substr(i, 2), nullptr, 16));
            continue;
        }
        expected_ids e{text, first, second == "special", {}};
        for (token_id id; words >> id;) e.ids.push_back(id);
        out.push_back(e);
    }
    if (out.empty()) throw std::runtime_error("no expected ids in " + tokenizer_data("bpe.ids"));
    return out;
}

/// Random bytes: of all values, or of pieces that meet in texts.
inline std::string random_text(std::mt19937& random, std::size_t length, bool any_byte) {
    static constexpr std::string_view parts[] = {
        "a",  "the",      "B", " ",   "  ", "\n", "\r\n",    "\t",         "'s",       "'LL",      "1",    "234",  "é",       "中",
        "🦙", "\xC2\xA0", "!", "...", "/",  "<",  "<think>", "<|im_end|>", "\xCC\x81", "\xE4\xB8", "\x80", "\xFF", "\xF0\x9F"};
    std::string out;
    while (out.size() < length) {
        if (any_byte)
            out += static_cast<char>(random() & 0xFF);
        else
            out += parts[random() % std::size(parts)];
    }
    return out;
}

}  // namespace skald::test
