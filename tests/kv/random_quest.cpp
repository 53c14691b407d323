// SPDX-License-Identifier: MIT
// Pages that rows choose are those of paged storage, and what they are chosen by is what they hold, whatever is done with them. (What rows
// choose is quest.cpp's matter.)
#include <skald/kv/quest.hpp>

#include "kv/random_choosing.hpp"
#include "kv/random_operations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

using choosing = std::tuple<choosing_policy<kv::f16, 5, true>, choosing_policy<kv::f32, 4, false>>;

TEMPLATE_LIST_TEST_CASE("random operations on pages that rows choose leave what a naive model of them says", "[kv]", choosing) {
    check_random_operations<TestType>(20000);
}
