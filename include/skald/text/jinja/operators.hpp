// SPDX-License-Identifier: MIT
#pragma once
// What Python's operators do with values: truth, equality, order, membership, arithmetic.
#include <algorithm>
#include <cmath>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/format.hpp>
#include <skald/text/jinja/print.hpp>
#include <skald/text/jinja/strings.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

/// bool() of a value.
inline bool truth(const value& v) {
    if (v.is_none() || v.is_undefined()) return false;
    if (v.is_number()) return v.is_float() ? v.real() != 0 : v.integer() != 0;
    if (v.is_string()) return !v.text().empty();
    if (const auto* s = v.as<sequence>()) return !s->items.empty();
    if (const auto* d = v.as<dict>()) return !d->entries.empty();
    return true;
}

/// The text under which a dict keeps a key: equal keys have the same. Lists and dicts have none.
inline std::optional<std::string> key_text(runtime& rt, const value& v) {
    const runtime::level deeper(rt);
    if (v.is_string()) return std::string("s").append(v.view());
    if (v.is_none()) return "N";
    if (v.is_undefined()) return "U";
    if (v.is_float() && (v.real() != std::floor(v.real()) || std::abs(v.real()) >= 9e18)) return "f" + float_text(v.real());
    if (v.is_number()) return "i" + std::to_string(v.is_float() ? static_cast<std::int64_t>(v.real()) : v.integer());
    const auto* s = v.as<sequence>();
    if (s != nullptr && s->what == sequence_kind::tuple) {
        std::string out = "t";
        for (const value& item : s->items) {
            const auto part = key_text(rt, item);
            if (!part) return std::nullopt;
            out.append(std::to_string(part->size())).append(":").append(*part);
        }
        rt.work(out.size());
        return out;
    }
    if (s != nullptr || v.is(object_kind::dict)) return std::nullopt;
    return "p" + std::to_string(reinterpret_cast<std::uintptr_t>(v.get_object()));
}

inline std::string key_or_fail(runtime& rt, const value& v) {
    auto out = key_text(rt, v);
    if (!out) rt.fail("unhashable type: '", type_name(v), "'");
    return std::move(*out);
}

inline const value* find_member(runtime& rt, const dict& d, const value& key) {
    const auto text = key_text(rt, key);
    return text ? d.find(*text) : nullptr;
}

inline const value* find_member(const dict& d, std::string_view name) { return d.find(std::string("s").append(name)); }

inline std::strong_ordering order_of(std::int64_t a, std::int64_t b) { return a <=> b; }

/// Python's order of an integer and a float, which is exact.
inline std::partial_ordering order_of(std::int64_t a, double b) {
    if (std::isnan(b)) return std::partial_ordering::unordered;
    if (b >= 9223372036854775808.0) return std::partial_ordering::less;
    if (b < -9223372036854775808.0) return std::partial_ordering::greater;
    const double whole = std::floor(b);
    const auto floored = static_cast<std::int64_t>(whole);
    if (a != floored) return a <=> floored;
    return whole < b ? std::partial_ordering::less : std::partial_ordering::equivalent;
}

inline std::partial_ordering number_order(const value& a, const value& b) {
    if (a.is_float() && b.is_float()) return a.real() <=> b.real();
    if (a.is_float()) return 0 <=> order_of(b.integer(), a.real());
    if (b.is_float()) return order_of(a.integer(), b.real());
    return a.integer() <=> b.integer();
}

/// ==
inline bool equal(runtime& rt, const value& a, const value& b) {
    const runtime::level deeper(rt);
    rt.step();
    if (a.is_number() && b.is_number()) return number_order(a, b) == std::partial_ordering::equivalent;
    if (a.is_string() && b.is_string()) {
        rt.work(std::min(a.text().size(), b.text().size()));
        return a.view() == b.view();
    }
    if (a.is_none() || a.is_undefined()) return a.is_none() ? b.is_none() : b.is_undefined();
    const auto *s = a.as<sequence>(), *t = b.as<sequence>();
    if (s != nullptr && t != nullptr) {
        if (s == t) return true;
        if (s->what != t->what || s->what == sequence_kind::values || s->items.size() != t->items.size()) return false;
        for (std::size_t i = 0; i < s->items.size(); ++i)
            if (!equal(rt, s->items[i], t->items[i])) return false;
        return true;
    }
    const auto *d = a.as<dict>(), *e = b.as<dict>();
    if (d != nullptr && e != nullptr) {
        if (d == e) return true;
        if (d->entries.size() != e->entries.size()) return false;
        for (const auto& [text, place] : d->places) {
            const value* other = e->find(text);
            if (other == nullptr || !equal(rt, d->entries[place].second, *other)) return false;
        }
        return true;
    }
    return a.get_object() != nullptr && a.get_object() == b.get_object();
}

