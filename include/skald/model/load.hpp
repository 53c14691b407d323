// SPDX-License-Identifier: MIT
#pragma once
// From a path to a model, and what it will cost in memory before a weight is read.
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/once.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/kv/cache.hpp>
#include <skald/model/generation_defaults.hpp>
#include <skald/model/gguf_source.hpp>
#include <skald/model/hf_source.hpp>
#include <skald/model/model.hpp>
#include <skald/model/workspace.hpp>
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

/// What is known of an open file before its weights are read.
struct model_head {
    model_source source;
    std::optional<text_side> text;
    std::string no_text;
    generation_defaults defaults;
};

template <class File>
model_head read_head(const File& file, std::pmr::memory_resource* memory) {
    model_head out{.source = read_source(file), .text = {}, .no_text = {}, .defaults = read_defaults(file)};
    out.text = load_text(file, out.defaults.ends, memory, out.no_text);
    return out;
}

template <class File>
File open_model(const std::filesystem::path& path, const io::open_options& options) {
    return File::open(path, options);
}

SKALD_ONCE(model_head read_head(const io::gguf_file&, std::pmr::memory_resource*))
SKALD_ONCE(model_head read_head(const io::hf_folder&, std::pmr::memory_resource*))
SKALD_ONCE(io::gguf_file open_model(const std::filesystem::path&, const io::open_options&))
SKALD_ONCE(io::hf_folder open_model(const std::filesystem::path&, const io::open_options&))

}  // namespace detail

/// An open file or folder that a model is loaded from.
template <class F>
concept model_file = std::same_as<F, io::gguf_file> || std::same_as<F, io::hf_folder>;

/// Calls f with the open model at `path`: a Hugging Face folder for a folder or a .safetensors file, else a GGUF file, the first one of a
/// split model. Throws errc::io and errc::bad_file as these do.
template <class F>
decltype(auto) with_model_file(const std::filesystem::path& path, const io::open_options& options, F&& f) {
    if (io::hf_folder::accepts(path)) return f(detail::open_model<io::hf_folder>(path, options));
    return f(detail::open_model<io::gguf_file>(path, options));
}

/// The tokenizer of a GGUF file or a Hugging Face folder, which need hold nothing else, or of a .json file as tokenizer.json. Throws as
/// load_model does.
template <class = once>
text::tokenizer load_tokenizer(const std::filesystem::path& path, std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
    if (path.extension() == ".json") return text::read_tokenizer(path, memory);
    return with_model_file(path, {}, [&](const auto& file) { return detail::read_tokenizer(file, memory); });
}

SKALD_ONCE(text::tokenizer load_tokenizer<>(const std::filesystem::path&, std::pmr::memory_resource*))

/// Loads a model from an open file or folder, which may be closed afterwards. Weights are packed in parallel on `options.pool`.
/// Throws errc::bad_file, errc::unsupported, errc::cancelled, and what the memory resource throws.
template <class Backend, model_file File>
model<Backend> load_model(const File& file, const load_options& options = {}) {
    detail::model_head head = detail::read_head(file, options.memory);
    const Backend backend(typename Backend::options{options.pool, options.memory, options.compute});
    if (!head.text && options.logger) options.logger(log_level::warning, concat(file.name(), ": no text side: ", head.no_text));
    return model<Backend>({.backend = backend,
                           .architecture = &head.source.architecture(),
                           .config = head.source.config(),
                           .weights = model_weights<Backend>(backend, head.source, options.progress, options.stop),
                           .text = std::move(head.text),
                           .no_text = std::move(head.no_text),
                           .defaults = std::move(head.defaults),
                           .file = file.name(),
                           .logger = options.logger});
}

/// Loads a model from a GGUF file, the first one of a split model, or from a Hugging Face folder.
template <class Backend>
model<Backend> load_model(const std::filesystem::path& path, const load_options& options = {}) {
    return with_model_file(path, {.copy = options.copy}, [&](const auto& file) { return load_model<Backend>(file, options); });
}

/// Bytes a model and one pipeline on it take from their memory resource. Not in it, since it comes from the host's heap: token
/// histories and text (some bytes a token), and what a sampling chain needs for its candidates (12 bytes a token of the
/// vocabulary; none when it is greedy), tables of the open file, and while a folder loads whose matrices lie transposed (GPT-2) a copy
/// of one of them.
struct memory_plan {
    std::size_t weights = 0;
    std::size_t tokenizer = 0;
    std::size_t cache = 0;
    std::size_t workspace = 0;  ///< activations of a step, and the logits

    std::size_t total() const noexcept { return weights + tokenizer + cache + workspace; }
};

/// What loading the file or folder and a pipeline with that cache policy will take; `limits.rows` is the pipeline's chunk. Reads metadata
/// only, no weights.
template <class Backend, model_file File, kv::policy Policy>
memory_plan plan(const File& file, const load_options& options, const Policy& policy, const step_limits& limits = {}) {
    counting_resource counter;  // the tokenizer's tables depend on the vocabulary's bytes: building them is the plan
    const detail::model_head head = detail::read_head(file, &counter);
    const model_config& config = head.source.config();
    const Backend backend(typename Backend::options{options.pool, options.memory, options.compute});
    memory_plan out;
    out.weights = model_weights<Backend>::planned_bytes(backend, head.source);
    out.tokenizer = counter.bytes();
    out.cache = policy.bytes(config.cache());
    const step_limits fitting = limits.fit(policy.max_length());
    out.workspace = workspace<Backend>::planned_bytes(backend, head.source.architecture(), config, fitting) +
                    buffer<float>::bytes_for(fitting.wanted * config.vocabulary);
    return out;
}

template <class Backend, kv::policy Policy>
memory_plan plan(const std::filesystem::path& path, const load_options& options, const Policy& policy, const step_limits& limits = {}) {
    return with_model_file(path, {.copy = options.copy}, [&](const auto& file) { return plan<Backend>(file, options, policy, limits); });
}

}  // namespace skald
