// SPDX-License-Identifier: MIT
#pragma once
// Prefix sharing (SGLang's RadixAttention, Zheng et al. 2024): storage with a pool of blocks, whose sequences leave their blocks behind. A
// tree maps tokens to the blocks that hold their keys and values; a new sequence that begins with the same tokens takes those over without
// computing them again. Blocks that only the tree holds are given up, least recently used first, when a step needs room, so the tree is
// never in the way: whatever `paged` has room for, `radix` has, but for pins.
//
// What is shared is whole blocks. A sequence that goes on inside a block which the tree or another sequence holds copies it
// first, so a block of the tree is never written to. Tiers share whole groups, which nobody writes to once they are whole; a place that
// stands before a sequence's first group goes with that group.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include <skald/core/buffer.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/prefix_tree.hpp>

namespace skald::kv {

/// What became of tokens since the cache was made.
struct prefix_counts {
    std::size_t hits = 0;     ///< tokens of prompts that open_with() found
    std::size_t misses = 0;   ///< tokens of prompts that it did not
    std::size_t evicted = 0;  ///< tokens that made room for others
};

/// Memory: that of the storage, the tree, and a count a block; where the storage has places before first groups, the place of each.
///
/// Sequences that hold a block of the tree hold all blocks before it, and those are the tree's too: what only the tree holds
/// has only such below it.
template <kv_cache Storage>
class prefix_cache : public Storage {
    using base = Storage;
    using base::block_;
    using base::blocks_of;
    using base::lead_of;
    using base::pool;
    using base::table_;

public:
    /// Of an empty storage, which has places before first groups or none.
    prefix_cache(Storage storage, bool leads, std::pmr::memory_resource* memory)
        : base(std::move(storage)),
          tree_(pool().size(), block_, memory),
          pins_(pool().size(), memory),
          leads_(leads ? pool().size() : 0, memory) {
        std::ranges::fill(pins_.span(), 0u);
    }

    /// Beside those of the storage, with so many blocks of so many tokens.
    static std::size_t bytes_beside(std::size_t blocks, std::size_t block, bool leads) {
        return prefix_tree::bytes(blocks, block) + buffer<std::uint32_t>::bytes_for(blocks) +
               buffer<std::uint32_t>::bytes_for(leads ? blocks : 0);
    }
    std::size_t bytes() const noexcept { return base::bytes() + tree_.bytes() + pins_.bytes() + leads_.bytes(); }

    using base::free_blocks;
    void remove(sequence_id, position, position) = delete;  // blocks of the tree are of tokens that stand where they stood
    void shift(sequence_id, position, position, position) = delete;

    std::size_t cached_tokens() const noexcept { return tree_.size() * block_; }  ///< in the tree, held by sequences or not
    const prefix_counts& counts() const noexcept { return counts_; }

    /// As any cache's; evicts as many blocks as the step lacks. Where even that is too little, errc::cache_full, and nothing is evicted.
    std::span<const row_range> plan(std::span<const segment> segments) {
        make_room(segments);
        return base::plan(segments);
    }

    /// Counts what plan() would evict.
    bool has_room(const step_wish& wish, std::span<const sequence_id> leaving) {
        return base::without(leaving, [&](std::size_t freed) {
            return base::blocks_needed(wish) <= free_blocks() + freed + evictable() + tails_of_the_tree(wish.segments);
        });
    }

    /// The tokens of the prompt that open_with() would take over.
    std::size_t reusable(std::span<const token_id> prompt) const noexcept { return match(prompt).blocks * block_; }

    /// A new sequence with the prompt's first blocks that are known, committed: a multiple of the block, at most prompt.size() - 1
    /// tokens. Throws errc::cache_full when all sequences are in use. Cost: one look at the prompt, one table row.
    opened_sequence open_with(std::span<const token_id> prompt) {
        const sequence_id s = table_.open();
        const prefix_match known = match(prompt);
        const std::size_t reused = known.blocks * block_;
        base::begin_at(s, static_cast<position>(reused));
        each_block(known, [&](std::size_t i, std::uint32_t block) {
            blocks_of(s)[i] = block;
            pool().share(block);
            if (i == 0) take_lead(s, block);
        });
        tree_.touch(known.last);
        counts_.hits += reused;
        counts_.misses += prompt.size() - reused;
        return {s, reused};
    }

