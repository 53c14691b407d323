// SPDX-License-Identifier: MIT
// binary16 and bfloat16: all 65536 codes, and floats of every magnitude, against the definition in double.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <skald/core/half.hpp>

#include "core/small_floats.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

struct binary16 {
    using type = half;
    static constexpr float_format format{5, 10, 0x7bff};
    static constexpr unsigned infinity = 0x7c00;
    static type from(float f) { return to_half(f); }
};

struct brain16 {
    using type = bfloat16;
    static constexpr float_format format{8, 7, 0x7f7f};
    static constexpr unsigned infinity = 0x7f80;
    static type from(float f) { return to_bfloat16(f); }
};

}  // namespace

TEMPLATE_TEST_CASE("every 16-bit code has the value of its definition and comes back", "[half]", binary16, brain16) {
    std::size_t wrong = 0;
    for (unsigned code = 0; code < 65536; ++code) {
        const typename TestType::type stored{static_cast<std::uint16_t>(code)};
        const float f = to_float(stored);
        const unsigned magnitude = code & 0x7fffu;
        bool right = std::signbit(f) == (code >= 0x8000u);
        if (magnitude <= TestType::format.highest) {
            right = right && static_cast<double>(f) == TestType::format.value(code) && TestType::from(f) == stored;
        } else if (magnitude == TestType::infinity) {
            right = right && std::isinf(f) && TestType::from(f) == stored;
        } else {
            const unsigned back = TestType::from(f).bits;  // a NaN keeps its sign and its upper bits
            right =
                right && std::isnan(f) && (back & 0x7fffu) > TestType::infinity && (back | magnitude) == back && back >> 15 == code >> 15;
        }
        if (right) continue;
        if (++wrong > 5) break;
        CAPTURE(code, f);
        CHECK(false);
    }
    CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("floats round to the nearest 16-bit number, ties to even, and overflow to infinity", "[half]", binary16, brain16) {
    constexpr std::uint32_t seed = 21;
    CAPTURE(seed);
    std::size_t wrong = 0;
    for (const float f : probing_floats(TestType::format, seed, 200000)) {
        const unsigned expected = TestType::format.nearest(f, TestType::infinity);
        const unsigned positive = TestType::from(f).bits, negative = TestType::from(-f).bits;
        if (positive == expected && negative == (expected | 0x8000u)) continue;
        if (++wrong > 5) break;
        CAPTURE(f, expected, positive, negative);
        CHECK(false);
    }
    CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("NaN stays NaN in 16 bits, also when its upper bits are zero", "[half]", binary16, brain16) {
    for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0xffffffffu}) {
        CAPTURE(bits);
        const typename TestType::type stored = TestType::from(std::bit_cast<float>(bits));
        CHECK(std::isnan(to_float(stored)));
        CHECK((stored.bits >> 15) == (bits >> 31));
    }
}
