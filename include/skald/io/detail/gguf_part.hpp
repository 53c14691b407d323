// SPDX-License-Identifier: MIT
#pragma once
// One file of a GGUF model, opened.
#include <cstdint>
#include <memory>
#include <vector>

#include <skald/io/byte_source.hpp>
#include <skald/io/gguf_types.hpp>
#include <skald/io/metadata.hpp>
#include <skald/io/tensor_entry.hpp>

namespace skald::io::detail {

inline constexpr std::uint64_t default_alignment = 32;  // docs/gguf.md

/// One file of a model and what its head says.
struct gguf_part {
    std::unique_ptr<const byte_source> source;
    std::uint32_t version = 0;
    std::uint64_t alignment = default_alignment;
    metadata meta;
    std::vector<tensor_entry> tensors;
};

}  // namespace skald::io::detail
