// SPDX-License-Identifier: MIT
#pragma once
// Where 32 encoded rows lie, in the four addresses that blocks of a cache need.
#include <cstddef>

#include <skald/backend/cpu/isa.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Rows of which those of each eight lie one after another.
struct rows_by_eight {
    static constexpr std::size_t count = 32;
    const std::byte* first[count / 8];
    std::size_t row_bytes;

    const std::byte* operator[](std::size_t i) const noexcept { return first[i / 8] + i % 8 * row_bytes; }
    /// All of them in one row.
    static rows_by_eight from(const std::byte* row, std::size_t row_bytes) noexcept {
        return {{row, row + 8 * row_bytes, row + 16 * row_bytes, row + 24 * row_bytes}, row_bytes};
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
