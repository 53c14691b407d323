// SPDX-License-Identifier: MIT
// The vector types beyond conversions: trees of sums, partial loads, integer dot products; the functions over them.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include <skald/backend/cpu/words.hpp>

#include "backend/support.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// The tree that reduce_add promises: by halves.
float sum_by_halves(std::vector<float> v) {
    for (std::size_t n = v.size() / 2; n > 0; n /= 2)
        for (std::size_t i = 0; i < n; ++i) v[i] += v[i + n];
    return v[0];
}

/// Distance in units of the last place of the exact value's float.
double ulps(float got, double exact) {
    const double unit = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
    return std::fabs(got - exact) / unit;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("sums go by halves, for one vector and for sixteen", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    const std::vector<float> x = random_floats(256, 1);
    V rows[16];
    float sums[16];
    for (std::size_t i = 0; i < 16; ++i) rows[i] = V::load(x.data() + 16 * i);
    sum_rows(rows).store(sums);
    for (std::size_t i = 0; i < 16; ++i) {
        const float want =
            sum_by_halves({x.begin() + static_cast<std::ptrdiff_t>(16 * i), x.begin() + static_cast<std::ptrdiff_t>(16 * i + 16)});
        CHECK(reduce_add(rows[i]) == want);
        CHECK(sums[i] == want);
        CHECK(reduce_max(rows[i]) ==
              *std::max_element(x.begin() + static_cast<std::ptrdiff_t>(16 * i), x.begin() + static_cast<std::ptrdiff_t>(16 * i + 16)));
    }
}

namespace {

/// Of the first N of these rows.
template <class Arch, std::size_t N>
void check_few(const std::vector<float>& x) {
    using V = kernels::simd<Arch>;
    V rows[N];
    for (std::size_t i = 0; i < N; ++i) rows[i] = V::load(x.data() + 16 * i);
    float sums[16], greatest[16];
    kernels::each_sum<Arch>(rows).store(sums);
    kernels::each_greatest<Arch>(rows).store(greatest);
    for (std::size_t i = 0; i < N; ++i) {
        CHECK(sums[i] == reduce_add(rows[i]));
        CHECK(greatest[i] == reduce_max(rows[i]));
    }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("few rows are reduced as one is", "[backend]", architectures) {
    const std::vector<float> x = random_floats(64, 3);
    check_few<TestType, 1>(x);
    if constexpr (kernels::simd<TestType>::parts == 1) {
        check_few<TestType, 2>(x);
        check_few<TestType, 3>(x);
        check_few<TestType, 4>(x);
    }
}

TEMPLATE_LIST_TEST_CASE("partial loads and stores touch nothing past their end", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    for (std::size_t n = 0; n <= 17; ++n) {
        const std::vector<float> x = random_floats(n, 2);  // the sanitizers see what lies past it
        std::vector<float> y(n), guard(17, 5.0f);
        V::load_first(x.data(), n).store_first(y.data(), n);
        for (std::size_t i = 0; i < std::min<std::size_t>(n, 16); ++i) CHECK(y[i] == x[i]);
        V::broadcast(1.0f).store_first(guard.data(), n);
        for (std::size_t i = 0; i < 17; ++i) CHECK(guard[i] == (i < std::min<std::size_t>(n, 16) ? 1.0f : 5.0f));
        if (n > 16) continue;
        float lanes[16];
        choose_first(n, V::broadcast(1.0f), V::broadcast(2.0f)).store(lanes);
        for (std::size_t i = 0; i < 16; ++i) CHECK(lanes[i] == (i < n ? 1.0f : 2.0f));
    }
}

TEMPLATE_LIST_TEST_CASE("byte dot products are exact, extremes included", "[backend]", architectures) {
    using I = kernels::simd_int<TestType>;
    std::mt19937 random(3);
    for (int round = 0; round < 64; ++round) {
        std::uint8_t w[64], narrow[64];
        std::int8_t s[64];
        const bool extreme = round < 4;
        for (std::size_t i = 0; i < 64; ++i) {
            w[i] = static_cast<std::uint8_t>(extreme ? (round % 2 == 0 ? I::code_zero - 128 : I::code_zero + 127) : random() % 256);
            narrow[i] = static_cast<std::uint8_t>(extreme ? 129 : random() % 130);
            s[i] = static_cast<std::int8_t>(extreme ? (round < 2 ? -127 : 127) : static_cast<int>(random() % 255) - 127);
        }
        float got[16], got_narrow[16] = {};
        to_float(dot(I::broadcast(-17), I::load(w), I::load(s))).store(got);
        if constexpr (I::has_narrow_dot) to_float(narrow_dot(I::broadcast(-17), I::load(narrow), I::load(s))).store(got_narrow);
        for (std::size_t lane = 0; lane < 16; ++lane) {
            int want = -17, want_narrow = -17;
            for (std::size_t j = 4 * lane; j < 4 * lane + 4; ++j) {
                want += (I::code_zero == 0 ? static_cast<std::int8_t>(w[j]) : w[j]) * s[j];
                want_narrow += narrow[j] * s[j];
            }
            CHECK(got[lane] == static_cast<float>(want));
            if (I::has_narrow_dot) CHECK(got_narrow[lane] == static_cast<float>(want_narrow));
        }
    }
}

TEMPLATE_LIST_TEST_CASE("exp is within two units of the last place", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    double worst = 0;
    for (float first = -87.3f; first < 88.7f; first += 0.0113f) {
        float x[16], y[16];
        for (std::size_t i = 0; i < 16; ++i) x[i] = std::min(first + 0.0007f * static_cast<float>(i), 88.7f);
        kernels::exp(V::load(x)).store(y);
        for (std::size_t i = 0; i < 16; ++i) worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i]))));
    }
    CHECK(worst <= 2.0);
}

TEMPLATE_LIST_TEST_CASE("exp at its ends", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    const float inf = std::numeric_limits<float>::infinity();
    const auto at = [](float x) {
        float y[16];
        kernels::exp(V::broadcast(x)).store(y);
        return y[15];
    };
    CHECK(std::bit_cast<std::uint32_t>(at(-inf)) == 0u);
    CHECK(std::bit_cast<std::uint32_t>(at(-200.0f)) == 0u);
    CHECK(at(0.0f) == 1.0f);
    CHECK(at(88.9f) == inf);
    CHECK(at(inf) == inf);
    CHECK(std::isnan(at(std::numeric_limits<float>::quiet_NaN())));
    for (const float x : {-88.0f, -90.0f, -95.0f, -100.0f, -103.0f}) CHECK(ulps(at(x), std::exp(static_cast<double>(x))) <= 1.0);
}

TEMPLATE_LIST_TEST_CASE("activation functions are as accurate as floats allow", "[backend]", architectures) {
    using V = kernels::simd<TestType>;
    for (float x = -30.0f; x <= 30.0f; x += 0.037f) {
        float s[16], g[16];
        kernels::silu(V::broadcast(x)).store(s);
        kernels::gelu_tanh(V::broadcast(x)).store(g);
        const double d = x, inner = std::sqrt(2 / 3.14159265358979323846) * (d + 0.044715 * d * d * d);
        const double silu = d / (1 + std::exp(-d)), gelu = d / (1 + std::exp(-2 * inner));
        CAPTURE(x);
        CHECK(std::fabs(s[3] - silu) <= 4e-7 * std::fabs(silu) + 1e-30);
        // The exponent's own rounding counts as many times as it is large.
        CHECK(std::fabs(g[3] - gelu) <= (4e-7 + 2e-7 * std::fabs(2 * inner)) * std::fabs(gelu) + 1e-30);
    }
}
