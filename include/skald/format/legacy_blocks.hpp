// SPDX-License-Identifier: MIT
#pragma once
// Blocks of 32 values with one binary16 scale d, and for the formats "_1" a minimum m. Codes of four bits are bytes of two: the
// low nibbles are values 0 … 15, the high ones 16 … 31.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/format/block.hpp>

namespace skald::format {

namespace detail {

/// Codes of five bits: 32 high bits, then 16 bytes of low nibbles. // q: (32)
inline void five_bit_codes(const std::uint8_t* p, std::uint8_t* q) noexcept {
    std::uint8_t high[32];
    for (std::size_t i = 0; i < 4; ++i) {
        const std::uint64_t bits = spread_bits(p[i]) << 4;
        std::memcpy(static_cast<void*>(high + 8 * i), &bits, sizeof bits);
    }
    split_nibbles<16>(p + 4, q);
    for (std::size_t i = 0; i < 32; ++i) q[i] |= high[i];
}

/// Makes 32 codes signed, around an offset.
inline void lower(std::uint8_t* q, std::uint8_t offset) noexcept {
    for (std::size_t i = 0; i < 32; ++i) q[i] = static_cast<std::uint8_t>(q[i] - offset);
}

}  // namespace detail

/// d, 32 signed bytes. value = d · q.
struct q8_0 {
    static constexpr dtype id = dtype::q8_0;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        detail::scale_codes<V>(detail::half_at(block), detail::bytes_of(block) + 2, out);
    }
};

/// d, 16 bytes of nibbles. value = d · (q - 8).
struct q4_0 {
    static constexpr dtype id = dtype::q4_0;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::split_nibbles<16>(detail::bytes_of(block) + 2, q);
        detail::lower(q, 8);
        detail::scale_codes<V>(detail::half_at(block), q, out);
    }
};

/// d, m, 16 bytes of nibbles. value = d · q + m.
struct q4_1 {
    static constexpr dtype id = dtype::q4_1;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::split_nibbles<16>(detail::bytes_of(block) + 4, q);
        detail::scale_codes<V>(detail::half_at(block), q, detail::half_at(block + 2), out);
    }
};

/// d, 32 high bits, 16 bytes of low nibbles. value = d · (q - 16).
struct q5_0 {
    static constexpr dtype id = dtype::q5_0;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::five_bit_codes(detail::bytes_of(block) + 2, q);
        detail::lower(q, 16);
        detail::scale_codes<V>(detail::half_at(block), q, out);
    }
};

/// d, m, 32 high bits, 16 bytes of low nibbles. value = d · q + m.
struct q5_1 {
    static constexpr dtype id = dtype::q5_1;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::five_bit_codes(detail::bytes_of(block) + 4, q);
        detail::scale_codes<V>(detail::half_at(block), q, detail::half_at(block + 2), out);
    }
};

}  // namespace skald::format
