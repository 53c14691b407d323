// SPDX-License-Identifier: MIT
#pragma once
// The keys tokenizer.ggml.* of a GGUF file as a vocabulary_source.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/published_division.hpp>
#include <skald/text/tokenizer_model.hpp>
#include <skald/text/tokenizer_steps.hpp>
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
    gguf_vocabulary(const io::metadata& meta, std::string_view file) : meta_(meta), file_(file) {
        source.place = file;
        const auto model = meta.require<std::string_view>("tokenizer.ggml.model");
        if (model == "gpt2")
            read_bpe();
        else if (model == "llama")
            read_llama();
        else if (model == "t5")
            read_t5();
        else if (model == "bert")
            read_bert();
        else
            fail(errc::unsupported, file, "the tokenizer model ", io::detail::in_quotes(model),
                 " (key 'tokenizer.ggml.model') is not supported; known are gpt2 (byte-level BPE), llama (SentencePiece), t5 (unigram), "
                 "bert (WordPiece)");
        source.tokens = strings_of(meta, "tokenizer.ggml.tokens", file);
        if (meta.contains("tokenizer.ggml.token_type")) {
            kinds_ = meta.ints("tokenizer.ggml.token_type");
            if (kinds_.empty() && !source.tokens.empty()) fail(errc::bad_file, file, "key 'tokenizer.ggml.token_type' is an empty array");
            source.kinds = kinds_;
        }
        read_scores(source.model == model_kind::spm || source.model == model_kind::unigram);
        read_special_ids();
        read_added();
    }
    gguf_vocabulary(const gguf_vocabulary&) = delete;

    vocabulary_source source;
    tokenizer_steps steps;

