// SPDX-License-Identifier: MIT
#pragma once
// The element formats a tensor can have, as data: name, values a block, bytes a block. How a block is decoded is the
// business of format/. The quantized formats are those of GGUF (ggml's block layouts); the 8-bit floats are
// safetensors'; from w4_g32 on they are this library's own (format/group_quants.hpp, format/row_quants.hpp).
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace skald {

/// The format of a tensor's elements. The values are this library's own and appear in no file.
enum class dtype : std::uint8_t {
    f32,
    f16,
    bf16,
    f64,
    i8,
    i16,
    i32,
    i64,
    q4_0,
    q4_1,
    q5_0,
    q5_1,
    q8_0,
    q8_1,
    q2_k,
    q3_k,
    q4_k,
    q5_k,
    q6_k,
    q8_k,
    iq1_s,
    iq1_m,
    iq2_xxs,
    iq2_xs,
    iq2_s,
    iq3_xxs,
    iq3_s,
    iq4_nl,
    iq4_xs,
    tq1_0,
    tq2_0,
    mxfp4,
    nvfp4,
    f8_e4m3,
    f8_e5m2,
    w4_g32,
    w4_g64,
    w4_g128,
    w4z_g32,
    w4z_g64,
    w4z_g128,
    nf4,
    w8_row,
    u8_row,
    w8_mixed,
};

/// The layout facts of a dtype. A row of a tensor is a whole number of blocks.
struct dtype_info {
    std::string_view name;         ///< lower case, as `--type` takes it
    std::uint32_t block_size;      ///< values a block
    std::uint32_t block_bytes;     ///< bytes a block
    std::uint32_t row_header = 0;  ///< bytes before the blocks of each row
};

namespace detail {
inline constexpr std::array<dtype_info, 45> dtype_table{{
    {"f32", 1, 4},       {"f16", 1, 2},        {"bf16", 1, 2},        {"f64", 1, 8},       {"i8", 1, 1},          {"i16", 1, 2},
    {"i32", 1, 4},       {"i64", 1, 8},        {"q4_0", 32, 18},      {"q4_1", 32, 20},    {"q5_0", 32, 22},      {"q5_1", 32, 24},
    {"q8_0", 32, 34},    {"q8_1", 32, 36},     {"q2_k", 256, 84},     {"q3_k", 256, 110},  {"q4_k", 256, 144},    {"q5_k", 256, 176},
    {"q6_k", 256, 210},  {"q8_k", 256, 292},   {"iq1_s", 256, 50},    {"iq1_m", 256, 56},  {"iq2_xxs", 256, 66},  {"iq2_xs", 256, 74},
    {"iq2_s", 256, 82},  {"iq3_xxs", 256, 98}, {"iq3_s", 256, 110},   {"iq4_nl", 32, 18},  {"iq4_xs", 256, 136},  {"tq1_0", 256, 54},
    {"tq2_0", 256, 66},  {"mxfp4", 32, 17},    {"nvfp4", 64, 36},     {"f8_e4m3", 1, 1},   {"f8_e5m2", 1, 1},     {"w4_g32", 32, 18},
    {"w4_g64", 64, 34},  {"w4_g128", 128, 66}, {"w4z_g32", 32, 19},   {"w4z_g64", 64, 35}, {"w4z_g128", 128, 67}, {"nf4", 64, 34},
    {"w8_row", 1, 1, 4}, {"u8_row", 1, 1, 8},  {"w8_mixed", 1, 1, 4},
}};
}  // namespace detail

constexpr const dtype_info& info(dtype type) noexcept { return detail::dtype_table[static_cast<std::size_t>(type)]; }

constexpr std::string_view to_string(dtype type) noexcept { return info(type).name; }

/// The dtype of that (lower-case) name, or nothing.
constexpr std::optional<dtype> dtype_from_string(std::string_view name) noexcept {
    for (std::size_t i = 0; i < detail::dtype_table.size(); ++i)
        if (detail::dtype_table[i].name == name) return static_cast<dtype>(i);
    return std::nullopt;
}

/// Bytes of a row of `cols` values; `cols` must be a multiple of the block size (loaders check it).
constexpr std::size_t row_bytes(dtype type, std::size_t cols) noexcept {
    return info(type).row_header + cols / info(type).block_size * info(type).block_bytes;
}

}  // namespace skald
