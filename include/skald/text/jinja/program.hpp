// SPDX-License-Identifier: MIT
#pragma once
// Chat templates: the part of Jinja2 that published ones are written in, run as transformers runs them (immutable sandbox, trim_blocks,
// lstrip_blocks, loop controls, tojson without HTML escapes), with limits on steps, memory and depth. A template reaches nothing but
// the values it is given. What it writes itself and what it was given stay apart in the result.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/text/jinja/data.hpp>
#include <skald/text/jinja/evaluator.hpp>
#include <skald/text/jinja/marked_text.hpp>
#include <skald/text/jinja/parser.hpp>
#include <skald/text/jinja/scopes.hpp>
#include <skald/text/jinja/value.hpp>

namespace skald::text::jinja {

/// A variable of a template. Only what the host itself vouches for is trusted: bos_token, say, but no message.
struct variable {
    std::string name;
    data value;
    bool trusted = false;
};

struct render_options {
    jinja::limits limits{};
    calendar_time now{};  ///< what strftime_now shows; see local_now()
};

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

/// A template, parsed. Immutable; its const members may be called from several threads.
class program {
public:
    static constexpr std::size_t longest = std::size_t{1} << 18;  ///< bytes of a template's source

    /// Parses a template; `name` stands in messages. Throws errc::bad_file for one that jinja2 would not compile, is too long or nests
    /// too deep, errc::unsupported for {% include %} and its kind.
    static program parse(std::string_view source, std::string_view name) {
        if (source.size() > longest)
            fail(errc::bad_file, name, "the template has ", source.size(), " bytes; at most ", longest, " are accepted");
        program out(name);
        out.tree_ = detail::parser(source, name).run();
        detail::scope_analysis(out.tree_, name, detail::is_filter_name, detail::is_test_name).run();
        return out;
    }

    const std::string& name() const noexcept { return name_; }

    /// The text that the template makes of the variables. Throws errc::invalid_argument with the template's own message where it calls
    /// raise_exception or cannot go on with what it was given, errc::bad_file where it exceeds the limits.
    marked_text render(const std::vector<variable>& variables, const render_options& options = {}) const {
        runtime rt(name_, options.limits, options.now);
        detail::evaluator::variables given;
        for (const variable& v : variables) given.insert_or_assign(v.name, detail::input(rt, v.value, v.trusted));
        return detail::evaluator(rt, tree_, std::move(given)).run();
    }

private:
    explicit program(std::string_view name) : name_(name) {}

    std::string name_;
    tree tree_;
};

}  // namespace skald::text::jinja
