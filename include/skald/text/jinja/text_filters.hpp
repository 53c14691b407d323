// SPDX-License-Identifier: MIT
#pragma once
// Filters of texts, numbers and single values.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/access.hpp>
#include <skald/text/jinja/format.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/string_methods.hpp>
#include <skald/text/jinja/value.hpp>
#include <skald/text/jinja/wrap.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

/// A filter that changes the text of a value.
template <marked_text (*F)(const marked_text&)>
value filter_text(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "this filter", args, {});
    const value s = string_of(rt, subject);
    rt.require(s.text().size(), 4);
    return rt.string(F(s.text()), s.is_safe());
}

/// The filter title: words start behind - ( { [ < and white space only.
inline marked_text title_words(const marked_text& text) {
    bool in_word = false;
    return mapped(text, [&](char32_t c, bool, std::string& out) {
        if (is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
            in_word = false;
            append_utf8(out, c);
            return;
        }
        append_in_case(out, c, in_word ? letter_case::lower : letter_case::upper);
        in_word = true;
    });
}

inline value filter_string(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "string", args, {});
    return string_of(rt, subject);
}

inline value filter_safe(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "safe", args, {});
    return rt.string(text_of(rt, subject), true);
}

template <bool Always>
value filter_escape(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "escape", args, {});
    if (subject.is_safe() && !Always) return subject;
    rt.require(subject.is_string() ? subject.text().size() : 0, 8);
    return rt.string(escaped(text_of(rt, subject)), true);
}

inline value filter_trim(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "trim", args, {"chars"});
    call_arguments chars;
    if (p.has(0)) chars.positional.push_back(p[0]);
    return string_strip<side::both>(rt, string_of(rt, subject), chars);
}

inline value filter_replace(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "replace", args, {"old", "new", "count"}, 2);
    const marked_text text = text_of(rt, subject), what = text_of(rt, p[0]), with = text_of(rt, p[1]);
    const std::int64_t most = p.has_value(2) ? p.integer(2, -1) : -1;
    rt.work(text.size());
    return rt.string(replaced(text, what.text(), with, most, [&](std::size_t n, std::size_t size) { rt.require(n, size); }));
}

inline value filter_center(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "center", args, {"width"});
    const value s = string_of(rt, subject);
    return rt.string(padded(s.text(), field_width(rt, p.integer(0, 80)), alignment::center, marked_text(" ", false)), s.is_safe());
}

inline value filter_default(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "default", args, {"default_value", "boolean"});
    const bool replaces = subject.is_undefined() || (p.has(1) && truth(p[1]) && !truth(subject));
    return replaces ? (p.has(0) ? p[0] : rt.literal("")) : subject;
}

inline value filter_format(runtime& rt, const value& subject, call_arguments& args) {
    if (!args.positional.empty() && !args.named.empty()) rt.fail("can't handle positional and keyword arguments at the same time");
    const value format = string_of(rt, subject);
    if (args.named.empty()) return percent_format(rt, format, rt.tuple(std::move(args.positional)));
    dict* d = rt.make_dict();
    for (auto& [name, v] : args.named) rt.set(*d, "s" + name, rt.literal(name), std::move(v));
    return percent_format(rt, format, d);
}

inline value filter_indent(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "indent", args, {"width", "first", "blank"});
    if (subject.is_undefined()) rt.fail_undefined(subject);
    if (!subject.is_string()) rt.fail("indent needs a string, not ", type_name(subject));
    const marked_text space =
        p.has(0) && p[0].is_string() ? p[0].text() : marked_text(std::string(field_width(rt, p.integer(0, 4)), ' '), true);
    const bool blank = p.has(2) && truth(p[2]);
    marked_text whole = subject.text();
    whole.append("\n", true);
    const std::vector<marked_text> lines = split_lines(whole);
    rt.require(lines.size(), space.size() + 1);
    marked_text out;
    if (p.has(1) && truth(p[1])) out.append(space);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (i > 0) out.append("\n", true);
        if (i > 0 && (blank || !lines[i].empty())) out.append(space);
        out.append(lines[i]);
    }
    return rt.string(std::move(out), subject.is_safe());
}

