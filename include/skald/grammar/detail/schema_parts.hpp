// SPDX-License-Identifier: MIT
#pragma once
// What schemas that hold together demand of a value, one question after another: which types, bounds, counts, members it may have, and
// whether two lists of schemas leave anything in common. What it all means as a grammar is json_schema.hpp's business.
#include <algorithm>
#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/grammar/builder.hpp>
#include <skald/grammar/detail/char_automaton.hpp>
#include <skald/grammar/detail/numbers.hpp>
#include <skald/grammar/detail/schema_reader.hpp>

namespace skald::grammar::detail {

/// A schema that a value must satisfy; `own`: only the keywords that stand in it directly, without those already followed.
struct schema_part {
    const json* at;
    bool own = false, any_done = false, one_done = false;
    friend auto operator<=>(const schema_part&, const schema_part&) = default;
};
using part_list = std::vector<schema_part>;
using bound_pair = std::pair<std::optional<bound>, std::optional<bound>>;

/// Answers from the schemas as `read` finds them, which must live as long.
class schema_parts {
public:
    explicit schema_parts(schema_reader& read) : read_(read) {}

    /// Whether one of the parts, flattened, is `false`.
    static bool is_never(const part_list& flat) {
        return std::any_of(flat.begin(), flat.end(), [](const schema_part& p) { return p.at->is_boolean(); });
    }

    /// The parts and all that they demand by $ref and allOf, each once, as own; `true` is left out.
    part_list flatten(part_list parts) {
        part_list out;
        struct step {
            schema_part at;
            bool leaves;
        };
        std::vector<step> open;
        for (auto p = parts.rbegin(); p != parts.rend(); ++p) open.push_back({*p, false});
        std::map<const json*, bool> inside;  // on the way from a part to what it refers to
        while (!open.empty()) {
            const auto [p, leaves] = open.back();
            open.pop_back();
            const json& at = *p.at;
            if (leaves) {
                inside[&at] = false;
                continue;
            }
            read_.check(at);
            if (at.is_boolean() && at.get<bool>()) continue;
            if (inside[&at]) read_.refuse(errc::bad_file, at, "", "refers to itself without anything in between");
            schema_part own = p;
            own.own = true;
            if (std::find(out.begin(), out.end(), own) == out.end()) out.push_back(own);
            if (p.own || at.is_boolean()) continue;
            inside[&at] = true;
            open.push_back({p, true});
            if (const json* const all = read_.list(at, "allOf"))
                for (auto k = all->rbegin(); k != all->rend(); ++k) open.push_back({{&*k}, false});
            if (const json* const ref = schema_reader::find(at, "$ref")) open.push_back({{&read_.resolve(at, *ref)}, false});
        }
        return out;
    }

    /// The values of a part's const or enum, or nothing without one.
    std::optional<std::vector<const json*>> listed_values(const part_list& parts) {
        for (const schema_part& p : parts) {
            if (const json* const only = schema_reader::find(*p.at, "const")) return std::vector<const json*>{only};
            if (const json* const some = read_.list(*p.at, "enum")) {
                std::vector<const json*> out;
                for (const json& v : *some) out.push_back(&v);
                return out;
            }
        }
        return std::nullopt;
    }

    /// Whether a value satisfies all parts; anyOf and oneOf where they were followed already are satisfied otherwise.
    bool admitted(const part_list& parts, const json& value) {
        return std::all_of(parts.begin(), parts.end(), [&](const schema_part& p) { return read_.admits(*p.at, value); });
    }

    /// The bits of json_type that all parts allow.
    unsigned types(const part_list& parts) const {
        unsigned out = json_type::all;
        for (const schema_part& p : parts) out &= read_.types(*p.at);
        return out;
    }

    /// The tightest bounds of numbers, from below and from above.
    bound_pair bounds(const part_list& parts) const {
        bound_pair out;
        for (const schema_part& p : parts) {
            if (const auto low = read_.limit(*p.at, false)) schema_reader::tighten(out.first, *low, false);
            if (const auto high = read_.limit(*p.at, true)) schema_reader::tighten(out.second, *high, true);
        }
        return out;
    }

    /// The largest of the lower and the least of the upper counts.
    std::pair<std::size_t, std::size_t> counts(const part_list& parts, const char* least, const char* most) const {
        std::pair<std::size_t, std::size_t> out{0, unlimited};
        for (const schema_part& p : parts) {
            out.first = std::max(out.first, read_.count(*p.at, least).value_or(0));
            out.second = std::min(out.second, read_.count(*p.at, most).value_or(unlimited));
        }
        return out;
    }

    /// What patterns, formats and, if there are such, lengths demand; nothing without a pattern.
    std::optional<char_automaton> automaton(const part_list& parts) {
        std::optional<char_automaton> out;
        for (const schema_part& p : parts)
            for (const char* const keyword : {"pattern", "format"})
                if (const char_automaton* const a = read_.string_pattern(*p.at, keyword)) out = out ? *out & *a : *a;
        if (!out) return out;
        const auto [least, most] = counts(parts, "minLength", "maxLength");
        const bool bounded = most != unlimited;
        if (bounded && most < least) return char_automaton{};
        if (bounded || least > 0) out = *out & char_automaton::of_length(least, most, bounded);
        return out;
    }

