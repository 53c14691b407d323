// SPDX-License-Identifier: MIT
#pragma once
// Filters of sequences and dicts. Those that are generators in Python give their values one by one, and once.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/access.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/tests.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

value run_filter(runtime& rt, std::string_view name, const value& subject, call_arguments& args);

/// What `attribute="a.0.b"` asks for: items within items.
class attribute_path {
public:
    /// None asks for the value itself.
    attribute_path(runtime& rt, const value& path) {
        if (path.is_none()) return;
        if (!path.is_string()) {
            parts_.push_back(path);
            return;
        }
        for (const marked_text& part : split(path.text(), ".", -1)) {
            std::int64_t index = 0;
            const std::string& name = part.text();
            const bool digits = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
            if (digits && std::from_chars(name.data(), name.data() + name.size(), index).ec == std::errc{})
                parts_.push_back(index);
            else
                parts_.push_back(rt.string(part));
        }
    }

    value of(runtime& rt, value v, const value* otherwise = nullptr) const {
        for (const value& part : parts_) {
            v = get_item(rt, v, part);
            if (otherwise != nullptr && v.is_undefined()) v = *otherwise;
        }
        return v;
    }

private:
    std::vector<value> parts_;
};

inline value without_case(runtime& rt, const value& v) { return v.is_string() ? rt.string(lower_case(v.text())) : v; }

/// The keys of a sort: attributes between commas, without case unless it is asked for.
class sort_key {
public:
    sort_key(runtime& rt, const value& attribute, bool case_sensitive, bool several) : keeps_case_(case_sensitive) {
        if (several && attribute.is_string()) {
            for (marked_text& part : split(attribute.text(), ",", -1)) paths_.emplace_back(rt, rt.string(std::move(part)));
        } else {
            paths_.emplace_back(rt, attribute);
        }
    }

    std::vector<value> of(runtime& rt, const value& v, const value* otherwise = nullptr) const {
        std::vector<value> out;
        for (const attribute_path& path : paths_) {
            value part = path.of(rt, v, otherwise);
            out.push_back(keeps_case_ ? std::move(part) : without_case(rt, part));
        }
        return out;
    }

private:
    std::vector<attribute_path> paths_;
    bool keeps_case_;
};

using keyed = std::pair<std::vector<value>, value>;

/// The order of two keys: of single values, or as lists have it, which ask for order behind the first difference only.
inline bool key_less(runtime& rt, const std::vector<value>& a, const std::vector<value>& b, bool single) {
    if (single) return less(rt, a[0], b[0]);
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!equal(rt, a[i], b[i])) return less(rt, a[i], b[i]);
    return false;
}

/// Values with their keys, sorted by them. Merge sort: it copes with comparisons that contradict each other.
inline void sort_keyed(runtime& rt, std::vector<keyed>& all, bool reverse, bool single) {
    const auto before = [&](const keyed& a, const keyed& b) {
        return reverse ? key_less(rt, b.first, a.first, single) : key_less(rt, a.first, b.first, single);
    };
    std::vector<keyed> other(all.size());
    for (std::size_t width = 1; width < all.size(); width *= 2) {
        for (std::size_t from = 0; from < all.size(); from += 2 * width) {
            const std::size_t middle = std::min(from + width, all.size()), end = std::min(from + 2 * width, all.size());
            for (std::size_t i = from, j = middle, k = from; k < end; ++k) {
                const bool right = i == middle || (j < end && before(all[j], all[i]));
                other[k] = std::move(all[right ? j++ : i++]);
            }
        }
        all.swap(other);
    }
}

inline value sorted_list(runtime& rt, std::vector<keyed> all, bool reverse, bool single) {
    sort_keyed(rt, all, reverse, single);
    std::vector<value> out;
    out.reserve(all.size());
    for (keyed& k : all) out.push_back(std::move(k.second));
    return rt.list(std::move(out));
}

inline value filter_sort(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "sort", args, {"reverse", "case_sensitive", "attribute"});
    const sort_key key(rt, p.get(2, none_type()), p.has(1) && truth(p[1]), true);
    std::vector<keyed> all;
    for (value& v : items_of(rt, subject)) all.emplace_back(key.of(rt, v), v);
    return sorted_list(rt, std::move(all), p.has(0) && truth(p[0]), false);
}

inline value filter_dictsort(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "dictsort", args, {"case_sensitive", "by", "reverse"});
    const std::string_view by = p.has(1) ? p.text(1).text() : std::string_view("key");
    if (by != "key" && by != "value") rt.fail("You can only sort by either \"key\" or \"value\"");
    if (subject.is_undefined()) rt.fail_undefined(subject);
    const auto* d = subject.as<dict>();
    if (d == nullptr) rt.fail("dictsort needs a mapping, not ", type_name(subject));
    std::vector<keyed> all;
    for (const auto& [key, member] : d->entries) {
        const value& part = by == "key" ? key : member;
        all.emplace_back(std::vector<value>{p.has(0) && truth(p[0]) ? part : without_case(rt, part)}, rt.tuple({key, member}));
    }
    return sorted_list(rt, std::move(all), p.has(2) && truth(p[2]), true);
}

