// SPDX-License-Identifier: MIT
#pragma once
// JSON schemas as grammars: what follows the grammar is JSON and satisfies the schema. A keyword for which that cannot be promised is
// refused, with its JSON pointer; README.md of this folder lists them all.
//
// Where a grammar would be larger than is good, it admits less than the schema does: members stand in the order of `properties`,
// integers have at most 18 digits, strings that a pattern or a name governs are escaped only where they must be.
#include <algorithm>
#include <array>
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
#include <skald/grammar/detail/schema_parts.hpp>
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
        : read_(root, place), all_(read_), place_(place), options_(options), out_(place), text_(out_, options.blanks) {}

    schema_compiler(const schema_compiler&) = delete;
    schema_compiler& operator=(const schema_compiler&) = delete;

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

    // --- Schemas that hold together ---

    /// The rule of values that satisfy all parts.
    expression schema(part_list parts) {
        part_list flat = all_.flatten(std::move(parts));
        const bool anything =
            std::all_of(flat.begin(), flat.end(), [](const schema_part& p) { return p.at->is_object() && p.at->empty(); });
        if (anything) return text_.value();
        if (all_.is_never(flat)) return out_.never();
        const auto [known, made] = known_.try_emplace(flat, 0);
        if (made) {
            if (known_.size() > most_rules) fail(errc::unsupported, place_, "needs more than ", most_rules, " combinations of schemas");
            known->second = out_.rule("schema");
            pending_.emplace_back(known->second, std::move(flat));
        }
        return out_.call(known->second);
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
                ways.push_back(all_.flatten(std::move(way)));
            }
            if (any == nullptr) all_.require_disjoint(*parts[i].at, ways);
            std::vector<expression> choices;
            for (part_list& way : ways) choices.push_back(schema(std::move(way)));
            return out_.choice(choices);
        }
        if (const auto listed = values(parts)) return *listed;
        const unsigned types = all_.types(parts);
        std::vector<expression> ways;
        if (types & json_type::object) ways.push_back(object(parts));
        if (types & json_type::array) ways.push_back(array(parts));
        if (types & json_type::string) ways.push_back(string(parts));
        if (types & json_type::integer) ways.push_back(number(parts, (types & json_type::fraction) == 0));
        if (types & json_type::boolean) ways.push_back(out_.choice({out_.literal("true"), out_.literal("false")}));
        if (types & json_type::null) ways.push_back(out_.literal("null"));
        return out_.choice(ways);
    }

    // --- Values that are listed ---

    std::optional<expression> values(const part_list& parts) {
        const auto listed = all_.listed_values(parts);
        if (!listed) return std::nullopt;
        std::vector<expression> ways;
        for (const json* const v : *listed)
            if (all_.admitted(parts, *v)) ways.push_back(out_.literal(written(*v)));
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

    expression number(const part_list& parts, bool whole) {
        constexpr std::int64_t largest_step = 1'000'000'000'000'000;
        std::int64_t step = 1;
        for (const schema_part& p : parts)
            if (const auto every = read_.step(*p.at)) {
                whole = true;
                const std::int64_t common = std::gcd(step, *every);
                if (step / common > largest_step / *every)
                    read_.refuse(errc::unsupported, *p.at, "multipleOf", "the common multiple of the steps is too large");
                step = step / common * *every;
            }
        const auto [low, high] = all_.bounds(parts);
        if (!whole && !low && !high) return text_.numbers().number();
        const bound_pair limits{low, high};
        return read_.placed(*parts[0].at, "", [&] {
            return whole ? text_.numbers().integers(limits.first, limits.second, step)
                         : text_.numbers().decimals(limits.first, limits.second);
        });
    }

    expression string(const part_list& parts) {
        return read_.placed(*parts[0].at, "", [&] {
            if (const auto a = all_.automaton(parts)) return text_.string(*a);
            const auto [least, most] = all_.counts(parts, "minLength", "maxLength");
            return least > most ? out_.never() : text_.string(least, most);
        });
    }

    // --- Arrays ---

    expression array(const part_list& parts) {
        auto [least, most] = all_.counts(parts, "minItems", "maxItems");
        std::size_t own = 0;
        for (const schema_part& p : parts) own = std::max(own, read_.own_items(*p.at));
        const auto item = [&](std::size_t i) {
            part_list all;
            for (const schema_part& p : parts)
                if (const json* const at = read_.item(*p.at, i)) all.push_back({at});
            return all_.flatten(std::move(all));
        };
        const part_list rest = item(own);
        if (all_.is_never(rest)) most = std::min(most, own);
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

    /// What governs members that have no part of their own; nothing where there can be none.
    std::optional<part_list> other_members(const part_list& parts) {
        part_list out;
        bool lists_members = false, speaks_of_others = false;
        for (const schema_part& p : parts) {
            const json* const patterns = read_.members(*p.at, "patternProperties");
            const bool has_patterns = patterns != nullptr && !patterns->empty();
            lists_members |= schema_reader::find(*p.at, "properties") != nullptr || has_patterns;
            const json* const rest = schema_reader::find(*p.at, "additionalProperties");
            if (rest == nullptr) continue;
            speaks_of_others = true;
            if (!has_patterns) out.push_back({rest});
        }
        if (lists_members && !speaks_of_others && !options_.open_objects && all_.pattern_members(parts).empty()) return std::nullopt;
        out = all_.flatten(std::move(out));
        if (all_.is_never(out)) return std::nullopt;
        return out;
    }

    /// Other members: their names and values; nothing where there can be none.
    std::optional<expression> other_pair(const part_list& parts, const std::vector<std::string>& names) {
        std::optional<part_list> value = other_members(parts);
        if (!value) return std::nullopt;
        part_list name_parts;
        for (const schema_part& p : parts)
            if (const json* const n = schema_reader::find(*p.at, "propertyNames")) name_parts.push_back({n});
        name_parts = all_.flatten(std::move(name_parts));
        for (const schema_part& p : name_parts)
            for (const char* const keyword : {"anyOf", "oneOf", "enum", "const"})
                if (schema_reader::find(*p.at, keyword) != nullptr)
                    read_.refuse(errc::unsupported, *p.at, keyword,
                                 "names of members are governed by patterns and lengths only; list them in 'properties'");
        const unsigned types = all_.types(name_parts);
        if (all_.is_never(name_parts) || (types & json_type::string) == 0) return std::nullopt;

        const auto patterns = all_.pattern_members(parts);
        if (patterns.size() > 1) read_.refuse(errc::unsupported, *patterns[1].second.at, "", "only one pattern of names is possible");
        return read_.placed(*parts[0].at, "", [&] {
            std::optional<char_automaton> key = all_.automaton(name_parts);
            if (!key && !name_parts.empty()) {
                const auto [least, most] = all_.counts(name_parts, "minLength", "maxLength");
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
        return std::all_of(parts.begin(), parts.end(), [&](const schema_part& p) {
            const json* const names = schema_reader::find(*p.at, "propertyNames");
            return names == nullptr || read_.admits(*names, json(name));
        });
    }

    expression object(const part_list& parts) {
        const std::vector<std::string> needed = all_.required(parts);
        std::vector<std::string> names;
        const auto add = [&](const std::string& name) {
            if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
        };
        for (const schema_part& p : parts)
            if (const json* const properties = read_.members(*p.at, "properties"))
                for (const auto& [name, at] : properties->items()) add(name);
        for (const std::string& name : needed) add(name);

        std::vector<member> members;
        for (const std::string& name : names) {
            const bool must = std::find(needed.begin(), needed.end(), name) != needed.end();
            const bool possible = name_allowed(parts, name);
            if (!possible && must) return out_.never();
            if (possible)
                members.push_back({text_.call_to("member", text_.pair(text_.quoted(name), schema(all_.member_parts(parts, name)))), must});
        }
        const std::optional<expression> others = other_pair(parts, names);
        const auto [least, most] = all_.counts(parts, "minProperties", "maxProperties");
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
        for (const schema_part& p : parts)
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
    schema_parts all_;
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
