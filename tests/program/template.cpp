// SPDX-License-Identifier: MIT
// template, from outside.
#include "program/run_program.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEST_CASE("template writes a conversation as its template has it, and nothing else") {
    const temporary_folder folder;
    const auto write = [&](const char* name, std::string_view text) { return folder.write(name, std::as_bytes(std::span(text))).string(); };
    const std::string source =
        write("chat.jinja",
              "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if tools %}{{ tools|tojson }}{% "
              "endif %}{% if add_generation_prompt %}[assistant]{% endif %}{{ mood }}{{ strftime_now('%F') }}\n");
    const std::string list = write("list.json", R"([{"role": "user", "content": "Hé"}])");
    const std::string object =
        write("object.json", R"({"messages": [], "tools": [{"a": 1}], "add_generation_prompt": false, "bos_token": "<s>", "mood": "?"})");
    const auto run = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"template", source, "--date", "2025-02-28", "--messages"});
        return skald_program(folder, more);
    };
    CHECK(run({list}).out == "[user] Hé\n[assistant]2025-02-28");
    CHECK(run({list, "--no-generation-prompt"}).out == "[user] Hé\n2025-02-28");
    CHECK(run({list, "--set", "mood=[1, null]", "--set", "bos_token=\"B\""}).out == "B[user] Hé\n[assistant][1, None]2025-02-28");
    CHECK(run({object}).out == "<s>[{\"a\": 1}]?2025-02-28");
    CHECK(run({object, "--add-generation-prompt"}).out == "<s>[{\"a\": 1}][assistant]?2025-02-28");
}

TEST_CASE("template refuses in one line what it cannot use") {
    const temporary_folder folder;
    const auto write = [&](const char* name, std::string_view text) { return folder.write(name, std::as_bytes(std::span(text))).string(); };
    const std::string good = write("good.jinja", "x"), raises = write("raises.jinja", "\n{{ raise_exception('not you') }}");
    const std::string list = write("list.json", "[]"), text = write("text.json", "{\"a\": 1}"), broken = write("broken.json", "[{");
    const auto refused = [&](std::vector<std::string> arguments, std::string_view part) {
        arguments.insert(arguments.begin(), "template");
        const outcome o = skald_program(folder, arguments);
        CAPTURE(o.err, o.out, part);
        CHECK(o.status == 1);
        CHECK(o.out.empty());
        CHECK(o.one_error_line(part));
    };
    refused({raises, "--messages", list}, "raises.jinja, line 2: not you");
    refused({good, "--messages", text}, "'messages'");
    refused({good, "--messages", broken}, "broken.json");
    refused({good, "--messages", folder.path().string() + "/none.json"}, "none.json");
    refused({good, "--messages", list, "--set", "x"}, "NAME=JSON");
    refused({good, "--messages", list, "--date", "2025-02-30"}, "--date");
    refused({data_file("tiny-gpt2.gguf"), "--messages", list, "--name", "none"}, "has no chat template");
}
