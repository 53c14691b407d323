// SPDX-License-Identifier: MIT
#pragma once
// Pages that matter (quest.hpp) in a tree of prefixes (radix.hpp): prompts that begin alike share the pages of what they have in common and
// the bounds of these, and every row reads the pages that matter to it, no others. What a row reads follows from its query and the keys
// before it, so that a sequence which took a beginning over goes on with bitwise the logits of one that read it anew.
#include <cstddef>
#include <memory_resource>
#include <span>
#include <string>
#include <utility>

#include <skald/kv/quest.hpp>
#include <skald/kv/radix.hpp>

namespace skald::kv {

/// Memory: quest's, and what a tree takes beside it. All pages in the tree have their bounds.
template <codec Codec>
class radix_quest_cache : public prefix_cache<quest_cache<Codec>> {
    using base = prefix_cache<quest_cache<Codec>>;

public:
    using base::base;

    /// As radix storage's. Cost, where no row has read since the sequence was restored: a look at all its keys, once.
    void remember(sequence_id s, std::span<const token_id> tokens) {
        quest_cache<Codec>::bound_first(s, tokens.size());
        base::remember(s, tokens);
    }
};

/// The policy: `radix_quest<f16>{{.tokens = 32768, .sequences = 8, .budget = 1024}}`; .tokens is the room of sequences and of what is
/// remembered.
template <class Codec = f16>
struct radix_quest {
    static_assert(require_codec<Codec>() && require_rotated<Codec>());
    using cache = radix_quest_cache<Codec>;
    quest_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(quest_cache<Codec>(shape, options, memory), false, memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        const std::size_t pages = quest_cache<Codec>::bytes(shape, options);
        return pages + cache::bytes_beside(ceil_div(options.tokens, options.page), options.page, false);
    }
    std::size_t max_length() const noexcept { return quest<Codec>{options}.max_length(); }
    std::string name() const { return concat("radix-", quest<Codec>{options}.name()); }
};

static_assert(choosing_run<radix_quest_cache<f16>::run> && prefix_pinning<radix_quest_cache<f16>> && policy<radix_quest<f16>>);

}  // namespace skald::kv
