// SPDX-License-Identifier: MIT
// Tiers of merged layers do what a list of tokens a sequence says, whatever is done with them.
#include "kv/random_merging.hpp"
#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

using merging = std::tuple<merging_policy<kv::grouped<kv::q8, 8>, kv::merged>, merging_policy<kv::grouped<kv::f16, 8>, kv::paged_merged>,
                           merging_policy<kv::grouped<kv::f16, 8>, kv::radix_merged>>;

TEMPLATE_LIST_TEST_CASE("random operations on merged layers leave what a naive model of them says", "[kv]", merging) {
    check_random_operations<TestType>(20000);
}
