// SPDX-License-Identifier: MIT
#pragma once
// Patterns of JSON schemas: the part of regular expressions that ECMAScript and Python read alike, as an automaton. A pattern may
// match anywhere in a string; ^ and $ are its ends.
//
// Where the two disagree (\d, \w and \s beyond ASCII, `.` at ends of lines), a string counts as matching only if it matches for both.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/grammar/code_set.hpp>
#include <skald/grammar/detail/char_automaton.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::grammar::detail {

/// Reads a pattern and builds its automaton. Throws errc::unsupported, without a place, for what it cannot read exactly.
class regex_compiler {
public:
    static char_automaton compile(std::string_view pattern) { return regex_compiler(pattern).run(); }

private:
    static constexpr std::size_t most_groups = 100;
    static constexpr std::size_t most_times = 10000;

    enum class kind : std::uint8_t { set, sequence, choice, repeat, begin, end };
    struct item {
        kind is;
        code_set set{};
        std::vector<std::uint32_t> parts{};
        std::size_t least = 0, most = 0;  // most 0: no bound
    };

    /// A class as the strictest and the loosest of its readings.
    struct readings {
        code_set strict, loose;
    };

    explicit regex_compiler(std::string_view pattern) : text_(pattern) {}

    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::unsupported, "", "the pattern ", io::detail::in_quotes(text_), " has ", what, " at byte ", at_);
    }

    char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool more() const noexcept { return at_ < text_.size(); }
    bool take(std::string_view mark) {
        if (!text_.substr(at_).starts_with(mark)) return false;
        at_ += mark.size();
        return true;
    }
    std::uint32_t add(item i) {
        items_.push_back(std::move(i));
        return static_cast<std::uint32_t>(items_.size() - 1);
    }
    std::uint32_t add_set(code_set s) { return add({kind::set, std::move(s)}); }

    // --- Reading ---

    std::uint32_t choice(std::size_t groups) {
        std::vector<std::uint32_t> ways{sequence(groups)};
        while (take("|")) ways.push_back(sequence(groups));
        return ways.size() == 1 ? ways[0] : add({kind::choice, {}, std::move(ways)});
    }

    std::uint32_t sequence(std::size_t groups) {
        std::vector<std::uint32_t> parts;
        while (more() && peek() != '|' && peek() != ')') {
            const std::uint32_t one = atom(groups);
            parts.push_back(quantified(one));
        }
        return add({kind::sequence, {}, std::move(parts)});
    }

    std::uint32_t quantified(std::uint32_t one) {
        std::size_t least = 0, most = 0;
        if (take("*")) {
        } else if (take("+")) {
            least = 1;
        } else if (take("?")) {
            most = 1;
        } else if (peek() == '{') {
            ++at_;
            least = count();
            most = least;
            if (take(",")) most = peek() == '}' ? 0 : count();
            if (!take("}")) refuse("no bounds of a repetition");
            if (most == 0 && text_[at_ - 2] != ',') return add({kind::sequence});  // x{0}
            if (most != 0 && least > most) refuse("a repetition that ends before it begins");
        } else {
            return one;
        }
        if (const kind is = items_[one].is; is == kind::begin || is == kind::end) refuse("a repeated ^ or $");
        take("?");  // the same strings, found in another order
        if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{') refuse("a repetition of a repetition");
        return add({kind::repeat, {}, {one}, least, most});
    }

    std::size_t count() {
        const std::size_t begin = at_;
        std::size_t n = 0;
        for (; peek() >= '0' && peek() <= '9'; ++at_) {
            n = n * 10 + static_cast<std::size_t>(peek() - '0');
            if (n > most_times) refuse("too large a repetition");
        }
        if (at_ == begin) refuse("a brace that counts nothing");
        return n;
    }

    std::uint32_t atom(std::size_t groups) {
        switch (const char c = peek(); c) {
            case '(': {
                if (groups == most_groups) refuse("too many open brackets");
                ++at_;
                if (take("?:")) {
                } else if (take("?P<") || (text_.substr(at_).starts_with("?<") && at_ + 2 < text_.size() && text_[at_ + 2] != '=' &&
                                           text_[at_ + 2] != '!' && take("?<"))) {
                    while (more() && peek() != '>') ++at_;
                    if (!take(">")) refuse("a group's name without an end");
                } else if (peek() == '?') {
                    refuse("a look-around or option, which is not known,");
                }
                const std::uint32_t inner = choice(groups + 1);
                if (!take(")")) refuse("a bracket without an end");
                return inner;
            }
            case '^': ++at_; return add({kind::begin});
            case '$': ++at_; return add({kind::end});
            case '.': ++at_; return add_set(code_set{{'\n', '\n'}, {'\r', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}}.complement());
            case '[': return add_set(char_class());
            case '*':
            case '+':
            case '?': refuse("nothing to repeat");
            case '{':
            case '}':
            case ']': refuse("a bracket that should be escaped");
            case '\\': return add_set(escape(false).strict);
            default: {
                const char32_t code = character();
                return add_set({{code, code}});
            }
        }
    }

    char32_t character() {
        const auto unit = text::detail::unit_at(text_, at_);
        at_ += unit.length;
        return unit.code;
    }

    code_set char_class() {
        ++at_;
        const bool negated = take("^");
        readings all;
        if (peek() == ']') refuse("an empty class");
        while (peek() != ']') {
            if (!more()) refuse("a class without an end");
            if (peek() == '[' && at_ + 1 < text_.size() && (text_[at_ + 1] == ':' || text_[at_ + 1] == '[')) refuse("a class in a class");
            const readings first = class_part();
            const auto single = [](const readings& r) {
                return r.strict.ranges().size() == 1 && r.strict.ranges()[0].first == r.strict.ranges()[0].last && r.strict == r.loose;
            };
            if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
                ++at_;
                const readings last = class_part();
                if (!single(first) || !single(last)) refuse("a range between classes");
                const char32_t from = first.strict.ranges()[0].first, to = last.strict.ranges()[0].first;
                if (from > to) refuse("a range that ends before it begins");
                all.strict = all.strict | code_set{{from, to}};
                all.loose = all.loose | code_set{{from, to}};
            } else {
                all.strict = all.strict | first.strict;
                all.loose = all.loose | first.loose;
            }
        }
        ++at_;
        return negated ? all.loose.complement() : all.strict;
    }

    readings class_part() {
        if (peek() == '\\') return escape(true);
        const char32_t c = character();
        return {{{c, c}}, {{c, c}}};
    }

    static readings inverse(const readings& r) { return {r.loose.complement(), r.strict.complement()}; }

    readings escape(bool in_class) {
        ++at_;
        if (!more()) refuse("an escape without an end");
        static const code_set beyond{{0x80, last_code_point}};
        static const code_set digits{{'0', '9'}}, words{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
        static const code_set spaces{{'\t', '\r'}, {' ', ' '}};
        const char c = text_[at_++];
        const auto exactly = [](char32_t code) { return readings{{{code, code}}, {{code, code}}}; };
        switch (c) {
            case 'd': return {digits, digits | beyond};
            case 'D': return inverse({digits, digits | beyond});
            case 'w': return {words, words | beyond};
            case 'W': return inverse({words, words | beyond});
            case 's': return {spaces, spaces | beyond | code_set{{0x1C, 0x1F}}};
            case 'S': return inverse({spaces, spaces | beyond | code_set{{0x1C, 0x1F}}});
            case 'n': return exactly('\n');
            case 'r': return exactly('\r');
            case 't': return exactly('\t');
            case 'f': return exactly('\f');
            case 'v': return exactly('\v');
            case 'b':
                if (in_class) return exactly('\b');
                break;
            case '0':
                if (!(peek() >= '0' && peek() <= '9')) return exactly(0);
                break;
            case 'x': return exactly(hex(2));
            case 'u': {
                char32_t code = hex(4);
                if (code >= 0xD800 && code <= 0xDBFF && take("\\u")) {
                    const char32_t low = hex(4);
                    if (low < 0xDC00 || low > 0xDFFF) refuse("half a surrogate pair");
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                }
                if (code >= 0xD800 && code <= 0xDFFF) refuse("half a surrogate pair");
                return exactly(code);
            }
            default:
                if (const auto byte = static_cast<unsigned char>(c);
                    byte < 0x80 && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z'))
                    return exactly(byte);
        }
        refuse("an escape that is not known,");
    }

    char32_t hex(std::size_t digits) {
        char32_t value = 0;
        for (std::size_t i = 0; i < digits; ++i, ++at_) {
            const char c = peek();
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) refuse("too few hexadecimal digits");
            value = value << 4 | static_cast<char32_t>(digit);
        }
        return value;
    }

    // --- Building: places with edges that read, that read nothing, and that read nothing at an end of the string only ---

    enum class way : std::uint8_t { read, pass, at_begin, at_end };
    struct edge {
        way how;
        std::uint32_t to;
        std::uint32_t set = 0;  // an item
    };

    std::uint32_t place() {
        char_automaton::require(places_.size() + 1);
        places_.emplace_back();
        return static_cast<std::uint32_t>(places_.size() - 1);
    }

    /// Leads from a place through an item; returns where it ends.
    std::uint32_t lead(std::uint32_t from, std::uint32_t i) {
        switch (items_[i].is) {
            case kind::set: return connect(from, {way::read, 0, i});
            case kind::begin: return connect(from, {way::at_begin, 0});
            case kind::end: return connect(from, {way::at_end, 0});
            case kind::sequence:
                for (const std::uint32_t part : items_[i].parts) from = lead(from, part);
                return from;
            case kind::choice: {
                const std::uint32_t end = place();
                for (const std::uint32_t part : items_[i].parts) {
                    const std::uint32_t last = lead(connect(from, {way::pass, 0}), part);
                    places_[last].push_back({way::pass, end});
                }
                return end;
            }
            case kind::repeat: {
                const std::uint32_t part = items_[i].parts[0];
                const std::size_t least = items_[i].least, most = items_[i].most;
                for (std::size_t k = 0; k < least; ++k) from = lead(from, part);
                if (most == 0) {
                    const std::uint32_t loop = connect(from, {way::pass, 0});
                    places_[lead(loop, part)].push_back({way::pass, loop});
                    return connect(loop, {way::pass, 0});
                }
                const std::uint32_t end = place();
                for (std::size_t k = least; k < most; ++k) {
                    places_[from].push_back({way::pass, end});
                    from = lead(connect(from, {way::pass, 0}), part);
                }
                places_[from].push_back({way::pass, end});
                return end;
            }
        }
        return from;
    }

    std::uint32_t connect(std::uint32_t from, edge e) {
        e.to = place();
        places_[from].push_back(e);
        return e.to;
    }

    struct spot {
        std::uint32_t place;
        bool at_begin, at_end;  // nothing was read yet; nothing may be read any more
        friend auto operator<=>(const spot&, const spot&) = default;
    };

    char_automaton run() {
        const std::uint32_t pattern = choice(0);
        if (more()) refuse("a bracket that was never opened");
        const std::uint32_t every = add_set(code_set::all());
        const std::uint32_t before = place();
        places_[before].push_back({way::read, before, every});
        const std::uint32_t after = lead(connect(before, {way::pass, 0}), pattern);
        const std::uint32_t rest = connect(after, {way::pass, 0});
        places_[rest].push_back({way::read, rest, every});

        char_automaton out;
        std::map<spot, std::uint32_t> numbers{{{before, true, false}, 0}};
        std::vector<spot> spots{{before, true, false}};
        std::size_t edges = 0;
        for (std::uint32_t i = 0; i < spots.size(); ++i) {
            std::map<spot, bool> seen;
            std::vector<spot> open{spots[i]};
            const auto visit = [&](spot s) {
                if (seen.try_emplace(s, true).second) open.push_back(s);
            };
            seen[spots[i]] = true;
            while (!open.empty()) {
                const spot s = open.back();
                open.pop_back();
                if (s.place == rest) out.states[i].accepts = true;
                for (const edge& e : places_[s.place]) {
                    if (e.how == way::pass) visit({e.to, s.at_begin, s.at_end});
                    if (e.how == way::at_begin && s.at_begin) visit({e.to, true, s.at_end});
                    if (e.how == way::at_end) visit({e.to, s.at_begin, true});
                    if (e.how != way::read || s.at_end || items_[e.set].set.empty()) continue;
                    const spot next{e.to, false, false};
                    const auto [found, made] = numbers.try_emplace(next, static_cast<std::uint32_t>(spots.size()));
                    if (made) {
                        spots.push_back(next);
                        out.states.emplace_back();
                    }
                    out.states[i].edges.push_back({items_[e.set].set, found->second});
                    if (++edges > char_automaton::most_edges) char_automaton::too_large();
                }
            }
        }
        return out;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::vector<item> items_;
    std::vector<std::vector<edge>> places_;
};

}  // namespace skald::grammar::detail
