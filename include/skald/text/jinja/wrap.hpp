// SPDX-License-Identifier: MIT
#pragma once
// Lines of limited width, as Python's textwrap makes them for the filter wordwrap.
#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/characters.hpp>
#include <skald/text/jinja/marked_text.hpp>
#include <skald/text/jinja/strings.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

struct wrap_options {
    std::size_t width;
    bool break_long_words, break_on_hyphens;
};

/// Cuts a line into blanks, words and parts of hyphenated words.
class word_cutter {
public:
    word_cutter(std::string_view line, bool hyphens) : hyphens_(hyphens) {
        for (std::size_t at = 0; at < line.size();) {
            const auto u = text::detail::unit_at(line, at);
            codes_.push_back(u.code);
            starts_.push_back(at);
            at += u.length;
        }
        starts_.push_back(line.size());
    }

    /// The byte ranges of the parts.
    std::vector<std::pair<std::size_t, std::size_t>> run() const {
        std::vector<std::pair<std::size_t, std::size_t>> out;
        for (std::size_t i = 0; i < codes_.size();) {
            const std::size_t end = part_end(i);
            out.emplace_back(starts_[i], starts_[end]);
            i = end;
        }
        return out;
    }

private:
    char32_t code(std::size_t i) const { return i < codes_.size() ? codes_[i] : U' '; }
    static bool is_blank(char32_t c) { return c == ' ' || (c >= 9 && c <= 13); }
    bool word(std::size_t i) const {
        return i < codes_.size() && (code(i) == '_' || (class_of(code(i)) & (py_alpha | py_decimal | py_digit | py_numeric)));
    }
    bool letter(std::size_t i) const { return word(i) && !(class_of(code(i)) & py_decimal); }
    bool word_or_mark(std::size_t i) const {
        return word(i) || (i < codes_.size() && std::u32string_view(U"!\"'&.,?").find(code(i)) != std::u32string_view::npos);
    }

    std::size_t dashes(std::size_t i) const {
        std::size_t n = 0;
        while (code(i + n) == '-') ++n;
        return n;
    }
    /// Whether a dash of several hyphens between words starts at i.
    bool long_dash(std::size_t i) const { return i > 0 && word_or_mark(i - 1) && dashes(i) >= 2 && word(i + dashes(i)); }

    std::size_t part_end(std::size_t i) const {
        std::size_t end = i;
        if (is_blank(code(i))) {
            while (end < codes_.size() && is_blank(code(end))) ++end;
            return end;
        }
        if (hyphens_ && long_dash(i)) return i + dashes(i);
        for (end = i + 1; end < codes_.size() && !is_blank(code(end)); ++end) {
            if (!hyphens_) continue;
            if (long_dash(end)) return end;
            const bool before = end >= 2 && letter(end - 1) && (letter(end - 2) || (end >= 3 && code(end - 2) == '-' && letter(end - 3)));
            const bool behind = letter(end + 1) && (letter(end + 2) || (code(end + 2) == '-' && letter(end + 3)));
            if (code(end) == '-' && before && behind) return end + 1;
        }
        return end;
    }

    bool hyphens_;
    std::vector<char32_t> codes_;
    std::vector<std::size_t> starts_;
};

/// The lines of a text without line breaks.
inline std::vector<marked_text> wrapped(const marked_text& text, const wrap_options& options) {
    std::vector<marked_text> chunks, lines;
    for (const auto& [from, to] : word_cutter(text.text(), options.break_on_hyphens).run()) chunks.push_back(text.slice(from, to));
    std::reverse(chunks.begin(), chunks.end());  // the next one stands last
    const auto is_blank = [](const marked_text& t) { return space_at(t.text(), 0) == t.size(); };
    while (!chunks.empty()) {
        std::vector<marked_text> line;
        std::size_t used = 0;
        if (!lines.empty() && is_blank(chunks.back())) chunks.pop_back();
        while (!chunks.empty()) {
            const std::size_t n = count_characters(chunks.back().text());
            if (used + n > options.width) break;
            line.push_back(std::move(chunks.back()));
            chunks.pop_back();
            used += n;
        }
        if (!chunks.empty() && count_characters(chunks.back().text()) > options.width) {
            if (options.break_long_words) {
                marked_text& whole = chunks.back();
                const characters all(whole.text());
                const std::size_t cut = all.start(options.width - used);
                line.push_back(whole.slice(0, cut));
                whole = whole.slice(cut, whole.size());
            } else if (line.empty()) {
                line.push_back(std::move(chunks.back()));
                chunks.pop_back();
            }
        }
        if (!line.empty() && is_blank(line.back())) line.pop_back();
        if (!line.empty()) lines.push_back(joined_with({}, line));
    }
    return lines;
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
