// SPDX-License-Identifier: MIT
#pragma once
// str.format(): replacement fields with attributes, items, conversions and specifications.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/format.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

value get_attribute(runtime& rt, const value& of, std::string_view name);
value get_item(runtime& rt, const value& of, const value& key);

namespace detail {

class field_formatter {
public:
    field_formatter(runtime& rt, const call_arguments& args) : rt_(rt), args_(args) {}

    /// Appends `format` with its fields filled in; fields within fields go one level deep.
    void run(marked_text& out, const marked_text& format, int level = 0) {
        const std::string_view all = format.text();
        std::size_t from = 0;
        for (std::size_t at = all.find_first_of("{}"); at != std::string_view::npos; at = all.find_first_of("{}", from)) {
            out.append(format, from, at);
            if (at + 1 < all.size() && all[at + 1] == all[at]) {
                out.append(format, at, at + 1);
                from = at + 2;
                continue;
            }
            if (all[at] == '}') rt_.fail("Single '}' encountered in format string");
            if (level > 1) rt_.fail("Max string recursion exceeded");
            const std::size_t end = field_end(all, at + 1);
            field(out, format.slice(at + 1, end), level);
            rt_.require(out.size(), 2);
            rt_.step();
            from = end + 1;
        }
        out.append(format, from, all.size());
    }

private:
    /// The place of the } that closes the field.
    std::size_t field_end(std::string_view all, std::size_t at) const {
        bool in_index = false;
        for (int open = 1; at < all.size(); ++at) {
            if (all[at] == '[' && open == 1) in_index = true;
            if (all[at] == ']') in_index = false;
            if (!in_index && all[at] == '{') ++open;
            if (!in_index && all[at] == '}' && --open == 0) return at;
        }
        rt_.fail("expected '}' before end of string");
    }

    void field(marked_text& out, const marked_text& text, int level) {
        const std::string_view all = text.text();
        std::size_t name_end = 0;
        for (bool in_index = false; name_end < all.size(); ++name_end) {
            if (all[name_end] == '[') in_index = true;
            if (all[name_end] == ']') in_index = false;
            if (!in_index && (all[name_end] == ':' || all[name_end] == '!')) break;
        }
        value v = argument(all.substr(0, name_end));
        std::size_t at = name_end;
        if (at < all.size() && all[at] == '!') {
            if (at + 1 >= all.size()) rt_.fail("end of string while looking for conversion specifier");
            const char conversion = all[at + 1];
            if (conversion != 's' && conversion != 'r' && conversion != 'a') rt_.fail("Unknown conversion specifier ", conversion);
            v = conversion == 's' ? string_of(rt_, v) : repr_of(rt_, v);
            at += 2;
            if (at < all.size() && all[at] != ':') rt_.fail("expected ':' after conversion specifier");
        }
        marked_text spec;
        if (at < all.size()) run(spec, text.slice(at + 1, all.size()), level + 1);
        const layout l = spec.empty() ? layout() : read_layout(rt_, spec.text());
        rt_.require(l.width, 8);
        out.append(formatted(rt_, v, spec.text()));
    }

    value argument(std::string_view name) {
        const std::size_t end = std::min(name.find_first_of(".["), name.size());
        value v = first(name.substr(0, end));
        for (std::size_t at = end; at < name.size();) {
            if (name[at] == '.') {
                const std::size_t stop = std::min(name.find_first_of(".[", at + 1), name.size());
                v = get_attribute(rt_, v, name.substr(at + 1, stop - at - 1));
                at = stop;
                continue;
            }
            const std::size_t stop = name.find(']', at);
            if (name[at] != '[' || stop == std::string_view::npos) rt_.fail("Missing ']' in format string");
            const std::string_view key = name.substr(at + 1, stop - at - 1);
            std::int64_t index = 0;
            v = get_item(rt_, v, is_number(key, index) ? value(index) : rt_.string(std::string(key), false));
            at = stop + 1;
        }
        return v;
    }

    static bool is_number(std::string_view text, std::int64_t& out) {
        if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return false;
        return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc{};
    }

    value first(std::string_view name) {
        std::int64_t index = 0;
        if (name.empty() || is_number(name, index)) {
            const bool automatic = name.empty();
            if (numbering_ != 0 && (numbering_ == 1) != automatic) rt_.fail("cannot switch between automatic and manual field numbering");
            numbering_ = automatic ? 1 : 2;
            const auto at = automatic ? next_++ : static_cast<std::size_t>(index);
            if (at >= args_.positional.size()) rt_.fail("Replacement index ", at, " out of range for positional args tuple");
            return args_.positional[at];
        }
        for (const auto& [key, v] : args_.named)
            if (key == name) return v;
        rt_.fail("the format's key '", name, "' is missing");
    }

    runtime& rt_;
    const call_arguments& args_;
    std::size_t next_ = 0;
    int numbering_ = 0;  // 1: automatic, 2: by number
};

inline value string_format(runtime& rt, const value& self, call_arguments& args) {
    marked_text out;
    field_formatter(rt, args).run(out, self.text());
    return rt.string(std::move(out), self.is_safe());
}

inline value string_format_map(runtime& rt, const value& self, call_arguments& args) {
    const parameters p(rt, "format_map", args, {""}, 1);
    const auto* d = p[0].as<dict>();
    if (d == nullptr) rt.fail("format_map() needs a mapping");
    call_arguments named;
    for (const auto& [key, v] : d->entries)
        if (key.is_string()) named.named.emplace_back(std::string(key.view()), v);
    return string_format(rt, self, named);
}

}  // namespace detail

}  // namespace skald::text::jinja

SKALD_COLD_END
