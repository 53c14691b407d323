// SPDX-License-Identifier: MIT
#pragma once
// Where the nodes of a network are made: equal ones are made once, and the bytes are divided into classes at the end.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/grammar/code_set.hpp>
#include <skald/grammar/rules.hpp>

namespace skald::grammar::detail {

/// Nodes are made from the end of a rule to its beginning: each names the one that follows.
class emitter {
public:
    emitter(std::string_view place, std::size_t most_nodes) : place_(place), most_nodes_(most_nodes) {}

    /// A node that becomes a split later.
    std::uint32_t reserve() { return push({node_kind::split, 0, 0}); }
    void set_split(std::uint32_t at, const std::vector<std::uint32_t>& ways) {
        rules_.nodes[at] = {node_kind::split, static_cast<std::uint32_t>(rules_.edges.size()), static_cast<std::uint32_t>(ways.size())};
        rules_.edges.insert(rules_.edges.end(), ways.begin(), ways.end());
    }

    std::uint32_t split(std::vector<std::uint32_t> ways) {
        std::sort(ways.begin(), ways.end());
        ways.erase(std::unique(ways.begin(), ways.end()), ways.end());
        if (ways.size() == 1) return ways[0];
        const std::uint32_t at = reserve();
        set_split(at, ways);
        return at;
    }

    /// A node of any kind but split; equal ones are one.
    std::uint32_t make(node n) {
        const auto [found, made] = known_.try_emplace({n.kind, n.value, n.next}, 0);
        if (made) found->second = push(n);
        if (n.kind == node_kind::token || n.kind == node_kind::any_token) rules_.reads_tokens = true;
        return found->second;
    }

    std::uint32_t call(std::uint32_t start, std::uint32_t next) { return make({node_kind::call, start, next}); }

    std::uint32_t bytes(const byte_set& set, std::uint32_t next) {
        const auto [found, made] = set_numbers_.try_emplace(set, static_cast<std::uint32_t>(rules_.sets.size()));
        if (made) rules_.sets.push_back(set);
        return make({node_kind::bytes, found->second, next});
    }

    std::uint32_t literal(std::string_view text, std::uint32_t next) {
        for (std::size_t i = text.size(); i-- > 0;) {
            byte_set one;
            one.set(static_cast<unsigned char>(text[i]));
            next = bytes(one, next);
        }
        return next;
    }

    /// One code point of a set. First bytes with the same continuation share a node.
    std::uint32_t chars(const code_set& set, std::uint32_t next) {
        std::map<std::uint32_t, byte_set> firsts;
        for (const code_range& r : set.ranges())
            for_each_sequence(r, [&](const byte_sequence& s) {
                std::uint32_t tail = next;
                for (std::size_t i = s.length; i-- > 1;) tail = bytes(range_set(s.bytes[i]), tail);
                firsts[tail] |= range_set(s.bytes[0]);
            });
        std::vector<std::uint32_t> ways;
        for (const auto& [tail, first] : firsts) ways.push_back(bytes(first, tail));
        return split(std::move(ways));
    }

    /// The network, without what analysis finds.
    rules take(std::uint32_t start) {
        rules_.start = start;
        divide_bytes();
        return std::move(rules_);
    }

private:
    std::uint32_t push(node n) {
        if (rules_.nodes.size() >= most_nodes_) fail(errc::unsupported, place_, "needs more than ", most_nodes_, " nodes; it is too large");
        rules_.nodes.push_back(n);
        return static_cast<std::uint32_t>(rules_.nodes.size() - 1);
    }

    static byte_set range_set(byte_sequence::range r) {
        byte_set out;
        for (unsigned b = r.first; b <= r.last; ++b) out.set(b);
        return out;
    }

    /// Bytes stay in one class as long as no set holds one and not the other.
    void divide_bytes() {
        std::array<std::uint8_t, 256> classes{};
        std::size_t count = 1;
        for (const byte_set& set : rules_.sets) {
            if (count == 256) break;
            std::array<std::array<int, 2>, 256> renamed;
            for (auto& pair : renamed) pair = {-1, -1};
            count = 0;
            for (std::size_t b = 0; b < 256; ++b) {
                int& name = renamed[classes[b]][set[b] ? 1 : 0];
                if (name < 0) name = static_cast<int>(count++);
                classes[b] = static_cast<std::uint8_t>(name);
            }
        }
        rules_.class_of = classes;
        rules_.representative.assign(count, 0);
        for (std::size_t b = 256; b-- > 0;) rules_.representative[classes[b]] = static_cast<std::uint8_t>(b);
    }

    std::string place_;
    std::size_t most_nodes_;
    rules rules_;
    std::map<std::tuple<node_kind, std::uint32_t, std::uint32_t>, std::uint32_t> known_;
    std::unordered_map<byte_set, std::uint32_t> set_numbers_;
};

}  // namespace skald::grammar::detail
