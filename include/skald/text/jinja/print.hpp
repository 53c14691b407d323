// SPDX-License-Identifier: MIT
#pragma once
// Values as text: Python's str() and repr().
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/characters.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

/// repr of a float: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16.
inline std::string float_text(double x) {
    if (std::isnan(x)) return "nan";
    if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
    char buffer[40];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, x, std::chars_format::scientific).ptr;
    const std::string_view all(buffer, static_cast<std::size_t>(end - buffer));
    const std::size_t e = all.find('e');
    std::string digits;
    for (const char c : all.substr(0, e))
        if (c >= '0' && c <= '9') digits += c;
    int exponent = 0;
    std::from_chars(all.data() + e + (all[e + 1] == '+' ? 2 : 1), all.data() + all.size(), exponent);
    std::string out = all[0] == '-' ? "-" : "";
    if (exponent < -4 || exponent >= 16) {
        out += digits[0];
        if (digits.size() > 1) out.append(".").append(digits, 1);
        const std::string power = std::to_string(exponent < 0 ? -exponent : exponent);
        return out.append(exponent < 0 ? "e-" : "e+").append(power.size() < 2 ? "0" : "").append(power);
    }
    if (exponent < 0) return out.append("0.").append(static_cast<std::size_t>(-exponent - 1), '0').append(digits);
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    out.append(digits, 0, whole).append(".");
    return out.append(digits.size() > whole ? std::string_view(digits).substr(whole) : "0");
}

/// The name of a value's type in Python.
inline std::string_view type_name(const value& v) {
    if (v.is_none()) return "NoneType";
    if (v.is_undefined()) return "Undefined";
    if (v.is_bool()) return "bool";
    if (v.is_int()) return "int";
    if (v.is_float()) return "float";
    if (v.is_string()) return v.is_safe() ? "Markup" : "str";
    if (const auto* s = v.as<sequence>()) {
        switch (s->what) {
            case sequence_kind::list: return "list";
            case sequence_kind::tuple: return "tuple";
            case sequence_kind::range: return "range";
            case sequence_kind::keys: return "dict_keys";
            case sequence_kind::values: return "dict_values";
            case sequence_kind::items: return "dict_items";
        }
    }
    if (v.is(object_kind::dict)) return "dict";
    if (const auto* i = v.as<iterator>()) return i->name;
    if (v.is(object_kind::space)) return "Namespace";
    return "function";
}

namespace detail {

/// Appends repr of a string. What is escaped loses its trust.
inline void append_quoted(marked_text& out, const marked_text& in) {
    const std::string_view text = in.text();
    const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
    constexpr std::string_view hex = "0123456789abcdef";
    out.append({&quote, 1}, false);
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
        const auto u = text::detail::unit_at(text, at);
        const bool stray = u.code == text::detail::replacement && u.length == 1;
        const bool escapes = u.code == static_cast<unsigned char>(quote) || u.code == '\\';
        if (!escapes && !stray && (class_of(u.code) & py_printable)) {
            at += u.length;
            continue;
        }
        out.append(in, done, at);
        std::string escape = "\\";
        const std::uint32_t code = stray ? static_cast<unsigned char>(text[at]) : static_cast<std::uint32_t>(u.code);
        if (escapes || code == '\n' || code == '\r' || code == '\t') {
            escape += code == '\n' ? 'n' : code == '\r' ? 'r' : code == '\t' ? 't' : static_cast<char>(code);
        } else {
            escape += code < 0x100 ? 'x' : code < 0x10000 ? 'u' : 'U';
            for (int shift = code < 0x100 ? 4 : code < 0x10000 ? 12 : 28; shift >= 0; shift -= 4) escape += hex[(code >> shift) & 15];
        }
        out.append(escape, false);
        at += u.length;
        done = at;
    }
    out.append(in, done, text.size());
    out.append({&quote, 1}, false);
}

inline void append_repr(runtime& rt, marked_text& out, const value& v);

