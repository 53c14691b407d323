// SPDX-License-Identifier: MIT
#pragma once
// What generation_defaults.hpp declares: reading recommendations from GGUF keys and JSON files.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/json_file.hpp>
#include <skald/model/generation_defaults.hpp>

namespace skald {

namespace detail {

/// Throws errc::bad_file, naming the file and the key, for a recommendation that no sampler can follow.
inline void validate(const generation_defaults& d, std::string_view file) {
    const auto check = [&](std::string_view key, std::optional<float> value, float least, float most) {
        if (value && !(*value >= least && *value <= most))
            fail(errc::bad_file, file, key, " is ", *value, "; it must be from ", least, " to ", most);
    };
    check("the temperature", d.temperature, 0.0f, 1000.0f);
    check("top_p", d.top_p, 0.0f, 1.0f);
    check("min_p", d.min_p, 0.0f, 1.0f);
    check("the repetition penalty", d.repetition_penalty, 0.01f, 100.0f);
}

/// One id or a list of them.
inline std::vector<token_id> read_ids(const io::json_object& in, std::string_view key) {
    const nlohmann::json* value = in.find(key);
    if (value == nullptr) return {};
    return value->is_array() ? in.values<token_id>(key) : std::vector<token_id>{in.require<token_id>(key)};
}

}  // namespace detail

SKALD_FUNCTION generation_defaults read_defaults(const io::hf_folder& folder) {
    constexpr std::string_view name = "generation_config.json", fallback = "config.json";
    constexpr io::json_limits small{.bytes = 1u << 20};
    generation_defaults out;
    if (const auto json = folder.read_if_there(name, small)) {
        const io::json_object in(*json, folder.name_of(name));
        out.temperature = in.get<float>("temperature");
        if (in.get<bool>("do_sample") == false) out.temperature = 0.0f;
        if (const auto k = in.get<std::int32_t>("top_k")) out.top_k = std::max(0, *k);
        out.top_p = in.get<float>("top_p");
        out.min_p = in.get<float>("min_p");
        out.repetition_penalty = in.get<float>("repetition_penalty");
        out.ends = detail::read_ids(in, "eos_token_id");
        detail::validate(out, in.file());
    }
    if (!out.ends.empty() || !folder.has(fallback)) return out;
    const nlohmann::json json = folder.read(fallback, small);
    const io::json_object in(json, folder.name_of(fallback));
    out.ends = detail::read_ids(in, "eos_token_id");
    if (const auto nested = in.object("text_config"); nested && out.ends.empty()) out.ends = detail::read_ids(*nested, "eos_token_id");
    return out;
}

SKALD_FUNCTION generation_defaults read_defaults(const io::gguf_file& file) {
    const io::metadata& meta = file.meta();
    generation_defaults out;
    out.temperature = meta.get<float>("general.sampling.temp");
    out.top_k = meta.get<std::int32_t>("general.sampling.top_k");
    out.top_p = meta.get<float>("general.sampling.top_p");
    out.min_p = meta.get<float>("general.sampling.min_p");
    out.repetition_penalty = meta.get<float>("general.sampling.penalty_repeat");
    detail::validate(out, file.name());
    return out;
}

}  // namespace skald
