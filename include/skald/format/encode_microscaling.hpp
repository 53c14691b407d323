// SPDX-License-Identifier: MIT
#pragma once
// Writing blocks of E2M1 numbers under an 8-bit scale.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/format/encode_block.hpp>
#include <skald/format/microscaling.hpp>

namespace skald::format {

namespace detail {

/// The E2M1 numbers, doubled, in order, and their codes.
struct e2m1_order {
    static constexpr std::array<std::int8_t, 15> levels{-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
    static constexpr std::array<std::uint8_t, 15> indices{15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};
};

}  // namespace detail

/// The scale is a power of two: of those by which the extreme value falls between 3 and 24, the best.
template <>
struct encoder<mxfp4> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::level_codes<detail::e2m1_order>;
        const float extreme = std::abs(detail::extreme_of<32>(x));
        const int middle = extreme > 0 ? std::ilogb(extreme) + 127 - 2 : 0;  // 4 ≤ extreme / 2^(middle - 127) < 8
        std::uint8_t exponent = 0;
        float most = 0;
        for (int e = std::max(middle - 2, 0); e <= std::min(middle + 1, 254); ++e) {
            const float scale = detail::half_of_e8m0(static_cast<std::uint8_t>(e));
            const auto fit = detail::fit_scale<codes, 32, V>(x, w, detail::inverse_of(scale));
            if (const float gain = scale * (2 * fit.xq - scale * fit.qq); gain > most) most = gain, exponent = static_cast<std::uint8_t>(e);
        }
        block[0] = static_cast<std::byte>(exponent);
        std::uint8_t q[32];
        detail::put_codes<codes, 32>(x, detail::half_of_e8m0(exponent), 0, q);
        detail::join_nibbles<16>(q, detail::bytes_of(block) + 1);
    }
};

/// Each group's scale is the best of the E4M3 numbers by which its extreme value falls between 3 and 8. Magnitudes end at 2688,
/// 6 times the greatest scale.
template <>
struct encoder<nvfp4> {
    template <float_vector V>
    static void encode(const float* x, const float* w, std::byte* block) noexcept {
        using codes = detail::level_codes<detail::e2m1_order>;
        std::uint8_t* p = detail::bytes_of(block);
        for (std::size_t g = 0; g < 4; ++g, x += 16, w += 16) {
            const float extreme = std::abs(detail::extreme_of<16>(x));
            const int lowest = to_fp8_e4m3(extreme / 8).bits, highest = to_fp8_e4m3(extreme / 3).bits;
            std::uint8_t chosen = 0;
            float most = 0;
            for (int code = std::max(lowest, 1); code <= highest; ++code) {
                const float scale = detail::half_of_ue4m3(static_cast<std::uint8_t>(code));
                const auto fit = detail::fit_scale<codes, 16, V>(x, w, detail::inverse_of(scale));
                if (const float gain = scale * (2 * fit.xq - scale * fit.qq); gain > most)
                    most = gain, chosen = static_cast<std::uint8_t>(code);
            }
            p[g] = chosen;
            std::uint8_t q[16];
            detail::put_codes<codes, 16>(x, detail::half_of_ue4m3(chosen), 0, q);
            detail::join_nibbles<8>(q, p + 4 + g * 8);
        }
    }
};

}  // namespace skald::format
