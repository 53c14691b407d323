// SPDX-License-Identifier: MIT
#pragma once
// The methods of dicts, lists and tuples, and where those of strings are found. What would change a value is refused.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/string_methods.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

inline value dict_get(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "get", args, {"", ""}, 1);
    const value* found = self.as<dict>()->find(key_or_fail(rt, p[0]));
    return found != nullptr ? *found : p.get(1, none_type());
}

template <sequence_kind Kind>
value dict_view(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "items", args, {});
    std::vector<value> out;
    for (const auto& [key, member] : self.as<dict>()->entries)
        out.push_back(Kind == sequence_kind::items ? rt.tuple({key, member}) : Kind == sequence_kind::keys ? key : member);
    return rt.make_sequence(Kind, std::move(out));
}

inline value dict_copy(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "copy", args, {});
    dict* out = rt.make_dict();
    for (const auto& [key, member] : self.as<dict>()->entries) rt.set(*out, key_or_fail(rt, key), key, member);
    return out;
}

inline value list_copy(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "copy", args, {});
    return rt.list(self.as<sequence>()->items);
}

inline value sequence_count(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "count", args, {""}, 1);
    const auto& items = self.as<sequence>()->items;
    return static_cast<std::int64_t>(std::count_if(items.begin(), items.end(), [&](const value& v) { return equal(rt, v, p[0]); }));
}

inline value sequence_index(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "index", args, {"", "", ""}, 1);
    const auto& items = self.as<sequence>()->items;
    const auto n = static_cast<std::int64_t>(items.size());
    const auto bound = [&](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? std::max(i, -n) + n : i, 0, n); };
    for (std::int64_t i = bound(p.integer(1, 0)), end = bound(p.integer(2, n)); i < end; ++i)
        if (equal(rt, items[static_cast<std::size_t>(i)], p[0])) return i;
    rt.fail("the value is not in the list");
}

inline value float_is_integer(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "is_integer", args, {});
    return std::floor(self.real()) == self.real() && std::isfinite(self.real());
}

inline constexpr method dict_methods[] = {
    {"get", dict_get},
    {"items", dict_view<sequence_kind::items>},
    {"keys", dict_view<sequence_kind::keys>},
    {"values", dict_view<sequence_kind::values>},
    {"copy", dict_copy},
};
inline constexpr method list_methods[] = {{"copy", list_copy}, {"count", sequence_count}, {"index", sequence_index}};
inline constexpr method tuple_methods[] = {{"count", sequence_count}, {"index", sequence_index}};
inline constexpr method float_methods[] = {{"is_integer", float_is_integer}};

template <std::size_t N>
method_function find_in(const method (&table)[N], std::string_view name) {
    const auto* found = std::find_if(std::begin(table), std::end(table), [&](const method& m) { return m.name == name; });
    return found == std::end(table) ? nullptr : found->run;
}

/// The method of that name, or null.
inline method_function find_method(const value& of, std::string_view name) {
    if (of.is_string()) return find_in(string_methods, name);
    if (of.is_float()) return find_in(float_methods, name);
    if (of.is(object_kind::dict)) return find_in(dict_methods, name);
    const auto* s = of.as<sequence>();
    if (s == nullptr || s->what > sequence_kind::range) return nullptr;
    return s->what == sequence_kind::list ? find_in(list_methods, name) : find_in(tuple_methods, name);
}

/// Whether Python has the attribute, but the sandbox does not let templates have it.
inline bool is_refused(const value& of, std::string_view name) {
    if (name.starts_with("__") && name.ends_with("__")) return true;
    constexpr std::array<std::string_view, 5> of_dicts{"clear", "pop", "popitem", "setdefault", "update"};
    constexpr std::array<std::string_view, 8> of_lists{"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
    if (of.is(object_kind::dict)) return std::find(of_dicts.begin(), of_dicts.end(), name) != of_dicts.end();
    const auto* s = of.as<sequence>();
    return s != nullptr && s->what == sequence_kind::list && std::find(of_lists.begin(), of_lists.end(), name) != of_lists.end();
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
