// SPDX-License-Identifier: MIT
#pragma once
// How a model is loaded. Everything the library needs from its host comes in here.
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory_resource>
#include <stop_token>

#include <skald/backend/ops.hpp>
#include <skald/core/executor.hpp>
#include <skald/core/logger.hpp>

namespace skald {

/// Called while a model loads, with the bytes of the file read so far and in all.
using progress_callback = std::function<void(std::size_t done, std::size_t total)>;

struct load_options {
    executor* pool = nullptr;  ///< runs the parallel parts; null: the calling thread. Must outlive the model
    skald::compute compute = skald::compute::native;
    std::pmr::memory_resource* memory =
        std::pmr::get_default_resource();  ///< weights, tokenizer, caches, workspaces. Must outlive the model
    skald::logger logger{};
    progress_callback progress{};
    std::stop_token stop{};  ///< cancels the load with errc::cancelled
    bool copy = false;       ///< read files into memory instead of mapping them: safe against files that change while they are read
    /// none: matrices are read where the file is mapped, whose pages all processes share, and are not allocated (with `copy` they are)
    skald::packing packing = skald::packing::panels;
    /// A file for the packed matrices, which lie in it instead of allocated memory: mapped (or copied) if it was made of this model's file
    /// for this build's layout, else written first. Empty: none
    std::filesystem::path packed_file{};
};

}  // namespace skald