    /// Keeps the whole blocks of `tokens`, which must be the first tokens of s and committed, for sequences to come. Where the tree
    /// has equal blocks already, s and its forks give theirs up for the tree's. Throws errc::invalid_argument for more tokens than
    /// are committed, and for tokens seen not to be those of s; takes no memory.
    void remember(sequence_id s, std::span<const token_id> tokens) {
        const auto committed = static_cast<std::size_t>(table_.at(s).committed);
        if (tokens.size() > committed)
            fail(errc::invalid_argument, "kv cache", tokens.size(), " tokens to remember; sequence ", s.index, " has committed ",
                 committed);
        const std::span<std::uint32_t> blocks(blocks_of(s), tokens.size() / block_);
        const prefix_match known = tree_.match(tokens);
        const auto known_elsewhere = [&](std::size_t i, std::uint32_t here) {
            if (blocks[i] != here && tree_.contains(blocks[i]))
                fail(errc::invalid_argument, "kv cache", "the tokens ", i * block_, " to ", (i + 1) * block_, " are not those of sequence ",
                     s.index, ", which were remembered before");
        };
        each_block(known, known_elsewhere);
        for (std::size_t i = known.blocks; i < blocks.size(); ++i) known_elsewhere(i, prefix_tree::none);

        each_block(known, [&](std::size_t i, std::uint32_t block) {
            if (blocks[i] != block) replace(i, blocks[i], block);
        });
        tree_.extend(known.last, tokens.subspan(known.blocks * block_), blocks.subspan(known.blocks));
        for (const std::uint32_t block : blocks.subspan(known.blocks)) pool().share(block);
        if (const std::uint32_t* lead = lead_of(s); lead != nullptr && known.blocks == 0 && !blocks.empty()) {
            leads_[blocks[0]] = *lead;
            pool().share(*lead);
        }
    }

    /// Keeps the longest known beginning of `tokens` from eviction until unpin(): whole blocks, perhaps fewer than `tokens` has, or none.
    pinned_prefix pin(std::span<const token_id> tokens) noexcept {
        const prefix_match known = tree_.match(tokens);
        each_block(known, [&](std::size_t, std::uint32_t block) { pool().share(block); });
        if (known.blocks != 0) ++pins_[known.last];
        return {known.last, known.blocks * block_};
    }

    /// Ends a pin. Throws errc::invalid_argument for one that is none.
    void unpin(const pinned_prefix& pinned) {
        if (pinned.tokens == 0) return;
        if (pinned.last >= pins_.size() || pins_[pinned.last] == 0)
            fail(errc::invalid_argument, "kv cache", "unpin of ", pinned.tokens, " tokens that are not pinned");
        --pins_[pinned.last];
        drop_path(pinned.last);
    }

    /// Forgets the least recently used blocks that no sequence holds and no pin, until `blocks` are free by it or none is left; tells how
    /// many are.
    std::size_t evict(std::size_t blocks) noexcept {
        std::size_t done = 0;
        for (std::uint32_t n = tree_.oldest(); n != prefix_tree::none && done < blocks;) {
            const std::uint32_t next = tree_.newer(n);
            if (pool().references(n) == 1) {
                done += places_of(n);
                forget(n);
            }
            n = next;
        }
        return done;
    }

    /// Forgets everything, pins included; sequences keep what they hold. For weights that change.
    void forget_all() noexcept {
        for (std::uint32_t n = tree_.oldest(); n != prefix_tree::none; n = tree_.newer(n))
            for (; pins_[n] != 0; --pins_[n]) drop_path(n);
        for (std::uint32_t n = tree_.oldest(); n != prefix_tree::none; n = tree_.newer(n)) {
            drop_lead(n);
            pool().drop(n);
        }
        tree_.clear();
    }

private:
    prefix_match match(std::span<const token_id> prompt) const noexcept {
        return tree_.match(prompt.first(prompt.empty() ? 0 : prompt.size() - 1));
    }

    /// f(index in the sequence, block) for the blocks of a match, the last one first.
    template <class F>
    void each_block(const prefix_match& match, F&& f) const {
        std::uint32_t at = match.last;
        for (std::size_t i = match.blocks; i-- > 0; at = tree_.parent(at)) f(i, at);
    }

    void drop_path(std::uint32_t n) noexcept {
        for (; n != prefix_tree::none; n = tree_.parent(n)) pool().drop(n);
    }

