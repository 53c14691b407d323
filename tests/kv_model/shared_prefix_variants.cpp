// SPDX-License-Identifier: MIT
// Shared prefixes under every kind of variant: rows of different places see different parts of a tile that is read once.
#include <array>

#include <skald/attention/variant.hpp>

#include "kv_model/shared_prefix.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

template <class Variant>
void check_some(const Variant& variant) {
    const unsigned seed = std::random_device()();
    for (unsigned i = 0; i < 6; ++i) check_family<kv::f16>({4, 1, 16}, std::array{8, 16, 33}[i % 3], seed + i, variant);
}

}  // namespace

TEST_CASE("shared prefixes: all positions, and windows", "[kv]") {
    check_some(attention::causal{0.2f});
    for (const position window : {1, 50, 700}) check_some(attention::causal{0.2f, window});
}

TEST_CASE("shared prefixes: caps and biases by distance", "[kv]") {
    const float slopes[] = {0.5f, 0.25f, 0.01f, 0.001f};
    check_some(attention::alibi{attention::soft_capped{attention::causal{0.2f, 1100}, 3.0f}, slopes});
}

TEST_CASE("shared prefixes: masks and sinks", "[kv]") {
    const float logits[] = {0.5f, -1.0f, 3.0f, 0.0f};
    check_some(attention::sinks{attention::with_globals{attention::causal{0.2f, 100}, 70}, logits});
}