/// The order of two values; `op` is named where they have none.
inline std::partial_ordering compare(runtime& rt, const value& a, const value& b, std::string_view op) {
    const runtime::level deeper(rt);
    rt.step();
    if (a.is_undefined()) rt.fail_undefined(a);
    if (b.is_undefined()) rt.fail_undefined(b);
    if (a.is_number() && b.is_number()) return number_order(a, b);
    if (a.is_string() && b.is_string()) {
        rt.work(std::min(a.text().size(), b.text().size()));
        return a.view().compare(b.view()) <=> 0;
    }
    const auto *s = a.as<sequence>(), *t = b.as<sequence>();
    if (s != nullptr && t != nullptr && s->what == t->what && s->what <= sequence_kind::tuple) {
        for (std::size_t i = 0; i < std::min(s->items.size(), t->items.size()); ++i)
            if (!equal(rt, s->items[i], t->items[i])) return compare(rt, s->items[i], t->items[i], op);
        return s->items.size() <=> t->items.size();
    }
    rt.fail("'", op, "' not supported between instances of '", type_name(a), "' and '", type_name(b), "'");
}

inline bool less(runtime& rt, const value& a, const value& b) { return compare(rt, a, b, "<") < 0; }

/// in: `item` of `container`.
inline bool contains(runtime& rt, const value& container, const value& item) {
    if (container.is_string()) {
        if (!item.is_string()) rt.fail("'in <string>' requires string as left operand, not ", type_name(item));
        rt.work(container.text().size());
        return searcher(item.view()).find(container.view()) != std::string_view::npos;
    }
    const auto is_item = [&](const value& v) { return equal(rt, v, item); };
    if (const auto* s = container.as<sequence>()) return std::any_of(s->items.begin(), s->items.end(), is_item);
    if (const auto* d = container.as<dict>()) return d->find(key_or_fail(rt, item)) != nullptr;
    if (container.is_undefined()) return false;
    if (auto* i = container.as<iterator>()) {
        while (const auto v = advance(rt, *i))
            if (is_item(*v)) return true;
        return false;
    }
    rt.fail("argument of type '", type_name(container), "' is not iterable");
}

namespace detail {

[[noreturn]] inline void refuse_operands(const runtime& rt, std::string_view op, const value& a, const value& b) {
    if (a.is_undefined()) rt.fail_undefined(a);
    if (b.is_undefined()) rt.fail_undefined(b);
    if (op == "+" && a.is_string()) rt.fail("can only concatenate str (not \"", type_name(b), "\") to str");
    rt.fail("unsupported operand types for ", op, ": '", type_name(a), "' and '", type_name(b), "'");
}

/// a + b, a - b or a * b; fails beyond 64 bits.
inline std::int64_t exact(const runtime& rt, char op, std::int64_t a, std::int64_t b) {
    std::int64_t out = 0;
    const bool overflows = op == '+'   ? __builtin_add_overflow(a, b, &out)
                           : op == '-' ? __builtin_sub_overflow(a, b, &out)
                                       : __builtin_mul_overflow(a, b, &out);
    if (overflows) rt.fail("an integer grew beyond 64 bits");
    return out;
}

inline value power(runtime& rt, const value& a, const value& b) {
    if (a.is_float() || b.is_float() || b.integer() < 0) {
        if (a.real() == 0 && b.real() < 0) rt.fail("0.0 cannot be raised to a negative power");
        if (a.real() < 0 && b.real() != std::floor(b.real())) rt.fail("a negative number has no real power ", float_text(b.real()));
        const double out = std::pow(a.real(), b.real());
        if (std::isinf(out) && std::isfinite(a.real()) && std::isfinite(b.real())) rt.fail("the power is beyond a double");
        return out;
    }
    std::int64_t base = a.integer(), out = 1;
    for (std::int64_t n = b.integer(); n > 0; n >>= 1) {
        if (n & 1) out = exact(rt, '*', out, base);
        if (n > 1) base = exact(rt, '*', base, base);
    }
    return out;
}

/// Quotient rounded down and the rest with the divisor's sign.
inline std::pair<std::int64_t, std::int64_t> divide(const runtime& rt, std::int64_t a, std::int64_t b) {
    if (b == 0) rt.fail("integer division or modulo by zero");
    if (b == -1) return {exact(rt, '-', 0, a), 0};
    std::int64_t quotient = a / b, rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) --quotient, rest += b;
    return {quotient, rest};
}

