// SPDX-License-Identifier: MIT
// config.json and generation_config.json: old and new spellings mean the same, transformers' defaults hold, and what cannot be is refused
// by file, key and value.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <skald/model/generation_defaults.hpp>
#include <skald/model/hf_source.hpp>

#include "io/refusal.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// A config of sizes that fit each other, and then `more`, which may say them again.
hf_config config(std::string_view type, std::string_view more = {}) {
    const std::string text =
        concat(R"({"model_type":")", type, R"(","hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,"num_hidden_layers":4,)",
               R"("intermediate_size":96,"vocab_size":100,"max_position_embeddings":512)", more.empty() ? "" : ",", more, "}");
    return read_hf_config(io::read_json(text, "config.json"), "config.json");
}

void check_config(std::string_view type, std::string_view more, std::initializer_list<std::string_view> parts, errc code = errc::bad_file) {
    CAPTURE(std::string(more));
    check_error([&] { config(type, more); }, code, "config.json", parts);
}

const rope_config& rope_of(const hf_config& c, std::size_t layer = 0) { return c.config.attention_kinds[c.config.kind_of(layer)].rope; }
std::size_t window_of(const hf_config& c, std::size_t layer) { return c.config.attention_kinds[c.config.kind_of(layer)].window; }

std::string contents(const std::filesystem::path& path) {
    std::ostringstream out;
    out << std::ifstream(path, std::ios::binary).rdbuf();
    return out.str();
}

}  // namespace

TEST_CASE("Sizes are as config.json says, or as transformers has them", "[hf]") {
    CHECK(config("llama").config.head_dim == 16);
    CHECK(config("llama", R"("head_dim":24)").config.head_dim == 24);
    CHECK(config("llama", R"("head_dim":null)").config.head_dim == 16);
    CHECK(config("qwen3").config.head_dim == 128);
    CHECK(config("llama", R"("num_key_value_heads":null)").config.kv_heads == 4);
    CHECK_FALSE(config("llama").tied);
    CHECK(config("gemma2").tied);
    CHECK(config("llama", R"("tie_word_embeddings":true)").tied);
    CHECK(config("llama").config.norm_eps == 1e-6f);
    CHECK(config("mixtral").config.experts.count == 8);
    CHECK(config("mixtral").config.experts.feed_forward == 96);
    CHECK_FALSE(config("qwen3_moe").config.experts.normalized);
    CHECK(config("qwen3_moe", R"("num_experts":6,"num_experts_per_tok":2)").config.experts.count == 6);
    CHECK(config("gemma2").config.attention_soft_cap == 50.0f);
    CHECK(config("gemma2", R"("attn_logit_softcapping":null)").config.attention_soft_cap == 0.0f);
    CHECK(config("gemma3_text").config.logit_soft_cap == 0.0f);
    const auto gpt2 = read_hf_config(io::read_json(R"({"model_type":"gpt2","n_embd":48,"n_inner":null})", "c"), "c");
    CHECK(gpt2.config.feed_forward == 192);
    CHECK(gpt2.config.context == 1024);
    CHECK(gpt2.config.layers == 12);
    const auto nested =
        read_hf_config(io::read_json(R"({"model_type":"gemma3","text_config":{"model_type":"gemma3_text","hidden_size":320}})", "c"), "c");
    CHECK(nested.config.hidden == 320);
    CHECK(nested.config.vocabulary == 262208);
}

