// SPDX-License-Identifier: MIT
#pragma once
// The element types of safetensors files, and a row of such a file's tensor table.
// Source: the enumeration Dtype of the safetensors library.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/dtype.hpp>

namespace skald::io {

/// An element type of safetensors.
struct safetensors_type {
    std::string_view name;      ///< as the file spells it
    std::uint32_t bits;         ///< of an element
    std::optional<dtype> type;  ///< empty: can be read, but not computed with
};

namespace detail {
inline constexpr std::array<safetensors_type, 22> safetensors_types{{
    {"F64", 64, dtype::f64},
    {"F32", 32, dtype::f32},
    {"F16", 16, dtype::f16},
    {"BF16", 16, dtype::bf16},
    {"I64", 64, dtype::i64},
    {"I32", 32, dtype::i32},
    {"I16", 16, dtype::i16},
    {"I8", 8, dtype::i8},
    {"U64", 64, {}},
    {"U32", 32, {}},
    {"U16", 16, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"C64", 64, {}},
    {"F8_E4M3", 8, dtype::f8_e4m3},
    {"F8_E5M2", 8, dtype::f8_e5m2},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
}};
}  // namespace detail

/// The element type of that name, or null.
constexpr const safetensors_type* find_safetensors_type(std::string_view name) noexcept {
    for (const safetensors_type& type : detail::safetensors_types)
        if (type.name == name) return &type;
    return nullptr;
}

/// Where a tensor of a safetensors file lies and what it is: the sizes agree with each other and with the file.
struct safetensors_tensor {
    std::string name;
    const safetensors_type* type = nullptr;
    std::vector<std::uint64_t> shape;  ///< as the file has it: the last extent varies fastest; empty for a scalar
    std::uint64_t offset = 0;          ///< of the first byte, counted from the start of its file
    std::uint64_t bytes = 0;
    std::uint32_t shard = 0;  ///< which file of a folder holds it, counted from 0
};

}  // namespace skald::io