inline value filter_truncate(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "truncate", args, {"length", "killwords", "end", "leeway"});
    const marked_text end = p.has(2) ? p.text(2) : marked_text("...", true);
    const std::int64_t length = p.integer(0, 255), leeway = p.has_value(3) ? p.integer(3, 5) : 5;
    const auto end_size = static_cast<std::int64_t>(count_characters(end.text()));
    if (length < end_size || leeway < 0) rt.fail("truncate: expected length >= ", end_size, " and leeway >= 0");
    const auto size = static_cast<std::int64_t>(length_of(subject).value_or(std::numeric_limits<std::int64_t>::max()));
    if (size <= length || size - leeway <= length) return subject;
    if (!subject.is_string()) rt.fail("truncate needs a string, not ", type_name(subject));
    const characters all(subject.view());
    marked_text out = subject.text().slice(0, all.start(static_cast<std::size_t>(length - end_size)));
    if (!(p.has(1) && truth(p[1])))
        if (const std::size_t space = out.text().rfind(' '); space != std::string::npos) out = out.slice(0, space);
    out.append(end);
    return rt.string(std::move(out), subject.is_safe());
}

inline value filter_wordwrap(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "wordwrap", args, {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
    if (subject.is_undefined()) rt.fail_undefined(subject);
    if (!subject.is_string()) rt.fail("wordwrap needs a string, not ", type_name(subject));
    const marked_text newline = p.has_value(2) ? p.text(2) : marked_text("\n", true);
    const std::int64_t width = p.integer(0, 79);
    if (width <= 0) rt.fail("wordwrap: invalid width ", width, " (must be > 0)");
    const wrap_options options{static_cast<std::size_t>(width), !p.has(1) || truth(p[1]), !p.has(3) || truth(p[3])};
    rt.work(4 * subject.text().size());
    rt.require(subject.text().size(), 64 + newline.size());
    std::vector<marked_text> lines;
    for (const marked_text& line : split_lines(subject.text())) lines.push_back(joined_with(newline, wrapped(line, options)));
    return rt.string(joined_with(newline, lines));
}

inline value filter_wordcount(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "wordcount", args, {});
    const marked_text text = text_of(rt, subject);
    rt.work(text.size());
    std::int64_t n = 0;
    bool in_word = false;
    for (std::size_t at = 0; at < text.size();) {
        const auto u = text::detail::unit_at(text.text(), at);
        const bool word = u.code == '_' || (class_of(u.code) & (py_alpha | py_decimal | py_digit | py_numeric));
        if (word && !in_word) ++n;
        in_word = word;
        at += u.length;
    }
    return n;
}

/// Without comments and tags, white space as single blanks, the commonest entities as their characters.
inline value filter_striptags(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "striptags", args, {});
    const marked_text text = text_of(rt, subject);
    const std::string_view all = text.text();
    rt.work(all.size());
    marked_text bare;
    std::size_t from = 0;
    for (std::size_t tag = all.find('<'); tag != std::string_view::npos; tag = all.find('<', from)) {
        const bool comment = all.substr(tag).starts_with("<!--");
        const std::size_t end = all.find(comment ? "-->" : ">", comment ? tag + 4 : tag);
        if (end == std::string_view::npos) break;
        bare.append(text, from, tag);
        from = end + (comment ? 3 : 1);
    }
    bare.append(text, from, all.size());
    marked_text out = joined_with(marked_text(" ", false), split(bare, std::nullopt, -1));
    constexpr std::pair<std::string_view, std::string_view> entities[] = {{"&lt;", "<"},   {"&gt;", ">"},    {"&#39;", "'"},
                                                                          {"&#34;", "\""}, {"&quot;", "\""}, {"&amp;", "&"}};
    for (const auto& [entity, character] : entities)
        out = replaced(out, entity, marked_text(std::string(character), false), -1, [](std::size_t, std::size_t) {});
    return rt.string(std::move(out));
}

/// Percent-encodes the bytes of a text that are not plain.
inline marked_text url_quoted(const marked_text& text, bool for_query) {
    constexpr std::string_view hex = "0123456789ABCDEF";
    marked_text out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto c = static_cast<unsigned char>(text.text()[at]);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' ||
                           c == '~' || (c == '/' && !for_query);
        if (plain)
            out.append(text, at, at + 1);
        else if (c == ' ' && for_query)
            out.append("+", false);
        else
            out.append(std::string("%") + hex[c >> 4] + hex[c & 15], false);
    }
    return out;
}

