// SPDX-License-Identifier: MIT
#pragma once
// Ternary formats, for models trained with weights of -1, 0 and 1 (BitNet): super-blocks of 256 codes of 0, 1, 2 and a binary16
// d at the end. value = d · (q - 1).
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <skald/format/block.hpp>
#include <skald/format/k_quants.hpp>

namespace skald::format {

namespace detail {

/// N bytes of Digits ternary digits, the first digits first. A byte is the number 0.ddddd in base 3, times 256, rounded up:
/// a digit is the whole part of three times the rest.
template <std::size_t N, std::size_t Digits>
inline void ternary_digits(const std::uint8_t* p, std::uint8_t* q) noexcept {
    std::uint8_t power = 1;
    for (std::size_t digit = 0; digit < Digits; ++digit, power = static_cast<std::uint8_t>(power * 3))
        for (std::size_t i = 0; i < N; ++i) {
            const auto rest = static_cast<std::uint8_t>(p[i] * power);
            q[digit * N + i] = static_cast<std::uint8_t>((rest * 3 >> 8) - 1);
        }
}

}  // namespace detail

/// 48 bytes of five digits (32, then 16 that go together), 4 bytes of four digits, d.
struct tq1_0 : detail::coded_format<tq1_0, 32> {
    static constexpr dtype id = dtype::tq1_0;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        detail::ternary_digits<32, 5>(p, s.code);
        detail::ternary_digits<16, 5>(p + 32, s.code + 160);
        detail::ternary_digits<4, 4>(p + 48, s.code + 240);
        std::fill_n(s.scale, 8, detail::half_at(p + 52));
    }
};

/// 64 bytes of 2-bit codes as in q2_k, d.
struct tq2_0 : detail::coded_format<tq2_0, 32> {
    static constexpr dtype id = dtype::tq2_0;
    static void unpack(const std::byte* block, detail::coded_block& s) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        detail::two_bit_codes(p, s.code);
        detail::lower(s.code, 1);
        std::fill_n(s.scale, 8, detail::half_at(p + 64));
    }
};

}  // namespace skald::format
