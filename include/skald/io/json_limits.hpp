// SPDX-License-Identifier: MIT
#pragma once
// Bounds for the JSON files that stand beside a model.
#include <cstddef>
#include <cstdint>

namespace skald::io {

/// What a JSON file may cost. Values are held in about 30 times their bytes at worst, strings in little more than their own.
struct json_limits {
    std::uint64_t bytes = 128u << 20;  ///< of text; the largest tokenizer.json published has some 35 MB
    std::size_t depth = 64;            ///< of objects and arrays in each other
    std::size_t members = SIZE_MAX;    ///< of one object: to be bounded where objects keep their order, and look keys up one by one
};

}  // namespace skald::io
