// SPDX-License-Identifier: MIT
#pragma once
// Grammars put together from expressions: the common ground of GBNF files and JSON schemas.
//
//     builder b;
//     const rule_id digits = b.rule("digits");
//     b.define(digits, b.repeat(b.chars({{'0', '9'}}), 1));
//     const rules r = b.compile(digits);
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/grammar/code_set.hpp>
#include <skald/grammar/detail/analysis.hpp>
#include <skald/grammar/detail/emitter.hpp>
#include <skald/grammar/rules.hpp>

namespace skald::grammar {

using expression = std::uint32_t;  ///< number of an expression of one builder
using rule_id = std::uint32_t;     ///< number of a rule of one builder

inline constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

/// Expressions may be used more than once. Errors bear `place`. Bounded: a grammar of more than `most_nodes` nodes is refused.
class builder {
public:
    static constexpr std::size_t most_nodes = std::size_t{1} << 20;
    static constexpr std::uint32_t deepest = 1000;      ///< expressions in expressions
    static constexpr std::size_t most_times = 1000000;  ///< of a bounded repetition

    explicit builder(std::string_view place = "grammar") : place_(place) {}

    /// The empty text.
    expression empty() { return sequence(std::span<const expression>{}); }
    /// No text at all.
    expression never() { return choice(std::span<const expression>{}); }
    /// Exactly these bytes.
    expression literal(std::string_view bytes) {
        const expression e = add(kind::literal, texts_.size(), 0, bytes.size(), 0);
        texts_.emplace_back(bytes);
        return e;
    }
    /// One code point of a set.
    expression chars(code_set set) {
        const expression e = add(kind::chars, sets_.size(), 0, 2 + set.ranges().size(), 0);
        sets_.push_back(std::move(set));
        return e;
    }
    expression sequence(std::span<const expression> parts) { return add_list(kind::sequence, parts); }
    expression sequence(std::initializer_list<expression> parts) { return sequence(std::span(parts.begin(), parts.size())); }
    expression choice(std::span<const expression> parts) { return add_list(kind::choice, parts); }
    expression choice(std::initializer_list<expression> parts) { return choice(std::span(parts.begin(), parts.size())); }
    expression optional(expression e) { return choice({e, empty()}); }
    expression call(rule_id rule) { return add(kind::call, rule, 0, 1, 0); }
    /// One whole token, or with `negated` one that is neither it nor an end token.
    expression token(token_id id, bool negated) { return add(kind::token, static_cast<std::size_t>(id), negated, 1, 0); }

    /// `e` at least `least` and at most `most` times. Large counts become rules of logarithmic number and depth.
    /// Throws errc::unsupported for a bound above most_times, errc::bad_file for least > most.
    expression repeat(expression e, std::size_t least, std::size_t most = unlimited) {
        if (least > most) fail(errc::bad_file, place_, "a repetition of at least ", least, " and at most ", most, " times is none");
        if (least > most_times || (most != unlimited && most > most_times))
            fail(errc::unsupported, place_, "a repetition of ", least > most_times ? least : most, " times; at most ", most_times,
                 " can be counted");
        if (most == unlimited) {
            const expression star = add(kind::star, e, 0, items_[e].weight + 1, items_[e].depth + 1);
            return least == 0 ? star : sequence({repeat(e, least, least), star});
        }
        constexpr std::size_t inlined = 256;  // nodes; more are shared through rules
        if (most * items_[e].weight <= inlined)
            return add(kind::repeat, e, pack(least, most), most * (items_[e].weight + 1), items_[e].depth + 1);
        const rule_id one = rule("repeated");
        define(one, e);
        return sequence({exactly(one, least), at_most(one, most - least)});
    }

    /// A new rule, not yet defined. Names are for messages and need not be distinct.
    rule_id rule(std::string_view name) {
        rule_names_.emplace_back(name);
        bodies_.push_back(undefined);
        return static_cast<rule_id>(bodies_.size() - 1);
    }
    void define(rule_id rule, expression body) { bodies_[rule] = body; }
    bool defined(rule_id rule) const noexcept { return bodies_[rule] != undefined; }
    const std::string& name_of(rule_id rule) const noexcept { return rule_names_[rule]; }

    /// The network of the rules that `root` needs. Throws errc::bad_file for a rule that is not defined, is left-recursive, or for
    /// a root that no finite text satisfies; errc::unsupported for too large a grammar.
    rules compile(rule_id root) const {
        detail::emitter out(place_, most_nodes);
        std::vector<std::uint32_t> starts(bodies_.size(), 0);
        std::vector<bool> wanted(bodies_.size(), false);
        std::vector<rule_id> open{root};
        wanted[root] = true;
        for (rule_id r = 0; r < bodies_.size(); ++r) starts[r] = out.reserve();
        while (!open.empty()) {
            const rule_id r = open.back();
            open.pop_back();
            if (!defined(r)) fail(errc::bad_file, place_, "the rule '", rule_names_[r], "' is used, but not defined");
            const auto on_call = [&](rule_id callee, std::uint32_t next) {
                if (!wanted[callee]) open.push_back(callee);
                wanted[callee] = true;
                return out.call(starts[callee], next);
            };
            out.set_split(starts[r], {emit(out, bodies_[r], rules::end_node, on_call)});
        }
        return finish(out, starts, root);
    }

private:
    enum class kind : std::uint8_t { literal, chars, sequence, choice, star, repeat, call, token };

    struct item {
        kind is;
        std::size_t value, other;
        std::size_t weight;  // about how many nodes it becomes, saturating
        std::uint32_t depth;
    };

