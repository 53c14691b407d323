// SPDX-License-Identifier: MIT
// tokenizer.json files set up as published models' are, against Hugging Face's tokenizers (tests/scripts/make_tokenizer_json.py), and
// files that are damaged.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/text/tokenizer_json.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;
using nlohmann::json;

namespace {

constexpr std::string_view names[] = {"roberta",    "qwen2",   "deepseek-v3", "cl100k", "falcon", "neox",
                                      "behaviours", "llama-2", "mistral",     "gemma",  "phi-3",  "unknown",
                                      "clip",       "bert",    "bert-cased",  "t5",     "albert"};

std::string data_file(std::string_view name, std::string_view ending) {
    return tokenizer_data(std::string("json/").append(name).append(ending));
}

std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

text::tokenizer read(std::string_view text, const json* config = nullptr) {
    const json value = io::read_json(text, "tokenizer.json");
    const io::json_object file(value, "tokenizer.json");
    if (config == nullptr) return text::read_tokenizer(file);
    const io::json_object beside(*config, "tokenizer_config.json");
    return text::read_tokenizer(file, &beside);
}

std::string from_hex(std::string_view hex) {
    std::string out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
    return out;
}

json small() {
    return {{"added_tokens", {{{"id", 3}, {"content", "<s>"}, {"special", true}, {"normalized", false}}}},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}};
}

void refuse(const json& value, errc code, std::initializer_list<std::string_view> parts) {
    const std::string text = value.dump();
    CAPTURE(text);
    check_error([&] { read(text); }, code, "tokenizer.json", parts);
}

}  // namespace

TEST_CASE("ids and texts are those of Hugging Face's tokenizers for every kind of tokenizer.json") {
    for (const std::string_view name : names) {
        const text::tokenizer t = text::read_tokenizer(std::filesystem::path(data_file(name, ".json")));
        std::ifstream in(data_file(name, ".ids"));
        std::string text;
        std::vector<token_id> ids;
        std::size_t checked = 0;
        for (std::string line; std::getline(in, line);) {
            std::istringstream words(line);
            std::string what, hex;
            words >> what;
            if (what == "ids") {
                ids.clear();
                for (token_id id; words >> id;) ids.push_back(id);
                CAPTURE(name, text);
                CHECK(t.encode(text, {.parse_special = true, .add_bos = t.add_bos(), .add_eos = t.add_eos()}) == ids);
                ++checked;
                continue;
            }
            words >> hex;
            if (what == "text") text = from_hex(hex);
            if (what != "decoded") continue;
            CAPTURE(name, text);
            CHECK(t.decode(ids, {.skip_special = true}) == from_hex(hex));
        }
        CHECK(checked > 50);
    }
}

TEST_CASE("special tokens come from trusted segments alone, also where files have them normalized") {
    const text::tokenizer t = text::read_tokenizer(std::filesystem::path(data_file("llama-2", ".json")));
    const token_id bos = t.find("<s>");
    CHECK(t.bos() == bos);
    const std::vector<text::text_segment> segments{{"<s>", true}, {"a <s> b", false}, {"<s>", true}};
    const auto ids = t.encode(segments);
    CHECK(std::count(ids.begin(), ids.end(), bos) == 2);
    CHECK(std::count(ids.begin(), ids.end(), t.find("</s>")) == 0);
}

TEST_CASE("a token stands for text with its blanks and bytes, and is found by it") {
    const text::tokenizer t = text::read_tokenizer(std::filesystem::path(data_file("llama-2", ".json")));
    const token_id newline = t.find("\n"), the = t.find(" the");
    REQUIRE(newline >= 0);
    REQUIRE(the >= 0);
    CHECK(t.piece(newline) == "\n");
    CHECK(t.tokens().piece(newline) == "<0x0A>");
    CHECK(t.piece(the) == " the");
    CHECK(t.decode(t.encode("the \xE2\x9C")) == "the \xE2\x9C");
}

TEST_CASE("tokenizer_config.json names the special tokens and adds what tokenizer.json lacks") {
    json config = {{"bos_token", {{"content", "<s>"}}},
                   {"eos_token", "<e>"},
                   {"add_bos_token", true},
                   {"added_tokens_decoder", {{"4", {{"content", "<e>"}, {"special", true}, {"normalized", false}}}}}};
    const text::tokenizer t = read(small().dump(), &config);
    CHECK(t.bos() == 3);
    CHECK(t.eos() == 4);
    CHECK(t.encode("ab<e>", {.parse_special = true, .add_bos = t.add_bos()}) == std::vector<token_id>{3, 2, 4});
    config["added_tokens_decoder"] = {{"x", {{"content", "<e>"}}}};
    check_error([&] { read(small().dump(), &config); }, errc::bad_file, "tokenizer_config.json", {"'added_tokens_decoder.x'"});
}

