// SPDX-License-Identifier: MIT
#pragma once
// What Python's str can do, on text with marks. All of it is linear in the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/characters.hpp>
#include <skald/text/jinja/marked_text.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

/// Finds a text in others, in linear time (Knuth, Morris and Pratt 1977).
class searcher {
public:
    explicit searcher(std::string_view what) : what_(what), borders_(what.size() > short_text ? what.size() : 0) {
        for (std::size_t i = 1, n = 0; i < borders_.size(); ++i) {
            while (n > 0 && what_[i] != what_[n]) n = borders_[n - 1];
            if (what_[i] == what_[n]) ++n;
            borders_[i] = n;
        }
    }

    /// Where the text first stands at or behind `from`, or npos.
    std::size_t find(std::string_view in, std::size_t from = 0) const noexcept {
        if (borders_.empty()) return in.find(what_, from);
        for (std::size_t i = from, n = 0; i < in.size(); ++i) {
            while (n > 0 && in[i] != what_[n]) n = borders_[n - 1];
            if (in[i] == what_[n]) ++n;
            if (n == what_.size()) return i + 1 - n;
        }
        return std::string_view::npos;
    }

    std::size_t size() const noexcept { return what_.size(); }

private:
    static constexpr std::size_t short_text = 32;  // below, the plain search is fast enough

    std::string_view what_;
    std::vector<std::size_t> borders_;
};

/// All places of `what`, not overlapping, from the left; `what` is not empty.
inline std::vector<std::size_t> places_of(std::string_view what, std::string_view in) {
    const searcher s(what);
    std::vector<std::size_t> out;
    for (std::size_t at = s.find(in); at != std::string_view::npos; at = s.find(in, at + what.size())) out.push_back(at);
    return out;
}

/// The same from the right. Searches the texts backwards.
inline std::vector<std::size_t> places_from_right(std::string_view what, std::string_view in) {
    const std::string reversed_what(what.rbegin(), what.rend()), reversed_in(in.rbegin(), in.rend());
    std::vector<std::size_t> out = places_of(reversed_what, reversed_in);
    for (std::size_t& at : out) at = in.size() - at - what.size();
    std::reverse(out.begin(), out.end());
    return out;
}

enum class side : unsigned { left = 1, right = 2, both = 3 };

/// Without the characters of `chars` at the ends; without white space if there are none given.
inline marked_text stripped(const marked_text& text, std::optional<std::string_view> chars, side from) {
    const std::string_view all = text.text();
    std::vector<char32_t> set;
    if (chars)
        for (std::size_t at = 0; at < chars->size();) {
            const auto u = text::detail::unit_at(*chars, at);
            set.push_back(u.code);
            at += u.length;
        }
    const auto goes = [&](char32_t c) { return chars ? std::find(set.begin(), set.end(), c) != set.end() : detail::is_space(c); };
    std::size_t first = 0, last = all.size();
    if (static_cast<unsigned>(from) & 1)
        while (first < last) {
            const auto u = text::detail::unit_at(all, first);
            if (!goes(u.code)) break;
            first += u.length;
        }
    if (static_cast<unsigned>(from) & 2)
        while (first < last) {
            const std::size_t at = detail::before(all, last);
            if (!goes(text::detail::unit_at(all, at).code)) break;
            last = at;
        }
    return text.slice(first, last);
}

/// split(), of at most `most` cuts (negative: all): at white space, or at `separator`, which is not empty.
inline std::vector<marked_text> split(const marked_text& text, std::optional<std::string_view> separator, std::int64_t most) {
    std::vector<marked_text> out;
    const auto full = [&] { return most >= 0 && out.size() >= static_cast<std::size_t>(most); };
    const std::string_view all = text.text();
    std::size_t from = 0;
    if (separator) {
        for (const std::size_t at : places_of(*separator, all)) {
            if (full()) break;
            out.push_back(text.slice(from, at));
            from = at + separator->size();
        }
        out.push_back(text.slice(from, all.size()));
        return out;
    }
    for (from = detail::space_at(all, 0); from < all.size();) {
        std::size_t to = from;
        while (to < all.size()) {
            const auto u = text::detail::unit_at(all, to);
            if (detail::is_space(u.code)) break;
            to += u.length;
        }
        if (full()) {
            out.push_back(text.slice(from, all.size()));
            break;
        }
        out.push_back(text.slice(from, to));
        from = to + detail::space_at(all, to);
    }
    return out;
}

/// rsplit(): as split, cutting from the right.
inline std::vector<marked_text> split_from_right(const marked_text& text, std::optional<std::string_view> separator, std::int64_t most) {
    if (most < 0) return split(text, separator, most);
    std::vector<marked_text> out;
    const auto full = [&] { return out.size() >= static_cast<std::size_t>(most); };
    const std::string_view all = text.text();
    std::size_t to = all.size();
    if (separator) {
        const auto places = places_from_right(*separator, all);
        for (auto at = places.rbegin(); at != places.rend() && !full(); ++at) {
            out.push_back(text.slice(*at + separator->size(), to));
            to = *at;
        }
        out.push_back(text.slice(0, to));
    } else {
        for (to = detail::stripped_right(all).size(); to > 0;) {
            std::size_t from = to;
            while (from > 0) {
                const std::size_t at = detail::before(all, from);
                if (detail::is_space(text::detail::unit_at(all, at).code)) break;
                from = at;
            }
            out.push_back(text.slice(full() ? 0 : from, to));
            if (out.size() > static_cast<std::size_t>(most)) break;
            to = detail::stripped_right(all.substr(0, from)).size();
        }
    }
    std::reverse(out.begin(), out.end());
    return out;
}

