// SPDX-License-Identifier: MIT
#pragma once
// A template's text to tokens, by the rules of jinja2 3.1 with trim_blocks and lstrip_blocks on and the last newline dropped.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/jinja/characters.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

enum class token_type : std::uint8_t {
    data,
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    symbol,
    end
};

struct token {
    token_type type;
    int line;
    std::string text{};  ///< of data, names, strings (unescaped) and symbols
    std::int64_t integer = 0;
    double real = 0;

    bool is(token_type t, std::string_view s) const noexcept { return type == t && text == s; }
    bool symbol(std::string_view s) const noexcept { return is(token_type::symbol, s); }
    bool word(std::string_view s) const noexcept { return is(token_type::name, s); }
};

namespace detail {

class lexer {
public:
    lexer(std::string_view source, std::string_view name) : source_(unix_lines(source)), name_(name) {}

    std::vector<token> run() {
        while (at_ < source_.size()) text_and_tag();
        out_.push_back({token_type::end, line_});
        return std::move(out_);
    }

private:
    static std::string unix_lines(std::string_view source) {
        std::string out;
        out.reserve(source.size());
        for (std::size_t i = 0; i < source.size(); ++i) {
            out += source[i] == '\r' ? '\n' : source[i];
            if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') ++i;
        }
        if (out.ends_with('\n')) out.pop_back();
        return out;
    }

    template <class... Parts>
    [[noreturn]] void error(const Parts&... parts) const {
        fail(errc::bad_file, concat(name_, ", line ", line_), parts...);
    }

    std::string_view rest() const noexcept { return std::string_view(source_).substr(at_); }
    bool sees(std::string_view mark) const noexcept { return rest().starts_with(mark); }