    static constexpr expression undefined = std::numeric_limits<expression>::max();
    static constexpr std::size_t pack(std::size_t least, std::size_t most) { return least << 32 | most; }

    expression add(kind is, std::size_t value, std::size_t other, std::size_t weight, std::uint32_t depth) {
        if (depth > deepest) fail(errc::unsupported, place_, "nests more than ", deepest, " expressions");
        if (items_.size() >= 4 * most_nodes) fail(errc::unsupported, place_, "has more than ", 4 * most_nodes, " expressions");
        items_.push_back({is, value, other, std::clamp<std::size_t>(weight, 1, most_nodes), depth});
        return static_cast<expression>(items_.size() - 1);
    }

    expression add_list(kind is, std::span<const expression> parts) {
        if (parts.size() == 1) return parts[0];
        std::size_t weight = 1;
        std::uint32_t depth = 0;
        for (const expression e : parts) {
            weight += items_[e].weight;
            depth = std::max(depth, items_[e].depth + 1);
        }
        const std::size_t first = parts_.size();
        parts_.insert(parts_.end(), parts.begin(), parts.end());
        return add(is, first, parts.size(), weight, depth);
    }

    /// x{n} as x{n/2} x{n/2} and one more if n is odd.
    expression exactly(rule_id one, std::size_t n) {
        if (n == 0) return empty();
        if (n == 1) return call(one);
        if (const auto known = exact_.find({one, n}); known != exact_.end()) return call(known->second);
        const rule_id r = rule("repeated");
        exact_[{one, n}] = r;
        const expression half = exactly(one, n / 2);
        define(r, n % 2 == 0 ? sequence({half, half}) : sequence({half, half, call(one)}));
        return call(r);
    }

    /// x{0,n} as x{0,n/2-1} or x{n/2} x{0,n/2}: at any count about log n ways to go on, and never two for one count.
    expression at_most(rule_id one, std::size_t n) {
        if (n == 0) return empty();
        if (n == 1) return optional(call(one));
        if (const auto known = upto_.find({one, n}); known != upto_.end()) return call(known->second);
        const rule_id r = rule("repeated");
        upto_[{one, n}] = r;
        if (n % 2 == 1)
            define(r, optional(sequence({call(one), at_most(one, n - 1)})));
        else
            define(r, choice({at_most(one, n / 2 - 1), sequence({exactly(one, n / 2), at_most(one, n / 2)})}));
        return call(r);
    }

    /// Nodes that read `e` and go on at `next`; returns the first. Recursion is bounded by `deepest`.
    template <class OnCall>
    std::uint32_t emit(detail::emitter& out, expression e, std::uint32_t next, const OnCall& on_call) const {
        const item& i = items_[e];
        const auto parts = [&] { return std::span(parts_).subspan(i.value, i.other); };
        switch (i.is) {
            case kind::literal: return out.literal(texts_[i.value], next);
            case kind::chars: return out.chars(sets_[i.value], next);
            case kind::call: return on_call(static_cast<rule_id>(i.value), next);
            case kind::token:
                return out.make({i.other != 0 ? node_kind::any_token : node_kind::token, static_cast<std::uint32_t>(i.value), next});
            case kind::sequence:
                for (std::size_t k = i.other; k-- > 0;) next = emit(out, parts()[k], next, on_call);
                return next;
            case kind::choice: {
                std::vector<std::uint32_t> ways;
                for (const expression part : parts()) ways.push_back(emit(out, part, next, on_call));
                return out.split(std::move(ways));
            }
            case kind::star: {
                const std::uint32_t loop = out.reserve();
                out.set_split(loop, {emit(out, static_cast<expression>(i.value), loop, on_call), next});
                return loop;
            }
            case kind::repeat: {
                const std::size_t least = i.other >> 32, most = i.other & 0xFFFFFFFF;
                const auto part = static_cast<expression>(i.value);
                std::uint32_t at = next;
                for (std::size_t k = most; k-- > 0;) {
                    const std::uint32_t more = emit(out, part, at, on_call);
                    at = k >= least ? out.split({more, next}) : more;
                }
                return at;
            }
        }
        return next;
    }

    rules finish(detail::emitter& out, const std::vector<std::uint32_t>& starts, rule_id root) const {
        rules r = out.take(starts[root]);
        const auto name_at = [&](std::uint32_t start) -> std::string_view {
            const auto at = std::lower_bound(starts.begin(), starts.end(), start);
            return rule_names_[static_cast<std::size_t>(at - starts.begin())];
        };
        if (const std::uint32_t culprit = detail::find_left_recursion(r); culprit != rules::end_node)
            fail(errc::bad_file, place_, "the rule '", name_at(culprit),
                 "' is left-recursive: it can call itself before it has read anything; write it as a repetition, as in"
                 " sum ::= term (\"+\" term)*");
        r.productive = detail::productive_nodes(r);
        if (!r.productive[r.start])
            fail(errc::bad_file, place_, "no finite text satisfies the rule '", rule_names_[root], "': it never comes to an end");
        return r;
    }

    std::string place_;
    std::vector<item> items_;
    std::vector<expression> parts_;  // of sequences and choices
    std::vector<std::string> texts_;
    std::vector<code_set> sets_;
    std::vector<std::string> rule_names_;
    std::vector<expression> bodies_;
    std::map<std::pair<rule_id, std::size_t>, rule_id> exact_, upto_;
};

}  // namespace skald::grammar