TEST_CASE("Old and new spellings of a rope mean the same", "[hf]") {
    CHECK(rope_of(config("llama")).base == 10000.0);
    CHECK(rope_of(config("mixtral")).base == 1e6);
    CHECK(rope_of(config("llama", R"("rope_theta":500000.0,"rope_scaling":null)")).base == 500000.0);
    for (const char* text : {R"("rope_theta":300,"rope_scaling":{"type":"linear","factor":4})",
                             R"("rope_theta":300,"rope_scaling":{"rope_type":"linear","factor":4.0})",
                             R"("rope_parameters":{"rope_type":"linear","factor":4.0,"rope_theta":300.0})"}) {
        const rope_config rope = rope_of(config("llama", text));
        CHECK(rope.scaling == rope_scaling::linear);
        CHECK(rope.factor == 4.0);
        CHECK(rope.base == 300.0);
    }
    const rope_config llama3 = rope_of(config("llama", R"("rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,)"
                                                       R"("high_freq_factor":4,"original_max_position_embeddings":128})"));
    CHECK(llama3.scaling == rope_scaling::llama3);
    CHECK(llama3.original_context == 128);
    CHECK(rope_of(config("qwen2", R"("rope_scaling":{"type":"yarn","factor":4.0})")).original_context == 512);
    CHECK(rope_of(config("qwen2", R"("rope_scaling":{"type":"yarn","factor":4.0,"attention_factor":1.5})")).magnitude == 1.5);
    CHECK(rope_of(config("phi3", R"("partial_rotary_factor":0.5)")).dims == 8);
    std::string ones = "[1";
    for (int i = 1; i < 8; ++i) ones += ",1";
    for (const char* name : {"su", "yarn", "longrope"}) {
        const rope_config rope = rope_of(config("phi3", concat(R"("original_max_position_embeddings":128,"rope_scaling":{"type":")", name,
                                                               R"(","short_factor":)", ones, R"(],"long_factor":)", ones, "]}")));
        CHECK(rope.scaling == rope_scaling::longrope);
        CHECK(rope.original_context == 128);
        CHECK(rope.magnitude == longrope_magnitude(4.0, 128.0));
    }
    for (const char* text :
         {R"("rope_theta":1e6,"rope_local_base_freq":7000.0,"rope_scaling":{"rope_type":"linear","factor":8.0})",
          R"("rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0},"sliding_attention":{"rope_theta":7000.0}})"}) {
        const hf_config gemma = config("gemma3_text", concat(R"("layer_types":["sliding_attention","full_attention","full_attention",)"
                                                             R"("sliding_attention"],)",
                                                             text));
        CHECK(rope_of(gemma, 0).base == 7000.0);
        CHECK(rope_of(gemma, 0).scaling == rope_scaling::none);
        CHECK(rope_of(gemma, 1).base == 1e6);
        CHECK(rope_of(gemma, 1).factor == 8.0);
    }
}

TEST_CASE("Windows hold for the layers that the family gives them", "[hf]") {
    const auto windows = [](const hf_config& c) {
        std::vector<std::size_t> out;
        for (std::size_t i = 0; i < c.config.layers; ++i) out.push_back(window_of(c, i));
        return out;
    };
    using sizes = std::vector<std::size_t>;
    CHECK(windows(config("llama", R"("sliding_window":8)")) == sizes{0, 0, 0, 0});
    CHECK(windows(config("mistral")) == sizes{4096, 4096, 4096, 4096});
    CHECK(windows(config("mistral", R"("sliding_window":null)")) == sizes{0, 0, 0, 0});
    CHECK(windows(config("mistral", R"("sliding_window":8)")) == sizes{8, 8, 8, 8});
    CHECK(windows(config("qwen2", R"("sliding_window":8)")) == sizes{0, 0, 0, 0});
    CHECK(windows(config("qwen2", R"("sliding_window":8,"use_sliding_window":true,"max_window_layers":3)")) == sizes{0, 0, 0, 8});
    CHECK(windows(config("qwen3_moe", R"("sliding_window":8,"use_sliding_window":true)")) == sizes{8, 8, 8, 8});
    CHECK(windows(config("gemma2", R"("sliding_window":8)")) == sizes{8, 0, 8, 0});
    CHECK(windows(config("gemma3_text", R"("sliding_window":8,"sliding_window_pattern":3)")) == sizes{8, 8, 0, 8});
}

