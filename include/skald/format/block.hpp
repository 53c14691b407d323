// SPDX-License-Identifier: MIT
#pragma once
// What a number format of weights in file layout is: a type with an exact decode of one block. The formats themselves lie in
// numbers.hpp, legacy_blocks.hpp, k_quants.hpp, i_quants.hpp, ternary.hpp and microscaling.hpp; their layouts are those of GGUF
// (ggml). "Exact": the products of scales and codes fit a float's 24 bits, so that only a sum with a minimum is rounded, once.
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <skald/core/dtype.hpp>
#include <skald/core/half.hpp>
#include <skald/format/vector.hpp>

namespace skald::format {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read in place");

/// A format whose numbers need what is before them in their row: it decodes whole rows.
template <class F>
concept row_format = requires(const std::byte* row, std::size_t cols, float* out) { F::template decode_row<scalar>(row, cols, out); };

/// A weight format: its dtype, and the exact decode of one block into `info(id).block_size` floats, or that of a row. Any bytes decode to
/// something.
template <class F>
concept weight_format = requires(const std::byte* block, float* out) {
    { F::id } -> std::convertible_to<dtype>;
    requires row_format<F> || requires { F::template decode<scalar>(block, out); };
};

namespace detail {

template <class T>
inline T read_at(const void* p) noexcept {
    T value;
    std::memcpy(static_cast<void*>(&value), p, sizeof value);
    return value;
}
inline float half_at(const void* p) noexcept { return to_float(read_at<half>(p)); }

inline const std::uint8_t* bytes_of(const std::byte* block) noexcept { return reinterpret_cast<const std::uint8_t*>(block); }

/// A super-block on the way to numbers: its codes, and a scale and a minimum for each group of them.
struct coded_block {
    std::uint8_t code[256];
    float scale[16], minimum[16];
};

/// One on the way to floats. Decoders unpack into it; the floats are made here, by code that all formats share.
template <float_vector V>
struct super_block : coded_block {
    /// out = scale · code, as signed bytes, in groups of N.
    template <std::size_t N>
    [[gnu::noinline]] void put(float* out) const noexcept {
        const auto* q = reinterpret_cast<const std::int8_t*>(code);
        for (std::size_t i = 0; i < 256; i += V::size) (V::broadcast(scale[i / N]) * V::load_i8(q + i)).store(out + i);
    }
    /// out = scale · code - minimum, in groups of N. The product must be exact: then the difference is rounded once, fused or not.
    template <std::size_t N>
    [[gnu::noinline]] void put_lowered(float* out) const noexcept {
        for (std::size_t i = 0; i < 256; i += V::size)
            fma(V::broadcast(scale[i / N]), V::load_u8(code + i), V::broadcast(-minimum[i / N])).store(out + i);
    }
};

/// The decode of a format whose `unpack(block, coded_block&)` gives signed codes, and scales in groups of `Group`.
template <class Format, std::size_t Group>
struct coded_format {
    static constexpr std::size_t group = Group;
    template <float_vector V>
    static void decode(const std::byte* block, float* out) noexcept {
        super_block<V> s;
        Format::unpack(block, s);
        s.template put<Group>(out);
    }
};

/// out = scale · q, for 32 values.
template <float_vector V>
inline void scale_codes(float scale, const std::uint8_t* q, float* out) noexcept {
    const V d = V::broadcast(scale);
    for (std::size_t i = 0; i < 32; i += V::size) (d * V::load_i8(reinterpret_cast<const std::int8_t*>(q) + i)).store(out + i);
}

/// out = scale · q + minimum, for 32 values; rounded once as in super_block.
template <float_vector V>
inline void scale_codes(float scale, const std::uint8_t* q, float minimum, float* out) noexcept {
    const V d = V::broadcast(scale), m = V::broadcast(minimum);
    for (std::size_t i = 0; i < 32; i += V::size) fma(d, V::load_u8(q + i), m).store(out + i);
}

/// out = scale · levels[q], for N codes q below 16.
template <std::size_t N, float_vector V>
inline void scale_levels(float scale, const std::int8_t (&levels)[16], const std::uint8_t* q, float* out) noexcept {
    const V d = V::broadcast(scale);
    for (std::size_t i = 0; i < N; i += V::size) (d * V::load_levels(levels, q + i)).store(out + i);
}

/// Sixteen bytes as the compilers' own vector type: elementwise operators on every target, no intrinsics.
using bytes_16 [[gnu::vector_size(16)]] = std::uint8_t;
using words_8 [[gnu::vector_size(16)]] = std::uint16_t;

inline bytes_16 load_16(const void* p) noexcept { return read_at<bytes_16>(p); }
inline void store_16(bytes_16 v, void* p) noexcept { std::memcpy(p, &v, sizeof v); }
inline bytes_16 pair(std::uint64_t low, std::uint64_t high) noexcept {
    using quads [[gnu::vector_size(16)]] = std::uint64_t;
    return reinterpret_cast<bytes_16>(quads{low, high});
}
/// Bytes of which only the bits of `mask` are kept, shifted; the mask must exclude what comes over from a neighbour.
inline bytes_16 right(bytes_16 v, int bits, std::uint8_t mask) noexcept {
    return reinterpret_cast<bytes_16>(reinterpret_cast<words_8>(v) >> bits) & mask;
}
inline bytes_16 left(bytes_16 v, int bits, std::uint8_t mask) noexcept {
    return reinterpret_cast<bytes_16>(reinterpret_cast<words_8>(v) << bits) & mask;
}

/// N bytes of two codes each: the low nibbles, then the high ones. // q: (2 · N)
template <std::size_t N>
inline void split_nibbles(const std::uint8_t* p, std::uint8_t* q) noexcept {
    for (std::size_t i = 0; i < N; i += 16) {
        const bytes_16 both = load_16(p + i);
        store_16(both & 15, q + i);
        store_16(right(both, 4, 15), q + N + i);
    }
}

/// The bits of a byte as eight bytes of 0 or 1, the lowest first.
constexpr std::uint64_t spread_bits(std::uint8_t bits) noexcept {
    const std::uint64_t one_each = bits * std::uint64_t{0x0101010101010101} & std::uint64_t{0x8040201008040201};
    return (one_each + std::uint64_t{0x7f7f7f7f7f7f7f7f}) >> 7 & std::uint64_t{0x0101010101010101};
}

}  // namespace detail

}  // namespace skald::format
