// SPDX-License-Identifier: MIT
#pragma once
// What is inside of values: attributes, items, slices and iteration, as the immutable sandbox of jinja2 lets templates see them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/methods.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

/// The values of an iterable, one after the other. Throws for what is none.
inline std::function<std::optional<value>()> cursor(runtime& rt, const value& v) {
    if (auto* i = v.as<iterator>()) return [&rt, i] { return advance(rt, *i); };
    std::size_t at = 0;
    if (v.is_string())
        return [&rt, v, at]() mutable -> std::optional<value> {
            if (at >= v.text().size()) return std::nullopt;
            const std::size_t from = at;
            at += text::detail::unit_at(v.view(), at).length;
            return rt.string(v.text().slice(from, at));
        };
    if (const auto* s = v.as<sequence>())
        return [&rt, s, at]() mutable -> std::optional<value> {
            rt.step();
            return at < s->items.size() ? std::optional(s->items[at++]) : std::nullopt;
        };
    if (const auto* d = v.as<dict>())
        return [&rt, d, at]() mutable -> std::optional<value> {
            rt.step();
            return at < d->entries.size() ? std::optional(d->entries[at++].first) : std::nullopt;
        };
    if (v.is_undefined()) return [] { return std::optional<value>(); };
    rt.fail("'", type_name(v), "' object is not iterable");
}

/// All values of an iterable.
inline std::vector<value> items_of(runtime& rt, const value& v) {
    if (const auto* s = v.as<sequence>()) {
        rt.require(s->items.size(), sizeof(value));
        return s->items;
    }
    const auto next = cursor(rt, v);
    std::vector<value> out;
    while (auto item = next()) {
        rt.require(out.size() + 1, 2 * sizeof(value));
        out.push_back(std::move(*item));
    }
    return out;
}

inline bool is_iterable(const value& v) {
    return v.is_string() || v.is_undefined() || v.is(object_kind::sequence) || v.is(object_kind::dict) || v.is(object_kind::iterator);
}

/// len() of a value, or nothing.
inline std::optional<std::size_t> length_of(const value& v) {
    if (v.is_string()) return detail::count_characters(v.view());
    if (v.is_undefined()) return 0;
    if (const auto* s = v.as<sequence>()) return s->items.size();
    if (const auto* d = v.as<dict>()) return d->entries.size();
    return std::nullopt;
}

namespace detail {

inline value missing(runtime& rt, const value& of, const value& key) {
    const std::string owner = of.is_none() ? "None" : concat("'", type_name(of), " object'");
    if (key.is_string()) return rt.undefined(concat(owner, " has no attribute ", io::detail::in_quotes(key.view())));
    return rt.undefined(concat(owner, " has no element ", text_of(rt, key).text().substr(0, 80)));
}

/// An attribute in Python's sense: a method, or what an object of the engine shows.
inline std::optional<value> own_attribute(runtime& rt, const value& of, std::string_view name) {
    if (const auto* n = of.as<space>()) {
        const value* member = find_member(*n->members, name);
        return member == nullptr ? std::nullopt : std::optional(*member);
    }
    if (auto* c = of.as<callable>()) return c->attribute(rt, name);
    if (const auto* s = of.as<sequence>(); s != nullptr && s->fields && (name == "grouper" || name == "list"))
        return s->items[name == "grouper" ? 0 : 1];
    if (const method_function m = find_method(of, name)) {
        return rt.make_function(std::string(name), [of, m](runtime& r, call_arguments& args) { return m(r, of, args); });
    }
    if (is_refused(of, name)) return rt.undefined(concat("access to attribute '", name, "' of '", type_name(of), "' object is unsafe"));
    return std::nullopt;
}

/// The item under a key, or nothing.
inline std::optional<value> own_item(runtime& rt, const value& of, const value& key) {
    if (const auto* d = of.as<dict>()) {
        const value* member = find_member(rt, *d, key);
        return member == nullptr ? std::nullopt : std::optional(*member);
    }
    const auto* s = of.as<sequence>();
    if (!key.is_integral() || (!of.is_string() && (s == nullptr || !s->subscriptable()))) return std::nullopt;
    std::int64_t i = key.integer();
    if (s != nullptr) {
        const auto n = static_cast<std::int64_t>(s->items.size());
        if (i < 0) i += n;
        return i >= 0 && i < n ? std::optional(s->items[static_cast<std::size_t>(i)]) : std::nullopt;
    }
    rt.work(of.text().size());
    const characters all(of.view());
    const auto n = static_cast<std::int64_t>(all.count());
    if (i < 0) i += n;
    if (i < 0 || i >= n) return std::nullopt;
    const auto at = static_cast<std::size_t>(i);
    return rt.string(of.text().slice(all.start(at), all.start(at + 1)), of.is_safe());
}

}  // namespace detail