TEST_CASE("A config.json that no model can have is refused by key and value", "[hf]") {
    check_config("what", "", {"'what'", "llama", "gpt2"}, errc::unsupported);
    check_error([] { read_hf_config(io::read_json("{}", "c"), "c"); }, errc::bad_file, "c", {"'model_type' is missing"});
    check_error([] { read_hf_config(io::read_json("[]", "c"), "c"); }, errc::bad_file, "c", {"not an object"});
    check_config("llama", R"("hidden_size":-64)", {"'hidden_size' is -64"});
    check_config("llama", R"("hidden_size":1e30)", {"'hidden_size'"});
    check_config("llama", R"("hidden_size":"64")", {"'hidden_size' is '64'"});
    check_config("llama", R"("hidden_size":65)", {"65", "no multiple", "4"});
    check_config("llama", R"("num_attention_heads":0)", {"0"});
    check_config("llama", R"("num_key_value_heads":3)", {"3", "does not divide"});
    check_config("llama", R"("num_hidden_layers":4294967295)", {"layers", "4294967295"});
    check_config("llama", R"("rms_norm_eps":-1)", {"epsilon", "-1"});
    check_config("llama", R"("rope_theta":0)", {"rope base", "0"});
    check_config("llama", R"("rope_scaling":[])", {"'rope_scaling'", "not an object"});
    check_config("llama", R"("rope_scaling":{"type":"linear"})", {"'rope_scaling.factor' is missing"});
    check_config("llama", R"("rope_scaling":{"type":"linear","factor":0})", {"factor", "0"});
    check_config("llama", R"("rope_scaling":{"type":"dynamic","factor":2})", {"'dynamic'", "yarn"}, errc::unsupported);
    check_config("llama", R"("rope_parameters":{"rope_type":"yarn","factor":2,"original_max_position_embeddings":0})",
                 {"original context", "0"});
    check_config("llama", R"("partial_rotary_factor":2.0)", {"partial_rotary_factor", "2"});
    check_config("phi3", R"("rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[1]})", {"1", "8"});
    check_config("phi3", R"("rope_scaling":{"type":"longrope","short_factor":["1"],"long_factor":[1]})",
                 {"'rope_scaling.short_factor'", "element 0"});
    check_config("mistral", R"("sliding_window":0)", {"'sliding_window' is 0"});
    check_config("mistral", R"("sliding_window":-1)", {"'sliding_window' is -1"});
    check_config("qwen2", R"("use_sliding_window":true,"layer_types":["full_attention"])", {"'layer_types'", "1 elements for 4"});
    check_config("qwen2", R"("use_sliding_window":true,"layer_types":["a","b","c","d"])", {"'layer_types'", "'a'"}, errc::unsupported);
    check_config("mixtral", R"("num_local_experts":0)", {"experts", "0"});
    check_config("mixtral", R"("num_experts_per_tok":9)", {"9", "8"});
    check_config("llama", R"("hidden_act":"relu")", {"'hidden_act' is 'relu'", "silu"}, errc::unsupported);
    check_config("gemma2", R"("hidden_activation":"gelu")", {"'hidden_activation' is 'gelu'"}, errc::unsupported);
    check_config("gemma2", R"("query_pre_attn_scalar":0)", {"scale"});
    check_config("qwen3_moe", R"("mlp_only_layers":[1])", {"some layers have experts"}, errc::unsupported);
    check_config("llama", R"("quantization_config":{"quant_method":"gptq"})", {"'gptq'", "GGUF"}, errc::unsupported);
}

TEST_CASE("A folder whose weights do not fit its config is refused by tensor", "[hf]") {
    const std::filesystem::path good = std::filesystem::path(SKALD_TEST_DATA) / "hf-llama";
    const std::string weights = contents(good / "model.safetensors"), json = contents(good / "config.json");
    const temporary_folder folder;
    const auto refused = [&](const std::string& from, const std::string& to, bool in_config, std::initializer_list<std::string_view> parts,
                             errc code = errc::bad_file) {
        std::string config_text = json, weights_text = weights;
        std::string& text = in_config ? config_text : weights_text;
        REQUIRE(text.find(from) != std::string::npos);
        text.replace(text.find(from), from.size(), to);
        folder.write("config.json", std::as_bytes(std::span(config_text)));
        folder.write("model.safetensors", std::as_bytes(std::span(weights_text)));
        CAPTURE(from);
        check_error([&] { read_source(io::hf_folder::open(folder.path())); }, code, folder.path().string(), parts);
    };
    refused("model.norm.weight", "model.nodm.weight", false, {"'model.nodm.weight' is not part of", "'llama'"});
    refused("model.norm.weight", "layer.norm.weight", false, {"'layer.norm.weight' is not part of"});
    refused("layers.1.mlp.up_proj", "layers.7.mlp.up_proj", false, {"layer 7", "2 layers"});
    refused("layers.1.mlp.up_proj", "layers.0.mlp.up_proj", false, {"'model.layers.0.mlp.up_proj.weight' stands twice"});
    refused("\"model.layers.1.input_layernorm.weight\"", "\"layers.0.input_layernorm.weight\"      ", false, {"stands for the same"});
    refused("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", true, {"'layers.2.", "is missing"});
    refused("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 60000", true, {"60000", "tensors in all"});
    refused("\"vocab_size\": 96", "\"vocab_size\": 97", true, {"96 × 32", "97 × 32"});
    refused("\"intermediate_size\": 48", "\"intermediate_size\": 47", true, {"47"});
    refused("\"model_type\": \"llama\"", "\"model_type\": \"qwen3\"", true, {"'layers.0.self_attn.q_norm.weight' is missing"});
    refused("\"BF16\"", "\"I16\" ", false, {"i16", "cannot compute"}, errc::unsupported);
    refused("\"BF16\"", "\"U16\" ", false, {"U16", "cannot compute"}, errc::unsupported);
    std::filesystem::remove(folder.path() / "model.safetensors");
    check_error([&] { read_source(io::hf_folder::open(folder.path())); }, errc::io, folder.path().string(), {"neither model.safetensors"});
    folder.write("pytorch_model.bin", {});
    check_error([&] { read_source(io::hf_folder::open(folder.path())); }, errc::unsupported, folder.path().string(), {"pytorch_model.bin"});
    std::filesystem::remove(folder.path() / "config.json");
    check_error([&] { read_source(io::hf_folder::open(folder.path())); }, errc::io, folder.path().string(), {"no config.json"});
    check_error([&] { io::hf_folder::open(folder.path() / "absent"); }, errc::io, folder.path().string(), {"cannot be opened"});
}

