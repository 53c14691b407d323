// SPDX-License-Identifier: MIT
#pragma once
// Tokenizers of Hugging Face folders: tokenizer.json, and what tokenizer_config.json says of its special tokens.
#include <filesystem>
#include <memory_resource>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <skald/io/json_file.hpp>
#include <skald/text/detail/json_vocabulary.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::text {

/// The tokenizer of the contents of a tokenizer.json file, and of a tokenizer_config.json beside it, if there is one; the files stand in
/// messages. Throws errc::unsupported for parts that are not known, errc::bad_file for what is malformed or contradicts itself.
inline tokenizer read_tokenizer(const io::json_object& file, const io::json_object* config = nullptr,
                                std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
    detail::json_vocabulary v(file, config);
    return tokenizer(v.source, std::move(v.steps()), memory);
}

/// The tokenizer of a file tokenizer.json, or of the one in a folder, with the tokenizer_config.json that lies beside it.
inline tokenizer read_tokenizer(const std::filesystem::path& path, std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
    std::error_code none;
    const std::filesystem::path file = std::filesystem::is_directory(path, none) ? path / "tokenizer.json" : path;
    const std::filesystem::path beside = file.parent_path() / "tokenizer_config.json";
    const nlohmann::json json = io::read_json(file);
    const io::json_object object(json, file.string());
    if (!std::filesystem::exists(beside, none)) return read_tokenizer(object, nullptr, memory);
    const nlohmann::json config_json = io::read_json(beside);
    const io::json_object config(config_json, beside.string());
    return read_tokenizer(object, &config, memory);
}

}  // namespace skald::text
