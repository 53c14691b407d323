// SPDX-License-Identifier: MIT
#pragma once
// Regular expressions as tokenizer.json files write them (Oniguruma's Ruby syntax) as a tree. What is not here is refused with its
// place: back references, conditionals, recursion, POSIX brackets, ignoring case beyond ASCII.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/code_point_set.hpp>

namespace skald::text::detail {

enum class node_kind : std::uint8_t {
    set,        ///< one code point
    sequence,   ///< children one after another; none: nothing
    choice,     ///< the first child that lets the rest match
    repeat,     ///< the child `least` to `most` times
    look,       ///< the child matches here (or, `behind`, ends here), or does not if `negative`; takes nothing
    atomic,     ///< the child's first match only
    assertion,  ///< a place: see `assertion_kind`
};

enum class assertion_kind : std::uint8_t { line_start, line_end, text_start, text_end, last_line_end, word_border, no_word_border };
enum class repeat_kind : std::uint8_t { greedy, lazy, possessive };

struct pattern_node {
    static constexpr std::uint32_t unbounded = std::numeric_limits<std::uint32_t>::max();

    node_kind kind = node_kind::sequence;
    assertion_kind assertion{};
    repeat_kind repeat = repeat_kind::greedy;
    bool negative = false, behind = false;
    std::uint32_t least = 0, most = 0;    // of a repeat
    std::size_t set = 0;                  // in pattern_tree::sets
    std::vector<std::size_t> children{};  // in pattern_tree::nodes
};

struct pattern_tree {
    std::vector<pattern_node> nodes;
    std::vector<code_point_set> sets;
    std::size_t root = 0;
};

class pattern_parser {
public:
    /// Throws errc::unsupported, with the offset, for what is not known, errc::bad_file for what is no regular expression.
    static pattern_tree parse(std::string_view pattern, std::string_view place) {
        if (pattern.size() > longest)
            fail(errc::unsupported, place, "the regular expression ", io::detail::in_quotes(pattern), " has ", pattern.size(),
                 " bytes; at most ", longest, " are possible");
        pattern_parser p(pattern, place);
        p.tree_.root = p.choice(0);
        if (p.at_ < pattern.size()) p.refuse(errc::bad_file, "has a ) that closes nothing");
        return std::move(p.tree_);
    }

private:
    static constexpr std::size_t longest = 16384, deepest = 50;
    static constexpr std::uint32_t most_repeats = 1000;

    pattern_parser(std::string_view pattern, std::string_view place) noexcept : text_(pattern), place_(place) {}

    [[noreturn]] void refuse(errc code, std::string_view what) const {
        fail(code, place_, "the regular expression ", io::detail::in_quotes(text_), " ", what, " at offset ", at_,
             code == errc::unsupported ? ", which is not supported" : "");
    }

    bool ended() const noexcept { return at_ >= text_.size(); }
    bool next_is(std::string_view what) const noexcept { return text_.substr(at_, what.size()) == what; }
    bool take(std::string_view what) noexcept {
        if (!next_is(what)) return false;
        at_ += what.size();
        return true;
    }

    char32_t take_code() {
        if (ended()) refuse(errc::bad_file, "ends too early");
        const code_unit u = code_unit_at(text_, at_);
        if (u.code == stray_byte) refuse(errc::bad_file, "is no UTF-8");
        at_ += u.length;
        return u.code;
    }

    std::size_t add(pattern_node node) {
        tree_.nodes.push_back(std::move(node));
        return tree_.nodes.size() - 1;
    }
    std::size_t add_set(code_point_set set) {
        if (ignore_case_) fold(set);
        tree_.sets.push_back(std::move(set));
        return add({.kind = node_kind::set, .set = tree_.sets.size() - 1});
    }

    /// Adds the other case of ASCII letters, with the two code points outside ASCII that fold to one: the long s and the Kelvin sign.
    void fold(code_point_set& set) const {
        for (char32_t c = 'a'; c <= 'z'; ++c) {
            const char32_t odd = c == 's' ? 0x17F : c == 'k' ? 0x212A : c;
            if (!set.contains(c) && !set.contains(c - 32) && !set.contains(odd)) continue;
            for (const char32_t other : {c, static_cast<char32_t>(c - 32), odd}) set.add(other, other);
        }
    }

    std::size_t choice(std::size_t depth) {
        if (depth > deepest) refuse(errc::unsupported, "has groups nested too deep");
        std::vector<std::size_t> branches{sequence(depth)};
        while (take("|")) branches.push_back(sequence(depth));
        return branches.size() == 1 ? branches[0] : add({.kind = node_kind::choice, .children = std::move(branches)});
    }

