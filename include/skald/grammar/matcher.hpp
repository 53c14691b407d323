// SPDX-License-Identifier: MIT
#pragma once
// Reads text along a grammar, byte by byte. What can come next is a set of stacks: each says where a rule stands and where it goes
// on when it ends. Stacks share their lower parts, equal sets are one number, and the way from set to set is remembered: after a
// while every step is one look into a table, as in a finite automaton that is built while it is used.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/grammar/detail/intern.hpp>
#include <skald/grammar/rules.hpp>

namespace skald::grammar {

/// What a matcher may take. Beyond `depth` a stack is dropped: texts that nest deeper do not match. Beyond the others it throws.
struct match_limits {
    std::uint32_t depth = 1000;                  ///< rules in rules
    std::size_t stacks = std::size_t{1} << 16;   ///< ways to go on at one place
    std::size_t work = std::size_t{1} << 18;     ///< nodes visited for one byte
    std::size_t bytes = std::size_t{256} << 20;  ///< of memory
};

/// Number of a set of stacks: valid for the matcher that gave it, until clear().
using match_state = std::uint32_t;

/// Copyable; copies are independent. One thread at a time.
class matcher {
public:
    static constexpr match_state dead = 0;  ///< no text goes on from here

    explicit matcher(std::shared_ptr<const rules> grammar, match_limits limits = {}) : rules_(std::move(grammar)), limits_(limits) {
        clear();
    }

    const rules& grammar() const noexcept { return *rules_; }

    /// Before the first byte.
    match_state start() const noexcept { return start_; }

    /// After one more byte. Throws errc::unsupported if the grammar is so ambiguous that a limit is reached.
    match_state next(match_state s, std::uint8_t byte) {
        const std::size_t at = s * rules_->classes() + rules_->class_of[byte];
        const match_state known = transitions_[at];
        if (known != unknown) return known;
        return transitions_[at] = step(s, [&](const node& n) { return n.kind == node_kind::bytes && rules_->sets[n.value][byte]; });
    }

    match_state next(match_state s, std::string_view bytes) {
        for (const char c : bytes) {
            if (s == dead) break;
            s = next(s, static_cast<std::uint8_t>(c));
        }
        return s;
    }

    /// After a token that the grammar names, as a whole: `!<…>` names all but one and those that end texts.
    match_state next_token(match_state s, token_id token, bool ends) {
        if (!reads_tokens(s)) return dead;
        return step(s, [&](const node& n) {
            if (n.kind == node_kind::token) return n.value == static_cast<std::uint32_t>(token);
            return n.kind == node_kind::any_token && !ends && n.value != static_cast<std::uint32_t>(token);
        });
    }

    /// Whether the text may end here.
    bool accepts(match_state s) const noexcept { return states_[s].accepts; }
    /// Whether it may go on with some byte or token.
    bool goes_on(match_state s) const noexcept { return states_[s].count != 0; }
    /// Whether a token that the grammar names may come next.
    bool reads_tokens(match_state s) const noexcept { return states_[s].reads_tokens; }

    /// The bytes that may come next, of which no two of one class are told apart.
    byte_set next_bytes(match_state s) const {
        byte_set out;
        for (const config& c : configs_of(s))
            if (const node& n = rules_->nodes[c.node]; n.kind == node_kind::bytes) out |= rules_->sets[n.value];
        return out;
    }

    /// The text that comes next in any case, as far as the grammar leaves no choice; at most `most` bytes. It stops where the text
    /// may end.
    std::string forced_text(match_state s, std::size_t most) {
        std::string out;
        while (out.size() < most && !accepts(s) && !reads_tokens(s)) {
            const byte_set open = next_bytes(s);
            if (open.count() != 1) break;
            std::size_t byte = 0;
            while (!open[byte]) ++byte;
            out += static_cast<char>(byte);
            s = next(s, static_cast<std::uint8_t>(out.back()));
        }
        return out;
    }

    std::size_t states() const noexcept { return states_.size(); }

    /// What the tables take. Grows with what was read until clear().
    std::size_t bytes() const noexcept {
        return states_.capacity() * sizeof(state) + configs_.capacity() * sizeof(config) + cells_.capacity() * sizeof(cell) +
               transitions_.capacity() * sizeof(match_state) + state_index_.bytes() + cell_index_.bytes();
    }

    /// Forgets all but the grammar; states from before are no longer valid.
    void clear() {
        states_.assign(1, {});
        configs_.clear();
        cells_.assign(1, {});
        transitions_.assign(rules_->classes(), dead);
        state_index_.clear();
        cell_index_.clear();
        begin_step();
        visit({rules_->start, no_stack});
        start_ = close();
    }

private:
    using stack = std::uint32_t;  // number of a cell; 0: nothing left to return to
    static constexpr stack no_stack = 0;
    static constexpr match_state unknown = 0xFFFFFFFF;

