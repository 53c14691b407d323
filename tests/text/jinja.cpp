// SPDX-License-Identifier: MIT
// Templates: what Python's jinja2 makes of them (tests/scripts/make_jinja_fixture.py), and what the sandbox does not let them do.
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <skald/text/jinja/clock.hpp>
#include <skald/text/jinja/json.hpp>
#include <skald/text/jinja/program.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;
namespace jinja = skald::text::jinja;

namespace {

std::string render(std::string_view source, const std::vector<jinja::variable>& variables = {}, const jinja::limits& most = {}) {
    return jinja::program::parse(source, "t").render(variables, {.limits = most, .now = {2025, 3, 9, 14, 5, 6}}).text();
}

/// The rendering, or the message of its failure behind an exclamation mark.
std::string outcome_of(std::string_view source, const std::vector<jinja::variable>& variables) {
    try {
        return render(source, variables);
    } catch (const error& e) {
        return std::string("!") + e.what();
    }
}

std::string repeated(std::string_view part, std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += part;
    return out;
}

}  // namespace

TEST_CASE("templates come out as Python's jinja2 renders them, and fail where it fails") {
    std::ifstream in(SKALD_TEST_DATA "/jinja/cases.json", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const jinja::data all = jinja::parse_json(text, "cases.json");
    const auto& root = std::get<jinja::data_object>(all.variant());
    std::vector<jinja::variable> variables;
    for (const auto& [name, v] : std::get<jinja::data_object>(jinja::find(root, "context")->variant())) variables.push_back({name, v});
    const auto& cases = std::get<jinja::data_list>(jinja::find(root, "cases")->variant());
    CHECK(cases.size() > 80);
    for (const jinja::data& entry : cases) {
        const auto& one = std::get<jinja::data_object>(entry.variant());
        const auto& source = std::get<std::string>(jinja::find(one, "template")->variant());
        const jinja::data* out = jinja::find(one, "out");
        const std::string made = outcome_of(source, variables);
        CAPTURE(source, made);
        if (out != nullptr)
            CHECK(made == std::get<std::string>(out->variant()));
        else
            CHECK(made.starts_with("!t, line "));
    }
}

TEST_CASE("failures name the template and the line, and say what the template says") {
    check_error([] { render("a\n\n{{ x.y }}"); }, errc::invalid_argument, "t, line 3", {"'x' is undefined"});
    check_error([] { render("{% if true %}\n{{ raise_exception('no such role') }}{% endif %}"); }, errc::invalid_argument, "t, line 2",
                {"no such role"});
    check_error([] { render("\n{% if x %}"); }, errc::bad_file, "t, line 2", {"{% endif %}"});
    check_error([] { render("{% include 'x' %}"); }, errc::unsupported, "t, line 1", {"include"});
    check_error([] { render("{{ 9223372036854775807 + 1 }}"); }, errc::invalid_argument, "t, line 1", {"64 bits"});
    check_error([] { render("{{ 99999999999999999999 }}"); }, errc::bad_file, "t, line 1", {"64 bits"});
    check_error([] { render(repeated(" ", jinja::program::longest + 1)); }, errc::bad_file, "t", {"262144"});
}

TEST_CASE("templates that would not end, fill the memory or nest without end are stopped") {
    for (const std::string_view source :
         {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
          "{{ 'a' * 10**9 }}",
          "{{ [0] * 10**9 }}",
          "{{ 'a'.center(10**10) }}",
          "{{ '%999999d' % 1 ~ '%9999999d' % 1 }}",
          "{{ '{:>99999999}'.format(1) }}",
          "{{ 'x'.zfill(10**12) }}",
          "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
          "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
          "{% set ns = namespace(s='aaaa') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
          "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
          "{% set ns = namespace(s=[1]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
          "{% set ns = namespace(s=[1]) %}{% for i in range(9999) %}{% set ns.s = ns.s|map('string') %}{% endfor %}{{ ns.s|list }}",
          "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
          "{{ 'a'|replace('', 'b' * 99999)|replace('', 'c' * 99999) }}",
          "{{ 'x'|indent(10**10, true) }}",
          "{{ [1]|batch(10**10, 0)|list }}",
          "{{ [1]|slice(10**10)|list }}",
          "{{ {}|tojson(indent=10**10) }}",
          "{{ range(10**6) }}",
          "{{ 'abc'.ljust(10**11) }}",
          "{{ '\t'.expandtabs(10**10) }}",
          "{{ 2 ** 64 }}",
          "{{ 'a'|wordwrap(0) }}"}) {
        CAPTURE(source);
        const std::string made = outcome_of(source, {});
        CHECK(made.starts_with("!t, line 1: "));
    }
    CHECK(outcome_of("{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}ok", {}) == "ok");
    check_error([] { render("{{ 1 + 1 + 1 }}", {}, {.steps = 3}); }, errc::bad_file, "t, line 1", {"3 steps"});
}

TEST_CASE("templates nested too deep are refused before they run") {
    for (const auto& [open, close] : std::vector<std::pair<std::string_view, std::string_view>>{{"(", ")"},
                                                                                                {"[", "]"},
                                                                                                {"-", ""},
                                                                                                {"not ", ""},
                                                                                                {"{1:", "}"},
                                                                                                {"x(", ")"},
                                                                                                {"x[", "]"},
                                                                                                {"x|f(", ")"},
                                                                                                {"1 if 1 else ", ""},
                                                                                                {"1+", ""},
                                                                                                {"x.", "y"}}) {
        CAPTURE(open);
        const std::string middle = open == "x." ? "" : "1";
        CHECK(outcome_of(
                  "{{ " + repeated(open, 50'000 / open.size()) + middle + repeated(close, open == "x." ? 1 : 50'000 / open.size()) + " }}",
                  {})
                  .starts_with("!t, line "));
    }
    CHECK(outcome_of(repeated("{% if 1 %}", 20'000) + repeated("{% endif %}", 2), {}).starts_with("!t, line "));
    CHECK(render("{{ " + repeated("(", 40) + "1" + repeated(")", 40) + repeated(" + 1", 150) + " }}") == "151");
}

TEST_CASE("values from outside that nest too deep are refused") {
    jinja::data deep;
    for (int i = 0; i < 200; ++i) deep = jinja::data_list{std::move(deep)};
    check_error([&] { render("x", {{"deep", deep}}); }, errc::invalid_argument, "t, line 1", {"nested deeper"});
    check_error([] { jinja::parse_json(repeated("[", 1000), "f"); }, errc::bad_file, "f", {"nested deeper"});
    check_error([] { jinja::parse_json("[1, 2", "f"); }, errc::bad_file, "f", {"no JSON"});
    check_error([] { jinja::parse_json("18446744073709551615", "f"); }, errc::bad_file, "f", {"2^63-1"});
    CHECK(render("{{ x }}", {{"x", jinja::parse_json(R"({"b": 1, "a": [1.0, -0, "\u00e9"], "b": 2})", "f")}}) ==
          "{'b': 2, 'a': [1.0, 0, 'é']}");
}

TEST_CASE("strftime_now shows the time that the host gives") {
    CHECK(render("{{ strftime_now('%d %b %Y|%Y-%m-%d|%H:%M:%S|%A, %B %-d|%I:%M %p|%j|%y|%U %V %u|%%|%e') }}") ==
          "09 Mar 2025|2025-03-09|14:05:06|Sunday, March 9|02:05 PM|068|25|10 10 7|%| 9");
    CHECK(jinja::format_time({2024, 12, 30}, "%G-W%V %a %j") == "2025-W01 Mon 365");
    CHECK(jinja::local_now().year > 2024);
}

TEST_CASE("marks of trust follow their text") {
    jinja::marked_text t("trusted", true);
    t.append("said", false);
    t.append(jinja::marked_text(t), 5, 9);
    CHECK(t.text() == "trustedsaidedsa");
    const auto parts = t.segments();
    REQUIRE(parts.size() == 4);
    CHECK(parts[1].text == "said");
    CHECK((parts[0].trusted && !parts[1].trusted && parts[2].trusted && !parts[3].trusted));
    CHECK(t.slice(4, 8).segments().size() == 2);
    CHECK(t.slice(3, 3).segments().empty());
}