    std::size_t sequence(std::size_t depth) {
        std::vector<std::size_t> parts;
        while (!ended() && !next_is("|") && !next_is(")")) {
            std::size_t part = atom(depth);
            while (quantifier(part)) {
            }
            parts.push_back(part);
        }
        return parts.size() == 1 ? parts[0] : add({.kind = node_kind::sequence, .children = std::move(parts)});
    }

    /// Wraps `part` in the quantifier that follows, if one does.
    bool quantifier(std::size_t& part) {
        std::uint32_t least = 0, most = pattern_node::unbounded;
        const bool counted = next_is("{");
        if (take("*")) {
        } else if (take("+")) {
            least = 1;
        } else if (take("?")) {
            most = 1;
        } else if (!counted || !counts(least, most)) {
            return false;
        }
        repeat_kind kind = repeat_kind::greedy;
        if (!counted && take("+"))
            kind = repeat_kind::possessive;
        else if ((!counted || least != most) && take("?"))
            kind = repeat_kind::lazy;
        part = add({.kind = node_kind::repeat, .repeat = kind, .least = least, .most = most, .children = {part}});
        return true;
    }

    /// {n}, {n,}, {,n} or {n,m}; false, nothing taken, for a { that is a character.
    bool counts(std::uint32_t& least, std::uint32_t& most) {
        const std::size_t start = at_;
        const auto number = [&](std::uint32_t& out) {
            const std::size_t first = at_;
            for (out = 0; !ended() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
                out = out * 10 + static_cast<std::uint32_t>(text_[at_] - '0');
                if (out > most_repeats) refuse(errc::unsupported, "repeats more than 1000 times");
            }
            return at_ > first;
        };
        take("{");
        const bool low = number(least), range = take(",");
        bool high = false;
        if (!range)
            most = least;
        else if (!(high = number(most)))
            most = pattern_node::unbounded;
        if ((!low && !high) || !take("}")) {
            at_ = start;
            return false;
        }
        if (least > most) refuse(errc::bad_file, "has a repeat whose least is above its most");
        return true;
    }

    std::size_t atom(std::size_t depth) {
        if (take("(")) return group(depth);
        if (take("[")) return add_set(bracket(depth));
        if (take(".")) return add_set(code_point_set('\n', '\n').complement());
        if (take("^")) return assertion(assertion_kind::line_start);
        if (take("$")) return assertion(assertion_kind::line_end);
        if (next_is("*") || next_is("+") || next_is("?")) refuse(errc::bad_file, "repeats nothing");
        if (!take("\\")) {
            const char32_t code = take_code();
            return add_set({code, code});
        }
        if (take("A")) return assertion(assertion_kind::text_start);
        if (take("z")) return assertion(assertion_kind::text_end);
        if (take("Z")) return assertion(assertion_kind::last_line_end);
        if (take("b")) return assertion(assertion_kind::word_border);
        if (take("B")) return assertion(assertion_kind::no_word_border);
        return add_set(escape(false));
    }

    std::size_t assertion(assertion_kind kind) { return add({.kind = node_kind::assertion, .assertion = kind}); }

    std::size_t group(std::size_t depth) {
        pattern_node look{.kind = node_kind::look};
        const bool outer_case = ignore_case_;
        if (take("?=") || take("?!")) {
            look.negative = text_[at_ - 1] == '!';
        } else if (take("?<=") || take("?<!")) {
            look.negative = text_[at_ - 1] == '!';
            look.behind = true;
        } else if (take("?>")) {
            look.kind = node_kind::atomic;
        } else {
            look.kind = node_kind::sequence;
            if (take("?i:"))
                ignore_case_ = true;
            else if (take("?-i:"))
                ignore_case_ = false;
            else if (take("?i)")) {
                ignore_case_ = true;  // for the rest of the enclosing group, its further branches too
                const std::size_t rest = choice(depth + 1);
                ignore_case_ = outer_case;
                return rest;
            } else if (!take("?:") && next_is("?"))
                refuse(errc::unsupported, "has a kind of group");
        }
        const std::size_t body = choice(depth + 1);
        if (!take(")")) refuse(errc::bad_file, "has a ( that is not closed");
        ignore_case_ = outer_case;
        if (look.kind == node_kind::sequence) return body;
        look.children = {body};
        return add(std::move(look));
    }

