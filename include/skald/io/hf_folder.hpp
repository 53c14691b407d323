// SPDX-License-Identifier: MIT
#pragma once
// A folder as Hugging Face's tools save a model: config.json, weights as safetensors, tokenizer.json and its companions. Knows where
// things are; what they mean is the business of model/ and text/.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json_fwd.hpp>

#include <skald/core/once.hpp>
#include <skald/io/json_limits.hpp>
#include <skald/io/mapped_file.hpp>

namespace skald::io {

class safetensors_file;

/// A model's folder. Weights are opened when they are asked for.
class hf_folder {
public:
    /// True if `path` is to be opened as a folder: it is one, or a .safetensors file, which stands for the folder it is in.
    static bool accepts(const std::filesystem::path& path) {
        std::error_code ignored;
        return path.extension() == ".safetensors" || std::filesystem::is_directory(path, ignored);
    }

    /// Reads nothing yet. Throws errc::io if there is no such folder or file.
    static hf_folder open(const std::filesystem::path& path, const open_options& options = {});

    /// As the user gave it.
    const std::string& name() const noexcept { return name_; }

    /// What messages call a file of the folder.
    std::string name_of(std::string_view file) const { return (folder_ / file).string(); }

    bool has(std::string_view file) const {
        std::error_code ignored;
        return std::filesystem::exists(folder_ / file, ignored);
    }

    /// The value in a JSON file of the folder. Throws errc::io if it is not there, errc::bad_file if it is no JSON.
    nlohmann::json read(std::string_view file, const json_limits& limits = {}) const;

    /// The same, or nothing if it is not there.
    std::optional<nlohmann::json> read_if_there(std::string_view file, const json_limits& limits = {}) const;

    /// A text file of the folder (chat_template.jinja), or nothing if it is not there. Throws errc::bad_file for one of more than `most`
    /// bytes.
    std::optional<std::string> text(std::string_view file, std::uint64_t most = 1u << 20) const;

    /// The weights, whose headers are read now: the .safetensors file that was opened if no index lists it, else model.safetensors, else
    /// the files of model.safetensors.index.json.
    safetensors_file weights() const;

private:
    hf_folder(const std::filesystem::path& given, std::filesystem::path folder, std::filesystem::path file, const open_options& options)
        : name_(given.string()), folder_(std::move(folder)), file_(std::move(file)), options_(options) {}

    bool is_listed(std::string_view index) const;

    std::string name_;
    std::filesystem::path folder_, file_;  // file_: a single .safetensors file that was asked for
    open_options options_;
};

}  // namespace skald::io

#if SKALD_DEFINES
#include <skald/io/hf_folder_impl.hpp>
#endif
