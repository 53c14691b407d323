// SPDX-License-Identifier: MIT
#pragma once
// A compiled grammar: a recursive transition network over bytes. Every rule is a nondeterministic automaton whose edges read one
// byte, one whole token, or call another rule. Character classes have become byte ranges of UTF-8, so a token that ends inside a
// code point needs no special treatment. What reads texts along it is `matcher`; what makes it is `builder`.
#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <skald/core/types.hpp>

namespace skald::grammar {

/// Set of byte values.
using byte_set = std::bitset<256>;

/// What a place in the network does.
enum class node_kind : std::uint8_t {
    end,        ///< the rule is finished: go on where it was called
    bytes,      ///< reads a byte of set `value`, then `next`
    token,      ///< reads the token `value`, then `next`
    any_token,  ///< reads any token but `value` and the end tokens, then `next`
    split,      ///< goes on at each of `edges[value … value + next)`
    call,       ///< runs the rule that begins at node `value`, then `next`
};

struct node {
    node_kind kind = node_kind::end;
    std::uint32_t value = 0, next = 0;
};

/// Immutable; made by builder::compile(), which has checked that no rule is left-recursive. From no node that can be reached
/// does every path lead into a rule that never ends.
struct rules {
    static constexpr std::uint32_t end_node = 0;

    std::vector<node> nodes{node{}};
    std::vector<std::uint32_t> edges;
    std::vector<byte_set> sets;
    std::vector<bool> productive{true};           // of each node: whether its rule's end can be reached from it
    std::uint32_t start = end_node;               // the root rule's first node
    std::array<std::uint8_t, 256> class_of{};     // bytes that no set tells apart share a class
    std::vector<std::uint8_t> representative{0};  // of each class, one byte
    bool reads_tokens = false;                    // has nodes of kind token or any_token

    std::span<const std::uint32_t> targets(const node& split) const noexcept { return {edges.data() + split.value, split.next}; }
    std::size_t classes() const noexcept { return representative.size(); }
};

}  // namespace skald::grammar
