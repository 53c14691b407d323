// SPDX-License-Identifier: MIT
// Caches that keep all tokens in one run do what a list of tokens a sequence says, whatever is done with them.
#include "kv/random_operations.hpp"

#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEMPLATE_LIST_TEST_CASE("random operations on a cache leave what a naive model of it says", "[kv]", keeping_policies) {
    check_random_operations<TestType>(40000);
}
