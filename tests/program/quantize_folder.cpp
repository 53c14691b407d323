// SPDX-License-Identifier: MIT
// quantize of Hugging Face folders: the GGUF file gives the folder's logits, tokens and conversations.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"
#include "support/npy.hpp"
#include "support/text_folder.hpp"

using namespace skald;
using namespace skald::test;
namespace fs = std::filesystem;

namespace {

struct converted {
    temporary_folder folder;

    std::string path(const char* name) const { return (folder.path() / name).string(); }
    outcome quantize(const fs::path& in, const std::string& out, const char* type) const {
        return skald_program(folder, {"quantize", in.string(), out, "--type", type, "-q"});
    }
    std::vector<float> logits(const fs::path& model, const std::string& tokens) const {
        const std::string file = folder.write("ids.json", std::as_bytes(std::span(tokens))).string(), out = path("logits.npy");
        const outcome o = skald_program(folder, {"logits", model.string(), "--tokens", file, "--compute", "exact", "--out", out});
        CAPTURE(o.err);
        REQUIRE(o.status == 0);
        return read_npy(out).values;
    }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The largest difference in units of the first's standard deviation.
double worst(const std::vector<float>& a, const std::vector<float>& b) {
    double square = 0, most = a.size() == b.size() ? 0 : 1e9;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
        square += static_cast<double>(a[i]) * a[i] / static_cast<double>(a.size());
        most = std::max<double>(most, std::abs(a[i] - b[i]));
    }
    return most / std::sqrt(square);
}

nlohmann::json read(const fs::path& file) {
    std::ifstream in(file);
    return nlohmann::json::parse(in);
}

/// A copy of a fixture with another value in its config.
fs::path changed(const temporary_folder& folder, const fs::path& fixture, const char* key, const nlohmann::json& value) {
    const fs::path out = folder.path() / "changed";
    fs::remove_all(out);
    fs::copy(fixture, out, fs::copy_options::recursive);
    nlohmann::json config = read(out / "config.json");
    config[key] = value;
    std::ofstream(out / "config.json") << config.dump();
    return out;
}

}  // namespace

// Queries and keys of the llama architecture turn in pairs in GGUF files and in halves in folders, so the products of a head are summed in
// another order; phi3's magnitude is a float in GGUF and a double in folders. Everything else is the same to the last bit.
TEST_CASE("a Hugging Face folder written as F32 gives the folder's logits") {
    const converted f;
    const std::string out = f.path("out.gguf");
    std::size_t folders = 0;
    for (const auto& entry : fs::directory_iterator(SKALD_TEST_DATA)) {
        if (!entry.path().filename().string().starts_with("hf-")) continue;
        CAPTURE(entry.path().string());
        const std::string kind = read(entry.path() / "config.json")["model_type"].get<std::string>();
        const bool scaled = kind == "gemma2" || entry.path().filename() == "hf-gemma3";
        // Their config.json scales scores otherwise than by the width of a head.
        const fs::path in = scaled ? changed(f.folder, entry.path(), "query_pre_attn_scalar", 16) : entry.path();
        const outcome o = f.quantize(in, out, "F32");
        CAPTURE(o.err);
        REQUIRE(o.status == 0);
        const std::string tokens = read(entry.path() / "expected.json")["tokens"].dump();
        const std::vector<float> before = f.logits(in, tokens), after = f.logits(out, tokens);
        const bool turns = kind == "llama" || kind == "mistral" || kind == "mixtral" || kind == "phi3";
        if (turns) CHECK(worst(before, after) < 1e-5);
        CHECK((turns || same_bits(before, after)));
        ++folders;
    }
    CHECK(folders >= 14);
}

TEST_CASE("a folder in a smaller format is its F32 file in that format") {
    const converted f;
    const fs::path data = SKALD_TEST_DATA;
    for (const char* name : {"hf-llama", "hf-gpt2", "hf-phi3", "hf-qwen3moe"})
        for (const char* type : {"F16", "BF16", "Q8_0", "Q4_0"}) {
            CAPTURE(name, type);
            const std::string tokens = read(data / name / "expected.json")["tokens"].dump();
            const std::string whole = f.path("f32.gguf"), twice = f.path("twice.gguf"), once = f.path("once.gguf");
            REQUIRE(f.quantize(data / name, whole, "F32").status == 0);
            REQUIRE(f.quantize(whole, twice, type).status == 0);
            REQUIRE(f.quantize(data / name, once, type).status == 0);
            CHECK(read_text(once) == read_text(twice));
        }
}

TEST_CASE("the tokenizer of a folder, its chat template and its ends go along") {
    const converted f;
    const std::string source = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}";
    const text_folder in(source);
    const std::string out = f.path("out.gguf");
    const outcome o = f.quantize(in.path(), out, "F16");
    CAPTURE(o.err);
    REQUIRE(o.status == 0);
    CHECK(o.err.empty());
    for (const char* text : {"a quick <brown> fox.", "<|im_start|>user\nhello<|im_end|>", "<done> ", ""}) {
        CAPTURE(text);
        CHECK(skald_program(f.folder, {"tokenize", out, "--special"}, text).out ==
              skald_program(f.folder, {"tokenize", in.path().string(), "--special"}, text).out);
    }
    const nlohmann::json keys = nlohmann::json::parse(skald_program(f.folder, {"inspect", out, "--json"}).out)["metadata"];
    CHECK(keys["general.architecture"] == "qwen3");
    CHECK(keys["tokenizer.ggml.eom_token_id"] == text_folder::done);  // neither a name nor the tokenizer says so
    CHECK(keys["tokenizer.chat_template"] == source);
    CHECK(keys["qwen3.vocab_size"] == text_folder::padded);
}

TEST_CASE("what GGUF cannot tell of a folder is refused by name") {
    const converted f;
    const fs::path data = SKALD_TEST_DATA;
    const std::string out = f.path("out.gguf");
    const auto refused = [&](const fs::path& in, std::string_view part) {
        const outcome o = f.quantize(in, out, "F32");
        CAPTURE(o.err);
        CHECK(o.one_error_line(part));
        CHECK(!fs::exists(out));
    };
    refused(data / "hf-gemma2", "attention scores are multiplied by 0.20412415 and not by 0.25");
    refused(changed(f.folder, data / "hf-qwen3", "rope_parameters",
                    {{"rope_type", "llama3"},
                     {"rope_theta", 500.0},
                     {"factor", 8.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0},
                     {"original_max_position_embeddings", 32}}),
            "the rope scaling is llama3, which GGUF files of the architecture 'qwen3' cannot tell");
    refused(changed(f.folder, data / "hf-qwen3", "model_type", "mamba"), "the model_type 'mamba' is not known");
    refused(data / "tokenizer", "is no Hugging Face folder: it has no config.json");
    fs::copy_file(data / "tokenizer/json/t5.json", changed(f.folder, data / "hf-qwen3", "vocab_size", 96) / "tokenizer.json");
    refused(f.folder.path() / "changed", "the vocabulary has 482 tokens; the model has embeddings of 96");
}
