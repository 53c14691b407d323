// SPDX-License-Identifier: MIT
#pragma once
// How a conversation becomes one text that a model was tuned on: the model's own chat template, run by jinja/, or for a model without
// one a template of ours. What people say stays text: tokens that mark structure are recognised in the template's own parts only, so
// that no message can forge a turn.
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/once.hpp>
#include <skald/core/types.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/jinja/program.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::text {

/// One message of a conversation. Roles are "system", "user", "assistant", "tool", or what else the model knows. `fields` are further
/// keys that its template may look for: tool_calls, reasoning_content, name; a `content` among them takes the place of the text.
struct message {
    std::string role, content;
    jinja::data_object fields{};
};

/// What a template gets beside the messages.
struct chat_options {
    bool add_generation_prompt = true;          ///< end where the assistant begins
    jinja::data tools{}, documents{};           ///< lists, or null
    jinja::data_object variables{};             ///< further ones, as enable_thinking
    std::optional<jinja::calendar_time> now{};  ///< the date that templates may show; the machine's if there is none
};

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

}  // namespace detail

/// A chat template with the model's tokens that it may name. Cheap to copy; its const members may be called from several threads.
class chat_format {
public:
    /// The format that a template's source gives; `place` names it in messages. With an empty source, one of ours that the vocabulary
    /// knows: chatml, llama-3, llama-2 or plain lines. A template that cannot be parsed is refused when it is used, not here.
    chat_format(std::string_view source, const tokenizer& t, std::string_view place = "chat template") {
        const auto name_token = [&](std::string_view name, token_id id) {
            if (id >= 0) tokens_.emplace_back(name, t.piece(id));
        };
        name_token("bos_token", t.bos());
        name_token("eos_token", t.eos());
        name_ = place;
        if (source.empty()) {
            const detail::built_in_format& format = built_in(t);
            name_ = format.name;
            source = format.source;
        }
        try {
            program_ = std::make_shared<const jinja::program>(jinja::program::parse(source, name_));
        } catch (const error& e) {
            why_not_ = e.what();
        }
    }

    /// The format of a GGUF file: its key tokenizer.chat_template, or tokenizer.chat_template.NAME.
    static chat_format from_gguf(const io::metadata& meta, const tokenizer& t, std::string_view name = {}) {
        return chat_format(gguf_template(meta, name), t, "tokenizer.chat_template");
    }

    /// The source in a GGUF file; empty if there is none.
    static std::string_view gguf_template(const io::metadata& meta, std::string_view name = {}) {
        const std::string key = name.empty() ? "tokenizer.chat_template" : concat("tokenizer.chat_template.", name);
        return meta.get<std::string_view>(key).value_or("");
    }

    /// The template's name, for a format of ours chatml, llama-3, llama-2 or plain.
    const std::string& name() const noexcept { return name_; }

    /// Text after which an answer is over though no token says so; empty for all formats but plain.
    std::string_view stop_string() const noexcept { return name_ == "plain" ? "\nUser:" : ""; }

    /// The conversation as text with marks: the template's own parts trusted, what messages and options say not. Throws
    /// errc::unsupported for a template that cannot be parsed, and what jinja::program::render throws.
    jinja::marked_text render(std::span<const message> messages, const chat_options& options = {}) const {
        if (!program_)
            fail(errc::unsupported, "chat", "the model's chat template cannot be used: ", why_not_, "; render the conversation yourself");
        std::vector<jinja::variable> variables;
        variables.push_back({"messages", as_data(messages)});
        variables.push_back({"add_generation_prompt", options.add_generation_prompt});
        variables.push_back({"tools", options.tools});
        variables.push_back({"documents", options.documents});
        for (const auto& [name, text] : tokens_) variables.push_back({name, text, true});
        for (const auto& [name, v] : options.variables) variables.push_back({name, v});
        return program_->render(variables, {.limits = {}, .now = options.now ? *options.now : jinja::local_now()});
    }

private:
    static const detail::built_in_format& built_in(const tokenizer& t) {
        const detail::built_in_format* format = std::begin(detail::built_in_formats);
        while (!format->token.empty() && t.find(format->token) < 0) ++format;
        return *format;
    }

    static jinja::data as_data(std::span<const message> messages) {
        jinja::data_list out;
        for (const message& m : messages) {
            jinja::data_object object{{"role", m.role}};
            if (jinja::find(m.fields, "content") == nullptr) object.emplace_back("content", m.content);
            object.insert(object.end(), m.fields.begin(), m.fields.end());
            out.emplace_back(std::move(object));
        }
        return out;
    }

    std::string name_, why_not_;
    std::vector<std::pair<std::string, std::string>> tokens_;  // bos_token and eos_token
    std::shared_ptr<const jinja::program> program_;
};

/// The tokens of a conversation. Control tokens come from the template alone. The BOS token stands first where the model expects it,
/// once, whether or not the template writes it.
template <class = once>
std::vector<token_id> encode_chat(const tokenizer& t, const chat_format& format, std::span<const message> messages,
                                  const chat_options& options = {}) {
    const jinja::marked_text text = format.render(messages, options);
    const bool has_bos = t.bos() >= 0 && !text.empty() && text.trusted(0) && text.text().starts_with(t.piece(t.bos()));
    return t.encode(text.segments(), {.add_bos = t.add_bos() && !has_bos});
}

SKALD_ONCE(std::vector<token_id> encode_chat<>(const tokenizer&, const chat_format&, std::span<const message>, const chat_options&))

}  // namespace skald::text
