// SPDX-License-Identifier: MIT
#pragma once
// What hf_folder.hpp declares: opening the files of a folder.
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/json_file.hpp>
#include <skald/io/mapped_file.hpp>
#include <skald/io/safetensors.hpp>

namespace skald::io {

SKALD_FUNCTION hf_folder hf_folder::open(const std::filesystem::path& path, const open_options& options) {
    std::error_code error;
    const bool folder = std::filesystem::is_directory(path, error);
    if (!folder && !std::filesystem::exists(path, error))
        fail(errc::io, path.string(), "cannot be opened: ", error ? error.message() : std::string("there is no such file or folder"));
    return hf_folder(path, folder ? path : path.parent_path(), folder ? std::filesystem::path() : path.filename(), options);
}

SKALD_FUNCTION nlohmann::json hf_folder::read(std::string_view file, const json_limits& limits) const {
    return read_json(folder_ / file, limits, options_);
}

SKALD_FUNCTION std::optional<nlohmann::json> hf_folder::read_if_there(std::string_view file, const json_limits& limits) const {
    return has(file) ? std::optional(read(file, limits)) : std::nullopt;
}

SKALD_FUNCTION std::optional<std::string> hf_folder::text(std::string_view file, std::uint64_t most) const {
    if (!has(file)) return std::nullopt;
    const auto source = open_file(folder_ / file, options_);
    if (source->size() > most)
        fail(errc::bad_file, source->name(), "has ", source->size(), " bytes; ", most, " are the most that is read of such a file");
    const auto bytes = source->resident();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

SKALD_FUNCTION safetensors_file hf_folder::weights() const {
    constexpr std::string_view whole = "model.safetensors", index = "model.safetensors.index.json";
    const bool listed = has(index) && !file_.empty() && is_listed(index);
    if (!file_.empty() && !listed) return safetensors_file::open(folder_ / file_, options_);
    if (!listed && has(whole)) return safetensors_file::open(folder_ / whole, options_);
    if (has(index)) return safetensors_file::open_index(folder_ / index, options_);
    for (const std::string_view other : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
        if (has(other)) fail(errc::unsupported, name_, "has weights as ", other, " only, which is not read; save the model as safetensors");
    fail(errc::io, name_, "has neither ", whole, " nor ", index);
}

SKALD_FUNCTION bool hf_folder::is_listed(std::string_view index) const {
    const auto map = detail::read_weight_map(read(index), name_of(index));
    for (const auto& [tensor, shard] : map)
        if (shard == file_) return true;
    return false;
}

}  // namespace skald::io