TEST_CASE("A gain of two dimensions is converted whole", "[hf]") {
    const std::filesystem::path good = std::filesystem::path(SKALD_TEST_DATA) / "hf-gemma2";
    std::string weights = contents(good / "model.safetensors");
    const model_source plain = read_source(io::hf_folder::open(good));
    const std::string from = R"("model.norm.weight":{"dtype":"BF16","shape":[32])";
    REQUIRE(weights.find(from) != std::string::npos);
    weights.replace(weights.find(from), from.size(), R"("norm.weight":{"dtype":"BF16","shape":[1,32]    )");
    const temporary_folder folder;
    const std::string config_text = contents(good / "config.json");
    folder.write("config.json", std::as_bytes(std::span(config_text)));
    folder.write("model.safetensors", std::as_bytes(std::span(weights)));
    const model_source other = read_source(io::hf_folder::open(folder.path()));
    const weight_view a = plain.fetch(tensor_role::output_norm), b = other.fetch(tensor_role::output_norm);
    REQUIRE(a.bytes() == 32 * sizeof(float));
    CHECK(std::memcmp(a.data, b.data, a.bytes()) == 0);
}

TEST_CASE("A damaged config.json is read or refused, never worse", "[hf]") {
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::vector<std::string> values{"null",        "-1",   "0",  "1e308", "\"x\"", "[]", "{}", "18446744073709551615",
                                          "[[1,\"a\"]]", "true", "1.5"};
    std::size_t refused = 0, tried = 0;
    for (const char* name : {"hf-llama-old", "hf-phi3", "hf-gemma3", "hf-qwen3moe", "hf-gpt2"}) {
        const nlohmann::json good = io::read_json(std::filesystem::path(SKALD_TEST_DATA) / name / "config.json");
        for (const auto& [key, value] : good.items())
            for (const std::string& other : values) {
                nlohmann::json bad = good;
                bad[key] = nlohmann::json::parse(other);
                if (random() % 2 != 0 && good.contains("rope_parameters") && bad["rope_parameters"].is_object())
                    bad["rope_parameters"]["rope_type"] = std::vector<std::string>{"yarn", "llama3", "linear", "longrope"}[random() % 4];
                ++tried;
                refused += error_of([&] { read_hf_config(bad, "config.json"); }).has_value();
            }
    }
    CHECK(refused > tried / 10);
    CHECK(refused < tried);
}

TEST_CASE("What makers recommend is read from generation_config.json, or from config.json", "[hf]") {
    const temporary_folder folder;
    const auto read = [&](std::string_view generation, std::string_view config_text = "{}") {
        folder.write("config.json", std::as_bytes(std::span(config_text)));
        folder.write("generation_config.json", std::as_bytes(std::span(generation)));
        return read_defaults(io::hf_folder::open(folder.path()));
    };
    const generation_defaults d =
        read(R"({"do_sample":true,"temperature":0.6,"top_k":20,"top_p":0.95,"repetition_penalty":1.05,"eos_token_id":[5,7]})");
    CHECK(d.temperature == 0.6f);
    CHECK(d.top_k == 20);
    CHECK(d.top_p == 0.95f);
    CHECK_FALSE(d.min_p.has_value());
    CHECK(d.repetition_penalty == 1.05f);
    CHECK(d.ends == std::vector<token_id>{5, 7});
    CHECK(d.is_end(7));
    CHECK_FALSE(d.is_end(6));
    CHECK(read("{}", R"({"eos_token_id":3})").ends == std::vector<token_id>{3});
    CHECK(read(R"({"eos_token_id":4})", R"({"eos_token_id":3})").ends == std::vector<token_id>{4});
    CHECK(read("{}", R"({"text_config":{"eos_token_id":[3,9]}})").ends == std::vector<token_id>{3, 9});
    CHECK(read(R"({"do_sample":false,"temperature":0.6})").temperature == 0.0f);
    CHECK(read(R"({"top_k":-1})").top_k == 0);
    const std::string file = (folder.path() / "generation_config.json").string();
    check_error([&] { read(R"({"temperature":-1})"); }, errc::bad_file, file, {"temperature", "-1"});
    check_error([&] { read(R"({"temperature":"hot"})"); }, errc::bad_file, file, {"'temperature' is 'hot'"});
    check_error([&] { read(R"({"top_p":1.5})"); }, errc::bad_file, file, {"top_p", "1.5"});
    check_error([&] { read(R"({"eos_token_id":["a"]})"); }, errc::bad_file, file, {"'eos_token_id'", "element 0", "'a'"});
    check_error([&] { read("{"); }, errc::bad_file, file, {"line 1"});
}
