// SPDX-License-Identifier: MIT
#pragma once
// The tests that stand behind `is`.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/access.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

using test_function = bool (*)(runtime&, const value& subject, call_arguments&);

bool is_filter_name(std::string_view name) noexcept;
bool is_test_name(std::string_view name) noexcept;

/// A test without arguments: P tells of a value alone.
template <bool (*P)(const value&)>
bool plain_test(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "this test", args, {});
    return P(v);
}

inline bool is_defined(const value& v) { return !v.is_undefined(); }
inline bool is_undefined(const value& v) { return v.is_undefined(); }
inline bool is_none(const value& v) { return v.is_none(); }
inline bool is_boolean(const value& v) { return v.is_bool(); }
inline bool is_true(const value& v) { return v.is_bool() && v.boolean(); }
inline bool is_false(const value& v) { return v.is_bool() && !v.boolean(); }
inline bool is_integer(const value& v) { return v.is_int(); }
inline bool is_float(const value& v) { return v.is_float(); }
inline bool is_number(const value& v) { return v.is_number(); }
inline bool is_string(const value& v) { return v.is_string(); }
inline bool is_mapping(const value& v) { return v.is(object_kind::dict); }
inline bool is_callable(const value& v) { return v.is(object_kind::callable); }
inline bool is_escaped(const value& v) { return v.is_safe(); }
inline bool is_sequence(const value& v) {
    const auto* s = v.as<sequence>();
    return v.is_string() || v.is_undefined() || v.is(object_kind::dict) || (s != nullptr && s->subscriptable());
}

/// v modulo n, of numbers.
inline value remainder(runtime& rt, const value& v, const value& n) { return binary(rt, "%", v, n); }

template <int Rest>
bool has_rest(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "this test", args, {});
    return equal(rt, remainder(rt, v, std::int64_t{2}), std::int64_t{Rest});
}

inline bool divisible_by(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "divisibleby", args, {"num"}, 1);
    return equal(rt, remainder(rt, v, p[0]), std::int64_t{0});
}

template <python_class Case>
bool has_case(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "this test", args, {});
    return is_in_case(text_of(rt, v).text(), Case);
}

template <bool (*P)(std::string_view) noexcept>
bool named_test(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "this test", args, {});
    (void)key_or_fail(rt, v);
    return v.is_string() && P(v.view());
}

inline bool equal_to(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "eq", args, {""}, 1);
    return equal(rt, v, p[0]);
}
inline bool unequal_to(runtime& rt, const value& v, call_arguments& args) { return !equal_to(rt, v, args); }

enum class relation { less, less_equal, greater, greater_equal };

inline bool holds(relation r, std::partial_ordering o) {
    switch (r) {
        case relation::less: return o < 0;
        case relation::less_equal: return o <= 0;
        case relation::greater: return o > 0;
        case relation::greater_equal: return o >= 0;
    }
    return false;
}

template <relation R>
bool in_relation(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "this test", args, {""}, 1);
    return holds(R, compare(rt, v, p[0], "<"));
}

inline bool same_as(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "sameas", args, {"other"}, 1);
    if (v.get_object() != nullptr || p[0].get_object() != nullptr) return v.get_object() == p[0].get_object();
    if (v.is_string() && p[0].is_string()) return v.string_address() == p[0].string_address() || v.view() == p[0].view();
    return v.is_bool() == p[0].is_bool() && v.is_float() == p[0].is_float() && equal(rt, v, p[0]);
}

inline bool is_in(runtime& rt, const value& v, call_arguments& args) {
    const parameters p(rt, "in", args, {"seq"}, 1);
    return contains(rt, p[0], v);
}

struct test_entry {
    std::string_view name;
    test_function run;
};

inline constexpr test_entry test_table[] = {
    {"!=", unequal_to},
    {"<", in_relation<relation::less>},
    {"<=", in_relation<relation::less_equal>},
    {"==", equal_to},
    {">", in_relation<relation::greater>},
    {">=", in_relation<relation::greater_equal>},
    {"boolean", plain_test<is_boolean>},
    {"callable", plain_test<is_callable>},
    {"defined", plain_test<is_defined>},
    {"divisibleby", divisible_by},
    {"eq", equal_to},
    {"equalto", equal_to},
    {"escaped", plain_test<is_escaped>},
    {"even", has_rest<0>},
    {"false", plain_test<is_false>},
    {"filter", named_test<is_filter_name>},
    {"float", plain_test<is_float>},
    {"ge", in_relation<relation::greater_equal>},
    {"greaterthan", in_relation<relation::greater>},
    {"gt", in_relation<relation::greater>},
    {"in", is_in},
    {"integer", plain_test<is_integer>},
    {"iterable", plain_test<is_iterable>},
    {"le", in_relation<relation::less_equal>},
    {"lessthan", in_relation<relation::less>},
    {"lower", has_case<py_lower>},
    {"lt", in_relation<relation::less>},
    {"mapping", plain_test<is_mapping>},
    {"ne", unequal_to},
    {"none", plain_test<is_none>},
    {"number", plain_test<is_number>},
    {"odd", has_rest<1>},
    {"sameas", same_as},
    {"sequence", plain_test<is_sequence>},
    {"string", plain_test<is_string>},
    {"test", named_test<is_test_name>},
    {"true", plain_test<is_true>},
    {"undefined", plain_test<is_undefined>},
    {"upper", has_case<py_upper>},
};

template <class Entry, std::size_t N>
constexpr bool is_sorted_table(const Entry (&table)[N]) {
    return std::is_sorted(std::begin(table), std::end(table), [](const Entry& a, const Entry& b) { return a.name < b.name; });
}

template <class Entry, std::size_t N>
const Entry* find_entry(const Entry (&table)[N], std::string_view name) noexcept {
    const auto* at =
        std::lower_bound(std::begin(table), std::end(table), name, [](const Entry& e, std::string_view n) { return e.name < n; });
    return at != std::end(table) && at->name == name ? at : nullptr;
}

static_assert(is_sorted_table(test_table));

inline bool is_test_name(std::string_view name) noexcept { return find_entry(test_table, name) != nullptr; }

/// subject is name(args)
inline bool run_test(runtime& rt, std::string_view name, const value& subject, call_arguments& args) {
    const test_entry* entry = find_entry(test_table, name);
    if (entry == nullptr) rt.fail("there is no test '", name, "'");
    return entry->run(rt, subject, args);
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
