// SPDX-License-Identifier: MIT
#pragma once
// The methods of strings.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/format.hpp>
#include <skald/text/jinja/string_format.hpp>
#include <skald/text/jinja/strings.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

std::function<std::optional<value>()> cursor(runtime& rt, const value& v);

namespace detail {

using method_function = value (*)(runtime&, const value& self, call_arguments&);

struct method {
    std::string_view name;
    method_function run;
};

inline value strings_list(runtime& rt, std::vector<marked_text> parts, bool safe) {
    std::vector<value> out;
    out.reserve(parts.size());
    for (marked_text& part : parts) out.push_back(rt.string(std::move(part), safe));
    return rt.list(std::move(out));
}

template <side Side>
value string_strip(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "strip", args, {""});
    std::optional<std::string_view> chars;
    if (p.has_value(0)) chars = p.text(0).text();
    if (chars) rt.step(1 + chars->size() * (self.text().size() / 64));
    return rt.string(stripped(self.text(), chars, Side), self.is_safe());
}

template <bool FromRight>
value string_split(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "split", args, {"sep", "maxsplit"});
    std::optional<std::string_view> separator;
    if (p.has_value(0)) separator = p.text(0).text();
    if (separator && separator->empty()) rt.fail("empty separator");
    rt.require(self.text().size(), 4);
    rt.work(self.text().size());
    const std::int64_t most = p.integer(1, -1);
    return strings_list(rt, FromRight ? split_from_right(self.text(), separator, most) : split(self.text(), separator, most),
                        self.is_safe());
}

inline value string_splitlines(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "splitlines", args, {"keepends"});
    return strings_list(rt, split_lines(self.text(), p.has(0) && p.integer(0, 0) != 0), self.is_safe());
}

template <bool FromRight>
value string_partition(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "partition", args, {""}, 1);
    const marked_text& separator = p.text(0);
    if (separator.empty()) rt.fail("empty separator");
    const marked_text& text = self.text();
    rt.work(text.size());
    const auto places = FromRight ? places_from_right(separator.text(), text.text()) : places_of(separator.text(), text.text());
    const auto part = [&](std::size_t from, std::size_t to) { return rt.string(text.slice(from, to), self.is_safe()); };
    if (places.empty()) {
        const value nothing = rt.string(marked_text(), self.is_safe());
        return FromRight ? rt.tuple({nothing, nothing, self}) : rt.tuple({self, nothing, nothing});
    }
    const std::size_t at = FromRight ? places.back() : places.front(), behind = at + separator.size();
    return rt.tuple({part(0, at), part(at, behind), part(behind, text.size())});
}

/// The part of a string that arguments [start, end] choose, in bytes; nothing if start lies behind.
struct text_window {
    text_window(const parameters& p, std::size_t first, std::string_view text) : all(text) {
        const auto n = static_cast<std::int64_t>(all.count());
        const auto bound = [&](std::size_t i, std::int64_t otherwise) {
            const std::int64_t at = p.has_value(i) ? p.integer(i, 0) : otherwise;
            return at < 0 ? std::max<std::int64_t>(std::max(at, -n) + n, 0) : at;
        };
        const std::int64_t a = bound(first, 0), b = std::min(bound(first + 1, n), n);
        valid = a <= b;
        from = all.start(static_cast<std::size_t>(std::min(a, n)));
        to = all.start(static_cast<std::size_t>(b));
    }
    std::int64_t character_of(std::string_view text, std::size_t byte) const {
        return static_cast<std::int64_t>(count_characters(text.substr(0, byte)));
    }

    characters all;
    bool valid;
    std::size_t from, to;
};

/// The character where a text is found, or -1.
template <bool FromRight>
std::int64_t find_text(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "find", args, {"", "", ""}, 1);
    const std::string_view all = self.view(), what = p.text(0).text();
    rt.work(all.size());
    const text_window w(p, 1, all);
    if (!w.valid || what.size() > w.to - w.from) return -1;
    const std::string_view window = all.substr(w.from, w.to - w.from);
    std::size_t at = std::string_view::npos;
    if (!FromRight) {
        at = searcher(what).find(window);
    } else if (what.empty()) {
        at = window.size();
    } else if (const auto places = places_from_right(what, window); !places.empty()) {
        at = places.back();
    }
    return at == std::string_view::npos ? -1 : w.character_of(all, w.from + at);
}

template <bool FromRight>
value string_find(runtime& rt, const value& self, call_arguments& args) {
    return find_text<FromRight>(rt, self, args);
}

template <bool FromRight>
value string_index(runtime& rt, const value& self, call_arguments& args) {
    const std::int64_t at = find_text<FromRight>(rt, self, args);
    if (at < 0) rt.fail("substring not found");
    return at;
}

