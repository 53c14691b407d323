// SPDX-License-Identifier: MIT
#pragma once
// The tree of a regular expression as instructions for pattern_matcher.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/pattern_parser.hpp>

namespace skald::text::detail {

enum class pattern_op : std::uint8_t {
    set,      ///< takes a code point of `set`
    loop,     ///< takes `least` to `most` code points of `set`, first as many as there are; `possessive`: only so many
    split,    ///< goes on at the next instruction, or, if that fails, at `target`
    jump,     ///< goes on at `target`
    assert_,  ///< goes on if the place is one of `assertion`
    look,     ///< goes on at `target` if the instructions that follow accept here (not, if `negative`), `behind` units back
    atomic,   ///< goes on at `target` behind what the instructions that follow accept first
    accept,
};

struct pattern_instruction {
    pattern_op op = pattern_op::accept;
    assertion_kind assertion{};
    bool possessive = false, negative = false;
    std::uint32_t set = 0, target = 0;
    std::uint32_t least = 0, most = 0;
    std::uint32_t behind = 0;
    std::uint32_t slot = 0;  ///< of a loop or split: its place in a matcher's memory

    friend bool operator==(const pattern_instruction&, const pattern_instruction&) = default;
};

struct pattern_program {
    std::vector<pattern_instruction> code;
    std::vector<code_point_set> sets;
    std::uint32_t slots = 0;

    friend bool operator==(const pattern_program&, const pattern_program&) = default;
};

class pattern_compiler {
public:
    static pattern_program compile(std::string_view pattern, std::string_view place) {
        pattern_tree tree = pattern_parser::parse(pattern, place);
        pattern_compiler c(pattern, place, tree);
        c.emit(tree.root);
        c.add({.op = pattern_op::accept});
        c.out_.sets = std::move(tree.sets);
        return std::move(c.out_);
    }

private:
    static constexpr std::size_t longest = 20000;     // instructions
    static constexpr std::uint32_t most_slots = 512;  // a matcher's memory is two bits a slot and byte of text
    static constexpr std::uint32_t short_loop = 16;   // counted loops up to which scanning again at each place is cheap

