// SPDX-License-Identifier: MIT
#pragma once
// How fast this machine reads memory: the roof under which decoding stands.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/executor.hpp>

namespace cli {

/// Memory far larger than any cache, to be read again and again.
class bandwidth_probe {
public:
    static constexpr std::size_t bytes = std::size_t{768} << 20;

    /// Allocates, and touches every page from the thread that will read it.
    explicit bandwidth_probe(skald::executor& pool);

    /// Bytes a second: the best of a few passes in which every thread sums a part of its own.
    double measure();

private:
    skald::executor& pool_;
    skald::buffer<std::byte> memory_;
    std::vector<std::uint64_t> sums_;
};

}  // namespace cli
