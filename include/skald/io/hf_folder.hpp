// SPDX-License-Identifier: MIT
#pragma once
// A folder as Hugging Face's tools save a model: config.json, weights as safetensors, tokenizer.json and its companions. Knows where
// things are; what they mean is the business of model/ and text/.
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/json_file.hpp>
#include <skald/io/mapped_file.hpp>
#include <skald/io/safetensors.hpp>

namespace skald::io {

/// A model's folder. Weights are opened when they are asked for.
class hf_folder {
public:
    /// True if `path` is to be opened as a folder: it is one, or a .safetensors file, which stands for the folder it is in.
    static bool accepts(const std::filesystem::path& path) {
        std::error_code ignored;
        return path.extension() == ".safetensors" || std::filesystem::is_directory(path, ignored);
    }

    /// Reads nothing yet. Throws errc::io if there is no such folder or file.
    static hf_folder open(const std::filesystem::path& path, const open_options& options = {}) {
        std::error_code error;
        const bool folder = std::filesystem::is_directory(path, error);
        if (!folder && !std::filesystem::exists(path, error))
            fail(errc::io, path.string(), "cannot be opened: ", error ? error.message() : std::string("there is no such file or folder"));
        return hf_folder(path, folder ? path : path.parent_path(), folder ? std::filesystem::path() : path.filename(), options);
    }

    /// As the user gave it.
    const std::string& name() const noexcept { return name_; }

    /// What messages call a file of the folder.
    std::string name_of(std::string_view file) const { return (folder_ / file).string(); }

    bool has(std::string_view file) const {
        std::error_code ignored;
        return std::filesystem::exists(folder_ / file, ignored);
    }

    /// The value in a JSON file of the folder. Throws errc::io if it is not there, errc::bad_file if it is no JSON.
    nlohmann::json read(std::string_view file, const json_limits& limits = {}) const { return read_json(folder_ / file, limits, options_); }

    /// The same, or nothing if it is not there.
    std::optional<nlohmann::json> read_if_there(std::string_view file, const json_limits& limits = {}) const {
        return has(file) ? std::optional(read(file, limits)) : std::nullopt;
    }

    /// A text file of the folder (chat_template.jinja), or nothing if it is not there. Throws errc::bad_file for one of more than `most`
    /// bytes.
    std::optional<std::string> text(std::string_view file, std::uint64_t most = 1u << 20) const {
        if (!has(file)) return std::nullopt;
        const auto source = open_file(folder_ / file, options_);
        if (source->size() > most)
            fail(errc::bad_file, source->name(), "has ", source->size(), " bytes; ", most, " are the most that is read of such a file");
        const auto bytes = source->resident();
        return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }

    /// The weights, whose headers are read now: the .safetensors file that was opened if no index lists it, else model.safetensors, else
    /// the files of model.safetensors.index.json.
    safetensors_file weights() const {
        constexpr std::string_view whole = "model.safetensors", index = "model.safetensors.index.json";
        const bool listed = has(index) && !file_.empty() && is_listed(index);
        if (!file_.empty() && !listed) return safetensors_file::open(folder_ / file_, options_);
        if (!listed && has(whole)) return safetensors_file::open(folder_ / whole, options_);
        if (has(index)) return safetensors_file::open_index(folder_ / index, options_);
        for (const std::string_view other : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
            if (has(other))
                fail(errc::unsupported, name_, "has weights as ", other, " only, which is not read; save the model as safetensors");
        fail(errc::io, name_, "has neither ", whole, " nor ", index);
    }

private:
    hf_folder(const std::filesystem::path& given, std::filesystem::path folder, std::filesystem::path file, const open_options& options)
        : name_(given.string()), folder_(std::move(folder)), file_(std::move(file)), options_(options) {}

    bool is_listed(std::string_view index) const {
        const auto map = detail::read_weight_map(read(index), name_of(index));
        for (const auto& [tensor, shard] : map)
            if (shard == file_) return true;
        return false;
    }

    std::string name_;
    std::filesystem::path folder_, file_;  // file_: a single .safetensors file that was asked for
    open_options options_;
};

}  // namespace skald::io
