// SPDX-License-Identifier: MIT
#pragma once
// Conversations to text and tokens: what chat_format.hpp declares.
#include <cstddef>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/text/chat_format.hpp>

namespace skald::text {

namespace detail {

/// Formats of models whose files have no template, by a token that only their vocabularies have.
struct built_in_format {
    std::string_view name, token, source;
};

inline constexpr built_in_format built_in_formats[] = {
    {"chatml", "<|im_start|>",
     "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"llama-3", "<|start_header_id|>",
     "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"},
    {"llama-2", "[INST]",
     "{% set ns = namespace(system='', first=true) %}{% for m in messages %}"
     "{% if m.role == 'user' %}"
     "{{ ('' if ns.first else bos_token) ~ '[INST] ' ~ ns.system ~ m.content | trim ~ ' [/INST]' }}"
     "{% set ns.system = '' %}{% set ns.first = false %}"
     "{% elif m.role == 'assistant' %}{{ ' ' ~ m.content | trim ~ ' ' ~ eos_token }}"
     "{% elif m.role == 'system' and loop.first %}{% set ns.system = '<<SYS>>\n' + m.content + '\n<</SYS>>\n\n' %}"
     "{% else %}{{ raise_exception('llama-2 has no place for a message of role ' + m.role + ' here') }}{% endif %}{% endfor %}"},
    {"plain", "",
     "{% for m in messages %}{% if m.role == 'system' %}{{ m.content | trim + '\n\n' }}"
     "{% else %}{{ m.role | capitalize + ': ' + m.content | trim + '\n' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"},
};

inline const built_in_format& built_in_format_for(const tokenizer& t) {
    const built_in_format* format = std::begin(built_in_formats);
    while (!format->token.empty() && t.find(format->token) < 0) ++format;
    return *format;
}

inline jinja::data as_data(std::span<const message> messages) {
    jinja::data_list out;
    for (const message& m : messages) {
        jinja::data_object object{{"role", m.role}};
        if (jinja::find(m.fields, "content") == nullptr) object.emplace_back("content", m.content);
        object.insert(object.end(), m.fields.begin(), m.fields.end());
        out.emplace_back(std::move(object));
    }
    return out;
}

}  // namespace detail

SKALD_FUNCTION chat_format::chat_format(std::string_view source, const tokenizer& t, std::string_view place) {
    const auto name_token = [&](std::string_view name, token_id id) {
        if (id >= 0) tokens_.emplace_back(name, t.piece(id));
    };
    name_token("bos_token", t.bos());
    name_token("eos_token", t.eos());
    name_ = place;
    if (source.empty()) {
        const detail::built_in_format& format = detail::built_in_format_for(t);
        name_ = format.name;
        source = format.source;
    }
    try {
        program_ = std::make_shared<const jinja::program>(jinja::program::parse(source, name_));
    } catch (const error& e) {
        why_not_ = e.what();
    }
}

SKALD_FUNCTION jinja::marked_text chat_format::render(std::span<const message> messages, const chat_options& options) const {
    if (!program_)
        fail(errc::unsupported, "chat", "the model's chat template cannot be used: ", why_not_, "; render the conversation yourself");
    std::vector<jinja::variable> variables;
    variables.push_back({"messages", detail::as_data(messages)});
    variables.push_back({"add_generation_prompt", options.add_generation_prompt});
    variables.push_back({"tools", options.tools});
    variables.push_back({"documents", options.documents});
    for (const auto& [name, text] : tokens_) variables.push_back({name, text, true});
    for (const auto& [name, v] : options.variables) variables.push_back({name, v});
    return program_->render(variables, {.limits = {}, .now = options.now ? *options.now : jinja::local_now()});
}

SKALD_FUNCTION std::vector<token_id> encode_chat(const tokenizer& t, const chat_format& format, std::span<const message> messages,
                                                 const chat_options& options) {
    const jinja::marked_text text = format.render(messages, options);
    const bool has_bos = t.bos() >= 0 && !text.empty() && text.trusted(0) && text.text().starts_with(t.piece(t.bos()));
    return t.encode(text.segments(), {.add_bos = t.add_bos() && !has_bos});
}

}  // namespace skald::text
