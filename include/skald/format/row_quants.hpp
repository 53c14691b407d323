// SPDX-License-Identifier: MIT
#pragma once
// The library's own formats of eight bits a value, with one scale for a whole row, an output channel. `native` products give each row of
// activations one scale as well (W8A8), and add up integers from the first column to the last: nothing is done per block.
#include <cstddef>
#include <cstdint>

#include <skald/format/block.hpp>

namespace skald::format {

namespace detail {

/// f(V, place) or f(scalar, place) for all of `cols` values.
template <float_vector V, class F>
inline void for_each_vector(std::size_t cols, F f) {
    std::size_t i = 0;
    for (; i + V::size <= cols; i += V::size) f(V{}, i);
    for (; i < cols; ++i) f(scalar{}, i);
}

/// A float scale d, a signed byte a value. value = d · q.
template <dtype Id>
struct signed_row {
    static constexpr dtype id = Id;
    static constexpr bool minima = false;
    template <float_vector V>
    static void decode_row(const std::byte* row, std::size_t cols, float* out) noexcept {
        const float d = read_at<float>(row);
        const auto* q = reinterpret_cast<const std::int8_t*>(row) + info(Id).row_header;
        for_each_vector<V>(cols, [&]<class W>(W, std::size_t i) { (W::broadcast(d) * W::load_i8(q + i)).store(out + i); });
    }
};

}  // namespace detail

struct w8_row : detail::signed_row<dtype::w8_row> {};

/// As w8_row, for activations with outliers: `native` products take those beyond ± 6 in floats and the rest in eight bits, as
/// LLM.int8() does (Dettmers et al., 2022).
struct w8_mixed : detail::signed_row<dtype::w8_mixed> {};

/// Scale d = (greatest - least) / 255 and least value m, floats; a byte a value. value = d · q + m. Encoders leave d 16 significant bits,
/// so that the product is exact and the value rounded once, fused or not.
struct u8_row {
    static constexpr dtype id = dtype::u8_row;
    static constexpr bool minima = true;
    template <float_vector V>
    static void decode_row(const std::byte* row, std::size_t cols, float* out) noexcept {
        const float d = detail::read_at<float>(row), m = detail::read_at<float>(row + 4);
        const std::uint8_t* q = detail::bytes_of(row) + info(id).row_header;
        detail::for_each_vector<V>(
            cols, [&]<class W>(W, std::size_t i) { fma(W::broadcast(d), W::load_u8(q + i), W::broadcast(m)).store(out + i); });
    }
};

}  // namespace skald::format