inline value filter_groupby(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "groupby", args, {"attribute", "default", "case_sensitive"}, 1);
    const bool keeps_case = p.has(2) && truth(p[2]);
    const value* otherwise = p.has_value(1) ? &p[1] : nullptr;
    const sort_key key(rt, p[0], keeps_case, false);
    const attribute_path path(rt, p[0]);
    std::vector<keyed> all;
    for (value& v : items_of(rt, subject)) all.emplace_back(key.of(rt, v, otherwise), v);
    sort_keyed(rt, all, false, true);
    std::vector<value> out;
    for (std::size_t i = 0; i < all.size();) {
        std::vector<value> group;
        const std::size_t first = i;
        for (; i < all.size() && equal(rt, all[first].first[0], all[i].first[0]); ++i) group.push_back(all[i].second);
        if (i == first) group.push_back(all[i++].second);  // a key that does not equal itself
        out.push_back(rt.make_sequence(sequence_kind::tuple, {path.of(rt, all[first].second, otherwise), rt.list(std::move(group))}, true));
    }
    return rt.list(std::move(out));
}

inline value filter_unique(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "unique", args, {"case_sensitive", "attribute"});
    const sort_key key(rt, p.get(1, none_type()), p.has(0) && truth(p[0]), false);
    return rt.make_iterator("generator", [&rt, key, next = cursor(rt, subject), seen = rt.make_dict()]() -> std::optional<value> {
        while (auto v = next()) {
            std::string text = key_or_fail(rt, key.of(rt, *v)[0]);
            if (seen->find(text) != nullptr) continue;
            rt.set(*seen, std::move(text), none_type(), none_type());
            return v;
        }
        return std::nullopt;
    });
}

template <bool Largest>
value filter_extreme(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "min", args, {"case_sensitive", "attribute"});
    const sort_key key(rt, p.get(1, none_type()), p.has(0) && truth(p[0]), false);
    const auto next = cursor(rt, subject);
    auto best = next();
    if (!best) return rt.undefined("No aggregated item, sequence was empty.");
    value best_key = key.of(rt, *best)[0];
    while (auto v = next()) {
        value k = key.of(rt, *v)[0];
        if (!(Largest ? compare(rt, k, best_key, ">") > 0 : less(rt, k, best_key))) continue;
        best = std::move(v);
        best_key = std::move(k);
    }
    return *best;
}

inline value filter_sum(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "sum", args, {"attribute", "start"});
    const attribute_path path(rt, p.get(0, none_type()));
    value out = p.get(1, std::int64_t{0});
    if (out.is_string()) rt.fail("sum() can't sum strings [use ''.join(seq) instead]");
    const auto next = cursor(rt, subject);
    while (const auto v = next()) out = binary(rt, "+", out, path.of(rt, *v));
    return out;
}

inline value filter_join(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "join", args, {"d", "attribute"});
    const attribute_path path(rt, p.get(1, none_type()));
    const marked_text separator = p.has(0) ? text_of(rt, p[0]) : marked_text();
    const auto next = cursor(rt, subject);
    marked_text out;
    for (bool first = true; const auto v = next(); first = false) {
        if (!first) out.append(separator);
        append_text(rt, out, path.of(rt, *v));
        rt.require(out.size() + separator.size());
    }
    return rt.string(std::move(out));
}

inline value filter_first(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "first", args, {});
    const auto v = cursor(rt, subject)();
    return v ? *v : rt.undefined("No first item, sequence was empty.");
}

/// What reversed() refuses.
inline bool is_reversible(const value& v) { return is_iterable(v) && !v.is(object_kind::iterator); }

inline value filter_last(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "last", args, {});
    if (!is_reversible(subject)) rt.fail("'", type_name(subject), "' object is not reversible");
    if (const auto* s = subject.as<sequence>(); s != nullptr && !s->items.empty()) return s->items.back();
    const std::vector<value> all = items_of(rt, subject);
    return all.empty() ? rt.undefined("No last item, sequence was empty.") : all.back();
}

inline value iterator_over(runtime& rt, std::string_view name, std::vector<value> items) {
    const sequence* s = rt.list(std::move(items)).as<sequence>();
    return rt.make_iterator(name, [s, at = std::size_t{0}]() mutable -> std::optional<value> {
        return at < s->items.size() ? std::optional(s->items[at++]) : std::nullopt;
    });
}

inline value filter_reverse(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "reverse", args, {});
    if (subject.is_string()) return get_slice(rt, subject, none_type(), none_type(), std::int64_t{-1});
    std::vector<value> all = items_of(rt, subject);
    std::reverse(all.begin(), all.end());
    return is_reversible(subject) ? iterator_over(rt, "reverse_iterator", std::move(all)) : rt.list(std::move(all));
}

inline value filter_list(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "list", args, {});
    return rt.list(items_of(rt, subject));
}

