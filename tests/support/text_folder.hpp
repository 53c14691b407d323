// SPDX-License-Identifier: MIT
#pragma once
// A Hugging Face folder with a tokenizer: the weights of tests/data/hf-qwen3 and a vocabulary that is smaller than the model's, as
// published folders pad theirs.
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/types.hpp>

#include "io/temporary_folder.hpp"

namespace skald::test {

/// Single characters, then the added tokens. `done` ends texts by generation_config.json alone.
class text_folder {
public:
    static constexpr std::string_view characters = "abcdefghijklmnopqrstuvwxyz<>/:_|U.";
    static constexpr token_id start = 36, end = 37, done = 38;
    static constexpr std::size_t vocabulary = 39, padded = 96;

    /// `chat_template` empty: none; `start_name`: what the token that begins a turn is called.
    explicit text_folder(std::string_view chat_template, std::string_view start_name = "<|im_start|>") {
        const std::filesystem::path model = std::filesystem::path(SKALD_TEST_DATA) / "hf-qwen3";
        for (const char* name : {"config.json", "model.safetensors"}) std::filesystem::copy_file(model / name, folder_.path() / name);
        nlohmann::json tokens = {{"\u0120", 34}, {"\u010A", 35}};  // blank and line end, as byte-level vocabularies write them
        for (std::size_t i = 0; i < characters.size(); ++i) tokens[std::string(1, characters[i])] = i;
        nlohmann::json added = nlohmann::json::array();
        const std::vector<std::string> names{std::string(start_name), "<|im_end|>", "<done>"};
        for (std::size_t i = 0; i < names.size(); ++i)
            added.push_back({{"id", 36 + i}, {"content", names[i]}, {"special", true}, {"normalized", false}});
        write("tokenizer.json", {{"added_tokens", added},
                                 {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                                 {"decoder", {{"type", "ByteLevel"}}},
                                 {"model", {{"type", "BPE"}, {"vocab", tokens}, {"merges", nlohmann::json::array()}}}});
        write("generation_config.json", {{"eos_token_id", {end, done, 95}}});
        if (!chat_template.empty()) folder_.write("chat_template.jinja", std::as_bytes(std::span(chat_template)));
    }

    const std::filesystem::path& path() const { return folder_.path(); }

private:
    void write(const char* name, const nlohmann::json& value) const {
        const std::string text = value.dump();
        folder_.write(name, std::as_bytes(std::span(text)));
    }

    temporary_folder folder_;
};

}  // namespace skald::test
