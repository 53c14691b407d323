// SPDX-License-Identifier: MIT
// inspect, plan, perplexity and bench: their JSON, and what it says.
#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include <skald/kv/spec.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"
#include "support/npy.hpp"

using namespace skald;
using namespace skald::test;
using nlohmann::json;

namespace {

json parsed(const outcome& o) {
    CAPTURE(o.out, o.err);
    REQUIRE(o.status == 0);
    CHECK(o.err.empty());
    return json::parse(o.out);
}

}  // namespace

TEST_CASE("inspect tells architecture, hyperparameters, metadata and tensors") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama-quant.gguf");
    const json j = parsed(skald_program(folder, {"inspect", model, "--json"}));
    CHECK(j["architecture"] == "llama");
    CHECK(j["metadata"]["general.architecture"] == "llama");
    CHECK(j["hyperparameters"]["attention.head_count"].is_number_unsigned());
    CHECK(j["tensors"].size() > 10);
    std::size_t bytes = 0;
    for (const json& t : j["tensors"]) {
        CHECK(t["name"].is_string());
        CHECK(t["shape"].is_array());
        bytes += t["bytes"].get<std::size_t>();
    }
    CHECK(bytes < std::filesystem::file_size(model));

    const outcome text = skald_program(folder, {"inspect", model});
    CHECK(text.status == 0);
    CHECK(text.out.find("blk.0.attn_q.weight") != std::string::npos);
    CHECK(text.out.find("Q8_0") != std::string::npos);
    CHECK(text.out.find('\x1b') == std::string::npos);
}

TEST_CASE("inspect tells the same of a Hugging Face folder") {
    const temporary_folder folder;
    const std::string model = data_file("hf-llama-old");
    const json j = parsed(skald_program(folder, {"inspect", model, "--json"}));
    CHECK(j["format"] == "safetensors");
    CHECK(j["files"] == 5);
    CHECK(j["architecture"] == "llama");
    CHECK(j["hyperparameters"]["num_attention_heads"] == 4);
    CHECK(j["sampling"]["ends"] == json::array({2}));
    CHECK(j["metadata"]["format"] == "pt");
    CHECK(j["parameters"].get<std::size_t>() > 96 * 32);

    const outcome text = skald_program(folder, {"inspect", model + "/model-00001-of-00005.safetensors"});
    CHECK(text.status == 0);
    CHECK(text.out.find("model.layers.1.self_attn.q_proj.weight") != std::string::npos);
    CHECK(text.out.find("in 5 files") != std::string::npos);

    const std::string out = (folder.path() / "norm.npy").string();
    CHECK(skald_program(folder, {"tensor", model, "model.norm.weight", "--out", out}).status == 0);
    CHECK(read_npy(out).shape == std::vector<std::size_t>{32});
    const outcome absent = skald_program(folder, {"tensor", model, "no.such.tensor", "--out", out});
    CHECK(absent.status == 1);
    CHECK(absent.err.find("no.such.tensor") != std::string::npos);
}

TEST_CASE("plan adds up, and grows with the context and the cache's codec") {
    const temporary_folder folder;
    const auto plan = [&](const char* context, const char* kv) {
        return parsed(skald_program(folder, {"plan", data_file("tiny-llama.gguf"), "--ctx", context, "--kv", kv, "--json"}));
    };
    const json small = plan("256", "contiguous:f16"), long_ = plan("512", "contiguous:f16"), wide = plan("256", "contiguous:f32");
    CHECK(small["total"] == small["weights"].get<std::size_t>() + small["tokenizer"].get<std::size_t>() +
                                small["cache"].get<std::size_t>() + small["workspace"].get<std::size_t>());
    CHECK(small["weights"].get<std::size_t>() >= 4 * 48 * 320);
    // 2 layers × 2 × 2 heads × 16 values (8, padded) × 2 bytes a token.
    CHECK(long_["cache"].get<std::size_t>() - small["cache"].get<std::size_t>() == 256 * 256);
    CHECK(wide["cache"].get<std::size_t>() - small["cache"].get<std::size_t>() == 256 * 256);
    CHECK(small["tokenizer"].get<std::size_t>() > 0);

    const auto cut = [&](const char* bytes) {
        return skald_program(
            folder, {"plan", data_file("tiny-llama.gguf"), "--ctx", "100000000", "--kv", "paged:f16", "--kv-budget", bytes, "--json"});
    };
    const std::size_t cache = parsed(cut("1M"))["cache"].get<std::size_t>();
    CHECK(cache <= 1 << 20);
    CHECK(cache > (1 << 20) - 2 * 16 * 256);  // less than two blocks are unused
    CHECK(cut("100").status == 1);
    CHECK(cut("100").err.find("the budget is 100") != std::string::npos);

    const outcome text = skald_program(folder, {"plan", data_file("tiny-llama.gguf"), "--ctx", "256"});
    for (const char* word : {"weights", "tokenizer", "cache", "workspace", "total"}) CHECK(text.out.find(word) != std::string::npos);
}

