// SPDX-License-Identifier: MIT
#pragma once
// The table of filters. Those of texts and numbers are in text_filters.hpp, those of sequences in sequence_filters.hpp.
#include <string_view>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/dump.hpp>
#include <skald/text/jinja/sequence_filters.hpp>
#include <skald/text/jinja/tests.hpp>
#include <skald/text/jinja/text_filters.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

struct filter_entry {
    std::string_view name;
    value (*run)(runtime&, const value& subject, call_arguments&);
};

inline constexpr filter_entry filter_table[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"capitalize", filter_text<capitalized>},
    {"center", filter_center},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape<false>},
    {"escape", filter_escape<false>},
    {"filesizeformat", filter_filesizeformat},
    {"first", filter_first},
    {"float", filter_float},
    {"forceescape", filter_escape<true>},
    {"format", filter_format},
    {"groupby", filter_groupby},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", filter_text<lower_case>},
    {"map", filter_map},
    {"max", filter_extreme<true>},
    {"min", filter_extreme<false>},
    {"pprint", filter_pprint},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<false, true>},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select<true, false>},
    {"selectattr", filter_select<true, true>},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"string", filter_string},
    {"striptags", filter_striptags},
    {"sum", filter_sum},
    {"title", filter_text<title_words>},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"unique", filter_unique},
    {"upper", filter_text<upper_case>},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
    {"wordwrap", filter_wordwrap},
    {"xmlattr", filter_xmlattr},
};
static_assert(is_sorted_table(filter_table));

inline bool is_filter_name(std::string_view name) noexcept { return find_entry(filter_table, name) != nullptr; }

/// subject | name(args)
inline value run_filter(runtime& rt, std::string_view name, const value& subject, call_arguments& args) {
    const filter_entry* entry = find_entry(filter_table, name);
    if (entry == nullptr) rt.fail("there is no filter '", name, "'");
    rt.step();
    return entry->run(rt, subject, args);
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
