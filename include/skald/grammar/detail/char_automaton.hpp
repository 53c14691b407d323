// SPDX-License-Identifier: MIT
#pragma once
// Nondeterministic automata over code points: what patterns, formats, lengths and forbidden names demand of one string, brought
// together by taking products.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/grammar/code_set.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::grammar::detail {

/// Begins in state 0. No state is reached without reading a code point.
struct char_automaton {
    static constexpr std::size_t most_states = 20000;
    static constexpr std::size_t most_edges = 200000;

    struct edge {
        code_set set;
        std::uint32_t to;
    };
    struct state {
        std::vector<edge> edges;
        bool accepts = false;
    };
    std::vector<state> states{1};

    /// Every string.
    static char_automaton any() {
        char_automaton out;
        out.states[0] = {{{code_set::all(), 0}}, true};
        return out;
    }

    /// Strings of `least` to `most` code points; `most` below `least` for no upper bound.
    static char_automaton of_length(std::size_t least, std::size_t most, bool bounded) {
        char_automaton out;
        const std::size_t last = bounded ? most : least;
        require(last + 1);
        out.states.resize(last + 1);
        for (std::size_t i = 0; i <= last; ++i) {
            out.states[i].accepts = i >= least;
            if (i < last) out.states[i].edges.push_back({code_set::all(), static_cast<std::uint32_t>(i + 1)});
        }
        if (!bounded) out.states[last].edges.push_back({code_set::all(), static_cast<std::uint32_t>(last)});
        return out;
    }

    /// Every string that is none of `names`, which are UTF-8.
    static char_automaton all_but(std::span<const std::string> names) {
        std::vector<std::map<char32_t, std::uint32_t>> tree(1);
        std::vector<bool> is_name(1, false);
        for (const std::string& name : names) {
            std::uint32_t at = 0;
            for (std::size_t i = 0; i < name.size();) {
                const auto unit = text::detail::unit_at(name, i);
                i += unit.length;
                const auto [child, made] = tree[at].try_emplace(unit.code, static_cast<std::uint32_t>(tree.size()));
                at = child->second;
                if (!made) continue;
                tree.emplace_back();
                is_name.push_back(false);
                require(tree.size());
            }
            is_name[at] = true;
        }
        char_automaton out;
        const auto free = static_cast<std::uint32_t>(tree.size());
        out.states.resize(tree.size() + 1);
        for (std::uint32_t i = 0; i < free; ++i) {
            code_set named;
            for (const auto& [c, to] : tree[i]) {
                out.states[i].edges.push_back({{{c, c}}, to});
                named = named | code_set{{c, c}};
            }
            out.states[i].edges.push_back({named.complement(), free});
            out.states[i].accepts = !is_name[i];
        }
        out.states[free] = {{{code_set::all(), free}}, true};
        return out;
    }

    /// The strings of both.
    friend char_automaton operator&(const char_automaton& a, const char_automaton& b) {
        char_automaton out;
        std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> numbers{{{0, 0}, 0}};
        std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs{{0, 0}};
        std::size_t edges = 0;
        for (std::uint32_t i = 0; i < pairs.size(); ++i) {
            const auto [x, y] = pairs[i];
            out.states[i].accepts = a.states[x].accepts && b.states[y].accepts;
            for (const edge& e : a.states[x].edges)
                for (const edge& f : b.states[y].edges) {
                    code_set both = e.set & f.set;
                    if (both.empty()) continue;
                    const auto [found, made] = numbers.try_emplace({e.to, f.to}, static_cast<std::uint32_t>(pairs.size()));
                    if (made) {
                        pairs.emplace_back(e.to, f.to);
                        out.states.emplace_back();
                        require(pairs.size());
                    }
                    out.states[i].edges.push_back({std::move(both), found->second});
                    if (++edges > most_edges) too_large();
                }
        }
        return out;
    }

    bool matches(std::string_view text) const {
        std::vector<std::uint32_t> at{0}, next;
        for (std::size_t i = 0; i < text.size();) {
            const auto unit = text::detail::unit_at(text, i);
            i += unit.length;
            next.clear();
            for (const std::uint32_t s : at)
                for (const edge& e : states[s].edges)
                    if (e.set.contains(unit.code)) next.push_back(e.to);
            std::sort(next.begin(), next.end());
            next.erase(std::unique(next.begin(), next.end()), next.end());
            at.swap(next);
        }
        return std::any_of(at.begin(), at.end(), [this](std::uint32_t s) { return states[s].accepts; });
    }

    [[noreturn]] static void too_large() {
        fail(errc::unsupported, "", "what is asked of one string needs more than ", most_states, " states; simplify patterns or lengths");
    }
    static void require(std::size_t n) {
        if (n > most_states) too_large();
    }
};

}  // namespace skald::grammar::detail
