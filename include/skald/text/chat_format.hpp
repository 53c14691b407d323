// SPDX-License-Identifier: MIT
#pragma once
// How a conversation becomes one text that a model was tuned on. The usual formats are written here by hand and recognised by
// the marks in a file's chat template; the template itself is not run. What people say stays text: tokens that mark structure
// are recognised in the format's own parts only, so that no message can forge a turn.
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/detail/template_marks.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::text {

/// One message of a conversation. Roles are "system", "user", "assistant", or what else the model knows.
struct message {
    std::string role, content;
};

enum class chat_style {
    plain,    ///< `User: …`, `Assistant: …` in lines: for models that were never tuned to chat
    chatml,   ///< <|im_start|>role … <|im_end|>: SmolLM2, Qwen and many others
    llama_2,  ///< [INST] … [/INST], with <<SYS>>
    llama_3,  ///< <|start_header_id|>role<|end_header_id|> … <|eot_id|>
    unknown,  ///< a file's template is none of these
};

constexpr std::string_view to_string(chat_style style) noexcept {
    switch (style) {
        case chat_style::plain: return "plain";
        case chat_style::chatml: return "chatml";
        case chat_style::llama_2: return "llama-2";
        case chat_style::llama_3: return "llama-3";
        case chat_style::unknown: break;
    }
    return "unknown";
}

/// A style and its details for one model.
class chat_format {
public:
    /// `default_system` is said at the start of conversations without a system message, if it is not empty (chatml). `bos` and
    /// `eos` are the texts between turns of llama-2.
    explicit chat_format(chat_style style, std::string default_system = {}, std::string bos = "<s>", std::string eos = "</s>")
        : style_(style), default_system_(std::move(default_system)), bos_(std::move(bos)), eos_(std::move(eos)) {}

    /// The format of a GGUF file: by the key tokenizer.chat_template or, without it, by the tokens of the vocabulary.
    static chat_format from_gguf(const io::metadata& meta, const tokenizer& t) {
        return recognise(meta.get<std::string_view>("tokenizer.chat_template").value_or(""), t);
    }

    /// The format that a template asks for; with an empty template, that of the vocabulary.
    static chat_format recognise(std::string_view chat_template, const tokenizer& t) {
        const auto has = [&](std::string_view mark) {
            return chat_template.empty() ? t.find(mark) >= 0 : chat_template.find(mark) != std::string_view::npos;
        };
        if (has("<|im_start|>")) return chat_format(chat_style::chatml, detail::default_system_of(chat_template));
        if (has("<|start_header_id|>")) return chat_format(chat_style::llama_3);
        if (has("[INST]") && has("<<SYS>>")) {
            const auto text_of = [&](token_id id) { return std::string(id < 0 ? std::string_view() : t.piece(id)); };
            return chat_format(chat_style::llama_2, {}, text_of(t.bos()), text_of(t.eos()));
        }
        return chat_format(chat_template.empty() ? chat_style::plain : chat_style::unknown);
    }

    chat_style style() const noexcept { return style_; }
    const std::string& default_system() const noexcept { return default_system_; }

    /// Text after which an answer is over though no token says so; empty for all styles but plain.
    std::string_view stop_string() const noexcept { return style_ == chat_style::plain ? "\nUser:" : ""; }

    /// The conversation in parts, the format's own trusted and the messages' not; with a generation prompt the last part begins
    /// the assistant's answer. A BOS token at the very start is not part of it. Views into the format and the messages.
    /// Throws errc::unsupported for the style unknown, errc::invalid_argument for a role that llama-2 has no place for.
    std::vector<text_segment> segments(std::span<const message> messages, bool add_generation_prompt) const {
        std::vector<text_segment> out;
        const auto mark = [&](std::string_view text) { out.push_back({text, true}); };
        const auto say = [&](std::string_view text) { out.push_back({text, false}); };
        switch (style_) {
            case chat_style::plain: plain(messages, add_generation_prompt, say); break;
            case chat_style::chatml: chatml(messages, add_generation_prompt, mark, say); break;
            case chat_style::llama_2: llama_2(messages, mark, say); break;
            case chat_style::llama_3: llama_3(messages, add_generation_prompt, mark, say); break;
            case chat_style::unknown:
                fail(errc::unsupported, "chat",
                     "the model's chat template is none that this version knows (chatml, llama-2, llama-3); render the conversation "
                     "yourself");
        }
        return out;
    }

    /// The conversation as one text. Encoded with parse_special it would let messages forge turns: see encode_chat.
    std::string render(std::span<const message> messages, bool add_generation_prompt) const {
        std::string out;
        for (const text_segment& s : segments(messages, add_generation_prompt)) out += s.text;
        return out;
    }

private:
    template <class Say>
    static void plain(std::span<const message> messages, bool open, Say say) {
        for (const message& m : messages) {
            if (m.role == "user")
                say("User: ");
            else if (m.role == "assistant")
                say("Assistant: ");
            else if (m.role != "system") {
                say(m.role);
                say(": ");
            }
            say(detail::trim(m.content));
            say(m.role == "system" ? "\n\n" : "\n");
        }
        if (open) say("Assistant:");
    }

    template <class Mark, class Say>
    void chatml(std::span<const message> messages, bool open, Mark mark, Say say) const {
        if (!messages.empty() && messages[0].role != "system" && !default_system_.empty()) {
            mark("<|im_start|>system\n");
            say(default_system_);
            mark("<|im_end|>\n");
        }
        for (const message& m : messages) {
            mark("<|im_start|>");
            say(m.role);
            mark("\n");
            say(m.content);
            mark("<|im_end|>\n");
        }
        if (open) mark("<|im_start|>assistant\n");
    }

    template <class Mark, class Say>
    static void llama_3(std::span<const message> messages, bool open, Mark mark, Say say) {
        for (const message& m : messages) {
            mark("<|start_header_id|>");
            say(m.role);
            mark("<|end_header_id|>\n\n");
            say(detail::trim(m.content));
            mark("<|eot_id|>");
        }
        if (open) mark("<|start_header_id|>assistant<|end_header_id|>\n\n");
    }

    /// [INST] ends where the assistant begins: a generation prompt adds nothing.
    template <class Mark, class Say>
    void llama_2(std::span<const message> messages, Mark mark, Say say) const {
        const message* system = nullptr;
        bool first = true;
        for (const message& m : messages) {
            if (m.role == "user") {
                if (!first) mark(bos_);
                mark("[INST] ");
                if (system != nullptr) {
                    mark("<<SYS>>\n");
                    say(system->content);
                    mark("\n<</SYS>>\n\n");
                    system = nullptr;
                }
                say(detail::trim(m.content));
                mark(" [/INST]");
                first = false;
            } else if (m.role == "assistant") {
                mark(" ");
                say(detail::trim(m.content));
                mark(" ");
                mark(eos_);
            } else if (m.role == "system" && &m == messages.data()) {
                system = &m;
            } else {
                fail(errc::invalid_argument, "chat", "llama-2 has no place for a message of role ", io::detail::in_quotes(m.role), " here");
            }
        }
    }

    chat_style style_;
    std::string default_system_, bos_, eos_;
};

/// The tokens of a conversation, with the BOS token first where the model expects it. Control tokens come from the format alone.
inline std::vector<token_id> encode_chat(const tokenizer& t, const chat_format& format, std::span<const message> messages,
                                         bool add_generation_prompt) {
    return t.encode(format.segments(messages, add_generation_prompt), {.add_bos = t.add_bos()});
}

}  // namespace skald::text
