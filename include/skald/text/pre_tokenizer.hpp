// SPDX-License-Identifier: MIT
#pragma once
// Pre-tokenizers: how a text is divided into words, each of which the model makes tokens of by itself. A pre-tokenizer is a list of
// steps; each divides or rewrites what the step before left. The divisions are those of Hugging Face's tokenizers. Bytes that are no
// UTF-8 count as symbols, each by itself.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <skald/text/detail/byte_text.hpp>
#include <skald/text/detail/code_point_set.hpp>
#include <skald/text/pattern.hpp>

namespace skald::text {

/// What becomes of a pattern's matches in a division.
enum class split_behavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

/// Divides by the matches of a pattern; `inverted`, by what lies between them.
struct split_step {
    pattern by;
    split_behavior behavior = split_behavior::isolated;
    bool inverted = false;
};

/// Puts a space before texts that do not start with one.
struct prefix_space_step {};

/// Writes spaces as `mark`, and puts one before texts that do not start with one.
struct space_mark_step {
    enum class where { never, first, always };  // first: at the start of the whole text only

    std::string mark = "\u2581";
    where prefix = where::always;
};

/// Writes bytes in the byte alphabet for the steps that follow. Words arrive as bytes again; only what a step divides by may differ.
struct byte_alphabet_step {};

/// Cuts every `length` code points.
struct chunk_step {
    std::size_t length = 5;
};

using pre_tokenizer_step = std::variant<split_step, prefix_space_step, space_mark_step, byte_alphabet_step, chunk_step>;

/// The steps of a division. Const members may be called from several threads.
struct pre_tokenizer {
    std::string name;  ///< as a file calls it; empty if it has no name
    std::vector<pre_tokenizer_step> steps{};
};

/// A pre-tokenizer at work, with its scratch memory. The pre-tokenizer must outlive it.
class text_divider {
public:
    explicit text_divider(const pre_tokenizer& p) : pre_(&p), written_(p.steps.size() + 1) {
        for (const pre_tokenizer_step& s : p.steps) {
            matchers_.emplace_back();
            if (const auto* split = std::get_if<split_step>(&s)) matchers_.back().emplace(split->by);
            in_alphabet_ |= std::holds_alternative<byte_alphabet_step>(s);
        }
    }

    /// Calls `emit(std::string_view)` for each word of a text, in order; never for an empty one. `first`: the text is the start of
    /// the whole. Cost: linear.
    template <class Emit>
    void divide(std::string_view text, bool first, Emit&& emit) {
        if (!text.empty()) from_step(0, text, first, emit);
    }

private:
    template <class Emit>
    void from_step(std::size_t step, std::string_view text, bool first, Emit& emit) {
        std::string& written = written_[step];
        if (step == pre_->steps.size()) {
            written.clear();
            emit(in_alphabet_ && detail::append_bytes_of(text, written) ? std::string_view(written) : text);
            return;
        }
        const char* start = text.data();
        const auto pass_on = [&](std::string_view part) {
            if (!part.empty()) from_step(step + 1, part, first && part.data() == start, emit);
        };
        const pre_tokenizer_step& s = pre_->steps[step];
        if (const auto* split = std::get_if<split_step>(&s)) {
            divide_by(*split, *matchers_[step], text, pass_on);
        } else if (const auto* chunks = std::get_if<chunk_step>(&s)) {
            for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
                for (std::size_t n = 0; n < chunks->length && end < text.size(); ++n) end += detail::code_unit_at(text, end).length;
                pass_on(text.substr(at, end - at));
            }
        } else if (const auto* marks = std::get_if<space_mark_step>(&s)) {
            written.clear();
            const bool prefix =
                marks->prefix == space_mark_step::where::always || (marks->prefix == space_mark_step::where::first && first);
            if (prefix && text[0] != ' ' && !text.starts_with(marks->mark)) written += marks->mark;
            for (const char c : text) c == ' ' ? written += marks->mark : written += c;
            start = written.data();
            pass_on(written);
        } else if (std::holds_alternative<byte_alphabet_step>(s)) {
            written.clear();
            for (const char c : text) detail::append_in_byte_alphabet(static_cast<unsigned char>(c), written);
            start = written.data();
            pass_on(written);
        } else if (text[0] == ' ') {
            pass_on(text);
        } else {
            written.assign(1, ' ').append(text);
            start = written.data();
            pass_on(written);
        }
    }

    template <class Emit>
    static void divide_by(const split_step& s, pattern_matcher& matcher, std::string_view text, Emit& emit) {
        std::size_t open = 0, end = 0;  // what is held back, to grow: [open, end)
        bool last = false;              // whether the part before was a match
        const auto release = [&] {
            emit(text.substr(open, end - open));
            open = end;
        };
        const auto part = [&](std::size_t to, bool match) {
            switch (s.behavior) {
                case split_behavior::isolated: release(); break;
                case split_behavior::removed:
                    if (last)
                        open = end;
                    else
                        release();
                    break;
                case split_behavior::contiguous:
                    if (match != last) release();
                    break;
                case split_behavior::merged_with_previous:
                    if (!match || last) release();
                    break;
                case split_behavior::merged_with_next:
                    if (match || !last) release();
                    break;
            }
            end = to;
            last = match;
        };
        matcher.reset(text);
        std::size_t at = 0;
        for (text_range m; matcher.next(m); at = m.end) {
            if (at < m.begin) part(m.begin, s.inverted);
            part(m.end, !s.inverted);
        }
        if (at < text.size()) part(text.size(), s.inverted);
        if (s.behavior != split_behavior::removed || !last) release();
    }

    const pre_tokenizer* pre_;
    std::vector<std::optional<pattern_matcher>> matchers_;  // of each step that divides
    std::vector<std::string> written_;                      // by each step that rewrites, and at the end
    bool in_alphabet_ = false;
};

}  // namespace skald::text