/// of.name
inline value get_attribute(runtime& rt, const value& of, std::string_view name) {
    if (of.is_undefined()) rt.fail_undefined(of);
    if (auto found = detail::own_attribute(rt, of, name)) return *found;
    if (const auto* d = of.as<dict>())
        if (const value* member = find_member(*d, name)) return *member;
    return detail::missing(rt, of, rt.literal(name));
}

/// of[key]
inline value get_item(runtime& rt, const value& of, const value& key) {
    if (of.is_undefined()) rt.fail_undefined(of);
    if (auto found = detail::own_item(rt, of, key)) return *found;
    if (key.is_string())
        if (auto found = detail::own_attribute(rt, of, key.view())) return *found;
    return detail::missing(rt, of, key);
}

/// of[first:last:step]; None stands for what is left out.
inline value get_slice(runtime& rt, const value& of, const value& first, const value& last, const value& step) {
    if (of.is_undefined()) rt.fail_undefined(of);
    const auto* s = of.as<sequence>();
    const bool sliceable = of.is_string() || (s != nullptr && s->subscriptable());
    if (!sliceable) rt.fail("'", type_name(of), "' object cannot be sliced");
    for (const value* v : {&first, &last, &step}) {
        if (v->is_undefined()) rt.fail_undefined(*v);
        if (!v->is_none() && !v->is_integral()) rt.fail("slice indices must be integers or None");
    }
    const std::int64_t by = step.is_none() ? 1 : step.integer();
    if (by == 0) rt.fail("slice step cannot be zero");
    rt.work(of.is_string() ? of.text().size() : s->items.size());
    const detail::characters all(of.is_string() ? of.view() : std::string_view());
    const auto n = static_cast<std::int64_t>(s != nullptr ? s->items.size() : all.count());
    const auto bound = [&](const value& v, std::int64_t otherwise) {
        if (v.is_none()) return otherwise;
        const std::int64_t i = v.integer() < 0 ? std::max(v.integer(), -n - 1) + n : v.integer();
        return by > 0 ? std::clamp<std::int64_t>(i, 0, n) : std::clamp<std::int64_t>(i, -1, n - 1);
    };
    const std::int64_t from = bound(first, by > 0 ? 0 : n - 1), to = bound(last, by > 0 ? n : -1);
    if (of.is_string() && by == 1) {
        const std::size_t a = all.start(static_cast<std::size_t>(from)), b = all.start(static_cast<std::size_t>(std::max(from, to)));
        return rt.string(of.text().slice(a, b), of.is_safe());
    }
    marked_text text;
    std::vector<value> items;
    for (std::int64_t i = from; by > 0 ? i < to : i > to;) {
        const auto at = static_cast<std::size_t>(i);
        if (s != nullptr)
            items.push_back(s->items[at]);
        else
            text.append(of.text(), all.start(at), all.start(at + 1));
        if (by > 0 ? by >= to - i : by <= to - i) break;
        i += by;
    }
    return s != nullptr ? rt.make_sequence(s->what, std::move(items)) : rt.string(std::move(text), of.is_safe());
}

/// v(arguments)
inline value call_value(runtime& rt, const value& v, call_arguments args) {
    const runtime::level deeper(rt);
    rt.step();
    if (v.is_undefined()) rt.fail_undefined(v);
    auto* c = v.as<callable>();
    if (c == nullptr) rt.fail("'", type_name(v), "' object is not callable");
    return c->call(rt, std::move(args));
}

}  // namespace skald::text::jinja

SKALD_COLD_END