private:
    void read_bpe() {
        const auto& division = find_division(meta_.get<std::string_view>("tokenizer.ggml.pre").value_or("default"), file_);
        steps.pre = make_pre_tokenizer(division);
        source.merges = strings_of(meta_, "tokenizer.ggml.merges", file_);
        source.whole_words = division.whole_words;
        source.add_bos = division.add_bos;
        if (!division.marked_spaces) return;
        source.byte_level = false;
        source.byte_fallback = true;
        steps.normalize.steps.emplace_back(spaces_as_marks());
        steps.decode = decoder({space_mark_decoder{.dropped_first = false}, byte_token_decoder{}});
    }

    void read_llama() {
        source.model = model_kind::spm;
        source.byte_level = false;
        source.byte_fallback = true;
        source.add_bos = true;
        read_marked_spaces({.add_prefix = meta_.get<bool>("tokenizer.ggml.add_space_prefix").value_or(true)});
    }

    void read_t5() {
        source.model = model_kind::unigram;
        source.byte_level = false;
        source.fuse_unknown = true;
        source.add_eos = true;
        read_marked_spaces({.map = read_charsmap(),
                            .add_prefix = meta_.get<bool>("tokenizer.ggml.add_space_prefix").value_or(false),
                            .remove_extra = meta_.get<bool>("tokenizer.ggml.remove_extra_whitespaces").value_or(false)});
    }

    void read_bert() {
        source.model = model_kind::word_piece;
        source.byte_level = false;
        source.starting_prefix = blank_mark;
        source.add_bos = source.add_eos = true;
        const bool lowercase = meta_.get<bool>("tokenizer.ggml.normalizer.lowercase").value_or(true);
        steps.normalize.steps.emplace_back(bert_step{
            .strip_accents = meta_.get<bool>("tokenizer.ggml.normalizer.strip_accents").value_or(lowercase), .lowercase = lowercase});
        steps.pre.steps.emplace_back(split_step{pattern("\\s"), split_behavior::removed});
        steps.pre.steps.emplace_back(split_step{pattern("\\p{Signs}")});
        steps.decode = decoder({space_mark_decoder{.dropped_first = true}});
    }

    static replace_step spaces_as_marks() { return {pattern(" "), std::string(blank_mark)}; }

    /// Spaces are marks, and one may stand before each text that added tokens leave.
    void read_marked_spaces(sentencepiece_step step) {
        std::vector<decoder_step> decode{space_mark_decoder{.dropped_first = false}, byte_token_decoder{}, fuse_decoder{}};
        if (step.add_prefix) decode.emplace_back(strip_decoder{.start = 1});
        steps.decode = decoder(std::move(decode));
        steps.normalize.steps.emplace_back(std::move(step));
    }

    charsmap read_charsmap() const {
        constexpr std::string_view key = "tokenizer.ggml.precompiled_charsmap";
        if (!meta_.contains(key)) return {};
        const io::metadata_array* a = meta_.array(key);
        if (a == nullptr || (a->kind() != io::value_kind::u8 && a->kind() != io::value_kind::i8))
            fail(errc::bad_file, file_, "key '", key, "' is no array of bytes");
        return charsmap(std::string(reinterpret_cast<const char*>(a->bytes().data()), a->bytes().size()), file_);
    }

    /// Byte-level BPE has no use for scores, but a file that carries them must carry them right.
    void read_scores(bool needed) {
        if (!needed && !meta_.contains("tokenizer.ggml.scores")) return;
        const std::vector<float> scores = meta_.floats("tokenizer.ggml.scores");
        if (scores.size() != source.tokens.size())
            fail(errc::bad_file, file_, "key 'tokenizer.ggml.scores' has ", scores.size(),
                 " elements, but key 'tokenizer.ggml.tokens' has ", source.tokens.size());
        for (std::size_t i = 0; i < scores.size(); ++i)
            if (scores[i] != scores[i]) fail(errc::bad_file, file_, "key 'tokenizer.ggml.scores': element ", i, " is NaN");
        scores_.assign(scores.begin(), scores.end());
        for (std::size_t i = 0; source.model == model_kind::unigram && i < kinds_.size() && i < scores_.size(); ++i)
            if (kinds_[i] == static_cast<std::int32_t>(token_kind::user_defined)) scores_[i] = 0;  // before any other
        source.scores = scores_;
    }

    /// The id under a key, or the one that llama.cpp takes in its place if the vocabulary has it.
    token_id id_of(std::string_view key, token_id otherwise = -1) const {
        const std::optional<std::int64_t> value = meta_.get<std::int64_t>(key);
        if (!value) return static_cast<std::size_t>(otherwise) < source.tokens.size() ? otherwise : -1;
        if (*value < 0 || static_cast<std::uint64_t>(*value) >= source.tokens.size())
            fail(errc::bad_file, file_, "key '", key, "' is ", *value, ", outside the vocabulary of ", source.tokens.size(), " tokens");
        return static_cast<token_id>(*value);
    }

    void read_special_ids() {
        struct ids {
            token_id bos = -1, eos = -1, unknown = -1, separator = -1;
        };
        const ids usual = source.model == model_kind::spm          ? ids{.bos = 1, .eos = 2, .unknown = 0}
                          : source.model == model_kind::unigram    ? ids{.eos = 1, .unknown = 2}
                          : source.model == model_kind::word_piece ? ids{.bos = 101, .unknown = 100, .separator = 102}
                                                                   : ids{};
        source.bos = id_of("tokenizer.ggml.bos_token_id", id_of("tokenizer.ggml.cls_token_id", usual.bos));
        source.eos = id_of("tokenizer.ggml.eos_token_id", usual.eos);
        source.eot = id_of("tokenizer.ggml.eot_token_id");
        source.eom = id_of("tokenizer.ggml.eom_token_id");
        source.unknown = id_of("tokenizer.ggml.unknown_token_id", usual.unknown);
        id_of("tokenizer.ggml.padding_token_id");
        id_of("tokenizer.ggml.mask_token_id");
        const token_id separator = id_of("tokenizer.ggml.seperator_token_id", usual.separator);
        if (source.model == model_kind::word_piece && separator >= 0) source.eos = separator;
        const bool bos_by_default = source.add_bos && source.bos >= 0, eos_by_default = source.add_eos && source.eos >= 0;
        source.add_bos = meta_.get<bool>("tokenizer.ggml.add_bos_token").value_or(bos_by_default);
        source.add_eos = meta_.get<bool>("tokenizer.ggml.add_eos_token").value_or(eos_by_default);
        check_ends();
    }

    void check_ends() const {
        const auto check = [&](bool added, token_id id, std::string_view name) {
            if (added && id < 0)
                fail(errc::bad_file, file_, "key 'tokenizer.ggml.add_", name, "_token' is true, but there is no such token");
        };
        check(source.add_bos, source.bos, "bos");
        check(source.add_eos, source.eos, "eos");
    }

    /// Added tokens, for files of models whose added tokens take the spaces behind them along and cannot say so (as llama.cpp knows).
    void read_added() {
        std::string name(meta_.get<std::string_view>("general.name").value_or(""));
        for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
        for (std::size_t i = 0; i < source.kinds.size() && i < source.tokens.size(); ++i) {
            const auto kind = static_cast<token_kind>(source.kinds[i]);
            if (kind != token_kind::control && kind != token_kind::unknown && kind != token_kind::user_defined) continue;
            const std::string_view token = source.tokens[i];
            const bool strips = token != "<unk>" && token != "<s>" && token != "<|endoftext|>";
            added_.push_back({.id = static_cast<token_id>(i), .right_strip = strips});
        }
        source.added = added_;
    }

    const io::metadata& meta_;
    std::string_view file_;
    std::vector<std::int32_t> kinds_;
    std::vector<double> scores_;
    std::vector<added_token> added_;
};

}  // namespace skald::text::detail