inline value filter_items(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "items", args, {});
    const auto* d = subject.as<dict>();
    if (d == nullptr && !subject.is_undefined())
        return rt.make_iterator("generator", [&rt]() -> std::optional<value> { rt.fail("Can only get item pairs from a mapping."); });
    std::vector<value> pairs;
    if (d != nullptr)
        for (const auto& [key, member] : d->entries) pairs.push_back(rt.tuple({key, member}));
    return iterator_over(rt, "generator", std::move(pairs));
}

inline value filter_length(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "length", args, {});
    const auto n = length_of(subject);
    if (!n) rt.fail("object of type '", type_name(subject), "' has no len()");
    rt.work(subject.is_string() ? *n : 0);
    return static_cast<std::int64_t>(*n);
}

inline value filter_attr(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "attr", args, {"name"}, 1);
    if (subject.is_undefined()) rt.fail_undefined(subject);
    const auto found = own_attribute(rt, subject, p.text(0).text());
    return found ? *found : missing(rt, subject, p[0]);
}

inline value filter_map(runtime& rt, const value& subject, call_arguments& args) {
    if (!truth(subject)) return iterator_over(rt, "generator", {});
    auto rest = std::make_shared<call_arguments>(std::move(args));
    auto next = cursor(rt, subject);
    if (rest->positional.empty()) {
        auto attribute = rest->take("attribute");
        auto otherwise = rest->take("default");
        if (!attribute) rt.fail("map requires a filter argument");
        if (!rest->named.empty()) rt.fail("map has no argument '", rest->named[0].first, "'");
        const bool fills = otherwise && !otherwise->is_none();
        return rt.make_iterator("generator",
                                [&rt, next, path = attribute_path(rt, *attribute), fills, fill = fills ? *otherwise : value()] {
                                    auto v = next();
                                    return v ? std::optional(path.of(rt, *v, fills ? &fill : nullptr)) : std::nullopt;
                                });
    }
    const value name = rest->positional[0];
    if (!name.is_string()) rt.fail("map needs the name of a filter");
    rest->positional.erase(rest->positional.begin());
    return rt.make_iterator("generator", [&rt, next, name, rest]() -> std::optional<value> {
        auto v = next();
        if (!v) return std::nullopt;
        call_arguments copy = *rest;
        return run_filter(rt, name.view(), *v, copy);
    });
}

/// select, reject, selectattr and rejectattr.
template <bool Keeps, bool ByAttribute>
value filter_select(runtime& rt, const value& subject, call_arguments& args) {
    if (!truth(subject)) return iterator_over(rt, "generator", {});
    auto rest = std::make_shared<call_arguments>(std::move(args));
    const auto shift = [&] {
        value first = rest->positional[0];
        rest->positional.erase(rest->positional.begin());
        return first;
    };
    if (ByAttribute && rest->positional.empty()) rt.fail("the name of an attribute is missing");
    const attribute_path path(rt, ByAttribute ? shift() : value());
    const bool has_test = !rest->positional.empty();
    const value name = has_test ? shift() : value();
    if (has_test && !name.is_string()) rt.fail("the name of a test must be a string");
    return rt.make_iterator("generator", [&rt, next = cursor(rt, subject), path, has_test, name, rest]() -> std::optional<value> {
        while (auto v = next()) {
            const value part = path.of(rt, *v);
            call_arguments copy = *rest;
            if ((has_test ? run_test(rt, name.view(), part, copy) : truth(part)) == Keeps) return v;
        }
        return std::nullopt;
    });
}

inline value filter_batch(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "batch", args, {"linecount", "fill_with"}, 1);
    const std::int64_t size = p.integer(0, 0);
    std::vector<value> batches, part;
    for (value& v : items_of(rt, subject)) {
        if (static_cast<std::int64_t>(part.size()) == size) batches.push_back(rt.list(std::exchange(part, {})));
        part.push_back(std::move(v));
    }
    if (!part.empty()) {
        if (p.has_value(1) && size > 0) {
            rt.require(static_cast<std::size_t>(size), 2 * sizeof(value));
            part.resize(std::max(part.size(), static_cast<std::size_t>(size)), p[1]);
        }
        batches.push_back(rt.list(std::move(part)));
    }
    return iterator_over(rt, "generator", std::move(batches));
}

inline value filter_slice(runtime& rt, const value& subject, call_arguments& args) {
    const parameters p(rt, "slice", args, {"slices", "fill_with"}, 1);
    const std::vector<value> all = items_of(rt, subject);
    const std::int64_t wanted = p.integer(0, 0);
    if (wanted == 0) rt.fail("integer division or modulo by zero");
    const auto slices = static_cast<std::size_t>(std::max<std::int64_t>(wanted, 0));
    rt.require(slices, 128);
    std::vector<value> out;
    for (std::size_t i = 0, from = 0; i < slices; ++i) {
        const bool longer = i < all.size() % slices;
        const std::size_t to = from + all.size() / slices + (longer ? 1 : 0);
        std::vector<value> part(all.begin() + static_cast<std::ptrdiff_t>(from), all.begin() + static_cast<std::ptrdiff_t>(to));
        if (p.has_value(1) && !longer) part.push_back(p[1]);
        out.push_back(rt.list(std::move(part)));
        from = to;
    }
    return iterator_over(rt, "generator", std::move(out));
}

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
