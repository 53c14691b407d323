// SPDX-License-Identifier: MIT
// Tiers by importance keep hot what their policies' papers say of recorded weights and show all else cold, whatever is done with them.
#include <skald/kv/word_codec.hpp>

#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

using demoting = std::tuple<
    demoting_policy<kv::recent, kv::f16, kv::grouped<kv::q8, 8>, 9, 0>, demoting_policy<kv::h2o, kv::f16, kv::grouped<kv::q8, 8>, 12, 0>,
    demoting_policy<kv::h2o, kv::f32, kv::grouped<kv::f16, 5>, 7, 4>, demoting_policy<kv::tova, kv::f16, kv::grouped<kv::q8, 8>, 8, 0>>;

TEMPLATE_LIST_TEST_CASE("random operations on tiers by importance leave what a naive model of them says", "[kv]", demoting) {
    check_random_operations<TestType>(8000);
}
