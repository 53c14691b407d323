// SPDX-License-Identifier: MIT
// A real model, where one is given: SKALD_MODEL=FILE. The exact logits of the CPU backend against the naive one, and promise 2
// on the real thing.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/run_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// The file to test with; empty: the test ends here, saying so.
std::string real_model() {
    const char* path = std::getenv("SKALD_MODEL");
    if (path == nullptr) WARN("skipped: SKALD_MODEL names no model");
    return path == nullptr ? "" : path;
}

}  // namespace

TEST_CASE("exact logits of a real model agree with the naive backend to 1e-4 of their standard deviation", "[model][real]") {
    const std::string path = real_model();
    if (path.empty()) return;
    thread_pool pool;
    const auto m = load_model<cpu<>>(path, {.pool = &pool, .compute = compute::exact});
    const auto oracle = load_model<reference::naive>(path);
    const tokens text = random_tokens(12, m.config().vocabulary, 1);
    const std::vector<float> ours = plain_logits(m, text), expected = plain_logits(oracle, text);
    double mean = 0, square = 0, worst = 0;
    for (const float x : expected) mean += x / static_cast<double>(expected.size());
    for (const float x : expected) square += (x - mean) * (x - mean) / static_cast<double>(expected.size());
    for (std::size_t i = 0; i < ours.size(); ++i) worst = std::max<double>(worst, std::abs(ours[i] - expected[i]));
    const double relative = worst / std::sqrt(square);
    CAPTURE(relative);
    CHECK(relative < 1e-4);
}

TEST_CASE("logits of a real model do not depend on threads, chunks or storage", "[model][real]") {
    const std::string path = real_model();
    if (path.empty()) return;
    for (const compute policy : {compute::exact, compute::native}) {
        thread_pool one(1), three(3);
        const auto m = load_model<cpu<>>(path, {.pool = &one, .compute = policy});
        const auto n = load_model<cpu<>>(path, {.pool = &three, .compute = policy});
        const tokens text = random_tokens(70, m.config().vocabulary, 2);
        const std::vector<float> expected = plain_logits(m, text);
        runner run(n, kv::paged<kv::f32>{{.tokens = text.size(), .block = 8}}, 7);
        const std::vector<float> other = run.run(run.cache().open(), text, 7);
        CHECK(std::memcmp(expected.data(), other.data(), expected.size() * sizeof(float)) == 0);
    }
}
