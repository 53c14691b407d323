// SPDX-License-Identifier: MIT
#pragma once
// The filter tojson: what Python's json.dumps writes with ensure_ascii off, its default in chat templates. Strings keep their marks.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/print.hpp>
#include <skald/text/jinja/sequence_filters.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

struct dump_options {
    bool ascii = false, sort_keys = false;
    std::optional<std::string> indent{};  ///< one level of it
    std::string item_separator = ", ", key_separator = ": ";
};

class dumper {
public:
    dumper(runtime& rt, const dump_options& options) : rt_(rt), options_(options) {}

    marked_text run(const value& v) {
        put(v, 0);
        return std::move(out_);
    }

private:
    void mark(std::string_view text) { out_.append(text, false); }

    void put(const value& v, std::size_t level) {
        const runtime::level deeper(rt_);
        rt_.step();
        rt_.require(out_.size(), 2);
        const auto* s = v.as<sequence>();
        if (v.is_string())
            string(v.text());
        else if (v.is_none())
            mark("null");
        else if (v.is_bool())
            mark(v.boolean() ? "true" : "false");
        else if (v.is_int())
            mark(std::to_string(v.integer()));
        else if (v.is_float())
            mark(number(v.real()));
        else if (s != nullptr && s->what <= sequence_kind::tuple)
            list(*s, level);
        else if (const auto* d = v.as<dict>())
            members(*d, level);
        else
            rt_.fail("Object of type ", type_name(v), " is not JSON serializable");
    }

    static std::string number(double x) {
        return std::isnan(x) ? "NaN" : std::isinf(x) ? (x < 0 ? "-Infinity" : "Infinity") : float_text(x);
    }

    void new_line(std::size_t level) {
        if (!options_.indent) return;
        mark("\n");
        rt_.require(out_.size() + level * options_.indent->size());
        for (std::size_t i = 0; i < level; ++i) mark(*options_.indent);
    }

    void list(const sequence& s, std::size_t level) {
        if (s.items.empty()) return mark("[]");
        mark("[");
        for (std::size_t i = 0; i < s.items.size(); ++i) {
            if (i > 0) mark(options_.item_separator);
            new_line(level + 1);
            put(s.items[i], level + 1);
        }
        new_line(level);
        mark("]");
    }

    void members(const dict& d, std::size_t level) {
        if (d.entries.empty()) return mark("{}");
        std::vector<const std::pair<value, value>*> order;
        for (const auto& entry : d.entries) order.push_back(&entry);
        if (options_.sort_keys) {
            std::vector<keyed> keys;
            for (std::size_t n = 0; n < d.entries.size(); ++n)
                keys.emplace_back(std::vector{d.entries[n].first}, static_cast<std::int64_t>(n));
            sort_keyed(rt_, keys, false, true);
            for (std::size_t n = 0; n < keys.size(); ++n) order[n] = &d.entries[static_cast<std::size_t>(keys[n].second.integer())];
        }
        mark("{");
        bool first = true;
        for (const auto* entry : order) {
            if (!std::exchange(first, false)) mark(options_.item_separator);
            new_line(level + 1);
            key(entry->first);
            mark(options_.key_separator);
            put(entry->second, level + 1);
        }
        new_line(level);
        mark("}");
    }

    void key(const value& k) {
        if (k.is_string()) return string(k.text());
        if (!k.is_none() && !k.is_number()) rt_.fail("keys must be str, int, float, bool or None, not ", type_name(k));
        mark("\"");
        put(k, 0);
        mark("\"");
    }

    void string(const marked_text& text) {
        constexpr std::string_view plain = "\"\\\n\r\t\f\b", letters = "\"\\nrtfb", hex = "0123456789abcdef";
        const std::string_view all = text.text();
        mark("\"");
        std::size_t done = 0;
        for (std::size_t at = 0; at < all.size();) {
            const auto u = text::detail::unit_at(all, at);
            const std::size_t known = u.code < 0x80 ? plain.find(static_cast<char>(u.code)) : std::string_view::npos;
            if (known == std::string_view::npos && u.code >= 0x20 && (u.code < 0x7F || (!options_.ascii))) {
                at += u.length;
                continue;
            }
            if (u.code == 0x7F && known == std::string_view::npos) {  // json.dumps leaves DEL as it is
                at += u.length;
                continue;
            }
            out_.append(text, done, at);
            std::string escape = "\\";
            const auto unit = [&](char32_t c) {
                escape += 'u';
                for (int shift = 12; shift >= 0; shift -= 4) escape += hex[(c >> shift) & 15];
            };
            if (known != std::string_view::npos) {
                escape += letters[known];
            } else if (u.code < 0x10000) {
                unit(u.code);
            } else {
                unit(0xD7C0 + (u.code >> 10));
                escape += '\\';
                unit(0xDC00 + (u.code & 0x3FF));
            }
            mark(escape);
            at += u.length;
            done = at;
        }
        out_.append(text, done, all.size());
        mark("\"");
        rt_.work(all.size());
    }

    runtime& rt_;
    const dump_options& options_;
    marked_text out_;
};

inline value filter_tojson(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
    dump_options options;
    options.ascii = p.has(0) && truth(p[0]);
    options.sort_keys = p.has(3) && truth(p[3]);
    if (p.has_value(1)) {
        if (p[1].is_string()) {
            options.indent = std::string(p[1].view());
        } else {
            const std::int64_t n = std::max<std::int64_t>(p.integer(1, 0), 0);
            rt.require(static_cast<std::size_t>(n), 64);
            options.indent = std::string(static_cast<std::size_t>(n), ' ');
        }
        options.item_separator = ",";
    }
    if (p.has_value(2)) {
        const auto* pair = p[2].as<sequence>();
        if (pair == nullptr || pair->items.size() != 2 || !pair->items[0].is_string() || !pair->items[1].is_string())
            rt.fail("tojson: separators must be two strings");
        options.item_separator = pair->items[0].view();
        options.key_separator = pair->items[1].view();
    }
    return rt.string(dumper(rt, options).run(subject));
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