TEST_CASE("parts that are not known are unsupported, with their key and type") {
    const auto with = [](std::string_view key, const json& value) {
        json j = small();
        j[json::json_pointer(std::string(key))] = value;
        return j;
    };
    refuse(with("/normalizer", {{"type", "Nmt"}}), errc::unsupported, {"'normalizer.type'", "'Nmt'"});
    refuse(with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "New"}}}}}), errc::unsupported,
           {"'pre_tokenizer.pretokenizers[0].type'", "'New'"});
    refuse(with("/decoder", {{"type", "CTC"}}), errc::unsupported, {"'decoder.type'", "'CTC'"});
    refuse(with("/post_processor", {{"type", "Other"}}), errc::unsupported, {"'post_processor.type'"});
    refuse(with("/model/type", "Neural"), errc::unsupported, {"'model.type'", "'Neural'"});
    refuse(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "a(?#b)"}}}}), errc::unsupported, {"'a(?#b)'", "offset 2"});
    refuse(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "a("}}}}), errc::bad_file, {"'a('"});
}

TEST_CASE("vocabularies that contradict themselves are refused") {
    const auto with = [](std::string_view key, const json& value) {
        json j = small();
        j[json::json_pointer(std::string(key))] = value;
        return j;
    };
    refuse(with("/model/vocab/b", 0), errc::bad_file, {"'model.vocab'", "the same id 0"});
    refuse(with("/model/vocab/b", -1), errc::bad_file, {"'b'", "-1"});
    refuse(with("/model/vocab/b", 100000), errc::bad_file, {"'b'", "100000", "3 tokens"});
    refuse(with("/model/vocab/b", 1.5), errc::bad_file, {"'model.vocab.b'", "1.5"});
    refuse(with("/model/vocab", json::object()), errc::bad_file, {"key 'model.merges'"});
    refuse(with("/model/merges", json::array({"ab"})), errc::bad_file, {"element 0 is 'ab'"});
    refuse(with("/model/merges", json::array({json::array({"a", "z"})})), errc::bad_file, {"'model.merges'", "no token 'z'"});
    refuse(with("/model/merges", {"b a"}), errc::bad_file, {"the two together"});
    refuse(with("/model/merges", {7}), errc::bad_file, {"element 0 is 7"});
    refuse(with("/added_tokens/0/id", 1), errc::bad_file, {"'added_tokens[0].id'", "'b' and '<s>'"});
    refuse(with("/added_tokens/0/content", 1), errc::bad_file, {"'added_tokens[0].content'"});
    refuse(with("/post_processor", {{"type", "BertProcessing"}, {"sep", {"x", 99}}, {"cls", {"y", 1}}}), errc::bad_file, {"99"});
    refuse({{"model", {{"type", "Unigram"}, {"unk_id", 5}, {"vocab", json::array({json::array({"a", 0.0})})}}}}, errc::bad_file,
           {"'model.unk_id'", "5"});
    refuse({{"model", {{"type", "Unigram"}, {"vocab", json::array({json::array({"a", "b"})})}}}}, errc::bad_file,
           {"'model.vocab'", "element 0"});
    refuse({{"model", {{"type", "WordPiece"}, {"unk_token", "x"}, {"vocab", {{"a", 0}}}}}}, errc::bad_file, {"'model.unk_token'"});
    refuse({{"added_tokens", json::array()}}, errc::bad_file, {"'model' is missing"});
}

TEST_CASE("a tokenizer.json that is cut short or changed is refused with an error, or gives a tokenizer that works") {
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    int refused = 0;
    for (const std::string_view name : names) {
        const std::string whole = contents(data_file(name, ".json"));
        REQUIRE(whole.size() > 5000);
        for (int round = 0; round < 40; ++round) {
            std::string bytes = whole;
            if (round % 4 == 0) {
                bytes.resize(random() % bytes.size());
            } else {
                const std::size_t among = round % 2 == 0 ? bytes.size() : 2500;  // the steps stand before the vocabulary
                for (auto flips = 1 + random() % 3; flips > 0; --flips) bytes[random() % among] = "09ax{}[]\",:-\\e"[random() % 14];
            }
            CAPTURE(name, round);
            try {
                const text::tokenizer t = read(bytes);
                for (const token_id id : t.encode(random_text(random, 60, false), {.parse_special = true}))
                    REQUIRE(t.tokens().contains(id));
            } catch (const error&) {
                ++refused;
            }
        }
    }
    CHECK(refused > 100);
}
