// SPDX-License-Identifier: MIT
#pragma once
// What writing a number format is: for each format that can be written an `encoder`, in encode_numbers.hpp, encode_legacy.hpp,
// encode_k.hpp, encode_i.hpp, encode_grids.hpp and encode_microscaling.hpp, with the layouts of the decoders.
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/core/half.hpp>
#include <skald/format/block.hpp>
#include <skald/format/detail/scale_search.hpp>
#include <skald/format/vector.hpp>

namespace skald::format {

/// Specialized by formats that can be written:
///
/// | expression                              | meaning                                                                          |
/// |-----------------------------------------|----------------------------------------------------------------------------------|
/// | encoder<F>::encode<V>(x, w, block)      | the block whose values come nearest to x: least Σ w · (x - decoded)²             |
///
/// x and w hold info(F::id).block_size finite values, weights not negative; formats of one value a block do not read w. Magnitudes
/// beyond binary16's 65504 need a format without binary16 numbers.
template <class Format>
struct encoder;

template <class F>
concept writable_format =
    weight_format<F> && requires(const float* x, const float* w, std::byte* block) { encoder<F>::template encode<scalar>(x, w, block); };

namespace detail {

template <class T>
inline void put_at(void* p, T value) noexcept {
    std::memcpy(p, static_cast<const void*>(&value), sizeof value);
}

/// Stores a binary16 number and returns the value it has.
inline float put_half(std::byte* p, float value) noexcept {
    const half h = to_half(value);
    put_at(p, h);
    return to_float(h);
}

inline std::uint8_t* bytes_of(std::byte* block) noexcept { return reinterpret_cast<std::uint8_t*>(block); }

/// The codes, from 0, of N values under a scale and minimum.
template <class Codes, std::size_t N>
inline void put_codes(const float* x, float scale, float minimum, std::uint8_t* q) noexcept {
    const float inverse = inverse_of(scale);
    for (std::size_t i = 0; i < N; ++i) q[i] = Codes::index((x[i] - minimum) * inverse);
}

/// 2N codes below 16 as N bytes: the first N are the low nibbles.
template <std::size_t N>
inline void join_nibbles(const std::uint8_t* q, std::uint8_t* p) noexcept {
    for (std::size_t i = 0; i < N; ++i) p[i] = static_cast<std::uint8_t>((q[i] & 15) | (q[i + N] & 15) << 4);
}

}  // namespace detail

}  // namespace skald::format