inline value string_count(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "count", args, {"", "", ""}, 1);
    const std::string_view all = self.view(), what = p.text(0).text();
    rt.work(all.size());
    const text_window w(p, 1, all);
    if (!w.valid) return std::int64_t{0};
    const std::string_view window = all.substr(w.from, w.to - w.from);
    return static_cast<std::int64_t>(what.empty() ? count_characters(window) + 1 : places_of(what, window).size());
}

/// startswith and endswith, with one text or a tuple of them.
template <bool AtEnd>
value string_has_at_end(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, AtEnd ? "endswith" : "startswith", args, {"", "", ""}, 1);
    const text_window w(p, 1, self.view());
    const auto fits = [&](const value& v) {
        if (v.is_undefined()) rt.fail_undefined(v);
        if (!v.is_string()) rt.fail(AtEnd ? "endswith" : "startswith", " first arg must be str or a tuple of str, not ", type_name(v));
        const std::string_view window = w.valid ? self.view().substr(w.from, w.to - w.from) : std::string_view();
        return w.valid && (AtEnd ? window.ends_with(v.view()) : window.starts_with(v.view()));
    };
    rt.work(self.text().size());
    const auto* several = p[0].as<sequence>();
    if (several == nullptr || several->what != sequence_kind::tuple) return fits(p[0]);
    return std::any_of(several->items.begin(), several->items.end(), fits);
}

inline value string_replace(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "replace", args, {"", "", "count"}, 2);
    const marked_text with = self.is_safe() && !p[1].is_safe() ? escaped(p.text(1)) : p.text(1);
    rt.work(self.text().size());
    const auto room = [&](std::size_t n, std::size_t size) { rt.require(n, size); };
    return rt.string(replaced(self.text(), p.text(0).text(), with, p.integer(2, -1), room), self.is_safe());
}

template <marked_text (*F)(const marked_text&)>
value string_map(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "this method", args, {});
    rt.require(self.text().size(), 4);
    return rt.string(F(self.text()), self.is_safe());
}

inline marked_text upper_case(const marked_text& t) { return in_case(t, letter_case::upper); }
inline marked_text lower_case(const marked_text& t) { return in_case(t, letter_case::lower); }
inline marked_text swapped_case(const marked_text& t) {
    return mapped(t, [](char32_t c, bool, std::string& out) {
        append_in_case(out, c, class_of(c) & py_upper ? letter_case::lower : letter_case::upper);
    });
}

/// Whether there are characters and each has one of the bits.
template <unsigned Bits>
value string_is_all(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "this method", args, {});
    const std::string_view all = self.view();
    rt.work(all.size());
    for (std::size_t at = 0; at < all.size();) {
        const auto u = text::detail::unit_at(all, at);
        if (!(class_of(u.code) & Bits)) return false;
        at += u.length;
    }
    return !all.empty() || Bits == py_printable;
}

inline value string_isspace(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "isspace", args, {});
    return !self.text().empty() && space_at(self.view(), 0) == self.text().size();
}

inline value string_isascii(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "isascii", args, {});
    return std::all_of(self.view().begin(), self.view().end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Whether the text has letters with case, and none in the other one.
inline bool is_in_case(std::string_view all, python_class wanted) {
    bool any = false;
    for (std::size_t at = 0; at < all.size();) {
        const auto u = text::detail::unit_at(all, at);
        const unsigned has = class_of(u.code) & (py_lower | py_upper | py_title);
        if (has != 0 && has != wanted) return false;
        any = any || has != 0;
        at += u.length;
    }
    return any;
}

template <python_class Case>
value string_is_case(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "this method", args, {});
    return is_in_case(self.view(), Case);
}

inline value string_istitle(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "istitle", args, {});
    bool in_word = false, any = false;
    for (std::size_t at = 0; at < self.text().size();) {
        const auto u = text::detail::unit_at(self.view(), at);
        const unsigned has = class_of(u.code) & (py_lower | py_upper | py_title);
        if (has != 0 && in_word != (has == py_lower)) return false;
        in_word = has != 0;
        any = any || in_word;
        at += u.length;
    }
    return any;
}

inline value string_isidentifier(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "isidentifier", args, {});
    const std::string_view all = self.view();
    for (std::size_t at = 0; at < all.size();) {
        const auto u = text::detail::unit_at(all, at);
        if (u.code != '_' && !(class_of(u.code) & (at == 0 ? py_alpha : py_alpha | py_decimal))) return false;
        at += u.length;
    }
    return !all.empty();
}

