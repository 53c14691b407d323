// SPDX-License-Identifier: MIT
#pragma once
// Text from formats: Python's % and str.format(), with the conversions and format specifications that plain values have.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/print.hpp>
#include <skald/text/jinja/strings.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

namespace detail {

/// How a value is laid out: [[fill]align][sign][#][0][width][,][.precision][type].
struct layout {
    std::string fill = " ";
    char align = '\0', sign = '-', grouping = '\0', type = '\0';
    bool alternate = false, zeros = false;
    std::size_t width = 0;
    std::optional<std::size_t> precision{};
};

inline constexpr std::size_t widest = 1'000'000;

inline std::size_t read_number(const runtime& rt, std::string_view text, std::size_t& at) {
    std::size_t n = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        n = n * 10 + static_cast<std::size_t>(text[at] - '0');
        if (n > widest) rt.fail("a format asks for more than ", widest, " characters");
    }
    return n;
}

/// The digits of a float for e, f, g and %, without sign.
inline std::string float_digits(double x, char type, std::size_t precision, bool alternate) {
    const char lower = static_cast<char>(type | 0x20);
    std::string out(precision + 350, '\0');
    const auto style = lower == 'e' ? std::chars_format::scientific : lower == 'g' ? std::chars_format::general : std::chars_format::fixed;
    if (!std::isfinite(x)) {
        out = std::isnan(x) ? "nan" : "inf";
    } else {
        const int digits = static_cast<int>(lower == 'g' && precision == 0 ? 1 : precision);
        out.resize(static_cast<std::size_t>(std::to_chars(out.data(), out.data() + out.size(), x, style, digits).ptr - out.data()));
        if (alternate && out.find('.') == std::string::npos) out.insert(std::min(out.find('e'), out.size()), ".");
    }
    if (type >= 'A' && type <= 'Z')
        std::transform(out.begin(), out.end(), out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return out;
}

inline std::string integer_digits(std::int64_t n, char type, bool alternate) {
    const std::uint64_t magnitude = n < 0 ? 0 - static_cast<std::uint64_t>(n) : static_cast<std::uint64_t>(n);
    const char lower = static_cast<char>(type | 0x20);
    const int base = lower == 'x' ? 16 : lower == 'o' ? 8 : lower == 'b' ? 2 : 10;
    char buffer[72];
    std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr);
    if (alternate && base != 10) out.insert(0, std::string("0") + lower);
    if (type == 'X')
        std::transform(out.begin(), out.end(), out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return out;
}

inline std::string grouped(std::string digits, char separator) {
    std::size_t end = digits.find_first_not_of("0123456789");
    if (end == std::string::npos) end = digits.size();
    for (std::size_t at = end; at > 3; at -= 3) digits.insert(at - 3, 1, separator);
    return digits;
}

/// Sign and digits in their field.
inline std::string number_field(const layout& l, bool negative, std::string digits) {
    if (l.grouping != '\0') digits = grouped(std::move(digits), l.grouping);
    std::string sign = negative ? "-" : l.sign == '-' ? "" : std::string(1, l.sign);
    const std::size_t n = sign.size() + digits.size();
    const std::size_t missing = l.width > n ? l.width - n : 0;
    const char align = l.align != '\0' ? l.align : l.zeros ? '=' : '>';
    const std::size_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
    const std::string fill = l.zeros && l.align == '\0' ? "0" : l.fill;
    std::string before, behind;
    for (std::size_t i = 0; i < left; ++i) before += fill;
    for (std::size_t i = left; i < missing; ++i) behind += fill;
    return align == '=' ? sign + before + digits + behind : before + sign + digits + behind;
}

/// A number laid out; `type` is one of d e E f F g G x X o b % c n or none.
inline marked_text number_text(const runtime& rt, const value& v, layout l) {
    const bool integral = v.is_integral();
    const std::string_view integer_types = "dxXobcn";
    if (l.type == 'c') {
        std::string one;
        if (!integral || v.integer() < 0 || v.integer() > 0x10FFFF) rt.fail("%c needs the number of a character");
        append_utf8(one, static_cast<char32_t>(v.integer()));
        return marked_text(std::move(one), false);
    }
    if (integral && (l.type == '\0' || integer_types.find(l.type) != std::string_view::npos)) {
        if (l.precision && l.type == '\0') rt.fail("Precision not allowed in integer format specifier");
        return marked_text(number_field(l, v.integer() < 0, integer_digits(v.integer(), l.type == '\0' ? 'd' : l.type, l.alternate)), true);
    }
    if (!integral && integer_types.find(l.type) != std::string_view::npos && l.type != '\0' && l.type != 'n')
        rt.fail("Unknown format code '", l.type, "' for object of type 'float'");
    const double x = v.real();
    std::string digits;
    if (l.type == '\0' && !l.precision) {
        digits = float_text(std::abs(x));
    } else if (l.type == '%') {
        digits = float_digits(std::abs(x) * 100, 'f', l.precision.value_or(6), l.alternate) + "%";
    } else {
        digits = float_digits(std::abs(x), l.type == '\0' || l.type == 'n' ? 'g' : l.type, l.precision.value_or(6), l.alternate);
        if (l.type == '\0' && digits.find_first_of(".en") == std::string::npos) digits += ".0";
    }
    return marked_text(number_field(l, std::signbit(x) && !std::isnan(x), std::move(digits)), true);
}

inline marked_text string_text(const marked_text& text, const layout& l) {
    marked_text shown = text;
    if (l.precision) {
        const characters all(text.text());
        if (*l.precision < all.count()) shown = text.slice(0, all.start(*l.precision));
    }
    const marked_text fill(l.zeros && l.align == '\0' ? "0" : l.fill, false);
    if (l.align != '^') return padded(shown, l.width, l.align == '>' ? alignment::right : alignment::left, fill);
    const std::size_t n = count_characters(shown.text());
    return padded(padded(shown, n < l.width ? n + (l.width - n) / 2 : n, alignment::right, fill), l.width, alignment::left, fill);
}

/// Reads a format specification of str.format.
inline layout read_layout(const runtime& rt, std::string_view spec) {
    layout l;
    std::size_t at = 0;
    constexpr std::string_view aligns = "<>=^";
    const std::size_t first = spec.empty() ? 0 : text::detail::unit_at(spec, 0).length;
    if (first > 0 && first < spec.size() && aligns.find(spec[first]) != std::string_view::npos) {
        l.fill = spec.substr(0, first);
        l.align = spec[first];
        at = first + 1;
    } else if (!spec.empty() && aligns.find(spec[0]) != std::string_view::npos) {
        l.align = spec[at++];
    }
    const auto take = [&](std::string_view any) {
        return at < spec.size() && any.find(spec[at]) != std::string_view::npos ? spec[at++] : '\0';
    };
    if (const char sign = take("+- ")) l.sign = sign;
    l.alternate = take("#") != '\0';
    l.zeros = take("0") != '\0';
    l.width = read_number(rt, spec, at);
    l.grouping = take(",_");
    if (take(".")) l.precision = read_number(rt, spec, at);
    if (at < spec.size()) l.type = spec[at++];
    if (at < spec.size() || std::string_view("\0sdeEfFgGxXobc%n", 16).find(l.type) == std::string_view::npos)
        rt.fail("Invalid format specifier '", spec, "'");
    return l;
}

/// format(v, spec)
inline marked_text formatted(runtime& rt, const value& v, std::string_view spec) {
    if (spec.empty()) return text_of(rt, v);
    const layout l = read_layout(rt, spec);
    if (v.is_number() && !(v.is_bool() && l.type == '\0')) {
        if (l.type == 's') rt.fail("Unknown format code 's' for object of type '", type_name(v), "'");
        return number_text(rt, v, l);
    }
    if (!v.is_string() && !v.is_bool()) rt.fail("unsupported format string passed to ", type_name(v), ".__format__");
    if (l.type != '\0' && l.type != 's') rt.fail("Unknown format code '", l.type, "' for object of type 'str'");
    if (l.align == '=') rt.fail("'=' alignment not allowed in string format specifier");
    return string_text(text_of(rt, v), l);
}

}  // namespace detail