TEST_CASE("a random model's perplexity is about its vocabulary, and it equals itself") {
    const temporary_folder folder;
    std::string text;
    for (int i = 0; i < 60; ++i) text += "the ship is about the as, größe! ";
    const std::string file = folder.write("text", std::as_bytes(std::span(text))).string();
    const std::string model = data_file("tiny-llama.gguf");
    const json j = parsed(skald_program(folder, {"perplexity", model, "-f", file, "--ctx", "64", "--json", "--reference", model}));
    CHECK(j["perplexity"].get<double>() > 100);
    CHECK(j["perplexity"].get<double>() < 3000);
    CHECK(j["tokens"].get<std::size_t>() % 31 == 0);  // 64 / 2 - 1 of every window
    CHECK(j["kl"] == 0.0);
    CHECK(j["top1"] == 1.0);

    const json half = parsed(
        skald_program(folder, {"perplexity", model, "-f", file, "--ctx", "64", "--json", "--reference", model, "--kv", "paged:bf16"}));
    CHECK(half["kl"].get<double>() > 0.0);
    CHECK(half["kl"].get<double>() < 0.01);
    CHECK(half["tokens"] == j["tokens"]);

    const json alone = parsed(skald_program(folder, {"perplexity", model, "-f", file, "--ctx", "2048", "--json"}));
    CHECK_FALSE(alone.contains("kl"));
    CHECK(skald_program(folder, {"perplexity", model, "-f", "-"}, "a").one_error_line("at least"));
}

TEST_CASE("perplexity is that of the logits") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf");
    const std::string text = "the ship is about the as and as about";
    const std::string ids = skald_program(folder, {"tokenize", model}, text).out;
    std::string list = "[[" + ids.substr(0, ids.size() - 1) + "]]";
    std::replace(list.begin(), list.end(), ' ', ',');
    const std::string tokens = folder.write("ids.json", std::as_bytes(std::span(list))).string();
    const std::string out = (folder.path() / "l.npy").string();
    REQUIRE(skald_program(folder, {"logits", model, "--tokens", tokens, "--out", out}).status == 0);
    const npy logits = read_npy(out);
    const auto id = json::parse(list)[0].get<std::vector<std::size_t>>();
    const std::size_t n = id.size(), vocabulary = logits.shape[2];
    double sum = 0;
    for (std::size_t i = n / 2; i + 1 < n; ++i) {
        const float* row = logits.values.data() + i * vocabulary;
        double total = 0;
        for (std::size_t v = 0; v < vocabulary; ++v) total += std::exp(static_cast<double>(row[v]));
        sum += std::log(total) - row[id[i + 1]];
    }
    const json j = parsed(skald_program(folder, {"perplexity", model, "-f", "-", "--json"}, text));
    CHECK(j["tokens"] == n - 1 - n / 2);
    CHECK(j["perplexity"].get<double>() == Approx(std::exp(sum / static_cast<double>(n - 1 - n / 2))).epsilon(1e-9));
}

TEST_CASE("bench reports every test and number of threads") {
    const temporary_folder folder;
    const json j = parsed(skald_program(folder, {"bench", data_file("tiny-llama.gguf"), "-p", "32", "-n", "4", "-t", "1,2", "--json"}));
    REQUIRE(j.size() == 4);
    const std::vector<std::pair<std::string, int>> expected{{"pp32", 1}, {"tg4", 1}, {"pp32", 2}, {"tg4", 2}};
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(j[i]["test"] == expected[i].first);
        CHECK(j[i]["threads"] == expected[i].second);
        for (const char* number : {"tok_s", "read_gb_s", "roof_gb_s", "load_s", "peak_bytes"}) CHECK(j[i][number].get<double>() > 0);
        CHECK(j[i]["spread"].get<double>() >= 0);
    }
    CHECK(skald_program(folder, {"bench", data_file("tiny-llama.gguf"), "-p", "0", "-n", "0"}).status == 1);

    const json deep = parsed(skald_program(folder, {"bench", data_file("tiny-llama.gguf"), "-p", "0", "-n", "3", "-t", "1", "-r", "1",
                                                    "--depth", "0,40", "--sequences", "1,5", "--json"}));
    REQUIRE(deep.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(deep[i]["test"] == std::vector{"tg3", "tg3 x5", "tg3 @40", "tg3 x5 @40"}[i]);
        CHECK((deep[i]["depth_tok_s"].get<double>() > 0) == (i >= 2));
        CHECK(deep[i]["step_ms"].get<double>() > 0);
        CHECK(deep[i]["step_ms_p95"] >= deep[i]["step_ms"]);
    }
    // A ring can go back by a step of 512 tokens, not by 600.
    const json ring = parsed(skald_program(folder, {"bench", data_file("tiny-mistral.gguf"), "--kv", "ring/64:f16", "-p", "0", "-n", "600",
                                                    "-t", "1", "-r", "2", "--depth", "600", "--json"}));
    CHECK(ring.size() == 1);
    const json prompts =
        parsed(skald_program(folder, {"bench", data_file("tiny-llama.gguf"), "-p", "8,700", "-n", "0", "-t", "1", "--json"}));
    REQUIRE(prompts.size() == 2);
    CHECK(prompts[0]["test"] == "pp8");
    CHECK(prompts[1]["test"] == "pp700");
}

