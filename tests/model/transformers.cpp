// SPDX-License-Identifier: MIT
// Exact logits against those of transformers in float32, computed by tests/scripts/make_models.py and make_hf_models.py and committed
// beside the models.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/covered.hpp"
#include "support/npy.hpp"
#include "support/run_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// The largest difference between our logits and the fixture's, in units of the fixture's standard deviation.
template <class Backend>
double worst_difference(const std::filesystem::path& facts) {
    std::ifstream in(facts);
    const nlohmann::json spec = nlohmann::json::parse(in);
    const std::filesystem::path folder = facts.parent_path();
    const npy expected = read_npy((folder / spec.at("logits").get<std::string>()).string());
    const auto sequences = spec.at("tokens").get<std::vector<tokens>>();
    const auto rows = spec.at("rows").get<std::vector<std::size_t>>();
    const model<Backend> m = load_model<Backend>(folder / spec.at("model").get<std::string>(), {.compute = compute::exact});
    const std::size_t vocabulary = m.config().vocabulary;
    REQUIRE(expected.shape == std::vector<std::size_t>{sequences.size(), rows.size(), vocabulary});

    double mean = 0, square = 0, worst = 0;
    for (const float x : expected.values) mean += x / static_cast<double>(expected.values.size());
    for (const float x : expected.values) square += (x - mean) * (x - mean) / static_cast<double>(expected.values.size());
    for (std::size_t s = 0; s < sequences.size(); ++s) {
        const std::vector<float> ours = plain_logits(m, sequences[s]);
        for (std::size_t r = 0; r < rows.size(); ++r)
            for (std::size_t v = 0; v < vocabulary; ++v)
                worst = std::max<double>(
                    worst, std::abs(ours[rows[r] * vocabulary + v] - expected.values[(s * rows.size() + r) * vocabulary + v]));
    }
    return worst / std::sqrt(square);
}

/// Tells that models of that architecture and the formats of their matrices were compared.
void covered_model(const std::filesystem::path& path, std::string_view kind) {
    const model<cpu<>> m = load_model<cpu<>>(path, {.compute = compute::exact});
    for (const layer_weights<cpu<>>& layer : m.weights().layers())
        for (const linear<cpu<>>* w : {&layer.query, &layer.key, &layer.value, &layer.attention_output})
            covered("architectures", m.config().architecture, kind, to_string(w->weight.type()));
}

constexpr const char* models[] = {"tiny-gpt2",       "tiny-gpt2-bf16",    "tiny-llama",      "tiny-llama-f16",  "tiny-llama-mqa",
                                  "tiny-llama-bias", "tiny-llama-linear", "tiny-llama3",     "tiny-llama-long", "tiny-llama-quant",
                                  "tiny-mistral",    "tiny-mixtral",      "tiny-qwen2",      "tiny-qwen2-yarn", "tiny-qwen3",
                                  "tiny-qwen3moe",   "tiny-phi3",         "tiny-phi3-short", "tiny-phi3-long",  "tiny-gemma",
                                  "tiny-gemma2",     "tiny-gemma3",       "tiny-olmo2"};

/// The Hugging Face folders: hf-* among the test data, or all such in the folder that SKALD_HF_MODELS names.
std::vector<std::filesystem::path> hf_folders() {
    const char* other = std::getenv("SKALD_HF_MODELS");
    std::vector<std::filesystem::path> out;
    for (const auto& entry : std::filesystem::directory_iterator(other != nullptr ? other : SKALD_TEST_DATA))
        if (entry.path().filename().string().starts_with("hf-")) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace

TEMPLATE_TEST_CASE("exact logits agree with transformers to 1e-4 of their standard deviation", "[model][support]", reference::naive,
                   cpu<>) {
    for (const char* name : models) {
        if (std::same_as<TestType, cpu<>>) covered_model(std::filesystem::path(SKALD_TEST_DATA) / (std::string(name) + ".gguf"), "GGUF");
        const double worst = worst_difference<TestType>(std::filesystem::path(SKALD_TEST_DATA) / (std::string(name) + ".json"));
        CAPTURE(name, worst);
        CHECK(worst < 1e-4);
    }
}

TEMPLATE_TEST_CASE("exact logits of Hugging Face folders agree with transformers to 1e-4 of their standard deviation", "[model][support]",
                   reference::naive, cpu<>) {
    const std::vector<std::filesystem::path> folders = hf_folders();
    REQUIRE(folders.size() >= 10);
    for (const std::filesystem::path& folder : folders) {
        CAPTURE(folder.string());
        double worst = 1e9;
        CHECK_NOTHROW(worst = worst_difference<TestType>(folder / "expected.json"));
        CAPTURE(worst);
        CHECK(worst < 1e-4);
        if (std::same_as<TestType, cpu<>>) covered_model(folder, "Hugging Face folder");
    }
}
