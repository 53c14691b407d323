// SPDX-License-Identifier: MIT
#pragma once
// How one key or value vector of one head is kept: a codec turns `width` floats into bytes on append, and attention decodes
// them lane by lane. This file holds the concept and the three plain codecs. A codec knows nothing of positions, blocks or
// layers.
#include <array>
#include <concepts>
#include <cstddef>
#include <string_view>

#include <skald/core/half.hpp>
#include <skald/format/vector.hpp>

namespace skald::kv {

/// Heads are kept in rows padded with zeros to a multiple of this many values, the widest vector of any backend.
inline constexpr std::size_t lane_count = 16;

/// A KV codec: stateless; all members static. `width` is a multiple of lane_count.
///
/// | member                              | meaning                                                            |
/// |-------------------------------------|--------------------------------------------------------------------|
/// | name                                | the word that `--kv` takes                                         |
/// | row_bytes(width)                    | bytes of one encoded row                                           |
/// | encode<V>(row, width, out)          | floats (width) to bytes (row_bytes(width))                         |
/// | decode<V>(bytes, i)                 | values i … i + V::size - 1 of a row; i is a multiple of V::size    |
template <class C>
concept codec = requires(const float* row, std::byte* out, const std::byte* bytes, std::size_t n) {
    { C::name } -> std::convertible_to<std::string_view>;
    { C::row_bytes(n) } -> std::same_as<std::size_t>;
    C::template encode<format::scalar>(row, n, out);
    { C::template decode<format::scalar>(bytes, n) } -> std::same_as<format::scalar>;
};

namespace detail {

/// The name of a codec that is made of another one.
template <const std::string_view& Prefix, codec Codec>
struct prefixed_name {
    static constexpr auto letters = [] {
        std::array<char, Prefix.size() + Codec::name.size()> out{};
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = i < Prefix.size() ? Prefix[i] : Codec::name[i - Prefix.size()];
        return out;
    }();
    static constexpr std::string_view value{letters.data(), letters.size()};
};

}  // namespace detail

/// Keys and values as they are computed.
struct f32 {
    static constexpr std::string_view name = "f32";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return width * 4; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        for (std::size_t i = 0; i < width; i += V::size) V::load(row + i).store(reinterpret_cast<float*>(out) + i);
    }
    template <format::float_vector V>
    static V decode(const std::byte* bytes, std::size_t i) noexcept {
        return V::load(reinterpret_cast<const float*>(bytes) + i);
    }
};

/// IEEE binary16: relative error 2^-11; magnitudes above 65504 become infinite.
struct f16 {
    static constexpr std::string_view name = "f16";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return width * 2; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        for (std::size_t i = 0; i < width; i += V::size) V::load(row + i).store_half(reinterpret_cast<half*>(out) + i);
    }
    template <format::float_vector V>
    static V decode(const std::byte* bytes, std::size_t i) noexcept {
        return V::load_half(reinterpret_cast<const half*>(bytes) + i);
    }
};

/// bfloat16: relative error 2^-8, the range of f32.
struct bf16 {
    static constexpr std::string_view name = "bf16";
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return width * 2; }

    template <format::float_vector V>
    static void encode(const float* row, std::size_t width, std::byte* out) noexcept {
        for (std::size_t i = 0; i < width; i += V::size) V::load(row + i).store_bfloat16(reinterpret_cast<bfloat16*>(out) + i);
    }
    template <format::float_vector V>
    static V decode(const std::byte* bytes, std::size_t i) noexcept {
        return V::load_bfloat16(reinterpret_cast<const bfloat16*>(bytes) + i);
    }
};

static_assert(codec<f32> && codec<f16> && codec<bf16>);

}  // namespace skald::kv