inline value filter_urlencode(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "urlencode", args, {});
    if (subject.is_string() || !is_iterable(subject)) {
        rt.require(subject.is_string() ? subject.text().size() : 0, 32);
        return rt.string(url_quoted(text_of(rt, subject), false));
    }
    std::vector<std::pair<value, value>> pairs;
    if (const auto* d = subject.as<dict>()) {
        pairs = d->entries;
    } else {
        for (const value& pair : items_of(rt, subject)) {
            const std::vector<value> parts = items_of(rt, pair);
            if (parts.size() != 2) rt.fail("urlencode needs pairs");
            pairs.emplace_back(parts[0], parts[1]);
        }
    }
    marked_text out;
    for (const auto& [key, v] : pairs) {
        if (!out.empty()) out.append("&", false);
        out.append(url_quoted(text_of(rt, key), true));
        out.append("=", false);
        out.append(url_quoted(text_of(rt, v), true));
        rt.require(out.size(), 8);
    }
    return rt.string(std::move(out));
}

inline value filter_xmlattr(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "xmlattr", args, {"autospace"});
    const auto* d = subject.as<dict>();
    if (d == nullptr) rt.fail("xmlattr needs a mapping, not ", type_name(subject));
    marked_text out;
    for (const auto& [key, v] : d->entries) {
        if (v.is_none() || v.is_undefined()) continue;
        if (!key.is_string() || key.view().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos)
            rt.fail("Invalid character in attribute name");
        if (!out.empty() || !p.has(0) || truth(p[0])) out.append(" ", false);
        out.append(escaped(key.text()));
        out.append("=\"", false);
        out.append(v.is_safe() ? v.text() : escaped(text_of(rt, v)));
        out.append("\"", false);
    }
    return rt.string(std::move(out));
}

inline value filter_pprint(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "pprint", args, {});
    value out = repr_of(rt, subject);
    if (out.text().size() > 80 || out.view().find('\n') != std::string_view::npos)
        rt.fail("pprint of values that do not fit a line is not supported");
    return out;
}

inline value filter_abs(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "abs", args, {});
    if (!subject.is_number()) rt.fail("bad operand type for abs(): '", type_name(subject), "'");
    if (subject.is_float()) return std::abs(subject.real());
    return signed_value(rt, subject, subject.integer() < 0);
}

/// The number that a text spells in Python, with blanks around it and underscores between digits.
inline std::optional<std::string> number_spelled(std::string_view text) {
    const std::size_t blank = space_at(text, 0);
    const std::string_view all = stripped_right(text.substr(std::min(blank, text.size())));
    std::string out;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const auto is_word = [&](std::size_t at) {
            const auto c = static_cast<unsigned char>(at < all.size() ? all[at] : 0);
            return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        };
        if (all[i] != '_')
            out += all[i];
        else if (i == 0 || !is_word(i - 1) || !is_word(i + 1))
            return std::nullopt;
    }
    return out;
}

inline std::optional<double> parse_float(std::string_view text) {
    const auto spelled = number_spelled(text);
    if (!spelled || spelled->empty()) return std::nullopt;
    std::string_view s = *spelled;
    const bool negative = s[0] == '-';
    if (s[0] == '-' || s[0] == '+') s.remove_prefix(1);
    if (s.empty() || s[0] == '-' || s[0] == '+') return std::nullopt;
    double x = 0;
    const auto [end, status] = std::from_chars(s.data(), s.data() + s.size(), x);
    if (end != s.data() + s.size() || status == std::errc::invalid_argument) return std::nullopt;
    if (status == std::errc::result_out_of_range) {
        const std::size_t e = s.find_first_of("eE");
        x = e != std::string_view::npos && s.substr(e).starts_with("e-") ? 0.0 : std::numeric_limits<double>::infinity();
    }
    return negative ? -x : x;
}

inline std::optional<std::int64_t> parse_int(std::string_view text, int base) {
    const auto spelled = number_spelled(text);
    if (!spelled) return std::nullopt;
    std::string_view s = *spelled;
    const bool negative = s.starts_with('-');
    if (negative || s.starts_with('+')) s.remove_prefix(1);
    if (s.size() > 2 && s[0] == '0') {
        const char c = static_cast<char>(s[1] | 0x20);
        const int marked = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (marked != 0 && (base == marked || base == 0)) {
            s.remove_prefix(2);
            base = marked;
        }
    }
    if (base == 0) {
        if (s.size() > 1 && s[0] == '0' && s.find_first_not_of('0') != std::string_view::npos) return std::nullopt;
        base = 10;
    }
    std::uint64_t n = 0;
    const auto [end, status] = std::from_chars(s.data(), s.data() + s.size(), n, base);
    if (s.empty() || end != s.data() + s.size() || status != std::errc{} || n > std::uint64_t{1} << 62) return std::nullopt;
    return negative ? -static_cast<std::int64_t>(n) : static_cast<std::int64_t>(n);
}

