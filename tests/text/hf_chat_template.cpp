// SPDX-License-Identifier: MIT
// Where folders keep their chat templates, in the forms in which models were published.
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/text/hf_chat_template.hpp>

#include "io/refusal.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// A folder that a test fills.
struct chat_folder {
    temporary_folder files{};

    const chat_folder& with(std::string_view name, std::string_view text) const {
        std::filesystem::create_directories((files.path() / name).parent_path());
        files.write(name, std::as_bytes(std::span(text)));
        return *this;
    }
    std::string source(std::string_view name = {}) const { return text::hf_chat_template(io::hf_folder::open(files.path()), name); }
    std::string place(std::string_view name) const { return (files.path() / name).string(); }
};

constexpr std::string_view config = "tokenizer_config.json", alone = "chat_template.jinja";
constexpr std::string_view list =
    R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]})";

}  // namespace

TEST_CASE("a folder's chat template is a file of its own, or a text or one of several in tokenizer_config.json") {
    const chat_folder folder;
    CHECK(folder.source().empty());
    CHECK(folder.with(config, R"({"chat_template": null, "bos_token": null})").source().empty());
    CHECK(folder.with("chat_template.json", R"({"chat_template": "J"})").source() == "J");
    CHECK(folder.with(config, R"({"chat_template": "one"})").source() == "one");
    CHECK(folder.source("tool_use").empty());
    CHECK(folder.with(config, list).source() == "D");
    CHECK(folder.source("tool_use") == "T");
    CHECK(folder.source("rag") == "R");
    CHECK(folder.source("none").empty());
    CHECK(folder.with(config, R"({"chat_template": [{"name": "tool_use", "template": "T"}]})").source() == "J");
    CHECK(folder.with(alone, "A").source() == "A");
    CHECK(folder.source("tool_use") == "T");
    CHECK(folder.with("additional_chat_templates/tool_use.jinja", "more").source("tool_use") == "more");
    CHECK(folder.source() == "A");
}

TEST_CASE("malformed keepers of chat templates are refused, with file and key") {
    const chat_folder folder;
    const auto refused = [&](std::string_view text, std::initializer_list<std::string_view> parts) {
        folder.with(config, text);
        check_error([&] { folder.source(); }, errc::bad_file, folder.place(config), parts);
    };
    refused("[1]", {"object"});
    refused("{", {"line 1"});
    refused(R"({"chat_template": [7]})", {"chat_template"});
    refused(R"({"chat_template": [{"template": "x"}]})", {"'chat_template.name'"});
    refused(R"({"chat_template": [{"name": "default"}]})", {"'chat_template.template'"});
    refused(R"({"chat_template": [{"name": "default", "template": 1}]})", {"'chat_template.template'", "1"});
    refused(R"({"chat_template": 7})", {"'chat_template'", "7"});
    folder.with(alone, std::string((1 << 20) + 1, 'x'));
    check_error([&] { folder.source(); }, errc::bad_file, folder.place(alone), {"1048577"});
    for (const std::string_view name : {"../secret", "a/b", "a\\b", ".."})
        check_error([&] { folder.source(name); }, errc::invalid_argument, "chat template", {"no name"});
}

TEST_CASE("the tokens that a template names are texts or descriptions, and may be missing") {
    const chat_folder folder;
    const auto tokens = [&](std::string_view text) {
        return text::hf_chat_tokens(io::hf_folder::open(folder.with(config, text).files.path()));
    };
    using pairs = std::vector<std::pair<std::string, std::string>>;
    CHECK(text::hf_chat_tokens(io::hf_folder::open(folder.files.path())).empty());
    CHECK(tokens(R"({"bos_token": null, "eos_token": "<|im_end|>"})") == pairs{{"eos_token", "<|im_end|>"}});
    CHECK(tokens(R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": {"content": "</s>"}})") ==
          pairs{{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    check_error([&] { tokens(R"({"bos_token": 1})"); }, errc::bad_file, folder.place(config), {"'bos_token'"});
    check_error([&] { tokens(R"({"bos_token": {}})"); }, errc::bad_file, folder.place(config), {"'bos_token.content'"});
}
