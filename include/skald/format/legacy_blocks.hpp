// SPDX-License-Identifier: MIT
#pragma once
// Blocks of 32 values with one binary16 scale d, and for the formats "_1" a minimum m. Codes of four bits are bytes of two: the
// low nibbles are values 0 … 15, the high ones 16 … 31.
#include <cstddef>
#include <cstdint>

#include <skald/format/block.hpp>

namespace skald::format {

namespace detail {

/// 16 bytes of nibbles as 32 codes around an offset. // q: (32)
inline void four_bit_codes(const std::uint8_t* p, std::uint8_t offset, std::uint8_t* q) noexcept {
    const bytes_16 both = load_16(p);
    store_16((both & 15) - offset, q);
    store_16(right(both, 4, 15) - offset, q + 16);
}

/// Codes of five bits around an offset: 32 high bits, then 16 bytes of low nibbles. // q: (32)
inline void five_bit_codes(const std::uint8_t* p, std::uint8_t offset, std::uint8_t* q) noexcept {
    const bytes_16 both = load_16(p + 4);
    store_16(((both & 15) | pair(spread_bits(p[0]) << 4, spread_bits(p[1]) << 4)) - offset, q);
    store_16((right(both, 4, 15) | pair(spread_bits(p[2]) << 4, spread_bits(p[3]) << 4)) - offset, q + 16);
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
        detail::four_bit_codes(detail::bytes_of(block) + 2, 8, q);
        detail::scale_codes<V>(detail::half_at(block), q, out);
    }
};

/// d, m, 16 bytes of nibbles. value = d · q + m.
struct q4_1 {
    static constexpr dtype id = dtype::q4_1;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::four_bit_codes(detail::bytes_of(block) + 4, 0, q);
        detail::scale_codes<V>(detail::half_at(block), q, detail::half_at(block + 2), out);
    }
};

/// d, 32 high bits, 16 bytes of low nibbles. value = d · (q - 16).
struct q5_0 {
    static constexpr dtype id = dtype::q5_0;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::five_bit_codes(detail::bytes_of(block) + 2, 16, q);
        detail::scale_codes<V>(detail::half_at(block), q, out);
    }
};

/// d, m, 32 high bits, 16 bytes of low nibbles. value = d · q + m.
struct q5_1 {
    static constexpr dtype id = dtype::q5_1;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        std::uint8_t q[32];
        detail::five_bit_codes(detail::bytes_of(block) + 4, 0, q);
        detail::scale_codes<V>(detail::half_at(block), q, detail::half_at(block + 2), out);
    }
};

}  // namespace skald::format