    pattern_compiler(std::string_view pattern, std::string_view place, const pattern_tree& tree) noexcept
        : pattern_(pattern), place_(place), tree_(tree) {}

    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::unsupported, place_, "the regular expression ", io::detail::in_quotes(pattern_), " ", what);
    }

    std::size_t add(pattern_instruction i) {
        if (out_.code.size() >= longest || out_.slots > most_slots) refuse("is too long");
        out_.code.push_back(i);
        return out_.code.size() - 1;
    }
    std::uint32_t here() const noexcept { return static_cast<std::uint32_t>(out_.code.size()); }
    std::size_t split() { return add({.op = pattern_op::split, .slot = out_.slots++}); }

    void emit(std::size_t index) {
        const pattern_node& n = tree_.nodes[index];
        switch (n.kind) {
            case node_kind::set: add({.op = pattern_op::set, .set = static_cast<std::uint32_t>(n.set)}); break;
            case node_kind::sequence:
                for (const std::size_t child : n.children) emit(child);
                break;
            case node_kind::choice: choice(n); break;
            case node_kind::repeat: repeat(n); break;
            case node_kind::assertion: add({.op = pattern_op::assert_, .assertion = n.assertion}); break;
            case node_kind::atomic: atomic(n.children[0]); break;
            case node_kind::look: {
                const std::optional<std::uint32_t> width = n.behind ? width_of(n.children[0]) : 0;
                if (!width) refuse("looks behind over texts of several lengths, which is not supported");
                enclosed({.op = pattern_op::look, .negative = n.negative, .behind = *width}, n.children[0]);
                break;
            }
        }
    }

    void atomic(std::size_t body) {
        const pattern_node& n = tree_.nodes[body];
        if (n.kind != node_kind::repeat || n.repeat == repeat_kind::lazy || tree_.nodes[n.children[0]].kind != node_kind::set)
            return enclosed({.op = pattern_op::atomic}, body);
        pattern_node loop = n;
        loop.repeat = repeat_kind::possessive;
        repeat_set(loop);
    }

    void enclosed(pattern_instruction i, std::size_t body) {
        const std::size_t at = add(i);
        emit(body);
        add({.op = pattern_op::accept});
        out_.code[at].target = here();
    }

    void choice(const pattern_node& n) {
        std::vector<std::size_t> jumps;
        for (std::size_t i = 0; i < n.children.size(); ++i) {
            if (i + 1 == n.children.size()) {
                emit(n.children[i]);
                break;
            }
            const std::size_t at = split();
            emit(n.children[i]);
            jumps.push_back(add({.op = pattern_op::jump}));
            out_.code[at].target = here();
        }
        for (const std::size_t j : jumps) out_.code[j].target = here();
    }

    void repeat(const pattern_node& n) {
        const std::size_t body = n.children[0];
        if (tree_.nodes[body].kind == node_kind::set && n.repeat != repeat_kind::lazy) return repeat_set(n);
        if (n.repeat == repeat_kind::possessive) {
            const std::size_t at = add({.op = pattern_op::atomic});
            repeat_any(n, body, false);
            add({.op = pattern_op::accept});
            out_.code[at].target = here();
        } else {
            repeat_any(n, body, n.repeat == repeat_kind::lazy);
        }
    }

    void repeat_set(const pattern_node& n) {
        const auto set = static_cast<std::uint32_t>(tree_.nodes[n.children[0]].set);
        const bool possessive = n.repeat == repeat_kind::possessive;
        std::uint32_t least = n.least;
        if (!possessive && n.most != pattern_node::unbounded && n.most > short_loop && n.least != n.most)
            return repeat_any(n, n.children[0], false);
        for (; least > 1 || (least == 1 && n.most == 1); --least) add({.op = pattern_op::set, .set = set});
        const std::uint32_t taken = n.least - least;
        if (n.most == taken) return;
        const std::uint32_t most = n.most == pattern_node::unbounded ? n.most : n.most - taken;
        add({.op = pattern_op::loop, .possessive = possessive, .set = set, .least = least, .most = most, .slot = out_.slots++});
    }

    void repeat_any(const pattern_node& n, std::size_t body, bool lazy) {
        for (std::uint32_t i = 0; i < n.least; ++i) emit(body);
        // A split goes on at the next instruction first: into the body if greedy, past it if lazy.
        const auto enter = [&](std::vector<std::size_t>& leaves) {
            if (!lazy) {
                leaves.push_back(split());
                return;
            }
            const std::size_t at = split();
            leaves.push_back(add({.op = pattern_op::jump}));
            out_.code[at].target = here();
        };
        std::vector<std::size_t> leaves;
        if (n.most == pattern_node::unbounded) {
            if (may_be_empty(body)) refuse("repeats without end what may be empty, which is not supported");
            const std::uint32_t start = here();
            enter(leaves);
            emit(body);
            add({.op = pattern_op::jump, .target = start});
        } else {
            for (std::uint32_t i = n.least; i < n.most; ++i) {
                enter(leaves);
                emit(body);
            }
        }
        for (const std::size_t l : leaves) out_.code[l].target = here();
    }

    bool may_be_empty(std::size_t index) const {
        const pattern_node& n = tree_.nodes[index];
        switch (n.kind) {
            case node_kind::set: return false;
            case node_kind::sequence:
                for (const std::size_t child : n.children)
                    if (!may_be_empty(child)) return false;
                return true;
            case node_kind::choice:
                for (const std::size_t child : n.children)
                    if (may_be_empty(child)) return true;
                return false;
            case node_kind::repeat: return n.least == 0 || may_be_empty(n.children[0]);
            case node_kind::atomic: return may_be_empty(n.children[0]);
            default: return true;
        }
    }

    /// How many code points a tree takes, if that is always the same.
    std::optional<std::uint32_t> width_of(std::size_t index) const {
        const pattern_node& n = tree_.nodes[index];
        std::uint32_t sum = 0;
        switch (n.kind) {
            case node_kind::set: return 1;
            case node_kind::assertion:
            case node_kind::look: return 0;
            case node_kind::atomic: return width_of(n.children[0]);
            case node_kind::sequence:
                for (const std::size_t child : n.children) {
                    const auto w = width_of(child);
                    if (!w) return std::nullopt;
                    sum += *w;
                }
                return sum;
            case node_kind::choice: {
                const auto first = width_of(n.children[0]);
                for (const std::size_t child : n.children)
                    if (width_of(child) != first) return std::nullopt;
                return first;
            }
            case node_kind::repeat: {
                const auto w = width_of(n.children[0]);
                if (!w || n.least != n.most || n.most > longest || *w > longest) return std::nullopt;
                return *w * n.least;
            }
        }
        return std::nullopt;
    }

    std::string_view pattern_, place_;
    const pattern_tree& tree_;
    pattern_program out_;
};

}  // namespace skald::text::detail
