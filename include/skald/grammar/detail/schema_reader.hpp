// SPDX-License-Identifier: MIT
#pragma once
// A JSON schema as a document: where its parts are, what their references mean, which keywords are known, and whether a given value
// satisfies a part. What it all means as a grammar is json_schema.hpp's business.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/grammar/detail/char_automaton.hpp>
#include <skald/grammar/detail/formats.hpp>
#include <skald/grammar/detail/numbers.hpp>
#include <skald/grammar/detail/regex.hpp>
#include <skald/io/json_file.hpp>

namespace skald::grammar::detail {

using json = nlohmann::ordered_json;

/// The types of JSON values as bits. `fraction` are the numbers that are no integers.
namespace json_type {
inline constexpr unsigned null = 1, boolean = 2, integer = 4, fraction = 8, string = 16, array = 32, object = 64, all = 127;
}

class schema_reader {
public:
    schema_reader(const json& root, std::string_view place) : root_(root), place_(place) {}

    const json& root() const noexcept { return root_; }

    /// Throws `code`, naming the JSON pointer of a part of the schema.
    template <class... Parts>
    [[noreturn]] void refuse(errc code, const json& at, std::string_view keyword, const Parts&... parts) const {
        std::string pointer = pointer_to(at);
        if (!keyword.empty()) pointer.append("/").append(keyword);
        fail(code, place_, "at '#", pointer, "': ", parts...);
    }

    /// What `read` returns; errors it throws without a place get that of the schema.
    template <class Read>
    auto placed(const json& at, std::string_view keyword, Read read) const {
        try {
            return read();
        } catch (const error& e) {
            if (!e.place().empty()) throw;
            refuse(e.code(), at, keyword, e.what());
        }
    }

    /// A keyword's value, or null.
    static const json* find(const json& schema, const char* keyword) {
        if (!schema.is_object()) return nullptr;
        const auto at = schema.find(keyword);
        return at == schema.end() ? nullptr : &*at;
    }

    /// Refuses what is no schema, and keywords whose meaning cannot be promised.
    void check(const json& schema) {
        if (schema.is_boolean()) return;
        if (!schema.is_object())
            refuse(errc::bad_file, schema, "", "a schema is an object or true or false, not ", io::describe(nlohmann::json(schema)));
        if (!checked_.try_emplace(&schema, true).second) return;
        static constexpr std::array unknown{"not",          "if",          "contains",      "dependentRequired", "dependentSchemas",
                                            "dependencies", "$dynamicRef", "$recursiveRef", "unevaluatedItems",  "unevaluatedProperties",
                                            "extends",      "disallow",    "divisibleBy"};
        for (const char* const keyword : unknown) {
            const json* const value = find(schema, keyword);
            if (value == nullptr) continue;
            if (keyword == std::string_view("if") && find(schema, "then") == nullptr && find(schema, "else") == nullptr) continue;
            refuse(errc::unsupported, schema, keyword, "the keyword '", keyword,
                   "' has no grammar; say it in another way, or leave it out");
        }
        if (const json* const id = find(schema, "$id"); id != nullptr && &schema != &root_)
            refuse(errc::unsupported, schema, "$id", "schemas within schemas that have names of their own are not known");
        if (const json* const unique = find(schema, "uniqueItems"); unique != nullptr && *unique != json(false))
            refuse(errc::unsupported, schema, "uniqueItems", "that items differ has no grammar; leave it out");
    }

    /// What `$ref` names.
    const json& resolve(const json& schema, const json& ref) const {
        if (!ref.is_string()) refuse(errc::bad_file, schema, "$ref", "is no text");
        std::string_view name = ref.get_ref<const std::string&>();
        if (const json* const id = find(root_, "$id"); id != nullptr && id->is_string() && !name.starts_with('#')) {
            std::string_view own = id->get_ref<const std::string&>();
            if (own.ends_with('#')) own.remove_suffix(1);
            if (name.starts_with(own) && (name.size() == own.size() || name[own.size()] == '#')) name.remove_prefix(own.size());
            if (name.empty()) return root_;
        }
        if (!name.starts_with('#'))
            refuse(errc::unsupported, schema, "$ref", io::detail::in_quotes(name), " is outside this document; only '#…' can be followed");
        name.remove_prefix(1);
        if (!name.empty() && name[0] != '/') {
            if (const json* const found = anchor(name)) return *found;
            refuse(errc::bad_file, schema, "$ref", "there is no \"$anchor\" ", io::detail::in_quotes(name));
        }
        const json* at = &root_;
        while (!name.empty()) {
            const std::size_t end = std::min(name.find('/', 1), name.size());
            const std::string step = unescaped(name.substr(1, end - 1));
            name.remove_prefix(end);
            const json* next = nullptr;
            if (at->is_object()) {
                if (const auto found = at->find(step); found != at->end()) next = &*found;
            } else if (at->is_array() && !step.empty() && step.size() < 9 && step.find_first_not_of("0123456789") == step.npos) {
                if (const std::size_t i = std::stoul(step); i < at->size()) next = &(*at)[i];
            }
            if (next == nullptr)
                refuse(errc::bad_file, schema, "$ref", "there is no ", io::detail::in_quotes(ref.get_ref<const std::string&>()));
            at = next;
        }
        return *at;
    }

