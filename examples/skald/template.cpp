// SPDX-License-Identifier: MIT
// template: what a chat template makes of a conversation. Needs the template only, so it works on models of any kind.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/text/hf_chat_template.hpp>
#include <skald/text/jinja/clock.hpp>
#include <skald/text/jinja/json.hpp>
#include <skald/text/jinja/program.hpp>

#include "commands.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

namespace jinja = skald::text::jinja;

/// A template's source and the variables that its model gives it.
struct template_source {
    std::string text;
    std::vector<std::pair<std::string, std::string>> tokens{};  // bos_token, eos_token
};

template_source from_gguf(const std::string& path, const std::string& name) {
    const auto file = skald::io::gguf_file::open(path);
    const std::string key = name.empty() ? "tokenizer.chat_template" : "tokenizer.chat_template." + name;
    template_source out{std::string(file.meta().get<std::string_view>(key).value_or(""))};
    if (!file.meta().contains("tokenizer.ggml.tokens")) return out;
    const auto tokens = file.meta().strings("tokenizer.ggml.tokens");
    for (const auto& [variable, id_key] :
         {std::pair("bos_token", "tokenizer.ggml.bos_token_id"), std::pair("eos_token", "tokenizer.ggml.eos_token_id")})
        if (const auto id = file.meta().get<std::uint32_t>(id_key); id && *id < tokens.size())
            out.tokens.emplace_back(variable, tokens[*id]);
    return out;
}

template_source read_source(const template_command& c) {
    template_source out;
    if (skald::io::hf_folder::accepts(c.path)) {
        const auto folder = skald::io::hf_folder::open(c.path);
        out = {skald::text::hf_chat_template(folder, c.name), skald::text::hf_chat_tokens(folder)};
    } else if (std::string text = read_all(c.path); text.starts_with("GGUF")) {
        out = from_gguf(c.path, c.name);
    } else {
        return {std::move(text)};
    }
    if (out.text.empty())
        skald::fail(skald::errc::unsupported, c.path, "has no chat template", c.name.empty() ? "" : " of the name ", c.name);
    return out;
}

void put(jinja::data_object& variables, std::string_view name, jinja::data value) {
    for (auto& [known, old] : variables)
        if (known == name) {
            old = std::move(value);
            return;
        }
    variables.emplace_back(name, std::move(value));
}

jinja::data_object read_variables(const template_command& c) {
    jinja::data given = jinja::parse_json(read_all(c.messages), c.messages);
    jinja::data_object out;
    if (auto* object = std::get_if<jinja::data_object>(&given.variant()))
        out = std::move(*object);
    else
        out.emplace_back("messages", std::move(given));
    const jinja::data* messages = find(out, "messages");
    if (messages == nullptr || !std::holds_alternative<jinja::data_list>(messages->variant()))
        skald::fail(skald::errc::bad_file, c.messages,
                    "must be a list of messages, or an object with such a list under the key 'messages'");
    if (c.generation_prompt) put(out, "add_generation_prompt", *c.generation_prompt);
    for (const std::string& setting : c.settings) {
        const std::size_t equals = setting.find('=');
        if (equals == std::string::npos || equals == 0)
            skald::fail(skald::errc::invalid_argument, "--set", "'", printable(setting, 64), "' is not of the form NAME=JSON");
        put(out, setting.substr(0, equals), jinja::parse_json(std::string_view(setting).substr(equals + 1), "--set"));
    }
    return out;
}

/// YYYY-MM-DD, with THH:MM:SS behind it or without.
jinja::calendar_time read_date(const std::string& text) {
    jinja::calendar_time t;
    std::size_t at = 0;
    const auto number = [&](int& out, std::size_t digits, int least, int most, char before) {
        if (before != '\0' && (at >= text.size() || text[at++] != before)) return false;
        const char* from = text.data() + std::min(at, text.size());
        const auto [end, status] = std::from_chars(from, text.data() + std::min(at + digits, text.size()), out);
        at += digits;
        return status == std::errc{} && end == from + digits && out >= least && out <= most;
    };
    bool good = number(t.year, 4, 1, 9999, '\0') && number(t.month, 2, 1, 12, '-') && number(t.day, 2, 1, 31, '-');
    if (good && at < text.size())
        good = number(t.hour, 2, 0, 23, 'T') && number(t.minute, 2, 0, 59, ':') && number(t.second, 2, 0, 59, ':');
    if (!good || at != text.size() || t.day > jinja::detail::days_of_month(t.year, t.month))
        skald::fail(skald::errc::invalid_argument, "--date", "'", printable(text, 64), "' is no date as 2025-12-31 or 2025-12-31T23:59:59");
    return t;
}

}  // namespace

void render_template(const template_command& c) {
    const template_source source = read_source(c);
    std::vector<jinja::variable> variables{{"add_generation_prompt", true}, {"tools", {}}, {"documents", {}}};
    for (const auto& [name, text] : source.tokens) variables.push_back({name, text, true});
    for (auto& [name, value] : read_variables(c)) variables.push_back({name, std::move(value)});
    const jinja::calendar_time now = c.date.empty() ? jinja::local_now() : read_date(c.date);
    write(jinja::program::parse(source.text, c.path).render(variables, {.limits = {}, .now = now}).text());
}

}  // namespace cli
