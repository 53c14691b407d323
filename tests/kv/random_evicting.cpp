// SPDX-License-Identifier: MIT
// Evicting storage keeps what its policies' papers say of recorded weights, whatever is done with it.
#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

using outgrown = std::tuple<dropping_policy<kv::recent, kv::f16, 9, 0>, dropping_policy<kv::h2o, kv::q8, 12, 0>,
                            dropping_policy<kv::h2o, kv::f16, 10, 4>, dropping_policy<kv::tova, kv::f32, 7, 0>,
                            dropping_policy<kv::snapkv, kv::f16, 10, 0>, dropping_policy<kv::pyramid, kv::f16, 12, 2>>;

TEMPLATE_LIST_TEST_CASE("random operations on evicting storage leave what a naive model of it says", "[kv]", outgrown) {
    check_random_operations<TestType>(8000);
}
