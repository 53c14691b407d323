// SPDX-License-Identifier: MIT
#pragma once
// What must be known of a network before it runs: which nodes can come to their rule's end, and whether a rule can call itself
// before it reads anything. Linear in the network, without recursion.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <skald/grammar/rules.hpp>

namespace skald::grammar::detail {

/// Of every node, whether its rule's end can be reached from it: reading whatever is needed, or with `reading` false, nothing.
inline std::vector<bool> reaches_end(const rules& r, bool reading) {
    const std::size_t n = r.nodes.size();
    std::vector<std::uint32_t> first(n + 1, 0);  // users of node i: users[first[i] … first[i + 1])
    const auto for_each_use = [&](auto use) {
        for (std::uint32_t i = 0; i < n; ++i) {
            const node& k = r.nodes[i];
            if (k.kind == node_kind::split) {
                for (const std::uint32_t t : r.targets(k)) use(t, i);
            } else if (k.kind != node_kind::end) {
                use(k.next, i);
                if (k.kind == node_kind::call) use(k.value, i);
            }
        }
    };
    for_each_use([&](std::uint32_t used, std::uint32_t) { ++first[used + 1]; });
    for (std::size_t i = 0; i < n; ++i) first[i + 1] += first[i];
    std::vector<std::uint32_t> users(first[n]), at(first.begin(), first.end() - 1);
    for_each_use([&](std::uint32_t used, std::uint32_t by) { users[at[used]++] = by; });

    std::vector<bool> reached(n, false);
    std::vector<std::uint32_t> open{rules::end_node};
    reached[rules::end_node] = true;
    while (!open.empty()) {
        const std::uint32_t done = open.back();
        open.pop_back();
        for (std::uint32_t u = first[done]; u < first[done + 1]; ++u) {
            const std::uint32_t i = users[u];
            const node& k = r.nodes[i];
            const bool now = k.kind == node_kind::split   ? true
                             : k.kind == node_kind::call  ? reached[k.value] && reached[k.next]
                             : k.kind == node_kind::bytes ? reading && reached[k.next] && r.sets[k.value].any()
                                                          : reading && reached[k.next];
            if (!now || reached[i]) continue;
            reached[i] = true;
            open.push_back(i);
        }
    }
    return reached;
}

inline std::vector<bool> productive_nodes(const rules& r) { return reaches_end(r, true); }

/// The first node of a rule that can call itself before it has read anything; end_node if there is none. Such a call is one
/// within a strongly connected part of the graph whose edges read nothing (Tarjan 1972, with a stack of its own).
inline std::uint32_t find_left_recursion(const rules& r) {
    const std::vector<bool> nullable = reaches_end(r, false);
    const auto ways = [&](std::uint32_t i) -> std::uint32_t {
        const node& k = r.nodes[i];
        if (k.kind == node_kind::split) return k.next;
        return k.kind != node_kind::call ? 0 : nullable[k.value] ? 2 : 1;
    };
    const auto target = [&](std::uint32_t i, std::uint32_t way) {
        const node& k = r.nodes[i];
        return k.kind == node_kind::split ? r.targets(k)[way] : way == 0 ? k.value : k.next;
    };
    struct frame {
        std::uint32_t at, way;
    };
    constexpr std::uint32_t fresh = 0xFFFFFFFF;
    std::vector<std::uint32_t> order(r.nodes.size(), fresh), low(r.nodes.size(), 0), part(r.nodes.size(), fresh), unassigned;
    std::vector<frame> path;
    std::uint32_t visited = 0;
    const auto enter = [&](std::uint32_t i) {
        order[i] = low[i] = visited++;
        unassigned.push_back(i);
        path.push_back({i, 0});
    };
    for (std::uint32_t root = 0; root < r.nodes.size(); ++root) {
        if (order[root] == fresh) enter(root);
        while (!path.empty()) {
            frame& top = path.back();
            const std::uint32_t at = top.at;
            if (top.way < ways(at)) {
                const std::uint32_t to = target(at, top.way++);
                if (order[to] == fresh)
                    enter(to);
                else if (part[to] == fresh)
                    low[at] = std::min(low[at], order[to]);
                continue;
            }
            path.pop_back();
            if (!path.empty()) low[path.back().at] = std::min(low[path.back().at], low[at]);
            if (low[at] != order[at]) continue;
            for (std::uint32_t member = fresh; member != at; unassigned.pop_back()) {
                member = unassigned.back();
                part[member] = at;
            }
        }
    }
    for (std::uint32_t i = 0; i < r.nodes.size(); ++i)
        if (r.nodes[i].kind == node_kind::call && part[i] == part[r.nodes[i].value]) return r.nodes[i].value;
    return rules::end_node;
}

}  // namespace skald::grammar::detail
