// SPDX-License-Identifier: MIT
#pragma once
// A trie over the bytes of a vocabulary's tokens. Nodes lie in breadth-first order, so the children of one are neighbours and a
// step is a search among their labels; keys come from files, and no file makes building or walking it cost more than its bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <string_view>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>

namespace skald::text::detail {

/// A key of a trie and what it leads to.
struct trie_key {
    std::string_view bytes;
    token_id id = -1;
};

/// Move-only; const members may be called from several threads. Memory: 9 bytes a node, at most one node a byte of the keys.
class piece_trie {
public:
    using node = std::uint32_t;
    static constexpr node root = 0, none = std::numeric_limits<node>::max();

    piece_trie() noexcept = default;  ///< not to be walked

    /// Of equal keys the one with the highest id counts. Throws errc::bad_file for 2^31 bytes of keys or more.
    piece_trie(std::vector<trie_key> keys, std::string_view place, std::pmr::memory_resource* memory) {
        std::size_t bytes = 0;
        for (const trie_key& k : keys) {
            bytes += k.bytes.size();
            if (bytes > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
                fail(errc::bad_file, place, "the tokens up to ", k.id, " have more than 2147483647 bytes together");
            longest_ = std::max(longest_, k.bytes.size());
        }
        std::sort(keys.begin(), keys.end(), [](const trie_key& a, const trie_key& b) {
            const int order = a.bytes.compare(b.bytes);
            return order != 0 ? order < 0 : a.id < b.id;
        });
        lay_out(keys, memory);
    }

    /// The node one byte on, or none.
    node step(node from, char byte) const noexcept {
        const std::size_t first = first_child_[from], n = first_child_[from + 1] - first;
        if (n == 0) return none;
        if (n == 1) return labels_[first] == static_cast<unsigned char>(byte) ? static_cast<node>(first) : none;
        const void* found = std::memchr(labels_.data() + first, static_cast<unsigned char>(byte), n);
        return found == nullptr ? none : static_cast<node>(static_cast<const unsigned char*>(found) - labels_.data());
    }

    /// The node that some bytes lead to, or none.
    node walk(node from, std::string_view bytes) const noexcept {
        for (std::size_t i = 0; i < bytes.size() && from != none; ++i) from = step(from, bytes[i]);
        return from;
    }

    /// The id of the key that ends at a node, or -1.
    token_id id(node at) const noexcept { return ids_[at]; }

    /// The id of a key, or -1.
    token_id find(std::string_view bytes) const noexcept {
        const node at = walk(root, bytes);
        return at == none ? -1 : id(at);
    }

    std::size_t longest() const noexcept { return longest_; }  ///< bytes of the longest key

private:
    /// The keys [first, last), which start alike, of a node at `depth`.
    struct range {
        std::uint32_t first, last;
    };

    void lay_out(const std::vector<trie_key>& keys, std::pmr::memory_resource* memory) {
        std::vector<range> level{{0, static_cast<std::uint32_t>(keys.size())}}, next;
        std::vector<std::uint32_t> first_child;
        std::vector<token_id> ids;
        std::vector<unsigned char> labels{0};
        for (std::size_t depth = 0; !level.empty(); ++depth, level.swap(next)) {
            next.clear();
            for (range r : level) {
                token_id id = -1;
                for (; r.first < r.last && keys[r.first].bytes.size() == depth; ++r.first) id = keys[r.first].id;
                ids.push_back(id);
                first_child.push_back(static_cast<std::uint32_t>(labels.size()));
                while (r.first < r.last) {
                    const char byte = keys[r.first].bytes[depth];
                    const std::uint32_t from = r.first;
                    while (r.first < r.last && keys[r.first].bytes[depth] == byte) ++r.first;
                    next.push_back({from, r.first});
                    labels.push_back(static_cast<unsigned char>(byte));
                }
            }
        }
        first_child.push_back(static_cast<std::uint32_t>(labels.size()));
        const auto keep = [&](const auto& from, auto& to) {
            to = std::remove_reference_t<decltype(to)>(from.size(), memory);
            std::copy(from.begin(), from.end(), to.data());
        };
        keep(first_child, first_child_);
        keep(ids, ids_);
        keep(labels, labels_);
    }

    buffer<std::uint32_t> first_child_;  // (nodes + 1): the children of node i are [first_child_[i], first_child_[i + 1])
    buffer<token_id> ids_;               // (nodes)
    buffer<unsigned char> labels_;       // (nodes): the byte that leads to a node
    std::size_t longest_ = 0;
};

}  // namespace skald::text::detail
