// SPDX-License-Identifier: MIT
// Tokenizers of tokenizer.json files written as keys of GGUF files: the same tokens come from both.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/io/gguf.hpp>
#include <skald/io/gguf_writer.hpp>
#include <skald/text/tokenizer_gguf.hpp>
#include <skald/text/tokenizer_json.hpp>

#include "io/refusal.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;

namespace {

std::string json_file(std::string_view name) { return tokenizer_data(std::string("json/").append(name).append(".json")); }

/// The texts of a fixture, in hexadecimal there.
std::vector<std::string> texts_of(std::string_view name) {
    std::ifstream in(tokenizer_data(std::string("json/").append(name).append(".ids")));
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("text ")) continue;
        std::string text;
        for (std::size_t i = 5; i + 1 < line.size(); i += 2) text += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
        out.push_back(std::move(text));
    }
    return out;
}

struct written {
    explicit written(std::string_view name, std::size_t more_rows = 3) {
        const nlohmann::json json = io::read_json(std::filesystem::path(json_file(name)));
        const io::json_object file(json, "tokenizer.json");
        text::detail::json_vocabulary v(file, nullptr);
        io::gguf_keys keys;
        text::put_tokenizer(keys, v.source, v.steps(), v.source.tokens.size() + more_rows, notes);
        io::gguf_writer(folder.path() / "t.gguf", keys, {}).finish();
    }

    text::tokenizer read() const {
        const io::gguf_file file = io::gguf_file::open(folder.path() / "t.gguf");
        return text::tokenizer::from_gguf(file.meta(), file.name());
    }

    temporary_folder folder;
    std::vector<std::string> notes;
};

}  // namespace

TEST_CASE("a tokenizer.json and the GGUF keys made of it give the same tokens, but where a note says why not") {
    struct line {
        std::string_view name;
        std::size_t notes;
        bool (*noted)(const std::string&);  // texts that the notes are about
    };
    const auto none = [](const std::string&) { return false; };
    const auto not_composed = [](const std::string& t) { return text::unicode_form_step{}.normalize(t) != t; };
    const auto mistral = [](const std::string& t) {
        for (const char* token : {"<s>", "</s>", "<unk>", "[INST]"})
            if (t.find(token) != t.npos) return true;
        return t.starts_with(' ') || t.starts_with(text::blank_mark);
    };
    const line lines[] = {{"qwen2", 1, not_composed},
                          {"neox", 1, not_composed},
                          {"deepseek-v3", 0, none},
                          {"falcon", 0, none},
                          {"llama-2", 2, [](const std::string& t) { return t.find("<s>") != t.npos; }},
                          {"mistral", 2, mistral},
                          {"gemma", 1, none},
                          {"phi-3", 2, [](const std::string& t) { return t.find("<|end|>") != t.npos; }}};
    for (const line& l : lines) {
        CAPTURE(l.name);
        const text::tokenizer json = text::read_tokenizer(std::filesystem::path(json_file(l.name)));
        const written file(l.name);
        const text::tokenizer gguf = file.read();
        CHECK(gguf.size() == json.size() + 3);
        if (json.bos() >= 0) CHECK(gguf.bos() == json.bos());
        CHECK(gguf.add_bos() == json.add_bos());
        CHECK(gguf.add_eos() == json.add_eos());
        CHECK(file.notes.size() == l.notes);
        std::size_t compared = 0, noted = 0;
        for (const std::string& t : texts_of(l.name)) {
            if (l.noted(t)) {
                ++noted;
                continue;
            }
            CAPTURE(t);
            const text::encode_options options{.parse_special = true, .add_bos = json.add_bos(), .add_eos = json.add_eos()};
            CHECK(gguf.encode(t, options) == json.encode(t, options));
            ++compared;
        }
        CHECK(compared > noted);
        CHECK(compared + noted > 50);
    }
}

TEST_CASE("tokenizers that GGUF has no form for are refused by what they do") {
    const auto refuse = [](std::string_view name, std::string_view part) {
        CAPTURE(name);
        check_error([&] { written{name}; }, errc::unsupported, "tokenizer.json", {"cannot be written as GGUF", part});
    };
    refuse("t5", "its model is no BPE");
    refuse("bert", "its model is no BPE");
    refuse("clip", "where words go on or end");
    refuse("unknown", "without tokens for bytes");
    refuse("roberta", "no name for its pre-tokenizer");
    refuse("behaviours", "no name for its pre-tokenizer");
    check_error([] { written("qwen2", static_cast<std::size_t>(-1)); }, errc::bad_file, "tokenizer.json",
                {"the vocabulary has 601 tokens; the model has embeddings of 600"});
}
