// SPDX-License-Identifier: MIT
// The 8-bit floats: all 256 codes, and floats of every magnitude, against the definition in double.
#include <cmath>
#include <cstdint>
#include <limits>

#include <skald/core/fp8.hpp>

#include "core/small_floats.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

struct e4m3 {
    using type = fp8_e4m3;
    static constexpr float_format format{4, 3, 0x7e};
    static type from(float f) { return to_fp8_e4m3(f); }
};

struct e5m2 {
    using type = fp8_e5m2;
    static constexpr float_format format{5, 2, 0x7b};
    static type from(float f) { return to_fp8_e5m2(f); }
};

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEMPLATE_TEST_CASE("every finite fp8 code has the value of its definition and comes back", "[fp8]", e4m3, e5m2) {
    for (unsigned code = 0; code < 256; ++code) {
        if ((code & 0x7fu) > TestType::format.highest) continue;
        CAPTURE(code);
        const typename TestType::type stored{static_cast<std::uint8_t>(code)};
        const float f = to_float(stored);
        CHECK(static_cast<double>(f) == TestType::format.value(code));
        CHECK(std::signbit(f) == (code >= 0x80));
        CHECK(TestType::from(f) == stored);
    }
}

TEST_CASE("the fp8 codes above the highest finite number are what the formats say", "[fp8]") {
    for (const unsigned code : {0x7fu, 0xffu}) CHECK(std::isnan(to_float(fp8_e4m3{static_cast<std::uint8_t>(code)})));
    for (const unsigned code : {0x7du, 0x7eu, 0x7fu, 0xfdu, 0xfeu, 0xffu})
        CHECK(std::isnan(to_float(fp8_e5m2{static_cast<std::uint8_t>(code)})));
    CHECK(to_float(fp8_e5m2{0x7c}) == infinity);
    CHECK(to_float(fp8_e5m2{0xfc}) == -infinity);
}

TEMPLATE_TEST_CASE("floats round to the nearest fp8, ties to even, and saturate", "[fp8]", e4m3, e5m2) {
    constexpr std::uint32_t seed = 20;
    CAPTURE(seed);
    std::size_t wrong = 0;
    for (const float f : probing_floats(TestType::format, seed, 100000)) {
        const unsigned expected = TestType::format.nearest(f, TestType::format.highest);
        const unsigned positive = TestType::from(f).bits, negative = TestType::from(-f).bits;
        if (positive == expected && negative == (expected | 0x80u)) continue;
        if (++wrong > 5) break;
        CAPTURE(f, expected, positive, negative);
        CHECK(false);
    }
    CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("infinity saturates and NaN stays NaN in fp8", "[fp8]", e4m3, e5m2) {
    CHECK(TestType::from(infinity).bits == TestType::type::highest);
    CHECK(TestType::from(-infinity).bits == (TestType::type::highest | 0x80));
    CHECK(std::isnan(to_float(TestType::from(quiet_nan))));
    CHECK(std::isnan(to_float(TestType::from(-quiet_nan))));
}
