// SPDX-License-Identifier: MIT
// Tiers do what a list of tokens a sequence says, whatever is done with them.
#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("random operations on tiers leave what a naive model of them says", "[kv]", tiered_policies) {
    check_random_operations<TestType>(40000);
}