/// text % values
inline value percent_format(runtime& rt, const value& format, const value& values) {
    const marked_text& f = format.text();
    const std::string_view all = f.text();
    const auto* several = values.as<sequence>();
    const bool is_tuple = several != nullptr && several->what == sequence_kind::tuple;
    std::size_t used = 0;
    bool by_name = false;
    const auto next = [&]() -> const value& {
        if (is_tuple ? used >= several->items.size() : used >= 1) rt.fail("not enough arguments for format string");
        return is_tuple ? several->items[used++] : (++used, values);
    };
    marked_text out;
    std::size_t from = 0;
    for (std::size_t at = all.find('%'); at != std::string_view::npos; at = all.find('%', from)) {
        out.append(f, from, at++);
        const value* named = nullptr;
        if (at < all.size() && all[at] == '(') {
            const std::size_t close = all.find(')', at);
            const auto* d = values.as<dict>();
            if (close == std::string_view::npos) rt.fail("incomplete format key");
            if (d == nullptr) rt.fail("format requires a mapping");
            named = d->find(std::string("s").append(all.substr(at + 1, close - at - 1)));
            if (named == nullptr) rt.fail("the format's key '", all.substr(at + 1, close - at - 1), "' is missing");
            by_name = true;
            at = close + 1;
        }
        detail::layout l;
        bool left = false;
        for (; at < all.size() && std::string_view("#0- +").find(all[at]) != std::string_view::npos; ++at) {
            if (all[at] == '-') left = true;
            if (all[at] == '0') l.zeros = true;
            if (all[at] == '#') l.alternate = true;
            if (all[at] == '+' || (all[at] == ' ' && l.sign == '-')) l.sign = all[at];
        }
        const auto read = [&]() -> std::size_t {
            if (at >= all.size() || all[at] != '*') return detail::read_number(rt, all, at);
            ++at;
            const value& n = next();
            if (!n.is_integral() || n.integer() > static_cast<std::int64_t>(detail::widest)) rt.fail("* wants a small int");
            if (n.integer() < 0) left = true;
            return static_cast<std::size_t>(std::abs(n.integer()));
        };
        l.width = read();
        if (at < all.size() && all[at] == '.') l.precision = (++at, read());
        while (at < all.size() && (all[at] == 'h' || all[at] == 'l' || all[at] == 'L')) ++at;
        if (at >= all.size()) rt.fail("incomplete format");
        l.type = all[at++];
        from = at;
        if (l.type == '%') {
            out.append("%", false);
            continue;
        }
        if (left) l.zeros = false;
        l.align = left ? '<' : '\0';
        const value& v = named != nullptr ? *named : next();
        rt.require(out.size() + l.width + l.precision.value_or(0));
        rt.step();
        if (l.type == 's' || l.type == 'r' || l.type == 'a') {
            l.zeros = false;
            if (!left) l.align = '>';
            marked_text shown = l.type == 's' ? text_of(rt, v) : repr_of(rt, v).text();
            if (l.type == 's' && format.is_safe() && !v.is_safe()) shown = escaped(shown);
            out.append(detail::string_text(shown, l));
        } else if (l.type == 'c' && v.is_string()) {
            if (detail::count_characters(v.view()) != 1) rt.fail("%c requires int or char");
            out.append(detail::string_text(v.text(), l));
        } else if (std::string_view("diuxXoeEfFgGc").find(l.type) != std::string_view::npos) {
            if (v.is_undefined()) rt.fail_undefined(v);
            if (!v.is_number()) rt.fail("%", l.type, " format: a real number is required, not ", type_name(v));
            value n = v;
            if (std::string_view("diu").find(l.type) != std::string_view::npos) {
                l.type = 'd';
                if (v.is_float() && !(std::abs(v.real()) < 9e18)) rt.fail("an integer beyond 64 bits");
                if (v.is_float()) n = static_cast<std::int64_t>(v.real());
                const auto digits = detail::integer_digits(n.integer(), 'd', false);
                if (l.precision && *l.precision > digits.size()) {
                    out.append(detail::number_field(l, n.integer() < 0, std::string(*l.precision - digits.size(), '0') + digits), true);
                    continue;
                }
            }
            out.append(detail::number_text(rt, n, l));
        } else {
            rt.fail("unsupported format character '", l.type, "'");
        }
    }
    out.append(f, from, all.size());
    const bool takes_rest = values.is(object_kind::dict) || (several != nullptr && !is_tuple);
    if (!by_name && !takes_rest && used < (is_tuple ? several->items.size() : std::size_t{1}))
        rt.fail("not all arguments converted during string formatting");
    return rt.string(std::move(out), format.is_safe());
}

}  // namespace skald::text::jinja

SKALD_COLD_END