    /// A count: minLength and its like.
    std::optional<std::size_t> count(const json& schema, const char* keyword) const {
        const json* const v = find(schema, keyword);
        if (v == nullptr) return std::nullopt;
        if (v->is_number() && v->get<double>() >= 0 && v->get<double>() <= 9e15 && v->get<double>() == std::floor(v->get<double>()))
            return static_cast<std::size_t>(v->get<double>());
        refuse(errc::bad_file, schema, keyword, "is no count");
    }

    /// A member that must be an array or object where it is there.
    const json* list(const json& schema, const char* keyword) const {
        const json* const v = find(schema, keyword);
        if (v != nullptr && !v->is_array()) refuse(errc::bad_file, schema, keyword, "is no list");
        return v;
    }
    const json* members(const json& schema, const char* keyword) const {
        const json* const v = find(schema, keyword);
        if (v != nullptr && !v->is_object()) refuse(errc::bad_file, schema, keyword, "is no object");
        return v;
    }

    /// The types that a schema's own `type` admits.
    unsigned types(const json& schema) const {
        const json* const v = find(schema, "type");
        if (v == nullptr) return json_type::all;
        unsigned out = 0;
        const auto add = [&](const json& name) {
            static constexpr std::array<std::pair<std::string_view, unsigned>, 7> names{
                {{"null", json_type::null},
                 {"boolean", json_type::boolean},
                 {"integer", json_type::integer},
                 {"number", json_type::integer | json_type::fraction},
                 {"string", json_type::string},
                 {"array", json_type::array},
                 {"object", json_type::object}}};
            for (const auto& [known, bits] : names)
                if (name == json(known)) return void(out |= bits);
            refuse(errc::bad_file, schema, "type", "there is no type ", io::describe(nlohmann::json(name)));
        };
        if (v->is_array())
            for (const json& name : *v) add(name);
        else
            add(*v);
        return out;
    }

    static unsigned type_of(const json& v) noexcept {
        if (v.is_null()) return json_type::null;
        if (v.is_boolean()) return json_type::boolean;
        if (v.is_string()) return json_type::string;
        if (v.is_array()) return json_type::array;
        if (v.is_object()) return json_type::object;
        return v.is_number_float() && v.get<double>() != std::floor(v.get<double>()) ? json_type::fraction : json_type::integer;
    }

    /// The bound that a schema sets by minimum (upper: maximum) and its exclusive form; the tighter of both.
    std::optional<bound> limit(const json& schema, bool upper) const {
        const char* const plain = upper ? "maximum" : "minimum";
        const char* const strict = upper ? "exclusiveMaximum" : "exclusiveMinimum";
        std::optional<bound> out;
        if (const json* const v = find(schema, plain)) out = bound{decimal_of(schema, plain, *v), false};
        const json* const v = find(schema, strict);
        if (v == nullptr) return out;
        if (v->is_boolean()) {
            const json* const draft = find(root_, "$schema");
            if (draft == nullptr || !draft->is_string() || draft->get_ref<const std::string&>().find("draft-04") == std::string::npos)
                refuse(errc::unsupported, schema, strict, "true and false mean something in draft 4 only; write the number");
            if (out) out->exclusive = v->get<bool>();
            return out;
        }
        tighten(out, bound{decimal_of(schema, strict, *v), true}, upper);
        return out;
    }

    /// Replaces a bound by another if that admits less.
    static void tighten(std::optional<bound>& current, const bound& other, bool upper) {
        if (!current) {
            current = other;
            return;
        }
        const bool less = other.at < current->at, greater = current->at < other.at;
        if (upper ? less : greater)
            current = other;
        else if (!less && !greater)
            current->exclusive |= other.exclusive;
    }