    struct cell {
        std::uint32_t node = 0;  // where to go on
        stack below = no_stack;
        std::uint32_t depth = 0;
    };
    struct config {
        std::uint32_t node;
        std::uint32_t stack;
        friend constexpr bool operator==(const config&, const config&) = default;
        friend constexpr auto operator<=>(const config&, const config&) = default;
    };
    struct state {
        std::uint32_t first = 0, count = 0;  // of configs_
        bool accepts = false, reads_tokens = false;
    };

    std::span<const config> configs_of(match_state s) const noexcept { return {configs_.data() + states_[s].first, states_[s].count}; }

    template <class Reads>
    match_state step(match_state s, Reads reads) {
        begin_step();
        for (std::size_t i = 0; i < states_[s].count; ++i) {
            const config c = configs_[states_[s].first + i];
            if (const node& n = rules_->nodes[c.node]; reads(n)) visit({n.next, c.stack});
        }
        return close();
    }

    void begin_step() {
        seen_.clear();
        open_.clear();
        found_.clear();
        accepts_ = false;
    }

    void visit(config c) {
        if (rules_->productive[c.node] && seen_.insert(static_cast<std::uint64_t>(c.node) << 32 | c.stack)) open_.push_back(c);
    }

    /// Follows all edges that read nothing from what was visited, and gives the number of the set they lead to.
    match_state close() {
        while (!open_.empty()) {
            const config c = open_.back();
            open_.pop_back();
            const node& n = rules_->nodes[c.node];
            switch (n.kind) {
                case node_kind::end:
                    if (c.stack == no_stack)
                        accepts_ = true;
                    else
                        visit({cells_[c.stack].node, cells_[c.stack].below});
                    break;
                case node_kind::split:
                    for (const std::uint32_t target : rules_->targets(n)) visit({target, c.stack});
                    break;
                case node_kind::call:
                    // A call at a rule's end returns straight to where that rule was called: a list is no deeper than its item.
                    if (!rules_->productive[n.next]) break;
                    if (n.next == rules::end_node)
                        visit({n.value, c.stack});
                    else if (const stack pushed = push(n.next, c.stack); pushed != no_stack)
                        visit({n.value, pushed});
                    break;
                default: found_.push_back(c);
            }
            if (seen_.size() > limits_.work || found_.size() > limits_.stacks) fail_ambiguous();
        }
        return intern();
    }

    [[noreturn]] void fail_ambiguous() const {
        fail(errc::unsupported, "grammar", "is too ambiguous: one place of a text can be read in more than ",
             std::min(limits_.stacks, limits_.work), " ways; write it so that the next character tells how to go on");
    }

    void require_memory() const {
        if (bytes() > limits_.bytes)
            fail(errc::memory_limit, "grammar", "the tables of the matcher take ", bytes(), " bytes; the limit is ", limits_.bytes);
    }

    stack push(std::uint32_t node, stack below) {
        const std::uint32_t depth = cells_[below].depth + 1;
        if (depth > limits_.depth) return no_stack;
        const std::uint64_t hash = detail::hash_pair(node, below);
        return cell_index_.find_or_add(
            hash, [&](std::uint32_t i) { return cells_[i].node == node && cells_[i].below == below; },
            [&] {
                require_memory();
                cells_.push_back({node, below, depth});
                return static_cast<std::uint32_t>(cells_.size() - 1);
            },
            [&](std::uint32_t i) { return detail::hash_pair(cells_[i].node, cells_[i].below); });
    }

    match_state intern() {
        if (found_.empty() && !accepts_) return dead;
        std::sort(found_.begin(), found_.end());
        const auto hash_of = [](std::span<const config> configs, bool accepts) {
            std::uint64_t h = accepts ? 2 : 1;
            for (const config& c : configs) h = detail::hash_pair(static_cast<std::uint32_t>(h ^ (h >> 32)) ^ c.node, c.stack) + h * 31;
            return h;
        };
        return state_index_.find_or_add(
            hash_of(found_, accepts_),
            [&](std::uint32_t i) {
                const auto known = configs_of(i);
                return states_[i].accepts == accepts_ && std::equal(known.begin(), known.end(), found_.begin(), found_.end());
            },
            [&] {
                require_memory();
                state s{static_cast<std::uint32_t>(configs_.size()), static_cast<std::uint32_t>(found_.size()), accepts_, false};
                for (const config& c : found_) s.reads_tokens |= rules_->nodes[c.node].kind != node_kind::bytes;
                configs_.insert(configs_.end(), found_.begin(), found_.end());
                transitions_.resize((states_.size() + 1) * rules_->classes(), unknown);
                states_.push_back(s);
                return static_cast<std::uint32_t>(states_.size() - 1);
            },
            [&](std::uint32_t i) { return hash_of(configs_of(i), states_[i].accepts); });
    }

    std::shared_ptr<const rules> rules_;
    match_limits limits_;
    match_state start_ = dead;

    std::vector<state> states_;
    std::vector<config> configs_;
    std::vector<cell> cells_;
    std::vector<match_state> transitions_;  // (states, classes)
    detail::number_index state_index_, cell_index_;

    // Of the step that runs.
    detail::visited_set seen_;
    std::vector<config> open_, found_;
    bool accepts_ = false;
};

}  // namespace skald::grammar