    /// The members that must be there.
    std::vector<std::string> required(const part_list& parts) const {
        std::vector<std::string> out;
        for (const schema_part& p : parts)
            if (const json* const names = read_.list(*p.at, "required"))
                for (const json& name : *names) {
                    if (!name.is_string()) read_.refuse(errc::bad_file, *p.at, "required", "lists something that is no name");
                    out.push_back(name.get<std::string>());
                }
        return out;
    }

    /// What governs a member.
    part_list member_parts(const part_list& parts, const std::string& name) {
        part_list out;
        for (const schema_part& p : parts) read_.for_each_part(*p.at, name, [&](const json& at) { out.push_back({&at}); });
        return out;
    }

    /// The patternProperties of all parts.
    std::vector<std::pair<std::string, schema_part>> pattern_members(const part_list& parts) {
        std::vector<std::pair<std::string, schema_part>> out;
        for (const schema_part& p : parts)
            if (const json* const patterns = read_.members(*p.at, "patternProperties"))
                for (const auto& [text, at] : patterns->items()) out.emplace_back(text, schema_part{&at});
        return out;
    }

    /// Refuses the oneOf of a schema unless it is plain that no value satisfies two of its `ways`.
    void require_disjoint(const json& at, const std::vector<part_list>& ways) {
        for (std::size_t i = 0; i < ways.size(); ++i)
            for (std::size_t j = 0; j < i; ++j)
                if (!disjoint(ways[j], ways[i], 0))
                    read_.refuse(errc::unsupported, at, "oneOf", "it is not plain that a value cannot satisfy both alternative ", j,
                                 " and ", i, "; use anyOf, or tell them apart by type, a constant or a required member");
    }

private:
    /// Whether it is plain that no value satisfies both.
    bool disjoint(const part_list& a, const part_list& b, std::size_t depth) {
        constexpr std::size_t deepest = 8;
        if (is_never(a) || is_never(b)) return true;
        if (depth > deepest) return false;
        for (const auto& [choices, others] : {std::pair(&a, &b), std::pair(&b, &a)})
            for (std::size_t i = 0; i < choices->size(); ++i) {
                const json* list = (*choices)[i].any_done ? nullptr : read_.list(*(*choices)[i].at, "anyOf");
                if (list == nullptr && !(*choices)[i].one_done) list = read_.list(*(*choices)[i].at, "oneOf");
                if (list == nullptr) continue;
                const part_list &mine = *choices, &other = *others;
                return std::all_of(list->begin(), list->end(), [&](const json& alternative) {
                    part_list way = mine;
                    way[i].any_done = way[i].one_done = true;
                    way.push_back({&alternative});
                    return disjoint(flatten(std::move(way)), other, depth + 1);
                });
            }
        for (const auto& [some, all] : {std::pair(&a, &b), std::pair(&b, &a)})
            if (const auto listed = listed_values(*some)) {
                const part_list& other = *all;
                return std::none_of(listed->begin(), listed->end(), [&](const json* v) { return admitted(other, *v); });
            }
        const unsigned types = this->types(a) & this->types(b);
        if ((types & (json_type::null | json_type::boolean)) != 0) return false;
        if ((types & (json_type::integer | json_type::fraction)) != 0 && !apart(bounds(a), bounds(b))) return false;
        if ((types & json_type::string) != 0 && !apart(counts(a, "minLength", "maxLength"), counts(b, "minLength", "maxLength")))
            return false;
        if ((types & json_type::array) != 0 && !apart(counts(a, "minItems", "maxItems"), counts(b, "minItems", "maxItems"))) return false;
        return (types & json_type::object) == 0 || objects_disjoint(a, b, depth);
    }

    bool objects_disjoint(const part_list& a, const part_list& b, std::size_t depth) {
        for (const auto& [some, all] : {std::pair(&a, &b), std::pair(&b, &a)})
            for (const std::string& name : required(*some)) {
                const part_list theirs = flatten(member_parts(*all, name));
                if (is_never(theirs)) return true;
                const std::vector<std::string> also = required(*all);
                if (std::find(also.begin(), also.end(), name) == also.end()) continue;
                if (disjoint(flatten(member_parts(*some, name)), theirs, depth + 1)) return true;
            }
        return false;
    }

    static bool apart(const bound_pair& a, const bound_pair& b) {
        const auto below = [](const std::optional<bound>& high, const std::optional<bound>& low) {
            if (!high || !low) return false;
            if (high->at < low->at) return true;
            return !(low->at < high->at) && (high->exclusive || low->exclusive);
        };
        return below(a.second, b.first) || below(b.second, a.first);
    }
    static bool apart(std::pair<std::size_t, std::size_t> a, std::pair<std::size_t, std::size_t> b) {
        return a.second < b.first || b.second < a.first;
    }

    schema_reader& read_;
};

}  // namespace skald::grammar::detail