    static code_point_set word(bool bracketed) {
        return bracketed ? code_point_set::of_properties(is_bracketed_word)
                         : code_point_set::of_properties([](std::uint32_t p) { return (p & is_word) != 0; });
    }

    /// What follows a backslash and is a set.
    code_point_set escape(bool bracketed) {
        const std::size_t start = at_;
        const char32_t code = take_code();
        const auto one = [](char32_t c) { return code_point_set(c, c); };
        code_point_set found;
        switch (code) {
            case 's': return code_point_set::of_properties(is_space);
            case 'S': return code_point_set::of_properties(is_space).complement();
            case 'w': return word(bracketed);
            case 'W': return word(bracketed).complement();
            case 'd': find_property("Nd", found); return found;
            case 'D': find_property("Nd", found); return found.complement();
            case 'n': return one('\n');
            case 'r': return one('\r');
            case 't': return one('\t');
            case 'f': return one('\f');
            case 'v': return one('\v');
            case 'a': return one('\a');
            case 'e': return one(0x1B);
            case 'u': return one(hexadecimal(4, 4));
            case 'x':
                if (!take("{")) return one(hexadecimal(1, 2));
                found = one(hexadecimal(1, 8));
                if (!take("}")) refuse(errc::bad_file, "has a \\x{ that is not closed");
                return found;
            case 'p':
            case 'P': return property(code == 'P');
            default: break;
        }
        at_ = start;
        if ((code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z'))
            refuse(errc::unsupported, "has an escape");
        return one(take_code());
    }

    code_point_set property(bool negative) {
        if (!take("{")) refuse(errc::unsupported, "has a \\p without {");
        if (take("^")) negative = !negative;
        const std::size_t end = text_.find('}', at_);
        code_point_set found;
        if (end == std::string_view::npos || !find_property(text_.substr(at_, end - at_), found))
            refuse(errc::unsupported, "has a property");
        at_ = end + 1;
        return negative ? found.complement() : found;
    }

    char32_t hexadecimal(std::size_t least, std::size_t most) {
        char32_t out = 0;
        std::size_t n = 0;
        for (; n < most && !ended(); ++n, ++at_) {
            const char c = text_[at_];
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) break;
            out = out * 16 + static_cast<char32_t>(digit);
        }
        if (n < least || out > 0x10FFFF) refuse(errc::bad_file, "has a wrong hexadecimal number");
        return out;
    }

    /// A bracket after its [, up to and with its ].
    code_point_set bracket(std::size_t depth) {
        if (depth > deepest) refuse(errc::unsupported, "has brackets nested too deep");
        const bool negative = take("^");
        code_point_set part, whole;
        bool intersected = false;
        const auto close_part = [&] {
            whole = intersected ? whole.intersection(part) : std::move(part);
            part = {};
        };
        for (bool first = true; first || !next_is("]"); first = false) {
            if (ended()) refuse(errc::bad_file, "has a [ that is not closed");
            if (take("&&")) {
                close_part();
                intersected = true;
            } else if (next_is("[:")) {
                refuse(errc::unsupported, "has a POSIX bracket");
            } else if (take("[")) {
                part.add(bracket(depth + 1));
            } else {
                bracket_item(part);
            }
        }
        take("]");
        close_part();
        if (ignore_case_) fold(whole);
        return negative ? whole.complement() : whole;
    }

    /// A code point, a range of them, or an escape that is a set.
    void bracket_item(code_point_set& out) {
        const auto single = [&](char32_t& code) {
            if (!take("\\")) {
                code = take_code();
                return true;
            }
            constexpr std::string_view sets = "sSwWdDpP";
            if (!ended() && sets.find(text_[at_]) != std::string_view::npos) {
                out.add(escape(true));
                return false;
            }
            if (take("b")) {
                code = '\b';
                return true;
            }
            const code_point_set one = escape(true);
            code = one.first();
            return true;
        };
        char32_t first = 0, last = 0;
        if (!single(first)) return;
        if (!next_is("-") || next_is("-]") || next_is("-&&")) {
            out.add(first, first);
            return;
        }
        take("-");
        if (next_is("[")) refuse(errc::unsupported, "has a range that ends in a bracket");
        if (!single(last)) {
            out.add(first, first);
            out.add('-', '-');
            return;
        }
        if (first > last) refuse(errc::bad_file, "has an empty range");
        out.add(first, last);
    }

    std::string_view text_, place_;
    std::size_t at_ = 0;
    bool ignore_case_ = false;
    pattern_tree tree_;
};

}  // namespace skald::text::detail
