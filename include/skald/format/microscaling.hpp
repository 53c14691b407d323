// SPDX-License-Identifier: MIT
#pragma once
// Blocks of E2M1 numbers (0, ½, 1, 1½, 2, 3, 4, 6 and their negatives; Open Compute Project, "Microscaling Formats (MX)
// Specification", 2023) under an 8-bit scale. The code of -0 decodes to +0, as ggml has it.
#include <bit>
#include <cstddef>
#include <cstdint>

#include <skald/core/fp8.hpp>
#include <skald/format/block.hpp>
#include <skald/format/detail/codebooks_table.hpp>

namespace skald::format {

namespace detail {

/// Half of 2^(e - 127), for E2M1 values that are doubled. The greatest e is no NaN here.
inline float half_of_e8m0(std::uint8_t e) noexcept {
    return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
}

/// Half of an E4M3 number whose sign bit is ignored; the code of NaN is 0, as ggml has it, unless that bit is set: then it is 480.
inline float half_of_ue4m3(std::uint8_t bits) noexcept {
    if (bits == 0x7f) return 0.0f;
    if (bits == 0xff) return 240.0f;
    return 0.5f * to_float(fp8_e4m3{static_cast<std::uint8_t>(bits & 0x7f)});
}

}  // namespace detail

/// 32 values: an E8M0 scale, 16 bytes of nibbles: low ones first.
struct mxfp4 {
    static constexpr dtype id = dtype::mxfp4;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        std::uint8_t q[32];
        detail::split_nibbles<16>(p + 1, q);
        detail::scale_levels<32, V>(detail::half_of_e8m0(p[0]), detail::e2m1_doubled, q, out);
    }
};

/// 64 values in groups of 16: four E4M3 scales, then 8 bytes of nibbles a group: low ones first.
struct nvfp4 {
    static constexpr dtype id = dtype::nvfp4;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        const std::uint8_t* p = detail::bytes_of(block);
        std::uint8_t q[16];
        for (std::size_t g = 0; g < 4; ++g) {
            const auto both = detail::read_at<std::uint64_t>(p + 4 + g * 8);
            detail::store_16(detail::pair(both, both >> 4) & 15, q);
            detail::scale_levels<16, V>(detail::half_of_ue4m3(p[g]), detail::e2m1_doubled, q, out + g * 16);
        }
    }
};

}  // namespace skald::format
