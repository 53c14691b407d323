// SPDX-License-Identifier: MIT
// Storage that rows read some pages of keeps all tokens, whatever is done with it.
#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("random operations on pages leave what a naive model of them says", "[kv]", quest_policies) {
    check_random_operations<TestType>(20000);
}
