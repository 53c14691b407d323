// SPDX-License-Identifier: MIT
#pragma once
// What a GGUF file made from a model will hold, before formats are chosen: keys, tensors under their names there, and where their values
// come from. Of a GGUF file, the same again; of a Hugging Face folder, what GGUF has for it.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/io/gguf.hpp>
#include <skald/io/gguf_writer.hpp>
#include <skald/io/hf_folder.hpp>
#include <skald/io/json_file.hpp>
#include <skald/model/generation_defaults.hpp>
#include <skald/model/gguf_form.hpp>
#include <skald/model/hf_source.hpp>
#include <skald/quantize/recipe.hpp>
#include <skald/text/hf_chat_template.hpp>
#include <skald/text/tokenizer.hpp>
#include <skald/text/tokenizer_gguf.hpp>
#include <skald/text/tokenizer_json.hpp>

namespace skald::quantize {

/// Rows that lie together. What read() gives is valid until the next read of any; release() tells that it is read no more.
struct stretch {
    dtype type;
    std::size_t rows;
    std::function<const std::byte*()> read;
    std::function<void()> release;
};

struct content_tensor {
    std::string name;
    std::vector<std::uint64_t> shape;  ///< the fastest varying extent first
    dtype plain;                       ///< its type where neither mixture nor user asks for another
    std::vector<stretch> stretches;    ///< its rows, one stretch after another
    head_order order{};
};

struct content {
    std::string file;  ///< for messages
    io::gguf_keys keys;
    model_facts facts;
    std::vector<content_tensor> tensors;
    std::vector<std::string> notes{};  ///< what GGUF cannot tell of the model's tokenizer, a line each
};

/// What mixtures ask about the model in a file; what it does not say has its default.
inline model_facts read_facts(const io::gguf_file& file) {
    const io::metadata& meta = file.meta();
    const std::string prefix = meta.get<std::string>("general.architecture").value_or("") + ".";
    const auto number = [&](std::string_view key) -> std::size_t {
        const io::metadata_value* v = meta.find(concat(prefix, key));  // some models have a list of one a layer
        return v == nullptr ? 0 : io::value_as<std::size_t>(*v).value_or(0);
    };
    const std::size_t heads = number("attention.head_count"), kv_heads = number("attention.head_count_kv");
    return {.layers = number("block_count"),
            .heads_per_kv_head = kv_heads == 0 ? 1 : heads / kv_heads,
            .experts = number("expert_count"),
            .tied = file.find("output.weight") == nullptr};
}

namespace detail {

/// The text side: tokenizer, chat template, and what generation_config.json recommends.
inline void put_text(content& out, const io::hf_folder& folder, std::size_t rows) {
    constexpr std::string_view tokenizer_file = "tokenizer.json", config_file = "tokenizer_config.json";
    const generation_defaults defaults = read_defaults(folder);
    const auto put = [&](std::string_view key, const auto& value) {
        if (value) out.keys.put(concat("general.sampling.", key), *value);
    };
    put("temp", defaults.temperature);
    put("top_k", defaults.top_k);
    put("top_p", defaults.top_p);
    put("min_p", defaults.min_p);
    put("penalty_repeat", defaults.repetition_penalty);
    if (!folder.has(tokenizer_file)) {
        out.keys.put("tokenizer.ggml.model", "none");
        return;
    }
    const nlohmann::json json = folder.read(tokenizer_file);
    const io::json_object file(json, folder.name_of(tokenizer_file));
    const std::optional<nlohmann::json> config_json = folder.read_if_there(config_file);
    std::optional<io::json_object> config;
    if (config_json) config.emplace(*config_json, folder.name_of(config_file));
    text::detail::json_vocabulary vocabulary(file, config ? &*config : nullptr);
    text::vocabulary_source& source = vocabulary.source;

    // Tokens that end a text though neither the tokenizer nor their name says so: GGUF has two keys to spare.
    const text::tokenizer known(source, vocabulary.steps());
    for (const token_id id : defaults.ends) {
        if (id < 0 || static_cast<std::size_t>(id) >= known.size() || known.is_end(id)) continue;
        token_id& key = source.eom < 0 ? source.eom : source.eot;
        if (key >= 0 || (&key == &source.eot && known.eot() >= 0))
            out.notes.push_back(concat("token ", id, " ends texts"));
        else
            key = id;
    }
    text::put_tokenizer(out.keys, source, vocabulary.steps(), rows, out.notes);
    if (const std::string chat = text::hf_chat_template(folder); !chat.empty()) out.keys.put("tokenizer.chat_template", chat);
}

/// The model's name: the last part of what its config calls it, or of the folder's path.
inline std::string name_of(const model_source& source, const io::hf_folder& folder) {
    std::filesystem::path path = std::filesystem::absolute(folder.name());
    if (path.extension() == ".safetensors") path = path.parent_path();
    if (!source.config().name.empty()) path = source.config().name;
    if (!path.has_filename()) path = path.parent_path();
    return path.filename().string();
}

}  // namespace detail

/// The file must outlive it.
inline content content_of(const io::gguf_file& file) {
    content out{.file = file.name(), .keys = io::gguf_keys(file.meta()), .facts = read_facts(file), .tensors = {}};
    for (const char* key : {"split.no", "split.count", "split.tensors.count"}) out.keys.erase(key);
    for (const io::tensor_entry& t : file.tensors()) {
        const auto rows = checked_size(t.rows(), file.name()).size();
        stretch all{t.type, rows, [&file, &t] { return file.bytes(t).data(); }, [] {}};
        out.tensors.push_back({.name = t.name, .shape = t.shape, .plain = t.type, .stretches = {std::move(all)}});
    }
    return out;
}

/// Reads what load_model reads but for the weights, whose files stay open. Matrices stay as they are where no mixture asks for another
/// type; what is no matrix becomes f32, as GGUF has it. Throws errc::unsupported, naming it, for what GGUF cannot tell of a model, and what
/// read_source throws.
inline content content_of(const io::hf_folder& folder) {
    const auto source = std::make_shared<const model_source>(read_source(folder));
    const model_config& c = source->config();
    content out{.file = folder.name(),
                .keys = {},
                .facts = {.layers = c.layers,
                          .heads_per_kv_head = c.heads / c.kv_heads,
                          .experts = c.experts.count,
                          .tied = !source->has(tensor_role::output)},
                .tensors = {}};
    out.keys.put("general.type", "model");
    out.keys.put("general.name", detail::name_of(*source, folder));
    put_config(out.keys, *source);
    detail::put_text(out, folder, c.vocabulary);
    for (gguf_form_tensor& t : gguf_tensors_of(*source)) {
        content_tensor to{.name = std::move(t.name), .shape = t.shape, .plain = dtype::f32, .stretches = {}, .order = t.order};
        const std::size_t rows = t.shape.size() < 2 ? 1 : static_cast<std::size_t>(t.shape[1]);
        if (!t.values.empty()) {
            const auto values = std::make_shared<const std::vector<float>>(std::move(t.values));
            to.stretches.push_back({dtype::f32, 1, [values] { return reinterpret_cast<const std::byte*>(values->data()); }, [] {}});
            t.matrices = 0;
        }
        for (std::size_t e = 0; e < t.matrices; ++e)
            to.stretches.push_back({(*source)(t.role, t.layer, e).type, rows,
                                    [source, role = t.role, layer = t.layer, e] { return source->fetch(role, layer, e).data; },
                                    [source, role = t.role, layer = t.layer, e] { source->release(role, layer, e); }});
        out.tensors.push_back(std::move(to));
    }
    return out;
}

}  // namespace skald::quantize
