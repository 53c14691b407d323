// SPDX-License-Identifier: MIT
#pragma once
// JSON schemas as grammars: what follows the grammar is JSON and satisfies the schema. A keyword for which that cannot be promised is
// refused, with its JSON pointer; README.md of this folder lists them all.
//
// Where a grammar would be larger than is good, it admits less than the schema does: members stand in the order of `properties`,
// integers have at most 18 digits, strings that a pattern or a name governs are escaped only where they must be.
#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/grammar/builder.hpp>
#include <skald/grammar/detail/char_automaton.hpp>
#include <skald/grammar/detail/json_text.hpp>
#include <skald/grammar/detail/numbers.hpp>
#include <skald/grammar/detail/schema_reader.hpp>
#include <skald/grammar/rules.hpp>
#include <skald/io/json_file.hpp>

namespace skald::grammar {

struct json_schema_options {
    bool blanks = true;         ///< one blank, or a new line and its indentation, may stand between the parts
    bool open_objects = false;  ///< objects that list `properties` may have others, where nothing is said about those
};

namespace detail {

class schema_compiler {
public:
    schema_compiler(const json& root, std::string_view place, const json_schema_options& options)
        : read_(root, place), place_(place), options_(options), out_(place), text_(out_, options.blanks) {}

    rules compile() {
        const rule_id root = out_.rule("the schema");
        out_.define(root, schema({{&read_.root()}}));
        while (!pending_.empty()) {
            const auto [rule, parts] = std::move(pending_.back());
            pending_.pop_back();
            out_.define(rule, body(parts));
        }
        return out_.compile(root);
    }

private:
    static constexpr std::size_t most_rules = 20000;
    static constexpr std::size_t most_counted = 64;  // members that minProperties or maxProperties count

    /// A schema that a value must satisfy; `own`: only the keywords that stand in it directly, without those already followed.
    struct part {
        const json* at;
        bool own = false, any_done = false, one_done = false;
        friend auto operator<=>(const part&, const part&) = default;
    };
    using part_list = std::vector<part>;

    // --- Schemas that hold together ---

    /// The rule of values that satisfy all parts.
    expression schema(part_list parts) {
        part_list flat = flatten(std::move(parts));
        const bool anything = std::all_of(flat.begin(), flat.end(), [](const part& p) { return p.at->is_object() && p.at->empty(); });
        if (anything) return text_.value();
        if (is_never(flat)) return out_.never();
        const auto [known, made] = known_.try_emplace(flat, 0);
        if (made) {
            if (known_.size() > most_rules) fail(errc::unsupported, place_, "needs more than ", most_rules, " combinations of schemas");
            known->second = out_.rule("schema");
            pending_.emplace_back(known->second, std::move(flat));
        }
        return out_.call(known->second);
    }

    static bool is_never(const part_list& flat) {
        return std::any_of(flat.begin(), flat.end(), [](const part& p) { return p.at->is_boolean(); });
    }

