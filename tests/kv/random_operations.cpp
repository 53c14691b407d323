// SPDX-License-Identifier: MIT
// Every cache does what a list of tokens a sequence says, whatever is done with it. SKALD_KV_OPERATIONS sets how many operations each
// policy does.
#include "kv/random_operations.hpp"

#include <cstdlib>

#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("random operations on a cache leave what a naive model of it says", "[kv]", one_run_policies) {
    const char* const wanted = std::getenv("SKALD_KV_OPERATIONS");
    const std::size_t operations = wanted == nullptr ? 40000 : std::strtoull(wanted, nullptr, 10);
    const auto seed = static_cast<std::uint32_t>(Catch::rngSeed());
    CAPTURE(seed, operations);
    random_operations<TestType> run(seed);
    try {
        run.run(operations);
    } catch (const mismatch& m) {
        FAIL(m.what << "; the seed: " << seed);
    }
    const operation_counts& n = run.counts();
    if (operations < 2000) return;
    CHECK(n.steps > operations / 8);
    CHECK(n.full_steps > 0);
    CHECK(n.full_slots > 0);
    CHECK(n.truncations > 0);
    CHECK((n.refused_truncations > 0) == !TestType::keeps_all);
    CHECK(n.forks > 0);
    CHECK(n.saves > 0);
    CHECK((n.refused_saves > 0) == !TestType::keeps_all);
    CHECK(n.restores > 0);
    CHECK(n.audits > 0);
    using cache = typename decltype(TestType::make(1, 1))::cache;
    if constexpr (requires(const cache c) { c.free_blocks(); }) CHECK(n.full_restores > 0);
    if constexpr (kv::prefix_sharing<cache>) CHECK(n.reused > 0);
}
