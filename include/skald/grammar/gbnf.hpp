// SPDX-License-Identifier: MIT
#pragma once
// Grammar files in llama.cpp's GBNF: a Backus-Naur form with the operators of regular expressions.
//
//     root   ::= "{" space pair ("," space pair)* "}"     # a comment
//     pair   ::= [a-z_]+ ":" space number
//     number ::= "-"? [0-9]{1,9}
//     space  ::= " "?
//
// Literals and classes know \n \r \t \\ \" \[ \] \- \^, \xHH, \uHHHH and \UHHHHHHHH. `.` is any character, [^…] any but those of
// the class, new lines too. {n} {n,} {n,m} ? * + repeat what stands before. <[7]> is the token 7, <name> the token that is written
// <name>, and !<…> any other token. A rule ends with its line, unless a bracket is open, or `|` stands at the end of the line or
// at the beginning of the next.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/grammar/builder.hpp>
#include <skald/grammar/rules.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::grammar {

/// Gives the token that is written so, or -1: text::tokenizer::find.
using token_lookup = std::function<token_id(std::string_view)>;

namespace detail {

class gbnf_parser {
public:
    gbnf_parser(std::string_view text, std::string_view place, const token_lookup& find_token)
        : text_(text), place_(place), find_token_(find_token), out_(place) {}

    rules parse() {
        for (space(true); at_ < text_.size(); space(true)) rule();
        const auto root = numbers_.find("root");
        if (root == numbers_.end() || !out_.defined(root->second)) fail_at(at_, "there is no rule 'root', with which texts begin");
        for (const auto& [where, used] : uses_)
            if (!out_.defined(used)) fail_at(where, concat("the rule '", out_.name_of(used), "' is not defined"));
        return out_.compile(root->second);
    }

private:
    static constexpr std::size_t most_groups = 200;  // open brackets

    [[noreturn]] void fail_at(std::size_t where, std::string_view sentence) const {
        const std::string_view before = text_.substr(0, where);
        const auto line = 1 + std::count(before.begin(), before.end(), '\n');
        const std::size_t begin = before.rfind('\n') + 1;  // npos + 1 is 0
        std::size_t column = 1;
        for (const char c : before.substr(begin)) column += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
        fail(errc::bad_file, place_, "line ", line, ", column ", column, ": ", sentence);
    }
    [[noreturn]] void fail_expected(std::string_view what) const {
        if (at_ >= text_.size()) fail_at(at_, concat("the text ends where ", what, " should stand"));
        const std::size_t length = std::min<std::size_t>(12, text_.find('\n', at_) - at_);
        fail_at(at_, concat(what, " should stand at ", io::detail::in_quotes(text_.substr(at_, length))));
    }

    char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(std::string_view mark) {
        if (!text_.substr(at_).starts_with(mark)) return false;
        at_ += mark.size();
        return true;
    }

