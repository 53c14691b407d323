// SPDX-License-Identifier: MIT
#pragma once
// A radix tree of token sequences (SGLang's RadixAttention, Zheng et al. 2024), cut at block boundaries: a node stands for one
// whole block of tokens after those of its parent, and is named by the number of the block that the owner keeps for it. It
// knows tokens and block numbers, nothing of keys and values nor of who uses a block.
//
// Nodes stand in a list by last use, and a node's use is its ancestors' too, so an ancestor is always newer than its
// descendants. Walking from the oldest therefore meets leaves before what they hang on, without a clock or a search.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <utility>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>

namespace skald::kv {

/// The longest beginning of a token sequence that a tree has.
struct prefix_match {
    std::uint32_t last = std::numeric_limits<std::uint32_t>::max();  ///< the node of its last block; prefix_tree::none when empty
    std::size_t blocks = 0;                                          ///< its length
};

/// At most one node a block, all allocated at once. Nothing throws after construction. A step down is one look-up by hash.
class prefix_tree {
public:
    static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();  ///< no node; the parent of first blocks

    /// For block numbers [0, blocks) of `block` tokens each. Throws errc::invalid_argument for blocks of no tokens and for more of
    /// them than there are numbers.
    prefix_tree(std::size_t blocks, std::size_t block, std::pmr::memory_resource* memory)
        : block_(block),
          nodes_(checked(blocks, block), memory),
          buckets_(std::bit_ceil(blocks), memory),
          tokens_(checked(blocks, block) * block, memory) {
        clear();
    }

    /// What a tree takes from its resource. Throws as the constructor.
    static std::size_t bytes(std::size_t blocks, std::size_t block) {
        return buffer<node>::bytes_for(checked(blocks, block)) + buffer<std::uint32_t>::bytes_for(std::bit_ceil(blocks)) +
               buffer<token_id>::bytes_for(blocks * block);
    }
    std::size_t bytes() const noexcept { return nodes_.bytes() + buckets_.bytes() + tokens_.bytes(); }

    std::size_t block() const noexcept { return block_; }  ///< tokens a block
    std::size_t size() const noexcept { return size_; }    ///< nodes
    bool contains(std::uint32_t n) const noexcept { return nodes_[n].used; }
    bool is_leaf(std::uint32_t n) const noexcept { return nodes_[n].children == 0; }
    std::uint32_t parent(std::uint32_t n) const noexcept { return nodes_[n].parent; }
    std::uint32_t oldest() const noexcept { return oldest_; }                        ///< the least recently used node, or none
    std::uint32_t newer(std::uint32_t n) const noexcept { return nodes_[n].newer; }  ///< the next in the order of last use, or none

    /// Descends along whole blocks of `tokens`; a rest shorter than a block is not looked at. Changes no order.
    prefix_match match(std::span<const token_id> tokens) const noexcept {
        prefix_match found;
        for (; tokens.size() >= block_; tokens = tokens.subspan(block_), ++found.blocks) {
            const std::uint32_t next = child(found.last, tokens.first(block_));
            if (next == none) break;
            found.last = next;
        }
        return found;
    }

    /// Hangs a chain of new nodes below `parent` (or none) and makes its path the most recently used. The tree must have no node
    /// named by one of `blocks`, and `parent` no child for the first of them. // tokens: (blocks.size() · block)
    void extend(std::uint32_t parent, std::span<const token_id> tokens, std::span<const std::uint32_t> blocks) noexcept {
        for (const std::uint32_t b : blocks) {
            std::copy_n(tokens.begin(), block_, tokens_.data() + b * block_);
            std::uint32_t& first = buckets_[bucket(parent, tokens.first(block_))];
            nodes_[b] = {.parent = parent, .next = first, .used = true};
            first = b;
            if (parent != none) ++nodes_[parent].children;
            link_newest(b);
            ++size_;
            parent = b;
            tokens = tokens.subspan(block_);
        }
        touch(parent);
    }

    /// Makes a node (or none) and its ancestors the most recently used, the node the oldest of them. Cost: its depth.
    void touch(std::uint32_t n) noexcept {
        for (; n != none; n = nodes_[n].parent) {
            unlink(n);
            link_newest(n);
        }
    }

    /// Removes a leaf.
    void erase(std::uint32_t leaf) noexcept {
        node& gone = nodes_[leaf];
        std::uint32_t* at = &buckets_[bucket(gone.parent, tokens_of(leaf))];
        while (*at != leaf) at = &nodes_[*at].next;
        *at = gone.next;
        if (gone.parent != none) --nodes_[gone.parent].children;
        unlink(leaf);
        gone = {};
        --size_;
    }

    /// Removes all nodes.
    void clear() noexcept {
        std::ranges::fill(nodes_.span(), node{});
        std::ranges::fill(buckets_.span(), none);
        oldest_ = newest_ = none;
        size_ = 0;
    }

private:
    struct node {
        std::uint32_t parent = none;
        std::uint32_t next = none;  // of its bucket
        std::uint32_t older = none, newer = none;
        std::uint32_t children = 0;
        bool used = false;
    };

    static std::size_t checked(std::size_t blocks, std::size_t block) {
        if (block == 0) fail(errc::invalid_argument, "prefix tree", "blocks of 0 tokens; .block must be positive");
        if (blocks > none / 2) fail(errc::invalid_argument, "prefix tree", blocks, " blocks; it can tell ", none / 2, " apart");
        (void)(checked_size(blocks, "prefix tree") * block * sizeof(token_id)).size();
        return blocks;
    }

    std::span<const token_id> tokens_of(std::uint32_t n) const noexcept { return {tokens_.data() + n * block_, block_}; }

    std::uint32_t child(std::uint32_t parent, std::span<const token_id> block) const noexcept {
        std::uint32_t n = buckets_[bucket(parent, block)];
        while (n != none && (nodes_[n].parent != parent || !std::ranges::equal(tokens_of(n), block))) n = nodes_[n].next;
        return n;
    }

    /// Multiplication by the golden ratio of 2^64 mixes upwards, the shift back down.
    std::size_t bucket(std::uint32_t parent, std::span<const token_id> block) const noexcept {
        std::uint64_t h = parent;
        for (const token_id t : block) {
            h = (h ^ static_cast<std::uint32_t>(t)) * 0x9e3779b97f4a7c15u;
            h ^= h >> 32;
        }
        return static_cast<std::size_t>(h) & (buckets_.size() - 1);
    }

    void link_newest(std::uint32_t n) noexcept {
        nodes_[n].older = newest_;
        nodes_[n].newer = none;
        (newest_ == none ? oldest_ : nodes_[newest_].newer) = n;
        newest_ = n;
    }

    void unlink(std::uint32_t n) noexcept {
        const auto [older, newer] = std::pair(nodes_[n].older, nodes_[n].newer);
        (older == none ? oldest_ : nodes_[older].newer) = newer;
        (newer == none ? newest_ : nodes_[newer].older) = older;
    }

    std::size_t block_;
    buffer<node> nodes_;             // (blocks)
    buffer<std::uint32_t> buckets_;  // (a power of two), each the first node of a chain
    buffer<token_id> tokens_;        // (blocks, block)
    std::uint32_t oldest_ = none, newest_ = none;
    std::size_t size_ = 0;
};

}  // namespace skald::kv
