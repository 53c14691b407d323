// SPDX-License-Identifier: MIT
// Rings and windows with sinks do what a list of tokens a sequence says, whatever is done with them.
#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

using windows = decltype(std::tuple_cat(ring_policies{}, window_policies{}));

TEMPLATE_LIST_TEST_CASE("random operations on rings and windows leave what a naive model of them says", "[kv]", windows) {
    check_random_operations<TestType>(40000);
}
