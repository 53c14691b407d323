// SPDX-License-Identifier: MIT
#pragma once
// From a GGUF file to a model_source: reads the hyperparameters and finds every tensor of the architecture's table.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/architectures.hpp>
#include <skald/model/gguf_config.hpp>
#include <skald/model/source.hpp>

namespace skald {

namespace detail {

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

inline tensor_place find_place(const architecture& arch, std::string_view name) noexcept {
    for (const tensor_rule& rule : arch.tensors)
        if (const auto place = match(rule, name)) return *place;
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

/// Throws errc::bad_file, naming the first tensor that is missing.
inline void require_tensors(const model_source& source) {
    for (const tensor_rule& rule : source.architecture().tensors) {
        const std::size_t layers = is_layer_role(rule.role) ? source.config().layers : 1;
        const tensor_role role = parts_of(rule.role).empty() ? rule.role : parts_of(rule.role).front();
        const std::size_t experts = is_expert_role(role) ? source.config().experts.count : 1;
        for (std::size_t i = 0; i < layers; ++i)
            for (std::size_t e = 0; e < experts && is_needed(rule, source, i); ++e)
                if (!source.has(role, i, e)) fail(errc::bad_file, source.file(), "tensor '", tensor_name(rule, i), "' is missing");
    }
}

}  // namespace detail

/// Reads config and tensor table. Throws errc::unsupported for an architecture or tensor format this version does not know, errc::bad_file,
/// naming the key or tensor, where the file contradicts itself. Reads no weights but rope factors. The file must outlive the source.
inline model_source read_source(const io::gguf_file& file) {
    const architecture& arch = architectures::require(file.meta().require<std::string_view>("general.architecture"), file.name());
    model_source source(arch, detail::gguf_config(file, arch), file.name(),
                        [&file](std::string_view tensor) { return file.bytes(file.require(tensor)).data(); });
    const model_config& c = source.config();
    for (const io::tensor_entry& t : file.tensors()) {
        const auto [rule, layer, expert] = detail::find_place(arch, t.name);
        if (rule == nullptr) fail(errc::bad_file, file.name(), "tensor '", t.name, "' is not part of the architecture '", arch.name, "'");
        if (is_layer_role(rule->role) && layer >= c.layers)
            fail(errc::bad_file, file.name(), "tensor '", t.name, "' belongs to layer ", layer, "; the config says ", c.layers, " layers");
        if (expert.value_or(0) >= std::max<std::size_t>(c.experts.count, 1))
            fail(errc::bad_file, file.name(), "tensor '", t.name, "' belongs to expert ", *expert, "; the config says ", c.experts.count,
                 " experts");
        const tensor_shape shape = detail::matrix_shape(t, file.name(), is_expert_role(rule->role) && !expert ? c.experts.count : 1);
        source.put(rule->role, layer, {.name = t.name, .type = t.type, .rows = shape.rows, .cols = shape.cols}, expert);
    }
    detail::require_tensors(source);
    return source;
}

}  // namespace skald
