// SPDX-License-Identifier: MIT
#pragma once
// The two 8-bit floating-point formats as storage types: bits, and conversions from and to float. They do no arithmetic. Formats
// and the saturating conversion: Open Compute Project, "OCP 8-bit Floating Point Specification (OFP8)", revision 1.0 (2023).
#include <bit>
#include <cstdint>

namespace skald {

/// E4M3 (E4M3FN): 1 sign, 4 exponent, 3 fraction bits, bias 7. From 2^-9 to 448; no infinity; NaN is all ones after the sign.
struct fp8_e4m3 {
    std::uint8_t bits = 0;

    static constexpr int exponent_bits = 4, fraction_bits = 3, bias = 7;
    static constexpr std::uint8_t highest = 0x7e, nan = 0x7f;  ///< 448; the positive NaN

    friend bool operator==(fp8_e4m3, fp8_e4m3) = default;
};

/// E5M2: 1 sign, 5 exponent, 2 fraction bits, bias 15. From 2^-16 to 57344; infinity and NaN as in IEEE 754.
struct fp8_e5m2 {
    std::uint8_t bits = 0;

    static constexpr int exponent_bits = 5, fraction_bits = 2, bias = 15;
    static constexpr std::uint8_t highest = 0x7b, nan = 0x7f;  ///< 57344; a positive quiet NaN

    friend bool operator==(fp8_e5m2, fp8_e5m2) = default;
};

namespace detail {

/// Every code below `highest` is a finite number; fractions that stand under an exponent of zero are subnormal.
template <class Fp8>
constexpr float fp8_to_float(Fp8 value) noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x80u) << 24;
    const std::uint32_t magnitude = value.bits & 0x7fu;
    if (magnitude > Fp8::highest) {
        const bool infinite = Fp8::exponent_bits == 5 && magnitude == 0x7cu;
        return std::bit_cast<float>(sign | (infinite ? 0x7f800000u : 0x7fc00000u));
    }
    constexpr std::uint32_t unit = 1u << Fp8::fraction_bits;
    if (magnitude < unit) {  // 2^(1 - bias - fraction_bits) · magnitude, exact
        constexpr float step = std::bit_cast<float>(static_cast<std::uint32_t>(127 + 1 - Fp8::bias - Fp8::fraction_bits) << 23);
        const float absolute = static_cast<float>(magnitude) * step;
        return sign != 0 ? -absolute : absolute;
    }
    return std::bit_cast<float>(sign | ((magnitude << (23 - Fp8::fraction_bits)) + (static_cast<std::uint32_t>(127 - Fp8::bias) << 23)));
}

template <class Fp8>
constexpr Fp8 float_to_fp8(float f) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
    const auto sign = static_cast<std::uint8_t>((bits >> 24) & 0x80u);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    const auto with_sign = [sign](std::uint32_t code) { return Fp8{static_cast<std::uint8_t>(sign | code)}; };
    if (magnitude > 0x7f800000u) return with_sign(Fp8::nan);

    constexpr std::uint32_t dropped = 23 - Fp8::fraction_bits;  // fraction bits of a float without a place
    constexpr std::uint32_t rebias = static_cast<std::uint32_t>(127 - Fp8::bias);
    constexpr std::uint32_t least_normal = (rebias + 1) << 23;
    if (magnitude >= least_normal) {
        const std::uint32_t rounded = (magnitude - (rebias << 23) + (1u << (dropped - 1)) - 1 + ((magnitude >> dropped) & 1u)) >> dropped;
        return with_sign(rounded < Fp8::highest ? rounded : Fp8::highest);
    }
    // Subnormal: multiples of 2^(1 - bias - fraction_bits). `shift` is how far down the 24-bit significand goes.
    const std::uint32_t exponent = magnitude >> 23;
    const std::uint32_t shift = rebias + 1 + dropped - (exponent != 0 ? exponent : 1);
    if (shift > 24) return with_sign(0);  // below half of the least number
    const std::uint32_t significand = (magnitude & 0x7fffffu) | (exponent != 0 ? 0x800000u : 0u);
    const std::uint32_t kept = significand >> shift, rest = significand & ((1u << shift) - 1), middle = 1u << (shift - 1);
    return with_sign(kept + (rest > middle || (rest == middle && (kept & 1u) != 0) ? 1u : 0u));
}

}  // namespace detail

/// Exact.
constexpr float to_float(fp8_e4m3 value) noexcept { return detail::fp8_to_float(value); }
constexpr float to_float(fp8_e5m2 value) noexcept { return detail::fp8_to_float(value); }

/// Rounds to nearest, ties to even; relative error at most 2^-4 from 2^-6 to 448, absolute error 2^-10 below. Saturates:
/// what is greater, infinity too, becomes the highest finite number of its sign. NaN stays NaN.
constexpr fp8_e4m3 to_fp8_e4m3(float f) noexcept { return detail::float_to_fp8<fp8_e4m3>(f); }

/// As to_fp8_e4m3(); relative error at most 2^-3 from 2^-14 to 57344, absolute error 2^-17 below. Saturates too: no
/// float becomes infinite.
constexpr fp8_e5m2 to_fp8_e5m2(float f) noexcept { return detail::float_to_fp8<fp8_e5m2>(f); }

static_assert(sizeof(fp8_e4m3) == 1 && sizeof(fp8_e5m2) == 1);
static_assert(to_float(fp8_e4m3{0x7e}) == 448.0f && to_float(fp8_e5m2{0x7b}) == 57344.0f);
static_assert(to_float(fp8_e4m3{0x01}) == 0x1p-9f && to_float(fp8_e5m2{0x01}) == 0x1p-16f);

}  // namespace skald
