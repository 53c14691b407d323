// SPDX-License-Identifier: MIT
#pragma once
// From tokens as a file writes them to the text they stand for: the steps that decoders are made of. What a token stands for depends on
// the token alone, but for what the first one of a text leaves out.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <skald/text/detail/byte_text.hpp>
#include <skald/text/detail/scored_tokens.hpp>
#include <skald/text/normalizer.hpp>

namespace skald::text {

/// Tokens are written in the byte alphabet.
struct byte_alphabet_decoder {};

/// Marks are spaces; in the first token, if `dropped_first`, nothing.
struct space_mark_decoder {
    std::string mark = "\u2581";
    bool dropped_first = true;
};

/// Tokens <0x00> to <0xFF> are bytes.
struct byte_token_decoder {};

/// The steps that follow see the whole text.
struct fuse_decoder {};

/// Takes up to so many of a character from each end.
struct strip_decoder {
    std::string character = " ";
    std::size_t start = 0, stop = 0;
};

/// Tokens with the prefix continue a word; the others start one, with a space before it. `cleanup` takes spaces before punctuation away.
struct word_decoder {
    std::string prefix = "##";
    bool cleanup = true;
};

/// The suffix ends a word.
struct suffix_decoder {
    std::string suffix = "</w>";
};

/// Words are divided by spaces: what a file without decoder means.
struct join_decoder {};

using decoder_step = std::variant<byte_alphabet_decoder, space_mark_decoder, byte_token_decoder, fuse_decoder, strip_decoder, word_decoder,
                                  suffix_decoder, join_decoder, replace_step>;

class decoder {
public:
    decoder() = default;  ///< tokens are text
    explicit decoder(std::vector<decoder_step> steps) : steps_(std::move(steps)) {}

    /// What a token stands for at the start of a text, or later.
    std::string piece(std::string_view token, bool first) const {
        std::string text(token);
        for (const decoder_step& s : steps_) {
            if (std::holds_alternative<fuse_decoder>(s)) break;
            std::visit([&](const auto& step) { apply(step, text, first); }, s);
            if (std::holds_alternative<byte_alphabet_decoder>(s)) break;  // it joins the tokens too
        }
        return text;
    }

    /// Whether the first token of a text may stand for something else there than later.
    bool minds_first() const noexcept {
        for (const decoder_step& s : steps_) {
            const auto* marks = std::get_if<space_mark_decoder>(&s);
            if ((marks != nullptr && marks->dropped_first) || std::holds_alternative<word_decoder>(s) ||
                std::holds_alternative<join_decoder>(s))
                return true;
        }
        return false;
    }

    /// What is left to do with the joined pieces of a text.
    void finish(std::string& text) const {
        bool joined = false;
        for (const decoder_step& s : steps_) {
            if (joined) std::visit([&](const auto& step) { apply(step, text, true); }, s);
            joined = joined || std::holds_alternative<fuse_decoder>(s) || std::holds_alternative<byte_alphabet_decoder>(s);
            if (std::holds_alternative<suffix_decoder>(s) && text.ends_with(' ')) text.pop_back();
        }
    }

private:
    static void replace_all(std::string& text, std::string_view what, std::string_view with) {
        if (what.empty()) return;
        std::string out;
        std::size_t at = 0;
        for (std::size_t next; (next = text.find(what, at)) != std::string::npos; at = next + what.size())
            out.append(text, at, next - at).append(with);
        text = out.append(text, at);
    }

    static void apply(const byte_alphabet_decoder&, std::string& text, bool) {
        std::string bytes;
        if (detail::append_bytes_of(text, bytes)) text = std::move(bytes);
    }
    static void apply(const space_mark_decoder& s, std::string& text, bool first) {
        replace_all(text, s.mark, first && s.dropped_first ? "" : " ");
    }
    static void apply(const byte_token_decoder&, std::string& text, bool) {
        if (const auto byte = detail::byte_of_token(text)) text.assign(1, static_cast<char>(*byte));
    }
    static void apply(const fuse_decoder&, std::string&, bool) {}
    static void apply(const strip_decoder& s, std::string& text, bool) {
        if (s.character.empty()) return;
        std::size_t begin = 0, end = text.size();
        for (std::size_t n = 0; n < s.start && std::string_view(text).substr(begin).starts_with(s.character); ++n)
            begin += s.character.size();
        for (std::size_t n = 0; n < s.stop && std::string_view(text).substr(begin, end - begin).ends_with(s.character); ++n)
            end -= s.character.size();
        text = text.substr(begin, end - begin);
    }
    static void apply(const word_decoder& s, std::string& text, bool first) {
        if (!first) {
            if (text.starts_with(s.prefix))
                text.erase(0, s.prefix.size());
            else
                text.insert(0, 1, ' ');
        }
        if (!s.cleanup) return;
        constexpr std::pair<std::string_view, std::string_view> written[] = {
            {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
            {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
        for (const auto& [from, to] : written) replace_all(text, from, to);
    }
    static void apply(const suffix_decoder& s, std::string& text, bool) { replace_all(text, s.suffix, " "); }
    static void apply(const join_decoder&, std::string& text, bool first) {
        if (!first) text.insert(0, 1, ' ');
    }
    static void apply(const replace_step& s, std::string& text, bool) { text = s.normalize(text); }

    std::vector<decoder_step> steps_;
};

}  // namespace skald::text
