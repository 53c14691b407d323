// SPDX-License-Identifier: MIT
#pragma once
// Large pages: memory that is read from end to end is read faster when the processor has fewer addresses to translate, and is
// handed out faster by the system.
#include <cstddef>
#include <cstdint>
#include <span>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <skald/core/checked.hpp>

namespace skald {

/// Asks the system for large pages where whole ones fit into the memory, best before it is first written. A hint; does nothing where
/// there are none.
inline void prefer_large_pages([[maybe_unused]] std::span<std::byte> memory) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::size_t page = std::size_t{2} << 20;
    const auto start = reinterpret_cast<std::uintptr_t>(memory.data());
    const std::size_t skipped = round_up(start, page) - start;
    if (memory.size() < skipped + page) return;
    (void)::madvise(memory.data() + skipped, (memory.size() - skipped) / page * page, MADV_HUGEPAGE);
#endif
}

}  // namespace skald
