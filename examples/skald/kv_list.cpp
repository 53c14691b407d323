// SPDX-License-Identifier: MIT
// kv-list: the caches that --kv can name, and what each takes for a model. Reads the model's metadata only.
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/kv/spec.hpp>
#include <skald/model/gguf_source.hpp>
#include <skald/model/hf_source.hpp>
#include <skald/model/load.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

/// The size of a cache by its words; none for words that do not go together.
std::optional<cache_size> size_of_words(const std::string& words, const skald::kv::cache_shape& shape, std::size_t context) {
    try {
        return size_of_cache(skald::kv::parse_spec(words), shape, context);
    } catch (const skald::error& e) {
        if (e.code() != skald::errc::invalid_argument && e.code() != skald::errc::unsupported) throw;
        return std::nullopt;
    }
}

}  // namespace

void list_caches(const kv_list_command& c) {
    const auto shape = skald::with_model_file(c.path, {}, [](const auto& file) { return skald::read_source(file).config().cache(); });
    std::vector<cache_size> sizes;
    for (const skald::kv::spec& spec : c.kv) sizes.push_back(size_of_cache(spec, shape, c.context));
    if (c.kv.empty())
        for (const skald::kv::storage_word& storage : skald::kv::storage_words)
            for (const auto& [codec, kind] : skald::kv::codec_words)
                if (auto size = size_of_words(skald::concat(storage.example, ":", codec), shape, c.context))
                    sizes.push_back(std::move(*size));

    if (c.json) {
        auto list = nlohmann::ordered_json::array();
        for (const cache_size& s : sizes)
            list.push_back({{"kv", s.name}, {"bytes_per_token", s.of_token}, {"context", c.context}, {"context_bytes", s.of_context}});
        write(list.dump(2) + "\n");
        return;
    }
    write(skald::concat(padded("cache", 28), padded_left("bytes a token", 14), padded_left(skald::concat(c.context, " tokens"), 16), "\n"));
    for (const cache_size& s : sizes)
        write(skald::concat(padded(s.name, 28), padded_left(std::to_string(s.of_token), 14), padded_left(human_bytes(s.of_context), 16),
                            "\n"));
}

}  // namespace cli
