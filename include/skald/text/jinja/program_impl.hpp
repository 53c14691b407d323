// SPDX-License-Identifier: MIT
#pragma once
// Parsing and running templates: what program.hpp declares.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/text/jinja/clock.hpp>
#include <skald/text/jinja/evaluator.hpp>
#include <skald/text/jinja/parser.hpp>
#include <skald/text/jinja/program.hpp>
#include <skald/text/jinja/scopes.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

namespace detail {

inline value input(runtime& rt, const data& d, bool trusted, int level = 0) {
    if (level > data::depth) rt.fail("a variable is nested deeper than ", data::depth, " levels");
    if (const auto* b = std::get_if<bool>(&d.variant())) return *b;
    if (const auto* n = std::get_if<std::int64_t>(&d.variant())) return *n;
    if (const auto* x = std::get_if<double>(&d.variant())) return *x;
    if (const auto* s = std::get_if<std::string>(&d.variant())) return rt.string(*s, trusted);
    if (const auto* list = std::get_if<data_list>(&d.variant())) {
        std::vector<value> items;
        items.reserve(list->size());
        for (const data& item : *list) items.push_back(input(rt, item, trusted, level + 1));
        return rt.list(std::move(items));
    }
    if (const auto* object = std::get_if<data_object>(&d.variant())) {
        dict* out = rt.make_dict();
        for (const auto& [key, member] : *object) rt.set(*out, "s" + key, rt.string(key, trusted), input(rt, member, trusted, level + 1));
        return out;
    }
    return none_type();
}

}  // namespace detail

SKALD_FUNCTION program program::parse(std::string_view source, std::string_view name) {
    if (source.size() > longest)
        fail(errc::bad_file, name, "the template has ", source.size(), " bytes; at most ", longest, " are accepted");
    auto parsed = std::make_shared<tree>(detail::parser(source, name).run());
    detail::scope_analysis(*parsed, name, detail::is_filter_name, detail::is_test_name).run();
    return program(name, std::move(parsed));
}

SKALD_FUNCTION marked_text program::render(const std::vector<variable>& variables, const render_options& options) const {
    runtime rt(name_, options.limits, options.now);
    detail::evaluator::variables given;
    for (const variable& v : variables) given.insert_or_assign(v.name, detail::input(rt, v.value, v.trusted));
    return detail::evaluator(rt, *tree_, std::move(given)).run();
}

SKALD_FUNCTION calendar_time local_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm parts{};
#if defined(_WIN32)
    localtime_s(&parts, &now);
#else
    localtime_r(&now, &parts);
#endif
    return {parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec};
}

}  // namespace skald::text::jinja

SKALD_COLD_END
