// SPDX-License-Identifier: MIT
// Which rows go to which experts, against a plain choice in double; and models whose experts lie in the file in other ways.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/model/experts.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

struct chosen {
    std::size_t expert;
    double weight;
};

/// The `used` greatest of a row's softmax, ascending by expert.
std::vector<chosen> choose(std::span<const float> logits, const expert_config& e) {
    std::vector<chosen> all;
    double sum = 0, kept = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) sum += std::exp(static_cast<double>(logits[i]));
    for (std::size_t i = 0; i < logits.size(); ++i) all.push_back({i, std::exp(static_cast<double>(logits[i])) / sum});
    std::sort(all.begin(), all.end(),
              [](const chosen& a, const chosen& b) { return a.weight != b.weight ? a.weight > b.weight : a.expert < b.expert; });
    all.resize(e.used);
    std::sort(all.begin(), all.end(), [](const chosen& a, const chosen& b) { return a.expert < b.expert; });
    for (const chosen& c : all) kept += c.weight;
    if (e.normalized)
        for (chosen& c : all) c.weight /= kept;
    return all;
}

/// What a routing gives each row, in the order of the experts.
std::vector<std::vector<chosen>> by_row(const expert_routing& routing, std::size_t rows, std::size_t experts) {
    std::vector<std::vector<chosen>> out(rows);
    for (std::size_t e = 0; e < experts; ++e)
        for (std::size_t i = 0; i < routing.rows(e).size(); ++i) {
            REQUIRE(routing.rows(e)[i] < rows);
            REQUIRE((i == 0 || routing.rows(e)[i - 1] < routing.rows(e)[i]));
            out[routing.rows(e)[i]].push_back({e, routing.weights(e)[i]});
        }
    return out;
}

}  // namespace

TEST_CASE("rows go to their best experts, with the softmax's weights", "[model]") {
    counting_resource memory;
    std::mt19937 random(1);
    for (const std::size_t count : {1, 2, 4, 8, 60})
        for (const std::size_t used : {1, 2, 8})
            for (const bool normalized : {true, false}) {
                if (used > count) continue;
                CAPTURE(count, used, normalized);
                const expert_config e{.count = count, .used = used, .feed_forward = 1, .normalized = normalized};
                const std::size_t rows = 37;
                std::normal_distribution<float> normal(0.0f, 2.0f);
                std::vector<float> logits(rows * count);
                for (float& l : logits) l = normal(random);
                const std::vector<float> given = logits;
                expert_routing routing(rows, e, &memory);
                CHECK(memory.bytes() == expert_routing::bytes(rows, e));
                routing.choose({logits.data(), {rows, count}});
                const auto found = by_row(routing, rows, count);
                for (std::size_t r = 0; r < rows; ++r) {
                    const std::vector<chosen> want = choose(std::span(given).subspan(r * count, count), e);
                    REQUIRE(found[r].size() == used);
                    for (std::size_t i = 0; i < used; ++i) {
                        CHECK(found[r][i].expert == want[i].expert);
                        CHECK(std::abs(found[r][i].weight - want[i].weight) < 1e-6);
                    }
                }
            }
    CHECK(memory.bytes() == 0);
}

TEST_CASE("equal logits choose the first experts, and logits that are no numbers choose some", "[model]") {
    const expert_config e{.count = 6, .used = 2, .feed_forward = 1};
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    std::vector<float> logits{1, 1, 1, 1, 1, 1, 0, 5, 0, 5, 0, 5, nan, nan, nan, nan, nan, nan, 0, infinity, -infinity, nan, 1, 2};
    expert_routing routing(4, e, std::pmr::get_default_resource());
    routing.choose({logits.data(), {4, 6}});
    const auto found = by_row(routing, 4, 6);
    CHECK((found[0][0].expert == 0 && found[0][1].expert == 1));
    CHECK((found[1][0].expert == 1 && found[1][1].expert == 3));
    for (const auto& row : found) CHECK(row.size() == 2);
}
