// SPDX-License-Identifier: MIT
// The tokens that survive, and the pages that are read, are those that NumPy finds by the papers' formulas on recorded attention weights:
// tests/data/eviction.json, made by tests/scripts/make_eviction_fixture.py.
#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/attention/layer.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/quest.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"

using namespace skald;

namespace {

using json = nlohmann::json;

json fixture() {
    std::ifstream file(std::string(SKALD_TEST_DATA) + "/eviction.json");
    return json::parse(file);
}

float number(const json& j) { return j.get<float>(); }

kv::cache_shape shape_of(const json& f, std::size_t layers, std::size_t head_dim) {
    return {.layers = layers, .kv_heads = f["kv_heads"], .head_dim = head_dim};
}

/// A backend that gives the recorded weights of what a cache keeps of its one sequence.
template <class Cache>
struct recorder {
    struct scratch {};
    const Cache& cache;
    const json& fixture;
    kv::sequence_id s;
    std::size_t layer, committed;

    template <class Variant, class Runs>
    void attention_weights(matrix_view<const float>, const attention_shape& shape, const Variant&, std::size_t, const row_range& rows,
                           const Runs&, tensor_view<float, 3> out, scratch&) const {
        for (std::size_t h = 0; h < shape.heads; ++h) {
            const auto kept = cache.positions(s, layer, h / (shape.heads / shape.kv_heads));
            const auto at = [&](std::size_t slot) {
                return slot < kept.size() ? static_cast<std::size_t>(kept[slot]) : committed + slot - kept.size();
            };
            for (std::size_t i = 0; i < rows.rows; ++i) {
                const std::size_t last = static_cast<std::size_t>(rows.first_position) + i;
                const json& row = fixture["weights"][layer][h][at(last)];
                for (std::size_t j = 0; j <= last; ++j) out(h, i, j) = number(row[at(j)]) / number(fixture["unit"]);
            }
        }
    }
};

/// Whether the policy keeps what the case says after the prompt and each token that follows.
template <class Policy>
void check_case(const json& f, const json& expected, const Policy& policy) {
    const kv::cache_shape shape = shape_of(f, f["layers"], 4);
    const std::size_t prompt = f["prompt"], group = f["group"];
    auto cache =
        kv::evicting<Policy, kv::f32>{{.budget = expected["budget"], .step = prompt}, policy}.make(shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    CAPTURE(expected["policy"].get<std::string>(), expected["budget"].get<int>());
    REQUIRE_FALSE(expected["kept"].empty());
    std::size_t committed = 0;
    for (const json& kept : expected["kept"]) {
        const kv::segment step{s, 0, committed == 0 ? prompt : 1};
        cache.plan({&step, 1});
        if constexpr (kv::observing_policy<Policy>)
            for (std::size_t layer = 0; layer < shape.layers; ++layer) {
                const recorder<decltype(cache)> backend{cache, f, s, layer, committed};
                typename recorder<decltype(cache)>::scratch room;
                cache.observe(backend, layer, {}, {shape.kv_heads * group, shape.kv_heads, shape.head_dim}, 0, room);
            }
        cache.commit(s);
        committed += step.rows;
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                CAPTURE(committed, layer, h);
                const auto got = cache.positions(s, layer, h);
                CHECK(std::vector<position>(got.begin(), got.end()) == kept[layer][h].get<std::vector<position>>());
            }
    }
}

}  // namespace

TEST_CASE("the tokens that survive are those of a NumPy reference of each paper", "[kv]") {
    const json f = fixture();
    std::vector<std::string> checked;
    for (const json& c : f["cases"]) {
        const std::string name = c["policy"];
        checked.push_back(name);
        if (name == "sinks") check_case(f, c, kv::recent{.sinks = c["sinks"]});
        if (name == "h2o") check_case(f, c, kv::h2o{});
        if (name == "tova") check_case(f, c, kv::tova{});
        if (name == "snapkv") check_case(f, c, kv::snapkv{.window = c["window"], .pool = c["pool"]});
        if (name == "pyramid") check_case(f, c, kv::pyramid{{.window = c["window"], .pool = c["pool"]}, c["steepness"]});
    }
    for (const char* name : {"sinks", "h2o", "tova", "snapkv", "pyramid"})
        CHECK(std::find(checked.begin(), checked.end(), name) != checked.end());
}

TEST_CASE("the pages that rows read are those of a NumPy reference of the paper", "[kv]") {
    const json f = fixture();
    const json& recorded = f["quest"];
    const std::size_t dim = recorded["dim"], tokens = f["tokens"], group = f["group"];
    const kv::cache_shape shape = shape_of(f, 1, dim);
    const attention_shape heads{shape.kv_heads * group, shape.kv_heads, dim};
    std::vector<float> q, k;
    for (const json& row : recorded["queries"]) q.insert(q.end(), row.begin(), row.end());
    for (const json& row : recorded["keys"]) k.insert(k.end(), row.begin(), row.end());
    REQUIRE(recorded["cases"].size() > 1);
    for (const json& c : recorded["cases"]) {
        const std::size_t page = c["page"];
        auto cache =
            kv::quest<kv::f16>{
                {.tokens = tokens + page, .budget = c["budget"], .page = page, .first_page = c["first_page"], .full_layers = 0}}
                .make(shape, std::pmr::new_delete_resource());
        const kv::segment all{cache.open(), 0, tokens};
        const auto ranges = cache.plan({&all, 1});
        const reference::naive backend;
        auto scratch = backend.make_scratch(heads);
        const attention::layer_call<reference::naive> call{.q = {q.data(), {tokens, heads.heads * dim}},
                                                           .k = {k.data(), {tokens, shape.kv_heads * dim}},
                                                           .v = matrix_view<const float>(k.data(), {tokens, shape.kv_heads * dim}),
                                                           .shape = heads,
                                                           .rope = {},
                                                           .variant = {},
                                                           .ranges = ranges,
                                                           .out = nullptr,
                                                           .scratch = &scratch};
        backend.rope_append(call.q, call.k, call.v, heads, {}, ranges, cache.view(0), scratch);
        std::size_t rows = 0;
        cache.attend_parts(backend, 0, call, ranges, [&](std::span<const row_range> some, const auto& runs) {
            for (position p = some[0].first_position; p < some[0].first_position + static_cast<position>(some[0].rows); ++p, ++rows)
                for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                    std::vector<std::size_t> pages;
                    for (std::size_t i = 0; i <= static_cast<std::size_t>(p) / page; ++i) {
                        const auto at = static_cast<position>(i * page), tile = at / 64 * 64;
                        if (std::get<0>(runs).shown(0, h, p, tile) >> (at - tile) & 1) pages.push_back(i);
                    }
                    CAPTURE(p, h);
                    CHECK(pages == c["pages"][static_cast<std::size_t>(p)][h].template get<std::vector<std::size_t>>());
                }
        });
        CHECK(rows == tokens);
    }
}