    /// Moves on by n bytes.
    void skip(std::size_t n) {
        line_ += static_cast<int>(
            std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_), source_.begin() + static_cast<std::ptrdiff_t>(at_ + n), '\n'));
        at_ += n;
    }
    void skip_space() { skip(space_at(source_, at_)); }

    /// Text up to the next tag, and the tag.
    void text_and_tag() {
        std::size_t tag = source_.find('{', at_);
        while (tag != std::string::npos &&
               (tag + 1 == source_.size() || std::string_view("{%#").find(source_[tag + 1]) == std::string_view::npos))
            tag = source_.find('{', tag + 1);
        if (tag == std::string::npos) {
            put_text(source_.size(), source_.size(), 0, false);
            return;
        }
        const char kind = source_[tag + 1];
        const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
        const bool has_sign = sign == '-' || sign == '+';
        put_text(tag, tag + 2 + (has_sign ? 1 : 0), has_sign ? sign : '\0', kind != '{');
        if (kind == '#')
            comment();
        else if (kind == '{')
            inside(token_type::variable_begin, token_type::variable_end, "}}");
        else if (!raw())
            inside(token_type::block_begin, token_type::block_end, "%}");
    }

    /// The text before a tag at `tag`, stripped as the tag's sign and kind want it; goes on behind the tag's opening.
    void put_text(std::size_t tag, std::size_t behind, char sign, bool strips_line) {
        std::size_t end = tag;
        const std::string_view before = std::string_view(source_).substr(at_, tag - at_);
        if (sign == '-') {
            end = at_ + stripped_right(before).size();
        } else if (sign != '+' && strips_line) {
            const std::size_t newline = before.rfind('\n');
            const std::size_t from = newline == std::string_view::npos ? 0 : newline + 1;
            if ((from > 0 || line_start_) && from < before.size() && space_at(before, from) == before.size() - from) end = at_ + from;
        }
        if (end > at_) out_.push_back({token_type::data, line_, source_.substr(at_, end - at_)});
        skip(behind - at_);
    }

    /// Behind the end of a tag: `-` takes all white space, no sign one newline.
    void end_tag(std::size_t length, char sign, bool takes_newline) {
        const std::size_t before = at_;
        skip(length);
        if (sign == '-')
            skip_space();
        else if (sign != '+' && takes_newline && sees("\n"))
            skip(1);
        line_start_ = at_ > before && source_[at_ - 1] == '\n';
    }

    void comment() {
        const std::size_t end = source_.find("#}", at_);
        if (end == std::string::npos) error("a comment is not closed; '#}' is missing");
        const char sign = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : '\0';
        skip(end - at_);
        end_tag(2, sign, true);
    }

    /// {% raw %} … {% endraw %}, from behind the first sign; false if the tag is another.
    bool raw() {
        const std::size_t start = at_;
        std::size_t p = at_ + space_at(source_, at_);
        if (!std::string_view(source_).substr(p).starts_with("raw")) return false;
        p += 3;
        p += space_at(source_, p);
        const std::string_view tail = std::string_view(source_).substr(p);
        const bool strips = tail.starts_with("-%}");
        if (!strips && !tail.starts_with("%}")) return false;
        skip(p + (strips ? 3 : 2) - start);
        if (strips) skip_space();
        line_start_ = source_[at_ - 1] == '\n';
        for (std::size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 2)) {
            std::size_t q = tag + 2;
            const char sign = q < source_.size() && (source_[q] == '-' || source_[q] == '+') ? source_[q++] : '\0';
            q += space_at(source_, q);
            if (!std::string_view(source_).substr(q).starts_with("endraw")) continue;
            q += 6;
            q += space_at(source_, q);
            const char end_sign = q < source_.size() && (source_[q] == '-' || source_[q] == '+') ? source_[q++] : '\0';
            if (!std::string_view(source_).substr(q).starts_with("%}")) continue;
            put_text(tag, q, sign, true);
            end_tag(2, end_sign, true);
            return true;
        }
        error("{% raw %} is not closed; {% endraw %} is missing");
    }

    /// The tokens between a tag's opening, behind which we are, and its end.
    void inside(token_type begin, token_type end, std::string_view mark) {
        out_.push_back({begin, line_});
        std::string open;  // the brackets that wait to be closed
        const bool is_block = end == token_type::block_end;
        while (true) {
            const std::size_t white = space_at(source_, at_);
            if (open.empty()) {
                const bool dash = sees("-") && rest().substr(1).starts_with(mark);
                const bool plus = is_block && sees("+") && rest().substr(1).starts_with(mark);
                if (white == 0 && (dash || plus || sees(mark))) {
                    out_.push_back({end, line_});
                    end_tag(dash || plus ? 3 : 2, dash ? '-' : plus ? '+' : '\0', is_block);
                    return;
                }
            }
            if (white > 0)
                skip(white);
            else if (at_ == source_.size())
                error("the template ends inside a tag; '", mark, "' is missing");
            else
                put_token(open);
        }
    }

    void put_token(std::string& open) {
        const auto c = static_cast<unsigned char>(source_[at_]);
        const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
        if (c >= '0' && c <= '9')
            number(after_dot);
        else if (is_name_start(c))
            name();
        else if (c == '\'' || c == '"')
            string();
        else
            symbol(open);
    }

    static constexpr bool is_name_start(unsigned char c) noexcept {
        return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
    }
    static constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

    void name() {
        std::size_t p = at_;
        while (p < source_.size()) {
            const auto u = text::detail::unit_at(source_, p);
            if (u.code < 0x80 ? !(is_name_start(static_cast<unsigned char>(u.code)) || is_digit(source_[p]))
                              : !(class_of(u.code) & (py_alpha | py_decimal)))
                break;
            p += u.length;
        }
        if (p == at_) error("unexpected character ", io::detail::in_quotes(rest().substr(0, 4)));
        out_.push_back({token_type::name, line_, source_.substr(at_, p - at_)});
        skip(p - at_);
    }

    /// The end of digits with single underscores between them, from p.
    std::size_t digits(std::size_t p) const noexcept {
        while (p < source_.size() && (is_digit(source_[p]) || (source_[p] == '_' && p + 1 < source_.size() && is_digit(source_[p + 1]))))
            ++p;
        return p;
    }

    void number(bool after_dot) {
        const std::size_t whole = digits(at_);
        std::size_t p = whole;
        if (!after_dot) {
            if (p + 1 < source_.size() && source_[p] == '.' && is_digit(source_[p + 1])) p = digits(p + 1);
            std::size_t e = p;
            if (e < source_.size() && (source_[e] | 0x20) == 'e') {
                ++e;
                if (e < source_.size() && (source_[e] == '+' || source_[e] == '-')) ++e;
                if (e < source_.size() && is_digit(source_[e])) p = digits(e);
            }
        }
        token t{p > whole ? token_type::real : token_type::integer, line_};
        if (p > whole) {
            const std::string plain = without_underscores(at_, p);
            if (std::from_chars(plain.data(), plain.data() + plain.size(), t.real).ec == std::errc::result_out_of_range)
                error("the number ", plain, " is beyond a double");
        } else {
            p = integer(t);
        }
        out_.push_back(std::move(t));
        skip(p - at_);
    }

    /// Reads an integer and returns its end.
    std::size_t integer(token& t) const {
        int base = 10;
        if (source_[at_] == '0' && at_ + 1 < source_.size()) {
            const char c = static_cast<char>(source_[at_ + 1] | 0x20);
            base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        }
        const auto is_one = [&](std::size_t p) {
            if (p >= source_.size()) return false;
            const auto c = static_cast<unsigned char>(source_[p]);
            const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 99;
            return digit < base;
        };
        std::size_t from = at_ + (base == 10 ? 0 : 2), p = from;
        while (is_one(p) || (p < source_.size() && source_[p] == '_' && is_one(p + 1))) ++p;
        if (p == from) base = 10, from = at_, p = at_ + 1;  // the 0 of 0x without digits
        if (base == 10 && source_[at_] == '0')
            for (p = at_; p < source_.size() && (source_[p] == '0' || (source_[p] == '_' && is_one(p + 1) && source_[p + 1] == '0'));) ++p;
        const std::string plain = without_underscores(from, p);
        if (std::from_chars(plain.data(), plain.data() + plain.size(), t.integer, base).ec == std::errc::result_out_of_range)
            error("the integer ", plain, " is beyond 64 bits");
        return p;
    }

    std::string without_underscores(std::size_t from, std::size_t to) const {
        std::string out = source_.substr(from, to - from);
        std::erase(out, '_');
        return out;
    }

    void string() {
        const char quote = source_[at_];
        std::size_t p = at_ + 1;
        while (p < source_.size() && source_[p] != quote) p += source_[p] == '\\' ? 2 : 1;
        if (p >= source_.size()) error("a string is not closed; ", quote, " is missing");
        out_.push_back({token_type::string, line_, unescaped(std::string_view(source_).substr(at_ + 1, p - at_ - 1))});
        skip(p + 1 - at_);
    }

    /// Python's escapes; others stay as they are.
    std::string unescaped(std::string_view s) const {
        std::string out;
        for (std::size_t i = 0; i < s.size(); ++i) {
            if (s[i] != '\\') {
                out += s[i];
                continue;
            }
            const char c = s[++i];
            constexpr std::string_view from = "\\'\"abfnrtv", to = "\\'\"\a\b\f\n\r\t\v";
            if (const std::size_t known = from.find(c); known != std::string_view::npos) {
                out += to[known];
            } else if (c == '\n') {
            } else if (c >= '0' && c <= '7') {
                std::uint32_t code = 0;
                std::size_t n = 0;
                for (; n < 3 && i + n < s.size() && s[i + n] >= '0' && s[i + n] <= '7'; ++n)
                    code = code * 8 + static_cast<std::uint32_t>(s[i + n] - '0');
                i += n - 1;
                append_utf8(out, code);
            } else if (c == 'x' || c == 'u' || c == 'U') {
                const std::size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
                std::uint32_t code = 0;
                const std::string_view hex = s.substr(i + 1, n);
                const auto end = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16).ptr;
                if (hex.size() < n || end != hex.data() + n || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
                    error("the escape \\", c, io::detail::in_quotes(hex), " names no character");
                i += n;
                append_utf8(out, code);
            } else if (c == 'N') {
                error("characters by name (\\N) are not supported");
            } else {
                (out += '\\') += c;
            }
        }
        return out;
    }

    void symbol(std::string& open) {
        constexpr std::array<std::string_view, 26> symbols{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                           "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
        const auto* found = std::find_if(symbols.begin(), symbols.end(), [&](std::string_view s) { return sees(s); });
        if (found == symbols.end()) error("unexpected character ", io::detail::in_quotes(rest().substr(0, 1)));
        const std::size_t opened = std::string_view("{([").find((*found)[0]);
        if (opened != std::string_view::npos) {
            open += "})]"[opened];
        } else if (std::string_view("})]").find((*found)[0]) != std::string_view::npos) {
            if (open.empty()) error("unexpected '", *found, "'");
            if (open.back() != (*found)[0]) error("unexpected '", *found, "', expected '", open.back(), "'");
            open.pop_back();
        }
        out_.push_back({token_type::symbol, line_, std::string(*found)});
        skip(found->size());
    }

    const std::string source_;
    std::string_view name_;
    std::size_t at_ = 0;
    int line_ = 1;
    bool line_start_ = true;  // the last tag ended with a newline, or there was none
    std::vector<token> out_;
};

}  // namespace detail

/// The tokens of a template, the last of them `end`. Throws errc::bad_file with the line of what cannot be read. Linear.
inline std::vector<token> tokenize_template(std::string_view source, std::string_view name) { return detail::lexer(source, name).run(); }

}  // namespace skald::text::jinja

SKALD_COLD_END