inline value filter_int(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "int", args, {"default", "base"});
    const value otherwise = p.get(0, std::int64_t{0});
    const std::int64_t base = p.integer(1, 10);
    if (subject.is_undefined()) rt.fail_undefined(subject);
    if (subject.is_integral()) return subject.integer();
    std::optional<double> x;
    if (subject.is_string()) {
        const bool known_base = base == 0 || (base >= 2 && base <= 36);
        if (const auto n = known_base ? parse_int(subject.view(), static_cast<int>(base)) : std::nullopt) return *n;
        x = parse_float(subject.view());
    } else if (subject.is_float()) {
        x = subject.real();
    }
    if (!x || !std::isfinite(*x)) return otherwise;
    if (std::abs(*x) >= 9.2e18) rt.fail("the integer ", float_text(*x), " is beyond 64 bits");
    return static_cast<std::int64_t>(*x);
}

inline value filter_float(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "float", args, {"default"});
    if (subject.is_undefined()) rt.fail_undefined(subject);
    if (subject.is_number()) return subject.real();
    const auto x = subject.is_string() ? parse_float(subject.view()) : std::nullopt;
    return x ? value(*x) : p.get(0, 0.0);
}

/// round(): to the nearest, halves to even, as the decimal digits of the exact value have it.
inline double rounded(double x, std::int64_t precision) {
    if (!std::isfinite(x) || precision > 330) return x;
    if (precision < -310) return std::copysign(0.0, x);
    if (precision < 0) {
        const double unit = std::pow(10.0, static_cast<double>(-precision));
        return std::nearbyint(x / unit) * unit;
    }
    std::string digits = float_digits(std::abs(x), 'f', static_cast<std::size_t>(precision), false);
    double out = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return std::copysign(out, x);
}

inline value filter_round(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "round", args, {"precision", "method"});
    const std::string_view method = p.has(1) ? p.text(1).text() : std::string_view("common");
    if (method != "common" && method != "ceil" && method != "floor") rt.fail("method must be common, ceil or floor");
    if (!subject.is_number()) rt.fail("type ", type_name(subject), " cannot be rounded");
    const std::int64_t precision = p.has_value(0) ? p.integer(0, 0) : 0;
    if (method == "common") {
        if (subject.is_float()) return rounded(subject.real(), precision);
        if (precision >= 0) return subject.integer();
        if (precision < -18) return std::int64_t{0};
        std::int64_t unit = 1;
        for (std::int64_t i = 0; i < -precision; ++i) unit *= 10;
        const auto [quotient, rest] = divide(rt, subject.integer(), unit);
        const bool up = rest > unit - rest || (rest == unit - rest && quotient % 2 != 0);
        return exact(rt, '*', quotient + (up ? 1 : 0), unit);
    }
    const value scale = binary(rt, "**", std::int64_t{10}, precision);
    const double scaled = binary(rt, "*", subject, scale).real();
    const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
    return whole / scale.real();
}

inline value filter_filesizeformat(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "filesizeformat", args, {"binary"});
    const bool binary_units = p.has(0) && truth(p[0]);
    const auto parsed = subject.is_number()   ? std::optional(subject.real())
                        : subject.is_string() ? parse_float(subject.view())
                                              : std::nullopt;
    if (!parsed) rt.fail("filesizeformat needs a number");
    const double base = binary_units ? 1024 : 1000, bytes = *parsed;
    if (bytes == 1) return rt.literal("1 Byte");
    if (bytes < base) return rt.literal(concat(static_cast<std::int64_t>(bytes), " Bytes"));
    constexpr std::string_view prefixes = "kMGTPEZY";
    double unit = base * base;
    std::size_t i = 0;
    for (; i + 1 < prefixes.size() && bytes >= unit; ++i) unit *= base;
    const std::string prefix = binary_units ? std::string(1, i == 0 ? 'K' : prefixes[i]) + "iB" : std::string(1, prefixes[i]) + "B";
    return rt.literal(concat(float_digits(base * bytes / unit, 'f', 1, false), " ", prefix));
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