    /// multipleOf, if it is there.
    std::optional<std::int64_t> step(const json& schema) const {
        const json* const v = find(schema, "multipleOf");
        if (v == nullptr) return std::nullopt;
        if (!v->is_number() || !(v->get<double>() > 0)) refuse(errc::bad_file, schema, "multipleOf", "is no positive number");
        const double d = v->get<double>();
        if (d != std::floor(d) || d > 1e15)
            refuse(errc::unsupported, schema, "multipleOf",
                   "only whole steps up to 10^15 can be promised: programs divide in floating point");
        return static_cast<std::int64_t>(d);
    }

    const char_automaton& pattern(const json& schema, const char* keyword, const std::string& text) {
        if (const auto known = patterns_.find(text); known != patterns_.end()) return known->second;
        return patterns_.emplace(text, placed(schema, keyword, [&] { return regex_compiler::compile(text); })).first->second;
    }

    /// The pattern of a schema's `pattern` or `format`, or null.
    const char_automaton* string_pattern(const json& schema, const char* keyword) {
        const json* const v = find(schema, keyword);
        if (v == nullptr) return nullptr;
        if (!v->is_string()) refuse(errc::bad_file, schema, keyword, "is no text");
        const std::string& text = v->get_ref<const std::string&>();
        if (keyword == std::string_view("pattern")) return &pattern(schema, keyword, text);
        if (is_unknown_standard_format(text))
            refuse(errc::unsupported, schema, keyword, "the format ", io::detail::in_quotes(text), " has no grammar");
        const std::string known = pattern_of_format(text);
        return known.empty() ? nullptr : &pattern(schema, keyword, known);  // other formats are remarks
    }