inline double modulo(double a, double b) {
    double rest = std::fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    return rest == 0 ? std::copysign(0.0, b) : rest;
}

inline value float_arithmetic(const runtime& rt, std::string_view op, double a, double b) {
    if (op == "+") return a + b;
    if (op == "-") return a - b;
    if (op == "*") return a * b;
    if (b == 0) rt.fail("float division by zero");
    if (op == "/") return a / b;
    if (op == "%") return modulo(a, b);
    const double rest = modulo(a, b), quotient = (a - rest) / b;
    const double whole = std::floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

inline value arithmetic(runtime& rt, std::string_view op, const value& a, const value& b) {
    if (op == "**") return power(rt, a, b);
    if (a.is_float() || b.is_float()) return float_arithmetic(rt, op, a.real(), b.real());
    const std::int64_t x = a.integer(), y = b.integer();
    if (op == "+" || op == "-" || op == "*") return exact(rt, op[0], x, y);
    if (op == "//") return divide(rt, x, y).first;
    if (op == "%") return divide(rt, x, y).second;
    if (y == 0) rt.fail("division by zero");
    return static_cast<double>(x) / static_cast<double>(y);
}

/// A string or list, several times.
inline value repeated(runtime& rt, const value& of, std::int64_t times) {
    const std::size_t n = times > 0 ? static_cast<std::size_t>(times) : 0;
    if (of.is_string()) {
        rt.require(n, of.text().size());
        marked_text out;
        for (std::size_t i = 0; i < n && !of.text().empty(); ++i) out.append(of.text());
        return rt.string(std::move(out), of.is_safe());
    }
    const auto& items = of.as<sequence>()->items;
    rt.require(n, items.size() * sizeof(value));
    std::vector<value> out;
    for (std::size_t i = 0; i < n && !items.empty(); ++i) out.insert(out.end(), items.begin(), items.end());
    return rt.make_sequence(of.as<sequence>()->what, std::move(out));
}

inline bool can_repeat(const value& v) {
    const auto* s = v.as<sequence>();
    return v.is_string() || (s != nullptr && s->what <= sequence_kind::tuple);
}

}  // namespace detail

/// + of two strings; Markup escapes what is none.
inline value joined(runtime& rt, const value& a, const value& b) {
    const bool safe = a.is_safe() || b.is_safe();
    rt.require(a.text().size() + b.text().size());
    marked_text out = safe && !a.is_safe() ? escaped(a.text()) : a.text();
    out.append(safe && !b.is_safe() ? escaped(b.text()) : b.text());
    return rt.string(std::move(out), safe);
}

/// + - * / // % **
inline value binary(runtime& rt, std::string_view op, const value& a, const value& b) {
    if (a.is_number() && b.is_number()) return detail::arithmetic(rt, op, a, b);
    if (op == "%" && a.is_string()) return percent_format(rt, a, b);
    if (op == "+" && a.is_string() && b.is_string()) return joined(rt, a, b);
    if (op == "*" && detail::can_repeat(a) && b.is_integral()) return detail::repeated(rt, a, b.integer());
    if (op == "*" && detail::can_repeat(b) && a.is_integral()) return detail::repeated(rt, b, a.integer());
    const auto *s = a.as<sequence>(), *t = b.as<sequence>();
    if (op == "+" && s != nullptr && t != nullptr && s->what == t->what && s->what <= sequence_kind::tuple) {
        rt.require(s->items.size() + t->items.size(), sizeof(value));
        std::vector<value> out = s->items;
        out.insert(out.end(), t->items.begin(), t->items.end());
        return rt.make_sequence(s->what, std::move(out));
    }
    detail::refuse_operands(rt, op, a, b);
}

/// -v or +v
inline value signed_value(runtime& rt, const value& v, bool negative) {
    if (v.is_undefined()) rt.fail_undefined(v);
    if (!v.is_number()) rt.fail("bad operand type for a sign: '", type_name(v), "'");
    if (v.is_float()) return negative ? -v.real() : v.real();
    return negative ? detail::exact(rt, '-', 0, v.integer()) : v.integer();
}

}  // namespace skald::text::jinja

SKALD_COLD_END
