// SPDX-License-Identifier: MIT
#pragma once
// How a conversation becomes one text that a model was tuned on: the model's own chat template, run by jinja/, or for a model without
// one a template of ours. What people say stays text: tokens that mark structure are recognised in the template's own parts only, so
// that no message can forge a turn.
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

/// A chat template with the model's tokens that it may name. Cheap to copy; its const members may be called from several threads.
class chat_format {
public:
    /// The format that a template's source gives; `place` names it in messages. With an empty source, one of ours that the vocabulary
    /// knows: chatml, llama-3, llama-2 or plain lines. A template that cannot be parsed is refused when it is used, not here.
    chat_format(std::string_view source, const tokenizer& t, std::string_view place = "chat template");

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
    jinja::marked_text render(std::span<const message> messages, const chat_options& options = {}) const;

private:
    std::string name_, why_not_;
    std::vector<std::pair<std::string, std::string>> tokens_;  // bos_token and eos_token
    std::shared_ptr<const jinja::program> program_;
};

/// The tokens of a conversation. Control tokens come from the template alone. The BOS token stands first where the model expects it,
/// once, whether or not the template writes it.
SKALD_FUNCTION std::vector<token_id> encode_chat(const tokenizer& t, const chat_format& format, std::span<const message> messages,
                                                 const chat_options& options = {});

}  // namespace skald::text

#if SKALD_DEFINES
#include <skald/text/chat_format_impl.hpp>
#endif
