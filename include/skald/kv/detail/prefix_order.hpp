// SPDX-License-Identifier: MIT
#pragma once
// Which segments of a step begin with the same blocks: found once a step from their block tables, for kernels that read what is shared
// once (backend/ops.hpp, sharing_run).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>

namespace skald::kv::detail {

class prefix_order {
public:
    prefix_order(std::size_t sequences, std::pmr::memory_resource* memory) : list_(sequences, memory) {}
    static std::size_t bytes(std::size_t sequences) noexcept { return buffer<shared_prefix>::bytes_for(sequences); }
    std::size_t bytes() const noexcept { return list_.bytes(); }

    /// As sharing_run says.
    std::span<const shared_prefix> list() const noexcept { return {list_.data(), size_}; }
    void clear() noexcept { size_ = 0; }

    /// `blocks(i)`: those that segment i has filled before the step, of `block` positions each. Sorts the segments by them: those that
    /// share stand together, and each shares with the one before it as much as with any before that. Cost: comparisons of what is shared,
    /// as many as sorting takes.
    template <class Blocks>
    void arrange(std::size_t segments, std::size_t block, const Blocks& blocks) noexcept {
        const std::span<shared_prefix> all(list_.data(), segments);
        for (std::size_t i = 0; i < segments; ++i) all[i] = {.segment = static_cast<std::uint32_t>(i), .length = 0};
        std::ranges::sort(all, [&](const shared_prefix& a, const shared_prefix& b) {
            return std::ranges::lexicographical_compare(blocks(a.segment), blocks(b.segment));
        });
        bool any = false;
        for (std::size_t i = 1; i < segments; ++i) {
            const std::span<const std::uint32_t> here = blocks(all[i].segment);
            const auto common = std::ranges::mismatch(here, blocks(all[i - 1].segment)).in1 - here.begin();
            all[i].length = static_cast<position>(static_cast<std::size_t>(common) * block);
            any = any || common > 0;
        }
        size_ = any ? segments : 0;
    }

private:
    buffer<shared_prefix> list_;
    std::size_t size_ = 0;
};

}  // namespace skald::kv::detail
