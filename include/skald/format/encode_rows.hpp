// SPDX-License-Identifier: MIT
#pragma once
// Writing formats of eight bits with one scale a row, to the nearest.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <skald/format/encode_block.hpp>
#include <skald/format/row_quants.hpp>

namespace skald::format {

namespace detail {

/// The least float of 16 significant bits that is not below the positive x.
inline float round_up_to_16_bits(float x) noexcept { return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 255) & ~255u); }

}  // namespace detail

/// The greatest magnitude is ±127.
template <dtype Id>
inline void encode_row(detail::signed_row<Id>, const float* x, std::size_t cols, std::byte* row) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < cols; ++i) most = std::max(most, std::fabs(x[i]));
    const float scale = detail::round_up_to_16_bits(most / 127), inverse = detail::inverse_of(scale);
    detail::put_at(row, scale);
    row += info(Id).row_header;
    for (std::size_t i = 0; i < cols; ++i) row[i] = static_cast<std::byte>(static_cast<std::int8_t>(std::nearbyint(x[i] * inverse)));
}

/// The least value is 0, the greatest 255.
inline void encode_row(u8_row, const float* x, std::size_t cols, std::byte* row) noexcept {
    float least = cols == 0 ? 0 : x[0], most = least;
    for (std::size_t i = 0; i < cols; ++i) least = std::min(least, x[i]), most = std::max(most, x[i]);
    const float scale = detail::round_up_to_16_bits(most / 255 - least / 255), inverse = detail::inverse_of(scale);
    detail::put_at(row, scale);
    detail::put_at(row + 4, least);
    row += info(u8_row::id).row_header;
    for (std::size_t i = 0; i < cols; ++i)
        row[i] = static_cast<std::byte>(std::clamp(std::nearbyint((x[i] - least) * inverse), 0.0f, 255.0f));
}

}  // namespace skald::format
