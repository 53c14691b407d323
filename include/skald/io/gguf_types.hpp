// SPDX-License-Identifier: MIT
#pragma once
// The numbers by which a GGUF file names its value kinds and its tensor types, as tables.
// Source: docs/gguf.md and ggml.h of ggml (ids are never reused).
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include <skald/core/dtype.hpp>

namespace skald::io {

/// The kind of a metadata value. The numbers are those of the file.
enum class value_kind : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};

inline constexpr std::uint32_t value_kind_count = 13;

constexpr std::string_view to_string(value_kind kind) noexcept {
    constexpr std::array<std::string_view, value_kind_count> names{"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                                   "bool", "string", "array", "u64", "i64", "f64"};
    const auto i = static_cast<std::uint32_t>(kind);
    return i < value_kind_count ? names[i] : std::string_view("unknown");
}

/// Bytes of a value of that kind in a file; 0 for strings and arrays, whose length varies.
constexpr std::size_t value_bytes(value_kind kind) noexcept {
    constexpr std::array<std::uint8_t, value_kind_count> sizes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return sizes[static_cast<std::uint32_t>(kind)];
}

/// A tensor type that GGUF has a number for.
struct gguf_tensor_type {
    std::string_view name;      ///< as ggml spells it; empty for a number never given out
    std::optional<dtype> type;  ///< empty: known by name only
    bool removed = false;       ///< no longer allowed in files
};

namespace detail {
inline constexpr std::array<gguf_tensor_type, 43> gguf_tensor_types{{
    {"F32", dtype::f32},
    {"F16", dtype::f16},
    {"Q4_0", dtype::q4_0},
    {"Q4_1", dtype::q4_1},
    {"Q4_2", {}, true},
    {"Q4_3", {}, true},
    {"Q5_0", dtype::q5_0},
    {"Q5_1", dtype::q5_1},
    {"Q8_0", dtype::q8_0},
    {"Q8_1", dtype::q8_1},
    {"Q2_K", dtype::q2_k},
    {"Q3_K", dtype::q3_k},
    {"Q4_K", dtype::q4_k},
    {"Q5_K", dtype::q5_k},
    {"Q6_K", dtype::q6_k},
    {"Q8_K", dtype::q8_k},
    {"IQ2_XXS", dtype::iq2_xxs},
    {"IQ2_XS", dtype::iq2_xs},
    {"IQ3_XXS", dtype::iq3_xxs},
    {"IQ1_S", dtype::iq1_s},
    {"IQ4_NL", dtype::iq4_nl},
    {"IQ3_S", dtype::iq3_s},
    {"IQ2_S", dtype::iq2_s},
    {"IQ4_XS", dtype::iq4_xs},
    {"I8", dtype::i8},
    {"I16", dtype::i16},
    {"I32", dtype::i32},
    {"I64", dtype::i64},
    {"F64", dtype::f64},
    {"IQ1_M", dtype::iq1_m},
    {"BF16", dtype::bf16},
    {"Q4_0_4_4", {}, true},
    {"Q4_0_4_8", {}, true},
    {"Q4_0_8_8", {}, true},
    {"TQ1_0", dtype::tq1_0},
    {"TQ2_0", dtype::tq2_0},
    {"IQ4_NL_4_4", {}, true},
    {"IQ4_NL_4_8", {}, true},
    {"IQ4_NL_8_8", {}, true},
    {"MXFP4", dtype::mxfp4},
    {"NVFP4", dtype::nvfp4},
    {"Q1_0", {}},
    {"Q2_0", {}},
}};
}  // namespace detail

/// The tensor type of that number in a file, or null if no such number was given out.
constexpr const gguf_tensor_type* find_gguf_tensor_type(std::uint32_t id) noexcept {
    return id < detail::gguf_tensor_types.size() ? &detail::gguf_tensor_types[id] : nullptr;
}

/// Whether GGUF files can hold tensors of that type.
constexpr bool has_gguf_id(dtype type) noexcept {
    for (const gguf_tensor_type& t : detail::gguf_tensor_types)
        if (t.type == type) return true;
    return false;
}

/// The number by which a GGUF file names `type`, one that it has a number for.
constexpr std::uint32_t gguf_id(dtype type) noexcept {
    std::uint32_t id = 0;
    while (detail::gguf_tensor_types[id].type != type) ++id;
    return id;
}

static_assert(gguf_id(dtype::f32) == 0 && gguf_id(dtype::q8_0) == 8 && gguf_id(dtype::bf16) == 30 && gguf_id(dtype::nvfp4) == 40);

}  // namespace skald::io