    /// Passes blanks and comments; with `lines`, ends of lines too.
    void space(bool lines) {
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (c == '#') {
                at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
                if (at_ == text_.size() || !lines) return;
            } else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r'))) {
                return;
            }
        }
    }

    static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
    static bool is_word(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-' || c == '_'; }

    std::string_view word() {
        const std::size_t begin = at_;
        while (is_word(peek())) ++at_;
        if (at_ == begin) fail_expected("a rule's name");
        return text_.substr(begin, at_ - begin);
    }

    rule_id number_of(std::string_view name) {
        const auto [found, made] = numbers_.try_emplace(std::string(name), 0);
        if (made) found->second = out_.rule(name);
        return found->second;
    }

    void rule() {
        const std::size_t begin = at_;
        const rule_id r = number_of(word());
        space(false);
        if (!take("::=")) fail_expected("'::=' after a rule's name");
        if (out_.defined(r)) fail_at(begin, concat("the rule '", out_.name_of(r), "' is defined a second time"));
        space(true);
        out_.define(r, choice(0));
        if (at_ < text_.size() && peek() != '\n' && peek() != '\r') fail_expected("the end of the line or more of the rule");
    }

    /// Whether the rule goes on in one of the next lines, with '|'; if so, goes there.
    bool continues() {
        const std::size_t here = at_;
        space(true);
        if (peek() == '|') return true;
        at_ = here;
        return false;
    }

    expression choice(std::size_t groups) {
        std::vector<expression> ways{sequence(groups)};
        while (peek() == '|' || (groups == 0 && continues())) {
            ++at_;
            space(true);
            ways.push_back(sequence(groups));
        }
        return out_.choice(ways);
    }

    expression sequence(std::size_t groups) {
        std::vector<expression> parts;
        while (at_ < text_.size()) {
            const char c = peek();
            if (c == '*' || c == '+' || c == '?' || c == '{') {
                if (parts.empty()) fail_expected("something to repeat");
                parts.back() = repetition(parts.back());
            } else if (c == '"' || c == '[' || c == '(' || c == '.' || c == '<' || c == '!' || is_word(c)) {
                parts.push_back(one(groups));
            } else {
                break;
            }
            space(groups > 0);
        }
        return out_.sequence(parts);
    }

    expression one(std::size_t groups) {
        const std::size_t begin = at_;
        switch (peek()) {
            case '"': return literal();
            case '[': return char_class();
            case '<':
            case '!': return token();
            case '.': ++at_; return out_.chars(code_set::all());
            case '(': {
                if (groups == most_groups) fail_at(at_, concat("more than ", most_groups, " brackets are open"));
                ++at_;
                space(true);
                const expression inner = choice(groups + 1);
                if (!take(")")) fail_at(begin, "this bracket is never closed");
                return inner;
            }
            default: {
                const rule_id r = number_of(word());
                uses_.emplace_back(begin, r);
                return out_.call(r);
            }
        }
    }

    expression repetition(expression e) {
        const std::size_t begin = at_;
        if (take("*")) return out_.repeat(e, 0);
        if (take("+")) return out_.repeat(e, 1);
        if (take("?")) return out_.optional(e);
        take("{");
        space(false);
        const std::size_t least = count();
        std::size_t most = least;
        space(false);
        if (take(",")) {
            space(false);
            most = is_digit(peek()) ? count() : unlimited;
            space(false);
        }
        if (!take("}")) fail_expected("'}' after the bounds of a repetition");
        if (least > most) fail_at(begin, concat("at least ", least, " and at most ", most, " times is impossible"));
        return out_.repeat(e, least, most);
    }

    std::size_t count() {
        const std::size_t begin = at_;
        std::size_t n = 0;
        for (; is_digit(peek()); ++at_) {
            n = n * 10 + static_cast<std::size_t>(peek() - '0');
            if (n > builder::most_times) fail_at(begin, concat("a repetition counts to ", builder::most_times, " at most"));
        }
        if (at_ == begin) fail_expected("a number of repetitions");
        return n;
    }

    expression literal() {
        const std::size_t begin = at_++;
        std::string bytes;
        while (peek() != '"') {
            if (at_ >= text_.size()) fail_at(begin, "this literal is never closed");
            append_utf8(character(), bytes);
        }
        ++at_;
        return out_.literal(bytes);
    }

    expression char_class() {
        const std::size_t begin = at_++;
        const bool negated = take("^");
        std::vector<code_range> ranges;
        while (peek() != ']') {
            if (at_ >= text_.size()) fail_at(begin, "this class is never closed");
            const std::size_t here = at_;
            code_range r{character(), 0};
            r.last = r.first;
            if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
                ++at_;
                r.last = character();
            }
            if (r.first > r.last) fail_at(here, "this range ends before it begins");
            ranges.push_back(r);
        }
        ++at_;
        const code_set set{std::span<const code_range>(ranges)};
        const code_set chosen = negated ? set.complement() : set;
        if (chosen.empty()) fail_at(begin, "no character is in this class");
        return out_.chars(chosen);
    }

    expression token() {
        const std::size_t begin = at_;
        const bool negated = take("!");
        if (!take("<")) fail_expected("'<' of a token");
        token_id id = -1;
        if (take("[")) {
            std::int64_t value = 0;
            if (!is_digit(peek())) fail_expected("a token's number");
            for (; is_digit(peek()); ++at_) {
                value = value * 10 + (peek() - '0');
                if (value > std::numeric_limits<token_id>::max()) fail_at(begin, "this is no token's number");
            }
            if (!take("]>")) fail_expected("']>' after a token's number");
            id = static_cast<token_id>(value);
        } else {
            const std::size_t end = text_.find_first_of(">\n", at_);
            if (end == text_.npos || text_[end] == '\n') fail_at(begin, "this token's name is never closed");
            at_ = end + 1;
            const std::size_t name = begin + (negated ? 1 : 0);
            const std::string_view written = text_.substr(name, at_ - name);
            if (find_token_) id = find_token_(written);
            if (id < 0) fail_at(begin, concat("the vocabulary has no token ", io::detail::in_quotes(written)));
        }
        return out_.token(id, negated);
    }

    /// One character of a literal or class.
    char32_t character() {
        const std::size_t begin = at_;
        if (peek() != '\\') {
            const text::detail::unit u = text::detail::unit_at(text_, at_);
            if (u.code == text::detail::replacement && u.length == 1) fail_at(begin, "this byte is no UTF-8");
            at_ += u.length;
            return u.code;
        }
        ++at_;
        if (at_ >= text_.size()) fail_at(begin, "the text ends in an escape");
        const char c = text_[at_++];
        switch (c) {
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case '\\':
            case '"':
            case '[':
            case ']':
            case '-':
            case '^': return static_cast<unsigned char>(c);
            case 'x': return hex(begin, 2);
            case 'u': return hex(begin, 4);
            case 'U': return hex(begin, 8);
            default: fail_at(begin, concat("there is no escape ", io::detail::in_quotes(text_.substr(begin, 2))));
        }
    }

    char32_t hex(std::size_t begin, std::size_t digits) {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < digits; ++i, ++at_) {
            const char c = peek();
            const int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
            if (digit < 0) fail_at(begin, concat("this escape needs ", digits, " hexadecimal digits"));
            value = value << 4 | static_cast<std::uint32_t>(digit);
        }
        if (value > last_code_point || (value >= 0xD800 && value <= 0xDFFF)) fail_at(begin, "this escape is no character of Unicode");
        return value;
    }

    std::string_view text_, place_;
    const token_lookup& find_token_;
    builder out_;
    std::size_t at_ = 0;
    std::unordered_map<std::string, rule_id> numbers_;
    std::vector<std::pair<std::size_t, rule_id>> uses_;
};

}  // namespace detail

/// Reads a grammar; its rule `root` is what texts must be. Throws errc::bad_file with line and column for what is malformed,
/// and what builder::compile() throws. `place` names the grammar in messages; `find_token` resolves <name>.
inline rules parse_gbnf(std::string_view text, std::string_view place = "grammar", const token_lookup& find_token = {}) {
    constexpr std::size_t most = std::size_t{1} << 22;
    if (text.size() > most) fail(errc::unsupported, place, "has ", text.size(), " bytes; at most ", most, " are read");
    return detail::gbnf_parser(text, place, find_token).parse();
}

}  // namespace skald::grammar
