// SPDX-License-Identifier: MIT
#pragma once
// The keys tokenizer.ggml.* of a GGUF file as a vocabulary_source.
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/pre_tokenizer.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text::detail {

/// The elements of an array of strings; views into the metadata. Throws errc::bad_file for anything else.
inline std::span<const std::string_view> strings_of(const io::metadata& meta, std::string_view key, std::string_view file) {
    const io::metadata_array* a = meta.array(key);
    if (a == nullptr) fail(errc::bad_file, file, "key '", key, "' is missing from the metadata");
    if (a->kind() != io::value_kind::string)
        fail(errc::bad_file, file, "key '", key, "' is an array of ", to_string(a->kind()), ", not of strings");
    return a->strings();
}

/// Reads and checks the keys. `source` points into the metadata and into this object.
struct gguf_vocabulary {
    gguf_vocabulary(const io::metadata& meta, std::string_view file) {
        const auto model = meta.require<std::string_view>("tokenizer.ggml.model");
        if (model != "gpt2")
            fail(errc::unsupported, file, "the tokenizer model ", io::detail::in_quotes(model),
                 " (key 'tokenizer.ggml.model') is not supported; known is gpt2, byte-level BPE");
        source.place = file;
        source.pre = meta.get<std::string_view>("tokenizer.ggml.pre").value_or("default");
        find_pre_tokenizer(source.pre, file);  // before anything long
        source.tokens = strings_of(meta, "tokenizer.ggml.tokens", file);
        source.merges = strings_of(meta, "tokenizer.ggml.merges", file);
        if (meta.contains("tokenizer.ggml.token_type")) {
            kinds_ = meta.ints("tokenizer.ggml.token_type");
            if (kinds_.empty() && !source.tokens.empty()) fail(errc::bad_file, file, "key 'tokenizer.ggml.token_type' is an empty array");
            source.kinds = kinds_;
        }
        check_scores(meta, file);
        for (const auto& [key, id] :
             std::initializer_list<std::pair<std::string_view, token_id*>>{{"tokenizer.ggml.bos_token_id", &source.bos},
                                                                           {"tokenizer.ggml.eos_token_id", &source.eos},
                                                                           {"tokenizer.ggml.eot_token_id", &source.eot},
                                                                           {"tokenizer.ggml.eom_token_id", &source.eom},
                                                                           {"tokenizer.ggml.unknown_token_id", &source.unknown},
                                                                           {"tokenizer.ggml.padding_token_id", nullptr},
                                                                           {"tokenizer.ggml.seperator_token_id", nullptr},
                                                                           {"tokenizer.ggml.mask_token_id", nullptr}}) {
            const std::optional<std::int64_t> value = meta.get<std::int64_t>(key);
            if (!value) continue;
            if (*value < 0 || static_cast<std::uint64_t>(*value) >= source.tokens.size())
                fail(errc::bad_file, file, "key '", key, "' is ", *value, ", outside the vocabulary of ", source.tokens.size(), " tokens");
            if (id != nullptr) *id = static_cast<token_id>(*value);
        }
        source.add_bos = meta.get<bool>("tokenizer.ggml.add_bos_token");
        source.add_eos = meta.get<bool>("tokenizer.ggml.add_eos_token").value_or(false);
    }

    vocabulary_source source;

private:
    /// Byte-level BPE has no use for scores, but a file that carries them must carry them right.
    void check_scores(const io::metadata& meta, std::string_view file) const {
        if (!meta.contains("tokenizer.ggml.scores")) return;
        const std::vector<float> scores = meta.floats("tokenizer.ggml.scores");
        if (scores.size() != source.tokens.size())
            fail(errc::bad_file, file, "key 'tokenizer.ggml.scores' has ", scores.size(), " elements, but key 'tokenizer.ggml.tokens' has ",
                 source.tokens.size());
        for (std::size_t i = 0; i < scores.size(); ++i)
            if (scores[i] != scores[i]) fail(errc::bad_file, file, "key 'tokenizer.ggml.scores': element ", i, " is NaN");
    }

    std::vector<std::int32_t> kinds_;
};

}  // namespace skald::text::detail
