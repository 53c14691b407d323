// SPDX-License-Identifier: MIT
#pragma once
// The bookkeeping of a pool of equal blocks: a free list, and how many hold each block. It knows numbers only; what lies in a
// block is its owner's matter.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include <skald/core/buffer.hpp>

namespace skald::kv::detail {

/// Blocks [0, size), all free at first. Nothing here throws after construction but what a caller's function does.
class block_pool {
public:
    block_pool(std::size_t blocks, std::pmr::memory_resource* memory) : references_(blocks, memory), free_(blocks, memory), count_(blocks) {
        std::fill_n(references_.data(), blocks, 0u);
        for (std::size_t i = 0; i < blocks; ++i) free_[i] = static_cast<std::uint32_t>(blocks - 1 - i);
    }

    static std::size_t bytes(std::size_t blocks) noexcept { return 2 * buffer<std::uint32_t>::bytes_for(blocks); }
    std::size_t bytes() const noexcept { return references_.bytes() + free_.bytes(); }

    std::size_t size() const noexcept { return references_.size(); }
    std::size_t free_count() const noexcept { return count_; }
    std::uint32_t references(std::uint32_t block) const noexcept { return references_[block]; }

    /// A free block, held once. There must be one.
    std::uint32_t take() noexcept {
        const std::uint32_t block = free_[--count_];
        references_[block] = 1;
        return block;
    }
    /// One more holds the block.
    void share(std::uint32_t block) noexcept { ++references_[block]; }
    /// One holds it no longer; free when that was the last.
    void drop(std::uint32_t block) noexcept {
        if (--references_[block] == 0) free_[count_++] = block;
    }

    /// f(blocks that would be free besides) while one holds each block less that `each_block` visits; undone whatever f does.
    template <class EachBlock, class F>
    bool without(const EachBlock& each_block, const F& f) {
        const auto give_back = [&] { each_block([&](std::uint32_t block) { share(block); }); };
        std::size_t freed = 0;
        each_block([&](std::uint32_t block) { freed += --references_[block] == 0; });
        try {
            const bool out = f(freed);
            give_back();
            return out;
        } catch (...) {
            give_back();
            throw;
        }
    }

private:
    buffer<std::uint32_t> references_;  // (blocks)
    buffer<std::uint32_t> free_;        // (blocks), the first count_ are free
    std::size_t count_;
};

}  // namespace skald::kv::detail