    /// The parts and all that they demand by $ref and allOf, each once, as own; `true` is left out.
    part_list flatten(part_list parts) {
        part_list out;
        struct step {
            part at;
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
            part own = p;
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

    expression body(const part_list& parts) {
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const json* const any = parts[i].any_done ? nullptr : read_.list(*parts[i].at, "anyOf");
            const json* const one = parts[i].one_done ? nullptr : read_.list(*parts[i].at, "oneOf");
            if (any == nullptr && one == nullptr) continue;
            std::vector<part_list> ways;
            for (const json& alternative : any != nullptr ? *any : *one) {
                part_list way = parts;
                (any != nullptr ? way[i].any_done : way[i].one_done) = true;
                way.push_back({&alternative});
                ways.push_back(flatten(std::move(way)));
            }
            if (any == nullptr) require_disjoint(*parts[i].at, ways);
            std::vector<expression> choices;
            for (part_list& way : ways) choices.push_back(schema(std::move(way)));
            return out_.choice(choices);
        }
        if (const auto listed = values(parts)) return *listed;
        unsigned types = json_type::all;
        for (const part& p : parts) types &= read_.types(*p.at);
        std::vector<expression> ways;
        if (types & json_type::object) ways.push_back(object(parts));
        if (types & json_type::array) ways.push_back(array(parts));
        if (types & json_type::string) ways.push_back(string(parts));
        if (types & json_type::integer) ways.push_back(number(parts, (types & json_type::fraction) == 0));
        if (types & json_type::boolean) ways.push_back(out_.choice({out_.literal("true"), out_.literal("false")}));
        if (types & json_type::null) ways.push_back(out_.literal("null"));
        return out_.choice(ways);
    }

    // --- oneOf ---

    void require_disjoint(const json& at, const std::vector<part_list>& ways) {
        for (std::size_t i = 0; i < ways.size(); ++i)
            for (std::size_t j = 0; j < i; ++j)
                if (!disjoint(ways[j], ways[i], 0))
                    read_.refuse(errc::unsupported, at, "oneOf", "it is not plain that a value cannot satisfy both alternative ", j,
                                 " and ", i, "; use anyOf, or tell them apart by type, a constant or a required member");
    }

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
        unsigned types = json_type::all;
        for (const part_list* const parts : {&a, &b})
            for (const part& p : *parts) types &= read_.types(*p.at);
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

    using bound_pair = std::pair<std::optional<bound>, std::optional<bound>>;

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

    // --- Values that are listed ---

    /// The values of a part's const or enum, or nothing without one.
    std::optional<std::vector<const json*>> listed_values(const part_list& parts) {
        for (const part& p : parts) {
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
        return std::all_of(parts.begin(), parts.end(), [&](const part& p) { return read_.admits(*p.at, value); });
    }

    std::optional<expression> values(const part_list& parts) {
        const auto listed = listed_values(parts);
        if (!listed) return std::nullopt;
        std::vector<expression> ways;
        for (const json* const v : *listed)
            if (admitted(parts, *v)) ways.push_back(out_.literal(written(*v)));
        return out_.choice(ways);
    }

    /// A value without blanks.
    std::string written(const json& value) const {
        if (value.is_number_float() && std::abs(value.get<double>()) >= 9007199254740992.0)
            read_.refuse(errc::unsupported, value, "", "the number ", value.dump(), " is too large to be compared exactly");
        if (value.is_string()) return concat('"', json_escaped(value.get_ref<const std::string&>()), '"');
        if (!value.is_structured()) return value.dump();
        std::string out;
        for (const auto& [name, member] : value.items()) {
            if (!out.empty()) out += ',';
            if (value.is_object()) out.append("\"").append(json_escaped(name)).append("\":");
            out += written(member);
        }
        return value.is_object() ? concat('{', out, '}') : concat('[', out, ']');
    }

    // --- Numbers and strings ---

    bound_pair bounds(const part_list& parts) const {
        bound_pair out;
        for (const part& p : parts) {
            if (const auto low = read_.limit(*p.at, false)) schema_reader::tighten(out.first, *low, false);
            if (const auto high = read_.limit(*p.at, true)) schema_reader::tighten(out.second, *high, true);
        }
        return out;
    }

    expression number(const part_list& parts, bool whole) {
        constexpr std::int64_t largest_step = 1'000'000'000'000'000;
        std::int64_t step = 1;
        for (const part& p : parts)
            if (const auto every = read_.step(*p.at)) {
                whole = true;
                const std::int64_t common = std::gcd(step, *every);
                if (step / common > largest_step / *every)
                    read_.refuse(errc::unsupported, *p.at, "multipleOf", "the common multiple of the steps is too large");
                step = step / common * *every;
            }
        const auto [low, high] = bounds(parts);
        if (!whole && !low && !high) return text_.numbers().number();
        const bound_pair limits{low, high};
        return read_.placed(*parts[0].at, "", [&] {
            return whole ? text_.numbers().integers(limits.first, limits.second, step)
                         : text_.numbers().decimals(limits.first, limits.second);
        });
    }

    /// The largest of the lower and the least of the upper counts.
    std::pair<std::size_t, std::size_t> counts(const part_list& parts, const char* least, const char* most) const {
        std::pair<std::size_t, std::size_t> out{0, unlimited};
        for (const part& p : parts) {
            out.first = std::max(out.first, read_.count(*p.at, least).value_or(0));
            out.second = std::min(out.second, read_.count(*p.at, most).value_or(unlimited));
        }
        return out;
    }

    /// What patterns, formats and, if there are such, lengths demand; nothing without a pattern.
    std::optional<char_automaton> automaton(const part_list& parts) {
        std::optional<char_automaton> out;
        for (const part& p : parts)
            for (const char* const keyword : {"pattern", "format"})
                if (const char_automaton* const a = read_.string_pattern(*p.at, keyword)) out = out ? *out & *a : *a;
        if (!out) return out;
        const auto [least, most] = counts(parts, "minLength", "maxLength");
        const bool bounded = most != unlimited;
        if (bounded && most < least) return char_automaton{};
        if (bounded || least > 0) out = *out & char_automaton::of_length(least, most, bounded);
        return out;
    }

    expression string(const part_list& parts) {
        return read_.placed(*parts[0].at, "", [&] {
            if (const auto a = automaton(parts)) return text_.string(*a);
            const auto [least, most] = counts(parts, "minLength", "maxLength");
            return least > most ? out_.never() : text_.string(least, most);
        });
    }

    // --- Arrays ---

    expression array(const part_list& parts) {
        auto [least, most] = counts(parts, "minItems", "maxItems");
        std::size_t own = 0;
        for (const part& p : parts) own = std::max(own, read_.own_items(*p.at));
        const auto item = [&](std::size_t i) {
            part_list all;
            for (const part& p : parts)
                if (const json* const at = read_.item(*p.at, i)) all.push_back({at});
            return flatten(std::move(all));
        };
        const part_list rest = item(own);
        if (is_never(rest)) most = std::min(most, own);
        if (least > most) return out_.never();
        own = std::min(own, most);
        if (own == 0) return most == 0 ? text_.array(out_.never(), 0, 0) : text_.array(schema(rest), least, most);
        // From the last item to the first: what may stand behind item i - 1.
        expression tail = out_.empty();
        if (most > own) {
            const std::size_t more = least > own ? least - own : 0;
            tail = out_.repeat(out_.sequence({text_.comma(), schema(rest)}), more, most == unlimited ? unlimited : most - own);
        }
        for (std::size_t i = own; i-- > 0;) {
            const expression one =
                out_.sequence({i == 0 ? out_.empty() : text_.comma(), schema(item(i)), i == 0 ? text_.call_to("items", tail) : tail});
            tail = text_.call_to("items", i < least ? one
                                          : i == 0  ? out_.choice({out_.sequence({one, text_.space()}), out_.empty()})
                                                    : out_.optional(one));
            if (i == 0 && least > 0) tail = out_.sequence({tail, text_.space()});
        }
        return out_.sequence({out_.literal("["), text_.space(), tail, out_.literal("]")});
    }

    // --- Objects ---

    std::vector<std::string> required(const part_list& parts) const {
        std::vector<std::string> out;
        for (const part& p : parts)
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
        for (const part& p : parts) read_.for_each_part(*p.at, name, [&](const json& at) { out.push_back({&at}); });
        return out;
    }

    /// What governs members that have no part of their own; nothing where there can be none.
    std::optional<part_list> other_members(const part_list& parts) {
        part_list out;
        bool lists_members = false, speaks_of_others = false;
        for (const part& p : parts) {
            const json* const patterns = read_.members(*p.at, "patternProperties");
            const bool has_patterns = patterns != nullptr && !patterns->empty();
            lists_members |= schema_reader::find(*p.at, "properties") != nullptr || has_patterns;
            const json* const rest = schema_reader::find(*p.at, "additionalProperties");
            if (rest == nullptr) continue;
            speaks_of_others = true;
            if (!has_patterns) out.push_back({rest});
        }
        if (lists_members && !speaks_of_others && !options_.open_objects && pattern_members(parts).empty()) return std::nullopt;
        out = flatten(std::move(out));
        if (is_never(out)) return std::nullopt;
        return out;
    }

    /// The patternProperties of all parts.
    std::vector<std::pair<std::string, part>> pattern_members(const part_list& parts) {
        std::vector<std::pair<std::string, part>> out;
        for (const part& p : parts)
            if (const json* const patterns = read_.members(*p.at, "patternProperties"))
                for (const auto& [text, at] : patterns->items()) out.emplace_back(text, part{&at});
        return out;
    }

    /// Other members: their names and values; nothing where there can be none.
    std::optional<expression> other_pair(const part_list& parts, const std::vector<std::string>& names) {
        std::optional<part_list> value = other_members(parts);
        if (!value) return std::nullopt;
        part_list name_parts;
        for (const part& p : parts)
            if (const json* const n = schema_reader::find(*p.at, "propertyNames")) name_parts.push_back({n});
        name_parts = flatten(std::move(name_parts));
        for (const part& p : name_parts)
            for (const char* const keyword : {"anyOf", "oneOf", "enum", "const"})
                if (schema_reader::find(*p.at, keyword) != nullptr)
                    read_.refuse(errc::unsupported, *p.at, keyword,
                                 "names of members are governed by patterns and lengths only; list them in 'properties'");
        unsigned types = json_type::all;
        for (const part& p : name_parts) types &= read_.types(*p.at);
        if (is_never(name_parts) || (types & json_type::string) == 0) return std::nullopt;

        const auto patterns = pattern_members(parts);
        if (patterns.size() > 1) read_.refuse(errc::unsupported, *patterns[1].second.at, "", "only one pattern of names is possible");
        return read_.placed(*parts[0].at, "", [&] {
            std::optional<char_automaton> key = automaton(name_parts);
            if (!key && !name_parts.empty()) {
                const auto [least, most] = counts(name_parts, "minLength", "maxLength");
                if (least > most) return out_.never();
                if (least > 0 || most != unlimited) key = char_automaton::of_length(least, most, most != unlimited);
            }
            if (!patterns.empty()) {  // only names of the pattern: those beside it may as well be left out
                const char_automaton& a = read_.pattern(*patterns[0].second.at, "", patterns[0].first);
                key = key ? *key & a : a;
                value->push_back(patterns[0].second);
            }
            if (!names.empty()) key = key ? *key & char_automaton::all_but(names) : char_automaton::all_but(names);
            return text_.pair(key ? text_.string(*key) : text_.string(), schema(std::move(*value)));
        });
    }

    bool name_allowed(const part_list& parts, const std::string& name) {
        return std::all_of(parts.begin(), parts.end(), [&](const part& p) {
            const json* const names = schema_reader::find(*p.at, "propertyNames");
            return names == nullptr || read_.admits(*names, json(name));
        });
    }

    expression object(const part_list& parts) {
        const std::vector<std::string> needed = required(parts);
        std::vector<std::string> names;
        const auto add = [&](const std::string& name) {
            if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
        };
        for (const part& p : parts)
            if (const json* const properties = read_.members(*p.at, "properties"))
                for (const auto& [name, at] : properties->items()) add(name);
        for (const std::string& name : needed) add(name);

        std::vector<member> members;
        for (const std::string& name : names) {
            const bool must = std::find(needed.begin(), needed.end(), name) != needed.end();
            const bool possible = name_allowed(parts, name);
            if (!possible && must) return out_.never();
            if (possible)
                members.push_back({text_.call_to("member", text_.pair(text_.quoted(name), schema(member_parts(parts, name)))), must});
        }
        const std::optional<expression> others = other_pair(parts, names);
        const auto [least, most] = counts(parts, "minProperties", "maxProperties");
        if (least > most) return out_.never();
        if (members.empty() && others) {
            if (least > 1) refuse_count(parts, "minProperties");
            return text_.object_of(*others, least, most);
        }
        std::size_t must = 0;
        for (const member& m : members) must += m.must;
        const bool counts_up = least > must, counts_down = most < members.size() || (others && most != unlimited);
        if (counts_up && others) refuse_count(parts, "minProperties");
        if ((counts_up && least > most_counted) || (counts_down && most > most_counted))
            refuse_count(parts, counts_up ? "minProperties" : "maxProperties");
        return member_list(members, others, counts_up ? least : 0, counts_down ? most : unlimited);
    }

    struct member {
        expression pair;
        bool must;
    };

    [[noreturn]] void refuse_count(const part_list& parts, const char* keyword) const {
        for (const part& p : parts)
            if (schema_reader::find(*p.at, keyword) != nullptr)
                read_.refuse(errc::unsupported, *p.at, keyword, "members are counted up to ", most_counted,
                             ", and from below only where all their names are listed: of two with one name a reader keeps one");
        fail(errc::unsupported, place_, "members cannot be counted");
    }

    /// The members in their order, each or none; rules from the last to the first, one for every number of members before.
    expression member_list(const std::vector<member>& members, const std::optional<expression>& others, std::size_t least,
                           std::size_t most) {
        const std::size_t counted = most != unlimited ? most : least;  // more before are all the same
        const auto next = [&](std::size_t n) { return std::min(n + 1, most != unlimited ? most + 1 : std::max<std::size_t>(counted, 1)); };
        std::vector<expression> tails;  // by the number of members before
        const std::size_t states = next(unlimited - 1) + 1;
        for (std::size_t n = 0; n < states; ++n) {
            if (n > most || n < least) {
                // with too many there is no way on; with too few only other members, which are not counted from below
                tails.push_back(out_.never());
                continue;
            }
            std::vector<expression> ways{out_.empty()};
            if (others && n < most) {
                const std::size_t room = most == unlimited ? unlimited : most - n - (n == 0 ? 1 : 0);
                const expression more = out_.repeat(out_.sequence({text_.comma(), *others}), 0, room);
                ways.push_back(n == 0 ? out_.sequence({*others, more}) : more);
            }
            tails.push_back(text_.call_to("members", out_.choice(ways)));
        }
        for (std::size_t i = members.size(); i-- > 0;) {
            std::vector<expression> before;
            for (std::size_t n = 0; n < states; ++n) {
                const expression taken = out_.sequence({n == 0 ? out_.empty() : text_.comma(), members[i].pair, tails[next(n)]});
                const expression rule = members[i].must ? taken : out_.choice({taken, tails[n]});
                before.push_back(text_.call_to("members", rule));
            }
            tails = std::move(before);
        }
        return out_.sequence({out_.literal("{"), text_.space(), tails[0], text_.space(), out_.literal("}")});
    }

    schema_reader read_;
    std::string place_;
    json_schema_options options_;
    builder out_;
    json_text text_;
    std::map<part_list, rule_id> known_;
    std::vector<std::pair<rule_id, part_list>> pending_;
};

}  // namespace detail

/// The grammar of a JSON schema (drafts 4 to 2020-12). `place` names the schema in messages. Throws errc::bad_file for what is no
/// JSON or no schema, errc::unsupported for what has no grammar.
inline rules from_json_schema(std::string_view text, std::string_view place = "schema", const json_schema_options& options = {}) {
    const auto root = io::read_json<detail::json>(text, place, {.bytes = std::uint64_t{1} << 20, .depth = 64, .members = 2000});
    return detail::schema_compiler(root, place, options).compile();
}

}  // namespace skald::grammar
