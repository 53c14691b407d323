// SPDX-License-Identifier: MIT
#pragma once
// Where a Hugging Face folder keeps its chat templates, and the tokens they name.
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/json_file.hpp>

namespace skald::text {

/// The source of a folder's chat template, empty if it has none: chat_template.jinja, else what tokenizer_config.json has under
/// chat_template, else chat_template.json. With a name, that of additional_chat_templates/NAME.jinja or of the list in
/// tokenizer_config.json. Throws errc::bad_file for files that are malformed.
inline std::string hf_chat_template(const io::hf_folder& folder, std::string_view name = {}) {
    if (name.find_first_of("/\\.") != std::string_view::npos)
        fail(errc::invalid_argument, "chat template", io::detail::in_quotes(name), " is no name of a template");
    const std::string file = name.empty() ? "chat_template.jinja" : concat("additional_chat_templates/", name, ".jinja");
    if (auto source = folder.text(file)) return *std::move(source);
    for (const std::string_view config : {"tokenizer_config.json", "chat_template.json"}) {
        const auto json = folder.read_if_there(config);
        if (!json) continue;
        const io::json_object all(*json, folder.name_of(config));
        const nlohmann::json* found = all.find("chat_template");
        if (found == nullptr) continue;
        if (!found->is_string() && !found->is_array()) all.refuse("chat_template", "a template or a list of named ones");
        if (found->is_string() && name.empty()) return found->get<std::string>();
        if (!found->is_array()) continue;
        for (const nlohmann::json& entry : *found) {
            const io::json_object one(entry, folder.name_of(config), "chat_template");
            if (one.require<std::string>("name") == (name.empty() ? "default" : name)) return one.require<std::string>("template");
        }
    }
    return {};
}

/// The texts of bos_token and eos_token in tokenizer_config.json, by these names; those that are not there are left out.
inline std::vector<std::pair<std::string, std::string>> hf_chat_tokens(const io::hf_folder& folder) {
    std::vector<std::pair<std::string, std::string>> out;
    const auto json = folder.read_if_there("tokenizer_config.json");
    if (!json) return out;
    const io::json_object all(*json, folder.name_of("tokenizer_config.json"));
    for (const char* name : {"bos_token", "eos_token"}) {
        const nlohmann::json* token = all.find(name);
        if (token == nullptr) continue;
        const bool is_text = token->is_string();
        out.emplace_back(name, is_text ? token->get<std::string>() : all.object(name)->require<std::string>("content"));
    }
    return out;
}

}  // namespace skald::text
