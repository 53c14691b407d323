// SPDX-License-Identifier: MIT
#pragma once
// From a path to a model, and what it will cost in memory before a weight is read.
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/once.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/kv/cache.hpp>
#include <skald/model/generation_defaults.hpp>
#include <skald/model/identity.hpp>
#include <skald/model/model.hpp>
#include <skald/model/source.hpp>
#include <skald/model/workspace.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald {

namespace detail {

/// What is known of an open file before its weights are read.
struct model_head {
    model_source source;
    std::optional<text_side> text;
    std::string no_text;  // why there is none
    generation_defaults defaults;
};

SKALD_FUNCTION model_head read_head(const io::gguf_file& file, std::pmr::memory_resource* memory);
SKALD_FUNCTION model_head read_head(const io::hf_folder& folder, std::pmr::memory_resource* memory);

}  // namespace detail

/// An open file or folder that a model is loaded from.
template <class F>
concept model_file = std::same_as<F, io::gguf_file> || std::same_as<F, io::hf_folder>;

/// Calls f with the open model at `path`: a Hugging Face folder for a folder or a .safetensors file, else a GGUF file, the first one of a
/// split model. Throws errc::io and errc::bad_file as these do.
template <class F>
decltype(auto) with_model_file(const std::filesystem::path& path, const io::open_options& options, F&& f) {
    if (io::hf_folder::accepts(path)) return f(io::hf_folder::open(path, options));
    return f(io::gguf_file::open(path, options));
}

/// The tokenizer of a GGUF file or a Hugging Face folder, which need hold nothing else, or of a .json file as tokenizer.json. Throws as
/// load_model does.
SKALD_FUNCTION text::tokenizer load_tokenizer(const std::filesystem::path& path,
                                              std::pmr::memory_resource* memory = std::pmr::get_default_resource());

/// Loads a model from an open file or folder, which may be closed afterwards; not a GGUF file with packing::none, unless `open_file` keeps
/// it open. Weights are packed in parallel on `options.pool`. Throws errc::bad_file, errc::unsupported, errc::cancelled, and what the
/// memory resource throws.
template <class Backend, model_file File>
model<Backend> load_model(const File& file, const load_options& options = {}, std::shared_ptr<const void> open_file = {}) {
    detail::model_head head = detail::read_head(file, options.memory);
    const Backend backend(typename Backend::options{options.pool, options.memory, options.compute});
    if (!head.text && options.logger) options.logger(log_level::warning, concat(file.name(), ": no text side: ", head.no_text));
    return model<Backend>({.backend = backend,
                           .architecture = &head.source.architecture(),
                           .config = head.source.config(),
                           .weights = model_weights<Backend>(backend, head.source, options),
                           .text = std::move(head.text),
                           .no_text = std::move(head.no_text),
                           .defaults = std::move(head.defaults),
                           .file = file.name(),
                           .identity = identity_of(head.source),
                           .logger = options.logger,
                           .open_file = std::move(open_file)});
}

/// Loads a model from a GGUF file, the first one of a split model, or from a Hugging Face folder.
template <class Backend>
model<Backend> load_model(const std::filesystem::path& path, const load_options& options = {}) {
    return with_model_file(path, {.copy = options.copy}, [&](auto file) {
        if (options.packing != packing::none || options.copy || !options.packed_file.empty()) return load_model<Backend>(file, options);
        const auto kept = std::make_shared<const decltype(file)>(std::move(file));
        return load_model<Backend>(*kept, options, kept);
    });
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
    std::size_t mapped = 0;     ///< weights that stay in a mapped file, whose pages processes share; not in the total

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
    const auto weights = model_weights<Backend>::planned_bytes(backend, head.source, options);
    out.weights = weights.allocated;
    out.mapped = weights.mapped;
    out.tokenizer = counter.bytes();
    out.cache = policy.bytes(config.cache());
    const step_limits fitting = limits.fit(std::min(kv::max_length(policy, config.cache()), kv::longest_step(policy)));
    out.workspace = workspace<Backend>::planned_bytes(backend, head.source.architecture(), config, fitting) +
                    buffer<float>::bytes_for(fitting.wanted * config.vocabulary);
    return out;
}

template <class Backend, kv::policy Policy>
memory_plan plan(const std::filesystem::path& path, const load_options& options, const Policy& policy, const step_limits& limits = {}) {
    return with_model_file(path, {.copy = options.copy}, [&](const auto& file) { return plan<Backend>(file, options, policy, limits); });
}

}  // namespace skald

#if SKALD_DEFINES
#include <skald/model/load_impl.hpp>
#endif
