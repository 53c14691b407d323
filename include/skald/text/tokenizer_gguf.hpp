// SPDX-License-Identifier: MIT
#pragma once
// A tokenizer of any file as the keys tokenizer.ggml.* of a GGUF file: what detail::gguf_vocabulary reads, written. Byte-level BPE whose
// pre-tokenizer has a name there, and SentencePiece's BPE. Merges by rank become merges by score, as SentencePiece has them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/gguf_writer.hpp>
#include <skald/text/published_division.hpp>
#include <skald/text/sentencepiece.hpp>
#include <skald/text/tokenizer_steps.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

namespace detail {

/// Writes the keys; see put_tokenizer.
class gguf_tokenizer_keys {
public:
    gguf_tokenizer_keys(io::gguf_keys& keys, const vocabulary_source& source, const tokenizer_steps& steps, std::size_t rows,
                        std::vector<std::string>& notes)
        : keys_(keys), source_(source), steps_(steps), rows_(rows), notes_(notes) {}

    void write() {
        if (source_.tokens.size() > rows_)
            fail(errc::bad_file, source_.place, "the vocabulary has ", source_.tokens.size(), " tokens; the model has embeddings of ",
                 rows_);
        if (source_.model != model_kind::bpe) refuse("its model is no BPE");
        if (!source_.continuing_prefix.empty() || !source_.ending_suffix.empty()) refuse("its tokens mark where words go on or end");
        if (source_.byte_level)
            byte_level();
        else if (source_.byte_fallback)
            marked_spaces();
        else
            refuse("its tokens are text, without tokens for bytes");
        tokens();
        special_ids();
        ends();
        const auto strips = [&](const added_token& t) {
            return t.left_strip || t.right_strip || t.single_word || (t.normalized && !source_.byte_level);
        };
        if (const auto n = std::count_if(source_.added.begin(), source_.added.end(), strips); n > 0)
            notes_.push_back(concat(n, " added tokens mind what stands beside them, or are looked for in normalized text"));
    }

private:
    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::unsupported, source_.place, "the tokenizer cannot be written as GGUF: ", what);
    }

    void byte_level() {
        for (const normalizer_step& s : steps_.normalize.steps) {
            const auto* form = std::get_if<unicode_form_step>(&s);
            if (form == nullptr || form->form != normal_form::nfc) refuse("it normalizes texts by more than NFC");
            notes_.push_back("texts are brought into the normal form NFC");
        }
        keys_.put("tokenizer.ggml.model", "gpt2");
        keys_.put("tokenizer.ggml.pre", division());
        std::vector<std::string> merges;
        for (const merge_text& m : source_.merge_pairs) merges.push_back(concat(m.left, " ", m.right));
        keys_.put("tokenizer.ggml.merges", std::vector<std::string_view>(merges.begin(), merges.end()));
    }

    /// The name that GGUF files have for the pre-tokenizer.
    std::string_view division() const {
        for (const published_division& d : published_divisions)
            if (d.name != "default" && !d.marked_spaces && d.whole_words == source_.whole_words && divides_as(make_pre_tokenizer(d)))
                return d.name;
        refuse("GGUF has no name for its pre-tokenizer");
    }

    bool divides_as(const pre_tokenizer& published) const {
        if (published.steps.size() != steps_.pre.steps.size()) return false;
        for (std::size_t i = 0; i < published.steps.size(); ++i) {
            const auto* a = std::get_if<split_step>(&published.steps[i]);
            const auto* b = std::get_if<split_step>(&steps_.pre.steps[i]);
            if (a == nullptr || b == nullptr) {
                if (published.steps[i].index() != steps_.pre.steps[i].index()) return false;
                continue;
            }
            if (b->inverted || (b->behavior != split_behavior::isolated && b->behavior != split_behavior::contiguous)) return false;
            // Neighbours that go together are what the pattern matches several times.
            const bool runs = b->behavior == split_behavior::contiguous;
            if (!(a->by == (runs ? pattern(concat("(?:", b->by.text(), ")+")) : b->by))) return false;
        }
        return true;
    }

    /// SentencePiece's BPE: spaces are marks, and one may stand before a text.
    void marked_spaces() {
        std::size_t marks = 0, prefixes = 0;
        for (const normalizer_step& s : steps_.normalize.steps) {
            const auto* prepend = std::get_if<prepend_step>(&s);
            const auto* replace = std::get_if<replace_step>(&s);
            const bool prefix = prepend != nullptr && prepend->text == blank_mark && marks == 0;
            const bool mark = replace != nullptr && replace->what == pattern::literal(" ") && replace->with == blank_mark;
            if (!prefix && !mark) refuse("it normalizes texts by more than writing spaces as U+2581");
            marks += mark, prefixes += prefix;
        }
        for (const pre_tokenizer_step& s : steps_.pre.steps) {
            const auto* step = std::get_if<space_mark_step>(&s);
            const auto* split = std::get_if<split_step>(&s);
            if (marks > 0 && split != nullptr && split->by == pattern::literal(" ")) continue;  // finds none
            if (step == nullptr || step->mark != blank_mark || marks > 0) refuse("it divides texts into words");
            ++marks;
            if (step->prefix == space_mark_step::where::never) continue;
            ++prefixes;
            notes_.push_back(step->prefix == space_mark_step::where::first ? "a space is put before the start of a text only, where none is"
                                                                           : "a space is put before a text only where none is");
        }
        if (marks == 0 || prefixes > 1) refuse("its spaces are not written as U+2581");
        keys_.put("tokenizer.ggml.model", "llama");
        keys_.put("tokenizer.ggml.pre", "default");
        keys_.put("tokenizer.ggml.add_space_prefix", prefixes > 0);
        keys_.put("tokenizer.ggml.scores", scores());
    }

    /// The score of a token is minus the rank of the first merge that makes it; those that no merge makes come last.
    std::vector<float> scores() {
        const auto last = static_cast<float>(source_.merge_pairs.size());
        std::vector<float> out(rows_, -last);
        std::unordered_map<std::string_view, std::size_t> ids;
        for (std::size_t i = 0; i < source_.tokens.size(); ++i)
            if (source_.makes(i)) ids.emplace(source_.tokens[i], i);
        std::vector<bool> made(source_.tokens.size());
        std::size_t elsewhere = 0, pairs = 0, before = source_.tokens.size();
        for (std::size_t rank = 0; rank < source_.merge_pairs.size(); ++rank) {
            const auto found = ids.find(concat(source_.merge_pairs[rank].left, source_.merge_pairs[rank].right));
            if (found == ids.end()) refuse("a merge makes no token");
            const std::size_t id = found->second;
            if (!made[id]) out[id] = -static_cast<float>(rank);
            elsewhere += made[id] && id != before;
            made[id] = true;
            before = id;
        }
        for (const auto& [text, id] : ids)
            for (std::size_t at = 1; at < text.size(); ++at) pairs += ids.contains(text.substr(0, at)) && ids.contains(text.substr(at));
        const std::size_t unmerged = pairs - std::min(pairs, source_.merge_pairs.size());
        if (elsewhere + unmerged > 0)
            notes_.push_back(concat("of the merges ", elsewhere, " have a rank apart from others that make the same token, and ", unmerged,
                                    " pairs of tokens that make one have no merge"));
        return out;
    }

    void tokens() {
        std::vector<std::string> padding;
        padding.reserve(rows_);
        std::vector<std::string_view> texts(source_.tokens.begin(), source_.tokens.end());
        std::vector<std::int32_t> kinds(source_.kinds.begin(), source_.kinds.end());
        texts.resize(rows_);
        kinds.resize(rows_, static_cast<std::int32_t>(token_kind::normal));
        for (std::size_t i = 0; i < rows_; ++i)
            if (texts[i].empty()) {
                texts[i] = padding.emplace_back(concat("[PAD", i, "]"));
                kinds[i] = static_cast<std::int32_t>(token_kind::unused);
            }
        if (source_.unknown >= 0 && !source_.byte_level)
            kinds[static_cast<std::size_t>(source_.unknown)] = static_cast<std::int32_t>(token_kind::unknown);
        keys_.put("tokenizer.ggml.tokens", texts);
        keys_.put("tokenizer.ggml.token_type", kinds);
    }

    void special_ids() {
        const auto put = [&](std::string_view name, token_id id) {
            if (id >= 0) keys_.put(concat("tokenizer.ggml.", name, "_token_id"), static_cast<std::uint32_t>(id));
        };
        put("bos", source_.bos);
        put("eos", source_.eos);
        put("eot", source_.eot);
        put("eom", source_.eom);
        put("unknown", source_.unknown);
    }

    void ends() {
        const auto put = [&](std::string_view name, bool asked, const std::vector<token_id>& around, token_id id) {
            if (!around.empty() && around != std::vector{id}) refuse("it puts other tokens around texts than its BOS and EOS tokens");
            keys_.put(concat("tokenizer.ggml.add_", name, "_token"), !around.empty() || asked);
        };
        put("bos", source_.add_bos, steps_.before, source_.bos);
        put("eos", source_.add_eos, steps_.after, source_.eos);
    }

    io::gguf_keys& keys_;
    const vocabulary_source& source_;
    const tokenizer_steps& steps_;
    std::size_t rows_;
    std::vector<std::string>& notes_;
};

}  // namespace detail

/// Sets the keys of a tokenizer, for a model with embeddings of `rows` tokens: those that the vocabulary lacks become unused ones. `notes`
/// gets a line for each thing that GGUF cannot tell and that changes the tokens of unusual texts. Throws errc::unsupported for a tokenizer
/// that GGUF has no form for, errc::bad_file for one of more tokens than rows.
inline void put_tokenizer(io::gguf_keys& keys, const vocabulary_source& source, const tokenizer_steps& steps, std::size_t rows,
                          std::vector<std::string>& notes) {
    detail::gguf_tokenizer_keys(keys, source, steps, rows, notes).write();
}

}  // namespace skald::text