inline std::vector<marked_text> split_lines(const marked_text& text, bool keep_ends = false) {
    std::vector<marked_text> out;
    const std::string_view all = text.text();
    std::size_t from = 0;
    for (std::size_t at = 0; at < all.size();) {
        const auto u = text::detail::unit_at(all, at);
        std::size_t next = at + u.length;
        if (detail::is_line_break(u.code)) {
            if (u.code == '\r' && next < all.size() && all[next] == '\n') ++next;
            out.push_back(text.slice(from, keep_ends ? next : at));
            from = next;
        }
        at = next;
    }
    if (from < all.size()) out.push_back(text.slice(from, all.size()));
    return out;
}

/// `what` replaced by `with`, `most` times (negative: wherever it stands). An empty `what` stands between all characters.
/// `room(bytes)` is asked before so much is built.
template <class Room>
marked_text replaced(const marked_text& text, std::string_view what, const marked_text& with, std::int64_t most, Room room) {
    std::vector<std::size_t> places;
    if (what.empty()) {
        const detail::characters all(text.text());
        for (std::size_t i = 0; i <= all.count(); ++i) places.push_back(all.start(i));
    } else {
        places = places_of(what, text.text());
    }
    if (most >= 0 && static_cast<std::size_t>(most) < places.size()) places.resize(static_cast<std::size_t>(most));
    room(text.size(), std::size_t{1});
    room(places.size(), with.size());
    marked_text out;
    std::size_t from = 0;
    for (const std::size_t at : places) {
        out.append(text, from, at);
        out.append(with);
        from = at + what.size();
    }
    out.append(text, from, text.size());
    return out;
}

/// Every character put through `f(code, is_first, out)`, which appends to a string; marks are kept. Stray bytes stay.
template <class F>
marked_text mapped(const marked_text& text, F f) {
    marked_text out;
    std::string one;
    const std::string_view all = text.text();
    for (std::size_t at = 0; at < all.size();) {
        const auto u = text::detail::unit_at(all, at);
        one.clear();
        if (u.code == text::detail::replacement && u.length == 1)
            one = all[at];
        else
            f(u.code, at == 0, one);
        out.append(one, text.trusted(at));
        at += u.length;
    }
    return out;
}

inline marked_text in_case(const marked_text& text, detail::letter_case to) {
    return mapped(text, [&](char32_t c, bool, std::string& out) { detail::append_in_case(out, c, to); });
}

inline marked_text capitalized(const marked_text& text) {
    return mapped(text, [](char32_t c, bool first, std::string& out) {
        detail::append_in_case(out, c, first ? detail::letter_case::title : detail::letter_case::lower);
    });
}

/// str.title(): words start behind everything that has no case.
inline marked_text titled(const marked_text& text) {
    bool in_word = false;
    return mapped(text, [&](char32_t c, bool, std::string& out) {
        detail::append_in_case(out, c, in_word ? detail::letter_case::lower : detail::letter_case::title);
        in_word = (detail::class_of(c) & (detail::py_lower | detail::py_upper | detail::py_title)) != 0;
    });
}

/// & < > ' " as HTML writes them.
inline marked_text escaped(const marked_text& text) {
    marked_text out;
    std::size_t from = 0;
    const std::string_view all = text.text();
    for (std::size_t at = all.find_first_of("&<>'\""); at != std::string_view::npos; at = all.find_first_of("&<>'\"", at + 1)) {
        out.append(text, from, at);
        const char c = all[at];
        out.append(c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '\'' ? "&#39;" : "&#34;", text.trusted(at));
        from = at + 1;
    }
    out.append(text, from, all.size());
    return out;
}

/// Where the text lies in a field of `width` characters.
enum class alignment { left, right, center };

/// The text filled up to `width` characters; what is filled in is trusted if the text is at its end.
inline marked_text padded(const marked_text& text, std::size_t width, alignment where, const marked_text& fill) {
    const std::size_t n = detail::count_characters(text.text());
    if (n >= width) return text;
    const std::size_t missing = width - n;
    // str.center puts the odd one left where the width is odd
    const std::size_t left = where == alignment::left ? 0 : where == alignment::right ? missing : missing / 2 + (missing & width & 1);
    marked_text out;
    for (std::size_t i = 0; i < left; ++i) out.append(fill);
    out.append(text);
    for (std::size_t i = left; i < missing; ++i) out.append(fill);
    return out;
}

/// The parts with `separator` between them.
inline marked_text joined_with(const marked_text& separator, const std::vector<marked_text>& parts) {
    marked_text out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) out.append(separator);
        out.append(parts[i]);
    }
    return out;
}

}  // namespace skald::text::jinja

SKALD_COLD_END
