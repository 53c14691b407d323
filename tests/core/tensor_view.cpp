// SPDX-License-Identifier: MIT
// Views of tensors: indexing, rows, slices, strides.
#include <numeric>
#include <vector>

#include <skald/core/tensor_view.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

std::vector<int> counting(std::size_t n) {
    std::vector<int> v(n);
    std::iota(v.begin(), v.end(), 0);
    return v;
}

struct elsewhere {};  // a memory space that is not the host's

template <class View>
concept readable = requires(View v) { v(0, 0); };

static_assert(readable<tensor_view<float, 2>>);
static_assert(!readable<tensor_view<float, 2, elsewhere>>);
static_assert(!readable<tensor_view<float, 3>>);
static_assert(std::is_convertible_v<tensor_view<float, 2>, tensor_view<const float, 2>>);
static_assert(!std::is_convertible_v<tensor_view<const float, 2>, tensor_view<float, 2>>);
static_assert(!std::is_convertible_v<tensor_view<float, 2, elsewhere>, tensor_view<float, 2>>);

}  // namespace

TEST_CASE("a dense view lies row by row", "[tensor_view]") {
    std::vector<int> v = counting(24);
    const tensor_view<int, 3> t(v.data(), {2, 3, 4});
    CHECK(t.size() == 24);
    CHECK(t.extent(1) == 3);
    CHECK(t.strides() == std::array<std::size_t, 3>{12, 4, 1});
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 3; ++j)
            for (int k = 0; k < 4; ++k) CHECK(t(i, j, k) == 12 * i + 4 * j + k);
    t(1, 2, 3) = -1;
    CHECK(v[23] == -1);
}

TEST_CASE("an entry of the first dimension is a view of one dimension less", "[tensor_view]") {
    std::vector<int> v = counting(24);
    const tensor_view<int, 3> t(v.data(), {2, 3, 4});
    const tensor_view<int, 2> second = t[1];
    CHECK(second.shape() == std::array<std::size_t, 2>{3, 4});
    CHECK(second(2, 1) == 21);
    CHECK(second[2](1) == 21);
}

TEST_CASE("a slice keeps the other dimensions", "[tensor_view]") {
    std::vector<int> v = counting(24);
    const matrix_view<int> t(v.data(), {6, 4});
    const matrix_view<int> s = t.slice(2, 3);
    CHECK(s.shape() == std::array<std::size_t, 2>{3, 4});
    CHECK(s(0, 0) == 8);
    CHECK(s(2, 3) == 19);
    CHECK(t.slice(6, 0).size() == 0);
}

TEST_CASE("strides may leave room between rows or go across", "[tensor_view]") {
    std::vector<int> v = counting(24);
    const matrix_view<int> narrow(v.data(), {4, 3}, {6, 1});
    CHECK(narrow(2, 1) == 13);
    CHECK(narrow.row(3).size() == 3);
    CHECK(narrow.row(3)[2] == 20);
    CHECK(narrow.slice(1, 2)(1, 0) == 12);
    const matrix_view<int> across(v.data(), {6, 4}, {1, 6});
    CHECK(across(5, 3) == 23);
    CHECK(across(1, 2) == 13);
}

TEST_CASE("a view of nothing has size zero, and const views read the same", "[tensor_view]") {
    CHECK(tensor_view<int, 2>().size() == 0);
    CHECK(tensor_view<int, 2>().data() == nullptr);
    std::vector<int> v = counting(6);
    const tensor_view<const int, 2> t = tensor_view<int, 2>(v.data(), {2, 3}, {3, 1});
    CHECK(t(1, 1) == 4);
    CHECK(t.data() == v.data());
}
