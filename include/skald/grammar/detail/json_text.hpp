// SPDX-License-Identifier: MIT
#pragma once
// The pieces of JSON text that do not depend on a schema: blanks, strings, and any value.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <skald/grammar/builder.hpp>
#include <skald/grammar/detail/char_automaton.hpp>
#include <skald/grammar/detail/numbers.hpp>

namespace skald::grammar::detail {

/// A string's text between its quotes, as JSON writes it: UTF-8 as it is, escapes where they must be.
inline std::string json_escaped(std::string_view text) {
    constexpr std::string_view hex = "0123456789abcdef";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        switch (c) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            case '\b': out += "\\b"; break;
            case '\f': out += "\\f"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            default:
                if (byte < 0x20)
                    out.append("\\u00").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
                else
                    out += c;
        }
    }
    return out;
}

/// Rules of JSON text in a builder, made when they are first asked for.
class json_text {
public:
    json_text(builder& out, bool blanks) : out_(out), numbers_(out), blanks_(blanks) {
        if (!blanks) return;
        // A blank, or a new line with its indentation.
        const expression indented = out_.sequence({out_.literal("\n"), out_.repeat(out_.chars({{' ', ' '}, {'\t', '\t'}}), 0, 20)});
        space_ = call_to("space", out_.choice({out_.empty(), out_.literal(" "), indented}));
    }

    number_rules& numbers() noexcept { return numbers_; }

    /// Behind an opening bracket, behind a comma and before a closing bracket.
    expression space() { return blanks_ ? space_ : out_.empty(); }
    expression comma() { return out_.sequence({out_.literal(","), space()}); }
    expression colon() { return blanks_ ? out_.sequence({out_.literal(":"), out_.optional(out_.literal(" "))}) : out_.literal(":"); }

    /// Any string of so many characters: code points, whether escaped or not. No lone surrogates, which not every reader takes.
    expression string(std::size_t least = 0, std::size_t most = unlimited) {
        return out_.sequence({out_.literal("\""), out_.repeat(character(), least, most), out_.literal("\"")});
    }

    /// The strings of an automaton, escaped only where they must be.
    expression string(const char_automaton& a) {
        std::vector<rule_id> rules;
        for (std::size_t i = 0; i < a.states.size(); ++i) rules.push_back(out_.rule("string"));
        for (std::size_t i = 0; i < a.states.size(); ++i) {
            std::vector<expression> ways;
            if (a.states[i].accepts) ways.push_back(out_.empty());
            for (const char_automaton::edge& e : a.states[i].edges) ways.push_back(out_.sequence({encoded(e.set), out_.call(rules[e.to])}));
            out_.define(rules[i], out_.choice(ways));
        }
        return out_.sequence({out_.literal("\""), out_.call(rules[0]), out_.literal("\"")});
    }

    /// A string's text, with its quotes.
    expression quoted(std::string_view text) { return out_.literal("\"" + json_escaped(text) + "\""); }

    /// Any value.
    expression value() {
        if (value_) return *value_;
        const rule_id rule = out_.rule("value");
        value_ = out_.call(rule);
        out_.define(rule, out_.choice({object(string(), *value_, 0, unlimited), array(*value_, 0, unlimited), string(), numbers_.number(),
                                       out_.literal("true"), out_.literal("false"), out_.literal("null")}));
        return *value_;
    }

    expression array(expression item, std::size_t least, std::size_t most) { return list("[", item, least, most, "]"); }
    expression object(expression key, expression member, std::size_t least, std::size_t most) {
        return object_of(pair(key, member), least, most);
    }
    expression object_of(expression pair, std::size_t least, std::size_t most) { return list("{", pair, least, most, "}"); }
    expression pair(expression key, expression member) { return out_.sequence({key, colon(), member}); }

    /// An expression as a rule of its own, called.
    expression call_to(std::string_view name, expression body) {
        const rule_id rule = out_.rule(name);
        out_.define(rule, body);
        return out_.call(rule);
    }

private:
    expression list(std::string_view open, expression item, std::size_t least, std::size_t most, std::string_view close) {
        std::vector<expression> ways;
        if (least == 0) ways.push_back(out_.empty());
        if (most > 0) {
            const expression more =
                out_.repeat(out_.sequence({comma(), item}), least == 0 ? 0 : least - 1, most == unlimited ? unlimited : most - 1);
            ways.push_back(out_.sequence({item, more, space()}));
        }
        return out_.sequence({out_.literal(open), space(), out_.choice(ways), out_.literal(close)});
    }

    expression character() {
        if (character_) return *character_;
        const auto hex = [&](code_range last) {
            return out_.chars(last.first == 0 ? code_set{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}
                                              : code_set{last, {last.first + 32, last.last + 32}});
        };
        const expression any = hex({0, 0}), d = out_.chars({{'D', 'D'}, {'d', 'd'}});
        const expression not_d = out_.chars({{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}});
        const expression unit =
            out_.choice({out_.sequence({not_d, any, any, any}), out_.sequence({d, out_.chars({{'0', '7'}}), any, any})});
        const expression high = out_.chars({{'8', '9'}, {'A', 'B'}, {'a', 'b'}}), low = hex({'C', 'F'});
        const expression both = out_.sequence({d, high, any, any, out_.literal("\\u"), d, low, any, any});
        const expression named =
            out_.chars({{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'}, {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}});
        const expression coded = out_.sequence({out_.literal("u"), out_.choice({unit, both})});
        const expression escaped = out_.sequence({out_.literal("\\"), out_.choice({named, coded})});
        character_ = out_.choice({out_.chars(plain()), escaped});
        return *character_;
    }

    static const code_set& plain() {
        static const code_set set = code_set{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}.complement();
        return set;
    }

    /// One character of a set, escaped only where it must be; control characters in each of their forms.
    expression encoded(const code_set& set) {
        std::vector<expression> ways;
        if (const code_set unescaped = set & plain(); !unescaped.empty()) ways.push_back(out_.chars(unescaped));
        for (char32_t c = 0; c <= '\\'; ++c) {
            if (plain().contains(c) || !set.contains(c)) continue;
            const char byte = static_cast<char>(c);
            const std::string written = json_escaped({&byte, 1});
            ways.push_back(out_.literal(written));
            if (c < 0x20 && written.size() == 2)
                ways.push_back(out_.literal(std::string("\\u00") + (c < 16 ? '0' : '1') + "0123456789abcdef"[c & 15]));
        }
        return out_.choice(ways);
    }

    builder& out_;
    number_rules numbers_;
    bool blanks_;
    expression space_ = 0;
    std::optional<expression> character_, value_;
};

}  // namespace skald::grammar::detail
