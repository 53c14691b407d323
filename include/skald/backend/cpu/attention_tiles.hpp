// SPDX-License-Identifier: MIT
#pragma once
// Products of words by AMX, whose tiles multiply bytes: a word is 256 · h + l with h its upper byte, signed, and l its lower one,
// unsigned, so that w · v = 65536 · h·h + 256 · (h·l + l·h) + l·l. The results are those of words.hpp, bit for bit.
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/amx.hpp>
#include <skald/backend/cpu/words.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// The upper and the lower parts of the words of 16 rows of 32 pairs.
struct byte_planes {
    std::int8_t high[16][64];
    std::uint8_t low[16][64];
    static constexpr std::size_t floats = 2 * 16 * 64 / sizeof(float);
};

#if defined(SKALD_ISA_HAS_AMX)

/// Row r of the planes: the words of 16 pairs a and of 16 pairs b, bytes of both in turn; null: zeros.
SKALD_INLINE void split_words(const std::int32_t* a, const std::int32_t* b, byte_planes& out, std::size_t r) noexcept {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i x = a == nullptr ? zero : _mm512_loadu_si512(a), y = b == nullptr ? zero : _mm512_loadu_si512(b);
    const auto in_turn = [](__m512i even, __m512i odd) {
        return _mm512_ternarylogic_epi32(_mm512_set1_epi32(0x00ff00ff), even, odd, 0xca);
    };
    _mm512_storeu_si512(out.high[r], in_turn(_mm512_srli_epi16(x, 8), y));
    _mm512_storeu_si512(out.low[r], in_turn(x, _mm512_slli_epi16(y, 8)));
}

/// The first `rows` rows of 16 × 16 products that are `steps` planes deep; a thread that calls this has amx_tiles(16).
inline void multiply_planes(const byte_planes* left, const byte_planes* right, std::size_t right_stride, std::size_t steps,
                            std::size_t rows, std::int32_t* out, std::size_t out_stride) noexcept {
    constexpr int high = 3, low = 4, right_high = amx_tiles::right, right_low = right_high + 1;
    zero_tile<0>();
    zero_tile<1>();
    zero_tile<2>();
    for (std::size_t s = 0; s < steps; ++s, ++left, right += right_stride) {
        load_tile<high>(left->high);
        load_tile<low>(left->low);
        load_tile<right_high>(right->high);
        load_tile<right_low>(right->low);
        multiply_byte_tiles<0, high, right_high, true, true>();
        multiply_byte_tiles<1, high, right_low, true, false>();
        multiply_byte_tiles<1, low, right_high, false, true>();
        multiply_byte_tiles<2, low, right_low, false, false>();
    }
    alignas(64) std::int32_t parts[3][16][16];
    store_tile<0>(parts[0], 64);
    store_tile<1>(parts[1], 64);
    store_tile<2>(parts[2], 64);
    const auto part = [&](std::size_t i, std::size_t r) { return _mm512_load_si512(parts[i][r]); };
    for (std::size_t r = 0; r < rows; ++r) {
        const __m512i upper = _mm512_add_epi32(_mm512_maskz_slli_epi32(0xffff, part(0, r), 8), part(1, r));
        _mm512_storeu_si512(out + r * out_stride, _mm512_add_epi32(_mm512_maskz_slli_epi32(0xffff, upper, 8), part(2, r)));
    }
}

#endif

}  // namespace skald::inline SKALD_ISA::kernels
