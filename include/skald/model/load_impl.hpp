// SPDX-License-Identifier: MIT
#pragma once
// What load.hpp declares: everything of a file but its weights.
#include <filesystem>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/json_file.hpp>
#include <skald/model/generation_defaults.hpp>
#include <skald/model/gguf_source.hpp>
#include <skald/model/hf_source.hpp>
#include <skald/model/load.hpp>
#include <skald/text/hf_chat_template.hpp>
#include <skald/text/tokenizer_json.hpp>

namespace skald {

namespace detail {

inline text::tokenizer read_tokenizer(const io::gguf_file& file, std::pmr::memory_resource* memory) {
    return text::tokenizer::from_gguf(file.meta(), file.name(), memory);
}

inline text::tokenizer read_tokenizer(const io::hf_folder& folder, std::pmr::memory_resource* memory) {
    constexpr std::string_view tokenizer_file = "tokenizer.json", config_file = "tokenizer_config.json";
    const nlohmann::json json = folder.read(tokenizer_file);
    const io::json_object file(json, folder.name_of(tokenizer_file));
    const std::optional<nlohmann::json> config = folder.read_if_there(config_file);
    if (!config) return text::read_tokenizer(file, nullptr, memory);
    const io::json_object beside(*config, folder.name_of(config_file));
    return text::read_tokenizer(file, &beside, memory);
}

inline text::chat_format read_chat_format(const io::gguf_file& file, const text::tokenizer& t) {
    return text::chat_format::from_gguf(file.meta(), t);
}

inline text::chat_format read_chat_format(const io::hf_folder& folder, const text::tokenizer& t) {
    return text::chat_format(text::hf_chat_template(folder), t, folder.name());
}

inline bool has_text(const io::gguf_file& file) noexcept { return file.meta().contains("tokenizer.ggml.model"); }
inline bool has_text(const io::hf_folder& folder) { return folder.has("tokenizer.json"); }

/// The text side of a file or folder, with the further tokens that end its texts; `why` says why there is none.
template <class File>
std::optional<text_side> load_text(const File& file, std::span<const token_id> ends, std::pmr::memory_resource* memory, std::string& why) {
    if (!has_text(file)) {
        why = "it has no tokenizer; give token ids instead of text";
        return std::nullopt;
    }
    try {
        text::tokenizer tokenizer = read_tokenizer(file, memory);
        tokenizer.add_ends(ends, memory);
        text::chat_format chat = read_chat_format(file, tokenizer);
        return text_side{std::move(tokenizer), std::move(chat)};
    } catch (const error& e) {
        if (e.code() != errc::unsupported) throw;
        why = std::string_view(e.what()).substr(e.place().empty() ? 0 : e.place().size() + 2);
        return std::nullopt;
    }
}

template <class File>
model_head read_head_of(const File& file, std::pmr::memory_resource* memory) {
    model_head out{.source = read_source(file), .text = {}, .no_text = {}, .defaults = read_defaults(file)};
    out.text = load_text(file, out.defaults.ends, memory, out.no_text);
    return out;
}

SKALD_FUNCTION model_head read_head(const io::gguf_file& file, std::pmr::memory_resource* memory) { return read_head_of(file, memory); }
SKALD_FUNCTION model_head read_head(const io::hf_folder& folder, std::pmr::memory_resource* memory) { return read_head_of(folder, memory); }

}  // namespace detail

SKALD_FUNCTION text::tokenizer load_tokenizer(const std::filesystem::path& path, std::pmr::memory_resource* memory) {
    if (path.extension() == ".json") return text::read_tokenizer(path, memory);
    return with_model_file(path, {}, [&](const auto& file) { return detail::read_tokenizer(file, memory); });
}

}  // namespace skald