inline value string_join(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "join", args, {""}, 1);
    const auto next = cursor(rt, p[0]);
    marked_text out;
    for (bool first = true; const auto item = next(); first = false) {
        if (!item->is_string()) rt.fail("sequence item: expected str instance, ", type_name(*item), " found");
        rt.require(out.size() + self.text().size() + item->text().size());
        if (!first) out.append(self.text());
        out.append(self.is_safe() && !item->is_safe() ? escaped(item->text()) : item->text());
    }
    return rt.string(std::move(out), self.is_safe());
}

template <bool AtEnd>
value string_remove(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "removeprefix", args, {""}, 1);
    const std::string_view all = self.view(), what = p.text(0).text();
    if (AtEnd ? !all.ends_with(what) : !all.starts_with(what)) return self;
    return rt.string(AtEnd ? self.text().slice(0, all.size() - what.size()) : self.text().slice(what.size(), all.size()), self.is_safe());
}

/// The width of a field, within what the sandbox allows.
inline std::size_t field_width(const runtime& rt, std::int64_t width) {
    const std::size_t n = width > 0 ? static_cast<std::size_t>(width) : 0;
    rt.require(n, 16);
    return n;
}

template <alignment Where>
value string_pad(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "center", args, {"", ""}, 1);
    const marked_text fill = p.has(1) ? p.text(1) : marked_text(" ", false);
    if (count_characters(fill.text()) != 1) rt.fail("The fill character must be exactly one character long");
    return rt.string(padded(self.text(), field_width(rt, p.integer(0, 0)), Where, fill), self.is_safe());
}

inline value string_zfill(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "zfill", args, {""}, 1);
    const std::size_t width = field_width(rt, p.integer(0, 0)), n = count_characters(self.view());
    const std::size_t sign = self.view().starts_with('+') || self.view().starts_with('-') ? 1 : 0;
    marked_text out = self.text().slice(0, sign);
    out.append(std::string(width > n ? width - n : 0, '0'), false);
    out.append(self.text(), sign, self.text().size());
    return rt.string(std::move(out), self.is_safe());
}

inline value string_expandtabs(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "expandtabs", args, {"tabsize"});
    const std::size_t size = field_width(rt, p.integer(0, 8));
    rt.require(static_cast<std::size_t>(std::count(self.view().begin(), self.view().end(), '\t')), size);
    std::size_t column = 0;
    return rt.string(mapped(self.text(),
                            [&](char32_t c, bool, std::string& out) {
                                if (c == '\t') {
                                    out.append(size == 0 ? 0 : size - column % size, ' ');
                                    column += out.size();
                                    return;
                                }
                                append_utf8(out, c);
                                column = c == '\n' || c == '\r' ? 0 : column + 1;
                            }),
                     self.is_safe());
}

inline constexpr method string_methods[] = {
    {"strip", string_strip<side::both>},
    {"lstrip", string_strip<side::left>},
    {"rstrip", string_strip<side::right>},
    {"split", string_split<false>},
    {"rsplit", string_split<true>},
    {"splitlines", string_splitlines},
    {"partition", string_partition<false>},
    {"rpartition", string_partition<true>},
    {"find", string_find<false>},
    {"rfind", string_find<true>},
    {"index", string_index<false>},
    {"rindex", string_index<true>},
    {"count", string_count},
    {"startswith", string_has_at_end<false>},
    {"endswith", string_has_at_end<true>},
    {"replace", string_replace},
    {"upper", string_map<upper_case>},
    {"lower", string_map<lower_case>},
    {"casefold", string_map<lower_case>},
    {"title", string_map<titled>},
    {"capitalize", string_map<capitalized>},
    {"swapcase", string_map<swapped_case>},
    {"isalpha", string_is_all<py_alpha>},
    {"isdecimal", string_is_all<py_decimal>},
    {"isdigit", string_is_all<py_digit>},
    {"isnumeric", string_is_all<py_numeric>},
    {"isalnum", string_is_all<py_alpha | py_decimal | py_digit | py_numeric>},
    {"isprintable", string_is_all<py_printable>},
    {"isspace", string_isspace},
    {"isascii", string_isascii},
    {"islower", string_is_case<py_lower>},
    {"isupper", string_is_case<py_upper>},
    {"istitle", string_istitle},
    {"isidentifier", string_isidentifier},
    {"join", string_join},
    {"format", string_format},
    {"format_map", string_format_map},
    {"removeprefix", string_remove<false>},
    {"removesuffix", string_remove<true>},
    {"center", string_pad<alignment::center>},
    {"ljust", string_pad<alignment::left>},
    {"rjust", string_pad<alignment::right>},
    {"zfill", string_zfill},
    {"expandtabs", string_expandtabs},
};

}  // namespace detail

}  // namespace skald::text::jinja

SKALD_COLD_END
