// SPDX-License-Identifier: MIT
#pragma once
// Which role, layer and expert a tensor's name stands for, by the table of the file's kind, and whether all that must be there is.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/source.hpp>

namespace skald::detail {

/// The rule, layer and expert a tensor's name stands for.
struct tensor_place {
    const tensor_rule* rule = nullptr;
    std::size_t layer = 0;
    std::optional<std::size_t> expert{};
};

/// Takes a number from the front of `text`: digits without leading zeros.
inline std::optional<std::size_t> take_number(std::string_view& text) noexcept {
    std::size_t number = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    const auto digits = static_cast<std::size_t>(end - text.data());
    if (status != std::errc{} || (digits > 1 && text.front() == '0')) return std::nullopt;
    text.remove_prefix(digits);
    return number;
}

/// The place if the rule's name is `name` with numbers for `#` and `@`.
inline std::optional<tensor_place> match(const tensor_rule& rule, std::string_view name) noexcept {
    tensor_place out{&rule};
    for (const char c : rule.name) {
        if (c == '#' || c == '@') {
            const auto number = take_number(name);
            if (!number) return std::nullopt;
            if (c == '#')
                out.layer = *number;
            else
                out.expert = *number;
        } else if (name.empty() || name.front() != c) {
            return std::nullopt;
        } else {
            name.remove_prefix(1);
        }
    }
    return name.empty() ? std::optional(out) : std::nullopt;
}

/// The place of a name, checked against the config; without a rule if no rule fits.
inline tensor_place find_place(std::span<const tensor_rule> rules, std::string_view name, const model_source& source) {
    const model_config& c = source.config();
    for (const tensor_rule& rule : rules) {
        const auto place = match(rule, name);
        if (!place) continue;
        if (is_layer_role(rule.role) && place->layer >= c.layers)
            fail(errc::bad_file, source.file(), "tensor '", name, "' belongs to layer ", place->layer, "; the config says ", c.layers,
                 " layers");
        if (place->expert.value_or(0) >= std::max<std::size_t>(c.experts.count, 1))
            fail(errc::bad_file, source.file(), "tensor '", name, "' belongs to expert ", *place->expert, "; the config says ",
                 c.experts.count, " experts");
        return *place;
    }
    return {};
}

/// The name of a rule's tensor.
inline std::string tensor_name(const tensor_rule& rule, std::size_t layer, std::size_t expert = 0) {
    std::string out;
    for (const char c : rule.name) out += c == '#' ? std::to_string(layer) : c == '@' ? std::to_string(expert) : std::string(1, c);
    return out;
}

/// True if the model must have the rule's tensor in that layer.
inline bool is_needed(const tensor_rule& rule, const model_source& source, std::size_t layer) {
    const bool experts = source.has_experts(layer) || (source.config().experts.count != 0 && !source.has(tensor_role::up, layer));
    switch (rule.when) {
        case presence::required: return true;
        case presence::optional: return false;
        case presence::dense: return !experts;
        case presence::experts: return experts;
    }
    return false;
}

/// Throws errc::bad_file, naming the first tensor of the table that is missing, and where experts are told of and not there, or stand
/// beside a plain feed-forward block.
inline void require_tensors(const model_source& source, std::span<const tensor_rule> rules) {
    bool found = source.config().experts.count == 0;
    for (std::size_t i = 0; i < source.config().layers; ++i) {
        if (source.has_experts(i) && source.has(tensor_role::up, i))
            fail(errc::bad_file, source.file(), "layer ", i, " has experts, and tensor '", source(tensor_role::up, i).name,
                 "' beside them");
        found = found || source.has_experts(i);
    }
    if (!found) fail(errc::bad_file, source.file(), "the config says ", source.config().experts.count, " experts; no layer has any");
    for (const tensor_rule& rule : rules) {
        const std::size_t layers = is_layer_role(rule.role) ? source.config().layers : 1;
        const tensor_role role = parts_of(rule.role).empty() ? rule.role : parts_of(rule.role).front();
        const std::size_t experts = is_expert_role(role) ? source.config().experts.count : 1;
        for (std::size_t i = 0; i < layers; ++i)
            for (std::size_t e = 0; e < experts && is_needed(rule, source, i); ++e)
                if (!source.has(role, i, e)) fail(errc::bad_file, source.file(), "tensor '", tensor_name(rule, i, e), "' is missing");
    }
}

}  // namespace skald::detail
