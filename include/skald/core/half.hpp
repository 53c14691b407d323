// SPDX-License-Identifier: MIT
#pragma once
// IEEE 754 binary16 and bfloat16 as storage types: bits, and exact conversions from and to float (round to nearest, ties to
// even; NaN stays NaN, quiet). They do no arithmetic. Vector conversions live with the backends.
#include <bit>
#include <cstdint>

namespace skald {

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
struct half {
    std::uint16_t bits = 0;

    friend bool operator==(half, half) = default;
};

/// bfloat16: the upper 16 bits of a float.
struct bfloat16 {
    std::uint16_t bits = 0;

    friend bool operator==(bfloat16, bfloat16) = default;
};

constexpr float to_float(half h) noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (h.bits >> 10) & 0x1fu;
    std::uint32_t fraction = h.bits & 0x3ffu;
    if (exponent == 0x1f) {  // infinity, NaN (made quiet)
        return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13) | (fraction != 0 ? 0x400000u : 0u));
    }
    if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
    if (fraction == 0) return std::bit_cast<float>(sign);
    const int shift = std::countl_zero(fraction) - 21;  // subnormal: 2^-24 · fraction; bring its first bit to bit 10
    fraction = (fraction << shift) & 0x3ffu;
    return std::bit_cast<float>(sign | (static_cast<std::uint32_t>(113 - shift) << 23) | (fraction << 13));
}

constexpr half to_half(float f) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
    if (magnitude >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // 65520 and above round to infinity
    if (magnitude < 0x33000001u) return {sign};                                         // 2^-25 and below round to zero
    if (magnitude < 0x38800000u) {                                                      // below 2^-14: subnormal
        const std::uint32_t shift = 126u - (magnitude >> 23);                           // bits dropped from the 24-bit significand
        const std::uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
        const std::uint32_t kept = significand >> shift, dropped = significand & ((1u << shift) - 1), middle = 1u << (shift - 1);
        return {static_cast<std::uint16_t>(sign | (kept + (dropped > middle || (dropped == middle && (kept & 1u)))))};
    }
    const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return {static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

constexpr float to_float(bfloat16 b) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(b.bits) << 16); }

constexpr bfloat16 to_bfloat16(float f) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace skald
