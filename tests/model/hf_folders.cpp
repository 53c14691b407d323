// SPDX-License-Identifier: MIT
// Exact logits of Hugging Face folders against those of transformers, which read the same folder (tests/scripts/make_hf_models.py).
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/io/json_file.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/npy.hpp"
#include "support/run_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// The folders of models: hf-* among the test data, or all in the folder that SKALD_HF_MODELS names.
std::vector<std::filesystem::path> folders() {
    const char* other = std::getenv("SKALD_HF_MODELS");
    std::vector<std::filesystem::path> out;
    for (const auto& entry : std::filesystem::directory_iterator(other != nullptr ? other : SKALD_TEST_DATA))
        if (entry.path().filename().string().starts_with("hf-")) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
}

/// The largest difference between our logits and the folder's, in units of the folder's standard deviation.
template <class Backend>
double worst_difference(const std::filesystem::path& folder) {
    const nlohmann::json facts = io::read_json(folder / "expected.json");
    const npy expected = read_npy((folder / "logits.npy").string());
    const auto sequences = facts.at("tokens").get<std::vector<tokens>>();
    const auto rows = facts.at("rows").get<std::vector<std::size_t>>();
    const model<Backend> m = load_model<Backend>(folder, {.compute = compute::exact});
    const std::size_t vocabulary = m.config().vocabulary;
    REQUIRE(expected.shape == std::vector<std::size_t>{sequences.size(), rows.size(), vocabulary});
    double mean = 0, square = 0, worst = 0;
    const auto count = static_cast<double>(expected.values.size());
    for (const float x : expected.values) mean += x / count;
    for (const float x : expected.values) square += (x - mean) * (x - mean) / count;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
        const std::vector<float> ours = plain_logits(m, sequences[s]);
        for (std::size_t r = 0; r < rows.size(); ++r)
            for (std::size_t v = 0; v < vocabulary; ++v)
                worst = std::max<double>(
                    worst, std::abs(ours[rows[r] * vocabulary + v] - expected.values[(s * rows.size() + r) * vocabulary + v]));
    }
    return worst / std::sqrt(square);
}

}  // namespace

TEMPLATE_TEST_CASE("exact logits of Hugging Face folders agree with transformers to 1e-4 of their standard deviation", "[model]",
                   reference::naive, cpu<>) {
    REQUIRE(!folders().empty());
    for (const std::filesystem::path& folder : folders()) {
        double worst = 1e9;
        CHECK_NOTHROW(worst = worst_difference<TestType>(folder));
        CAPTURE(folder.string(), worst);
        CHECK(worst < 1e-4);
    }
}