    /// Code points of a text.
    static std::size_t length(std::string_view text) noexcept {
        return static_cast<std::size_t>(
            std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    }

    /// Whether a value satisfies a schema. Recursion is as deep as value and schema together; throws if they refer in a circle.
    bool admits(const json& schema, const json& value, std::size_t depth = 0) {
        if (depth > most_depth || ++work_ > most_work)
            refuse(errc::unsupported, schema, "", "takes too much to compare with the values it lists");
        if (schema.is_boolean()) return schema.get<bool>();
        check(schema);
        const auto also = [&](const json& part) { return admits(part, value, depth + 1); };
        if (const json* const ref = find(schema, "$ref"); ref != nullptr && !also(resolve(schema, *ref))) return false;
        if (const json* const all = list(schema, "allOf"); all != nullptr && !std::all_of(all->begin(), all->end(), also)) return false;
        if (const json* const any = list(schema, "anyOf"); any != nullptr && std::none_of(any->begin(), any->end(), also)) return false;
        if (const json* const one = list(schema, "oneOf"); one != nullptr && std::count_if(one->begin(), one->end(), also) != 1)
            return false;
        if ((types(schema) & type_of(value)) == 0) return false;
        if (const json* const only = find(schema, "const"); only != nullptr && *only != value) return false;
        if (const json* const some = list(schema, "enum"); some != nullptr && std::find(some->begin(), some->end(), value) == some->end())
            return false;
        if (value.is_number()) return admits_number(schema, value);
        if (value.is_string()) return admits_string(schema, value.get_ref<const std::string&>());
        if (value.is_array()) return admits_array(schema, value, depth);
        return !value.is_object() || admits_object(schema, value, depth);
    }

    /// The part that governs an array's item, or null.
    const json* item(const json& schema, std::size_t i) const {
        const json* prefix = list(schema, "prefixItems");
        const json* rest = find(schema, "items");
        if (rest != nullptr && rest->is_array()) {
            prefix = rest;
            rest = find(schema, "additionalItems");
        }
        return prefix != nullptr && i < prefix->size() ? &(*prefix)[i] : rest;
    }
    /// Items that have a part of their own.
    std::size_t own_items(const json& schema) const {
        const json* prefix = list(schema, "prefixItems");
        if (const json* const rest = find(schema, "items"); rest != nullptr && rest->is_array()) prefix = rest;
        return prefix == nullptr ? 0 : prefix->size();
    }

    /// Calls `use(part)` for every part that governs an object's member.
    template <class Use>
    void for_each_part(const json& schema, const std::string& name, Use use) {
        bool known = false;
        if (const json* const properties = members(schema, "properties"))
            if (const auto found = properties->find(name); found != properties->end()) {
                known = true;
                use(*found);
            }
        if (const json* const patterns = members(schema, "patternProperties"))
            for (const auto& [text, part] : patterns->items())
                if (pattern(schema, "patternProperties", text).matches(name)) {
                    known = true;
                    use(part);
                }
        if (const json* const rest = find(schema, "additionalProperties"); rest != nullptr && !known) use(*rest);
    }

private:
    static constexpr std::size_t most_depth = 200, most_work = 1'000'000;

    bool admits_number(const json& schema, const json& value) const {
        const decimal d = decimal_of(schema, "enum", value);
        const auto low = limit(schema, false), high = limit(schema, true);
        if (low && (d < low->at || (low->exclusive && !(low->at < d)))) return false;
        if (high && (high->at < d || (high->exclusive && !(d < high->at)))) return false;
        const auto every = step(schema);
        return !every ||
               (value.get<double>() == std::floor(value.get<double>()) && std::fmod(value.get<double>(), static_cast<double>(*every)) == 0);
    }

    bool admits_string(const json& schema, const std::string& text) {
        const std::size_t n = length(text);
        if (n < count(schema, "minLength").value_or(0) || n > count(schema, "maxLength").value_or(n)) return false;
        for (const char* const keyword : {"pattern", "format"})
            if (const char_automaton* const a = string_pattern(schema, keyword); a != nullptr && !a->matches(text)) return false;
        return true;
    }

    bool admits_array(const json& schema, const json& value, std::size_t depth) {
        const std::size_t n = value.size();
        if (n < count(schema, "minItems").value_or(0) || n > count(schema, "maxItems").value_or(n)) return false;
        for (std::size_t i = 0; i < n; ++i)
            if (const json* const part = item(schema, i); part != nullptr && !admits(*part, value[i], depth + 1)) return false;
        return true;
    }

    bool admits_object(const json& schema, const json& value, std::size_t depth) {
        const std::size_t n = value.size();
        if (n < count(schema, "minProperties").value_or(0) || n > count(schema, "maxProperties").value_or(n)) return false;
        if (const json* const required = list(schema, "required"))
            for (const json& name : *required)
                if (name.is_string() && !value.contains(name.get_ref<const std::string&>())) return false;
        bool good = true;
        for (const auto& [name, member] : value.items()) {
            for_each_part(schema, name, [&, &member = member](const json& part) { good = good && admits(part, member, depth + 1); });
            if (const json* const names = find(schema, "propertyNames"); names != nullptr && !admits(*names, json(name), depth + 1))
                return false;
        }
        return good;
    }

    decimal decimal_of(const json& schema, std::string_view keyword, const json& v) const {
        if (!v.is_number()) refuse(errc::bad_file, schema, keyword, "is no number");
        return decimal::parse(v.dump());
    }

    static std::string unescaped(std::string_view step) {
        const auto digit = [](char c) {
            return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        };
        std::string bytes, out;
        for (std::size_t i = 0; i < step.size(); ++i) {
            if (step[i] == '%' && i + 2 < step.size() && digit(step[i + 1]) >= 0 && digit(step[i + 2]) >= 0) {
                bytes += static_cast<char>(digit(step[i + 1]) * 16 + digit(step[i + 2]));
                i += 2;
            } else {
                bytes += step[i];
            }
        }
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            const bool mark = bytes[i] == '~' && i + 1 < bytes.size() && (bytes[i + 1] == '0' || bytes[i + 1] == '1');
            out += mark ? (bytes[++i] == '0' ? '~' : '/') : bytes[i];
        }
        return out;
    }

    /// Walks the document; calls `use(part, pointer)` until it returns true.
    template <class Use>
    void walk(Use use) const {
        std::vector<std::pair<const json*, std::string>> open{{&root_, ""}};
        while (!open.empty()) {
            const auto [at, pointer] = std::move(open.back());
            open.pop_back();
            if (use(*at, pointer)) return;
            if (at->is_array())
                for (std::size_t i = 0; i < at->size(); ++i) open.emplace_back(&(*at)[i], concat(pointer, "/", i));
            if (!at->is_object()) continue;
            for (const auto& [name, part] : at->items()) {
                std::string escaped;
                for (const char c : name) escaped += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
                open.emplace_back(&part, concat(pointer, "/", escaped));
            }
        }
    }

    std::string pointer_to(const json& part) const {
        std::string out;
        walk([&](const json& at, const std::string& pointer) {
            if (&at == &part) out = pointer;
            return &at == &part;
        });
        return out;
    }

    const json* anchor(std::string_view name) const {
        const json* out = nullptr;
        walk([&](const json& at, const std::string&) {
            const json* const found = find(at, "$anchor");
            if (found != nullptr && *found == json(name)) out = &at;
            return out != nullptr;
        });
        return out;
    }

    const json& root_;
    std::string_view place_;
    std::map<const json*, bool> checked_;
    std::map<std::string, char_automaton> patterns_;
    std::size_t work_ = 0;
};

}  // namespace skald::grammar::detail
