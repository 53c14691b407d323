// SPDX-License-Identifier: MIT
#pragma once
// The model of a tokenizer, of any kind: how one word becomes tokens.
#include <memory_resource>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/text/bpe.hpp>
#include <skald/text/sentencepiece.hpp>
#include <skald/text/unigram.hpp>
#include <skald/text/vocabulary.hpp>
#include <skald/text/wordpiece.hpp>

namespace skald::text {

/// Merges by rank.
struct bpe_model {
    merge_table merges;
    bpe_symbols symbols;
    bool whole_words;
};

/// A word is a token, or unknown.
struct word_level_model {
    token_id unknown;
};

/// Move-only; const members may be called from several threads.
class tokenizer_model {
public:
    /// Throws errc::bad_file if the source contradicts itself.
    tokenizer_model(const vocabulary_source& source, const vocabulary& tokens, std::pmr::memory_resource* memory)
        : model_(make(source, tokens, memory)) {}

    /// A model at work, with its scratch memory. The model and its vocabulary must outlive it.
    class encoder {
    public:
        encoder(const tokenizer_model& model, const vocabulary& tokens) : model_(&model), tokens_(&tokens) {
            if (const auto* bpe = std::get_if<bpe_model>(&model.model_)) merger_.emplace(tokens, bpe->merges, bpe->symbols);
        }

        /// Appends the tokens of a word that is not empty.
        void encode(std::string_view word, std::vector<token_id>& out) {
            std::visit([&](const auto& m) { apply(m, word, out); }, model_->model_);
        }

    private:
        void apply(const bpe_model& m, std::string_view word, std::vector<token_id>& out) {
            if (m.whole_words)
                if (const auto id = tokens_->find(word); id && !tokens_->is_added(*id)) {
                    out.push_back(*id);
                    return;
                }
            merger_->encode(word, out);
        }
        void apply(const word_level_model& m, std::string_view word, std::vector<token_id>& out) {
            if (const token_id id = tokens_->find(word).value_or(m.unknown); id >= 0) out.push_back(id);
        }
        template <class Model>
        void apply(const Model& m, std::string_view word, std::vector<token_id>& out) {
            m.encode(word, out);
        }

        const tokenizer_model* model_;
        const vocabulary* tokens_;
        std::optional<word_merger> merger_;
    };

    encoder start(const vocabulary& tokens) const { return encoder(*this, tokens); }

private:
    using any_model = std::variant<bpe_model, sentencepiece_model, unigram_model, wordpiece_model, word_level_model>;

    static any_model make(const vocabulary_source& source, const vocabulary& tokens, std::pmr::memory_resource* memory) {
        switch (source.model) {
            case model_kind::spm: return sentencepiece_model(source, memory);
            case model_kind::unigram: return unigram_model(source, memory);
            case model_kind::word_piece: return wordpiece_model(source, memory);
            case model_kind::word_level: return word_level_model{source.unknown};
            case model_kind::bpe: break;
        }
        return bpe_model{merge_table(source, tokens, memory), bpe_symbols(source), source.whole_words};
    }

    any_model model_;
};

}  // namespace skald::text
