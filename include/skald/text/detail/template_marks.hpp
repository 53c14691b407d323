// SPDX-License-Identifier: MIT
#pragma once
// What can be read off a chat template without running it.
#include <cstddef>
#include <string>
#include <string_view>

namespace skald::text::detail {

/// Without white space at both ends, as the filter `trim` of templates leaves it (ASCII).
constexpr std::string_view trim(std::string_view text) noexcept {
    constexpr std::string_view white = " \t\n\v\f\r";
    const std::size_t first = text.find_first_not_of(white);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(white) - first + 1);
}

/// The text up to <|im_end|> of a string literal of a template, from `at`; empty if the literal ends before or is empty.
inline std::string literal_to_im_end(std::string_view source, std::size_t at) {
    std::string out;
    const std::size_t end = source.find("<|im_end|>", at);
    if (end == std::string_view::npos) return {};
    for (; at < end; ++at) {
        const char c = source[at];
        if (c == '\'' || c == '"' || c == '{' || c == '}') return {};
        if (c != '\\') {
            out += c;
            continue;
        }
        if (++at == end) return {};
        if (source[at] == 'n')
            out += '\n';
        else if (source[at] == '\'' || source[at] == '"' || source[at] == '\\')
            out += source[at];
        else
            return {};
    }
    return out;
}

/// The system message that a chatml template gives conversations without one: the first constant text it writes between
/// <|im_start|>system and <|im_end|>. Empty if there is none.
inline std::string default_system_of(std::string_view chat_template) {
    constexpr std::string_view mark = "<|im_start|>system";
    for (std::size_t at = 0; (at = chat_template.find(mark, at)) != std::string_view::npos;) {
        at += mark.size();
        const std::string_view rest = chat_template.substr(at);
        const std::size_t line_end = rest.starts_with("\\n") ? 2 : rest.starts_with("\n") ? 1 : 0;
        if (line_end == 0) continue;
        if (std::string text = literal_to_im_end(chat_template, at + line_end); !text.empty()) return text;
    }
    return {};
}

}  // namespace skald::text::detail