    /// Puts an equal block in a block's place in every sequence that holds it.
    void replace(std::size_t i, std::uint32_t from, std::uint32_t to) noexcept {
        for (std::uint32_t t = 0; t < table_.size(); ++t) {
            const detail::sequence_state& state = table_.states()[t];
            if (!state.open || i >= base::blocks_for(state.length) || blocks_of({t})[i] != from) continue;
            blocks_of({t})[i] = to;
            pool().share(to);
            pool().drop(from);
            if (std::uint32_t* lead = lead_of({t}); lead != nullptr && i == 0) {
                const std::uint32_t old = *lead;
                take_lead({t}, to);
                pool().drop(old);
            }
        }
    }

    /// The place before a first block of the tree.
    void take_lead(sequence_id s, std::uint32_t block) noexcept {
        std::uint32_t* lead = lead_of(s);
        if (lead == nullptr) return;
        *lead = leads_[block];
        pool().share(*lead);
    }
    bool has_lead(std::uint32_t n) const noexcept { return leads_.size() != 0 && tree_.parent(n) == prefix_tree::none; }
    std::size_t places_of(std::uint32_t n) const noexcept { return has_lead(n) ? 2 : 1; }
    void drop_lead(std::uint32_t n) noexcept {
        if (has_lead(n)) pool().drop(leads_[n]);
    }

    void forget(std::uint32_t leaf) noexcept {
        drop_lead(leaf);
        tree_.erase(leaf);
        pool().drop(leaf);
        counts_.evicted += block_;
    }

    std::size_t evictable() const noexcept {
        std::size_t count = 0;
        for (std::uint32_t n = tree_.oldest(); n != prefix_tree::none; n = tree_.newer(n))
            count += pool().references(n) == 1 ? places_of(n) : 0;
        return count;
    }

    /// True when segment i must copy its tail only because the tree holds it too.
    bool copies_for_the_tree(std::span<const segment> segments, std::size_t i) const {
        return base::holders_of_tail(segments, i) == 2 && tree_.contains(*base::tail_of(segments[i].sequence));
    }

    std::size_t tails_of_the_tree(std::span<const segment> segments) const {
        std::size_t tails = 0;
        for (std::size_t i = 0; i < segments.size(); ++i) tails += copies_for_the_tree(segments, i);
        return tails;
    }

    /// Evicts what the step lacks; at last lets the tree forget blocks that segments would have to copy.
    void make_room(std::span<const segment> segments) {
        const std::size_t needed = base::blocks_needed(segments);
        if (needed <= free_blocks()) return;
        const std::size_t spare = evictable(), lacking = needed - free_blocks();
        if (lacking > spare) {
            if (lacking > spare + tails_of_the_tree(segments))
                fail(errc::cache_full, "kv cache", "the step needs ", needed, " more blocks of ", block_, " tokens; ", free_blocks(),
                     " of ", pool().size(), " are free and ", spare, " can be evicted; raise .tokens, close sequences or unpin prefixes");
        }
        evict(lacking);
        for (std::size_t i = 0, left = lacking - std::min(lacking, spare); left != 0; ++i)
            if (copies_for_the_tree(segments, i)) {
                forget(*base::tail_of(segments[i].sequence));
                --left;
            }
    }

    prefix_tree tree_;
    buffer<std::uint32_t> pins_;   // (blocks), how many pins end at each
    buffer<std::uint32_t> leads_;  // (blocks), the place before each that is a first one; or none
    prefix_counts counts_;
};

template <codec Codec>
using radix_cache = prefix_cache<paged_cache<Codec>>;

/// The policy: `radix<f16>{{.tokens = 4096, .sequences = 8}}`; .tokens is the room of sequences and of what is remembered.
template <class Codec = f16>
struct radix {
    static_assert(require_codec<Codec>());
    using cache = radix_cache<Codec>;
    paged_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(paged_cache<Codec>(shape, options, memory), false, memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        const std::size_t paged = paged_cache<Codec>::bytes(shape, options);
        return paged + cache::bytes_beside(ceil_div(options.tokens, options.block), options.block, false);
    }
    std::size_t max_length() const noexcept { return paged<Codec>{options}.max_length(); }
    std::string name() const { return concat("radix/", options.block, ":", Codec::name); }
};

static_assert(prefix_pinning<radix_cache<f16>> && policy<radix<f16>>);

}  // namespace skald::kv