TEST_CASE("bench decodes without a cache slower the more stands before") {
    const temporary_folder folder;
    const json j = parsed(skald_program(folder, {"bench", data_file("tiny-llama.gguf"), "-p", "0", "-n", "2", "-t", "1", "-r", "3",
                                                 "--depth", "4,1000", "--no-cache", "--json"}));
    REQUIRE(j.size() == 2);
    CHECK(j[0]["test"] == "tg2 @4 no-cache");
    CHECK(j[1]["test"] == "tg2 @1000 no-cache");
    CHECK(j[0]["tok_s"].get<double>() > 2 * j[1]["tok_s"].get<double>());  // 5 rows a token against 1001
    CHECK(j[0]["depth_tok_s"] == 0);
}

TEST_CASE("kv-list tells every cache that --kv takes, and plan agrees") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf");
    const json all = parsed(skald_program(folder, {"kv-list", model, "--ctx", "300", "--json"}));
    std::vector<std::string> names;
    for (const json& cache : all) {
        const std::string name = cache["kv"];
        CAPTURE(name);
        names.push_back(name);
        CHECK(cache["context"] == 300);
        CHECK(cache["context_bytes"] == parsed(skald_program(folder, {"plan", model, "--ctx", "300", "--kv", name, "--json"}))["cache"]);
    }
    std::sort(names.begin(), names.end());
    CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
    const auto told = [&](std::string_view part) {
        return std::any_of(names.begin(), names.end(),
                           [&](const std::string& name) { return (name + ':').find(part) != std::string::npos; });
    };
    for (const kv::storage_word& storage : kv::storage_words) CHECK(told(storage.word));
    for (const auto& word : kv::codec_words) CHECK((told(concat(":", word.first, ":")) || told(concat(",", word.first, ":"))));

    const json some = parsed(skald_program(folder, {"kv-list", model, "--kv", "ring/64:f32", "--kv", "contiguous:f32", "--json"}));
    REQUIRE(some.size() == 2);
    CHECK(some[0]["kv"] == "ring/64:f32");
    CHECK(some[0]["bytes_per_token"] == 0);
    CHECK(some[1]["bytes_per_token"] == 512);  // 2 layers × 2 × 2 heads × 16 values (8, padded) × 4 bytes
    CHECK(some[1]["context"] == 4096);

    const outcome text = skald_program(folder, {"kv-list", model, "--kv", "paged/8:q8"});
    CHECK(text.status == 0);
    CHECK(text.out.find("paged/8:q8") != std::string::npos);
    CHECK(skald_program(folder, {"kv-list", model, "--kv", "tape:f16"}).status == 2);
    CHECK(skald_program(folder, {"kv-list", data_file("README.md")}).one_error_line("README.md"));
}

TEST_CASE("embed gives the same vectors as lines, as JSON and as an array") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf"), out = (folder.path() / "e.npy").string();
    const json j = parsed(skald_program(folder, {"embed", model, "-p", "ab", "-p", "b c", "--pooling", "last", "--json"}));
    REQUIRE(j.size() == 2);
    const outcome lines = skald_program(folder, {"embed", model, "-p", "ab", "-p", "b c", "--pooling", "last"});
    CHECK(std::count(lines.out.begin(), lines.out.end(), '\n') == 2);
    CHECK(std::fabs(std::stod(lines.out) - j[0][0].get<double>()) < 1e-6);
    REQUIRE(skald_program(folder, {"embed", model, "-f", "-", "--pooling", "last", "--out", out}, "ab\nb c\n").status == 0);
    const npy array = read_npy(out);
    REQUIRE(array.shape == std::vector<std::size_t>{2, j[0].size()});
    for (std::size_t i = 0; i < array.values.size(); ++i) CHECK(array.values[i] == j[i / j[0].size()][i % j[0].size()].get<float>());
    CHECK(skald_program(folder, {"embed", model}).status == 2);
    CHECK(skald_program(folder, {"embed", model, "-p", "a", "--pooling", "most"}).status == 2);
}

TEST_CASE("score ranks continuations, and its parts add up") {
    const temporary_folder folder;
    const json j = parsed(skald_program(folder, {"score", data_file("tiny-llama.gguf"), "-p", "ab", "-c", " c", "-c", "ba ab", "--json"}));
    REQUIRE(j.size() == 2);
    for (const json& s : j) {
        double sum = 0;
        for (const json& l : s["logprobs"]) sum += l.get<double>();
        CHECK(s["tokens"].size() == s["logprobs"].size());
        CHECK(std::fabs(sum - s["logprob"].get<double>()) < 1e-9);
        CHECK(sum < 0);
    }
}