inline void append_items(runtime& rt, marked_text& out, const sequence& s) {
    const bool tuple = s.what == sequence_kind::tuple;
    out.append(tuple ? "(" : "[", false);
    for (std::size_t i = 0; i < s.items.size(); ++i) {
        if (i > 0) out.append(", ", false);
        append_repr(rt, out, s.items[i]);
    }
    out.append(!tuple ? "]" : s.items.size() == 1 ? ",)" : ")", false);
}

inline void append_members(runtime& rt, marked_text& out, const dict& d) {
    out.append("{", false);
    bool first = true;
    for (const auto& [key, member] : d.entries) {
        if (!std::exchange(first, false)) out.append(", ", false);
        append_repr(rt, out, key);
        out.append(": ", false);
        append_repr(rt, out, member);
    }
    out.append("}", false);
}

inline void append_sequence(runtime& rt, marked_text& out, const sequence& s) {
    if (s.what == sequence_kind::list || s.what == sequence_kind::tuple) {
        append_items(rt, out, s);
    } else if (s.what == sequence_kind::range) {
        const auto at = [&](std::size_t i) { return s.items[i].integer(); };
        const std::int64_t from = s.items.empty() ? 0 : at(0), step = s.items.size() < 2 ? 1 : at(1) - from;
        const std::int64_t to = s.items.empty() ? 0 : at(s.items.size() - 1) + step;
        out.append(step == 1 ? concat("range(", from, ", ", to, ")") : concat("range(", from, ", ", to, ", ", step, ")"), false);
    } else {
        out.append(concat(type_name(value(const_cast<sequence*>(&s))), "("), false);
        append_items(rt, out, s);
        out.append(")", false);
    }
}

inline void append_repr(runtime& rt, marked_text& out, const value& v) {
    const runtime::level deeper(rt);
    const std::size_t before = out.size();
    if (v.is_string()) {
        if (v.is_safe()) out.append("Markup(", false);
        append_quoted(out, v.text());
        if (v.is_safe()) out.append(")", false);
    } else if (v.is_none()) {
        out.append("None", true);
    } else if (v.is_undefined()) {
        out.append("Undefined", true);
    } else if (v.is_bool()) {
        out.append(v.boolean() ? "True" : "False", true);
    } else if (v.is_int()) {
        out.append(std::to_string(v.integer()), true);
    } else if (v.is_float()) {
        out.append(float_text(v.real()), true);
    } else if (const auto* s = v.as<sequence>()) {
        append_sequence(rt, out, *s);
    } else if (const auto* d = v.as<dict>()) {
        append_members(rt, out, *d);
    } else if (const auto* n = v.as<space>()) {
        out.append("<Namespace ", false);
        append_members(rt, out, *n->members);
        out.append(">", false);
    } else if (const auto* f = v.as<callable>()) {
        out.append(f->description(), false);
    } else {
        out.append(concat("<", type_name(v), " object>"), false);
    }
    rt.work(out.size() - before);
    rt.require(out.size(), 2);
}

}  // namespace detail

/// str() of a value, appended.
inline void append_text(runtime& rt, marked_text& out, const value& v) {
    if (v.is_string()) {
        rt.require(out.size() + v.text().size());
        out.append(v.text());
    } else if (!v.is_undefined()) {
        detail::append_repr(rt, out, v);
    }
}

/// str() of a value, as text.
inline marked_text text_of(runtime& rt, const value& v) {
    marked_text out;
    append_text(rt, out, v);
    return out;
}

/// str() of a value, as a value: strings stay what they are, Markup too.
inline value string_of(runtime& rt, const value& v) { return v.is_string() ? v : rt.string(text_of(rt, v)); }

inline value repr_of(runtime& rt, const value& v) {
    marked_text out;
    detail::append_repr(rt, out, v);
    return rt.string(std::move(out));
}

}  // namespace skald::text::jinja

SKALD_COLD_END
