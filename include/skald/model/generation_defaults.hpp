// SPDX-License-Identifier: MIT
#pragma once
// How a model's makers want it to be sampled, where its files say so: offered to hosts, applied by nobody here but for the tokens that end
// a text. In a folder generation_config.json (and eos_token_id of config.json), in GGUF the keys under general.sampling.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <skald/core/once.hpp>
#include <skald/core/types.hpp>

namespace skald {

namespace io {
class gguf_file;
class hf_folder;
}  // namespace io

/// What the makers recommend; nothing where they do not say.
struct generation_defaults {
    std::optional<float> temperature;         ///< 0: the most probable token
    std::optional<std::int32_t> top_k;        ///< 0: all
    std::optional<float> top_p;               ///< 1: all
    std::optional<float> min_p;               ///< 0: all
    std::optional<float> repetition_penalty;  ///< 1: none
    std::vector<token_id> ends;               ///< tokens that end a text, besides those the tokenizer knows

    bool is_end(token_id id) const noexcept { return std::find(ends.begin(), ends.end(), id) != ends.end(); }
};

/// Throws errc::bad_file, naming the file and the key, for what is malformed or a recommendation that no sampler can follow.
SKALD_FUNCTION generation_defaults read_defaults(const io::hf_folder& folder);
SKALD_FUNCTION generation_defaults read_defaults(const io::gguf_file& file);

}  // namespace skald

#if SKALD_DEFINES
#include <skald/model/generation_defaults_impl.hpp>
#endif
