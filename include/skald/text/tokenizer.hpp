// SPDX-License-Identifier: MIT
#pragma once
// Between text and token ids: byte-level BPE as GPT-2, Llama 3, Qwen, SmolLM and their kin use it. Texts are bytes: whatever is no
// UTF-8 is kept byte by byte. Nothing is normalized: models trained on Unicode's form NFC (Qwen among them) expect texts in it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/added_tokens.hpp>
#include <skald/text/bpe.hpp>
#include <skald/text/detail/gguf_vocabulary.hpp>
#include <skald/text/pre_tokenizer.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

struct encode_options {
    bool parse_special = false;  ///< text that reads like a control token becomes that token; never for text of strangers
    bool add_bos = false;        ///< start with the BOS token
    bool add_eos = false;        ///< end with the EOS token
};

struct decode_options {
    bool skip_special = false;  ///< leave control and unknown tokens out
};

/// A part of a text. Control tokens are recognised where they lie wholly inside one trusted segment.
struct text_segment {
    std::string_view text;
    bool trusted = false;
};

/// Move-only. Its tables lie in the memory resource given, which must outlive it; the source need not. Const members may be called
/// from several threads.
class tokenizer {
public:
    /// Throws errc::unsupported for a pre-tokenizer that is not known, errc::bad_file if the source contradicts itself.
    explicit tokenizer(const vocabulary_source& source, std::pmr::memory_resource* memory = std::pmr::get_default_resource())
        : pre_(&find_pre_tokenizer(source.pre, source.place)),
          tokens_(source, memory),
          merges_(source, tokens_, memory),
          bos_(source.bos),
          eos_(source.eos),
          eot_(source.eot),
          unknown_(source.unknown),
          add_bos_(source.add_bos.value_or(pre_->add_bos && source.bos >= 0)),
          add_eos_(source.add_eos) {
        for (const token_id id : {bos_, eos_, eot_, source.eom, unknown_})
            if (id != -1 && !tokens_.contains(id))
                fail(errc::bad_file, source.place, "special token ", id, " is outside the vocabulary of ", size(), " tokens");
        if (add_bos_ && bos_ < 0)
            fail(errc::bad_file, source.place, "key 'tokenizer.ggml.add_bos_token' is true, but there is no BOS token");
        if (add_eos_ && eos_ < 0)
            fail(errc::bad_file, source.place, "key 'tokenizer.ggml.add_eos_token' is true, but there is no EOS token");
        collect_ends(source, memory);
        added_ = added_tokens(tokens_, source.place, memory);
    }

    /// Reads the keys tokenizer.ggml.* of a GGUF file; `file` names it in messages. Throws errc::unsupported for a tokenizer model
    /// or pre-tokenizer that is not known, errc::bad_file for keys that are malformed or contradict each other.
    static tokenizer from_gguf(const io::metadata& meta, std::string_view file,
                               std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
        return tokenizer(detail::gguf_vocabulary(meta, file).source, memory);
    }

    /// The tokens of a text. Throws errc::invalid_argument for 2^31 bytes or more, or if a token asked for does not exist.
    /// Cost: linear in the text, n log n in its longest word.
    std::vector<token_id> encode(std::string_view text, const encode_options& options = {}) const {
        const text_segment whole{text, options.parse_special};
        return encode_joined(text, {&whole, 1}, options);
    }

    /// The tokens of segments joined together: words and tokens may cross their borders, control tokens may not.
    std::vector<token_id> encode(std::span<const text_segment> segments, const encode_options& options = {}) const {
        std::string joined;
        for (const text_segment& s : segments) joined += s.text;
        return encode_joined(joined, segments, options);
    }

    /// The bytes that tokens stand for, joined: of what encode() gave, the text again, but for bytes that the vocabulary lacks.
    /// Throws errc::invalid_argument for an id outside the vocabulary.
    std::string decode(std::span<const token_id> ids, const decode_options& options = {}) const {
        std::string out;
        for (const token_id id : ids) {
            const std::string_view bytes = piece(id);
            if (!options.skip_special || !is_special(id)) out += bytes;
        }
        return out;
    }

    /// The bytes of a token; they need not be whole code points (see stream_decoder). Valid as long as the tokenizer.
    std::string_view piece(token_id id) const {
        if (!tokens_.contains(id)) fail(errc::invalid_argument, "token", id, " is outside the vocabulary of ", size(), " tokens");
        return tokens_.piece(id);
    }

    /// The token whose bytes are these, or -1.
    token_id find(std::string_view piece_bytes) const noexcept {
        const token_id id = piece_bytes.empty() ? -1 : added_.match(tokens_, piece_bytes, 0, piece_bytes.size());
        if (id >= 0 && tokens_.piece(id).size() == piece_bytes.size()) return id;
        return tokens_.find(piece_bytes).value_or(-1);
    }

    std::size_t size() const noexcept { return tokens_.size(); }
    token_id bos() const noexcept { return bos_; }          ///< begins a text; -1: none
    token_id eos() const noexcept { return eos_; }          ///< ends a text; -1: none
    token_id eot() const noexcept { return eot_; }          ///< ends a turn of a conversation; -1: none
    token_id unknown() const noexcept { return unknown_; }  ///< -1: none; encode() never gives it
    bool add_bos() const noexcept { return add_bos_; }      ///< whether the model expects texts to start with bos()
    bool add_eos() const noexcept { return add_eos_; }

    /// Whether a model that generates the token has finished: EOS, EOT, EOM and tokens that are such by their name.
    bool is_end(token_id id) const noexcept {
        for (const token_id end : ends_.span())
            if (end == id) return true;
        return false;
    }

    /// Whether the token marks structure and is no text: control and unknown tokens.
    bool is_special(token_id id) const noexcept {
        return tokens_.contains(id) && (tokens_.kind(id) == token_kind::control || tokens_.kind(id) == token_kind::unknown);
    }

    /// Whether the vocabulary has a token for a single byte; encode() leaves out bytes without one.
    bool has_byte(std::uint8_t byte) const noexcept { return tokens_.byte_token(byte) >= 0; }

    const vocabulary& tokens() const noexcept { return tokens_; }
    const pre_tokenizer& pre() const noexcept { return *pre_; }

private:
    /// Names that end a generation whatever the keys say, as llama.cpp has them: of a turn, the best sign of it first, and others.
    static constexpr std::array<std::string_view, 8> turn_ends{"<|eot_id|>",    "<|im_end|>", "<|end|>", "<end_of_turn>",
                                                               "<|endoftext|>", "<EOT>",      "_<EOT>",  "<｜end▁of▁sentence｜>"};
    static constexpr std::array<std::string_view, 13> other_ends{
        "<|eom_id|>",   "<|end_of_text|>", "<end_of_utterance>",                                         // of a message, a text
        "<|fim_pad|>",  "<fim-pad>",       "<fim_pad>",          "<PAD>",                                // of code filled in
        "<|fim_repo|>", "<|repo_name|>",   "<fim-repo>",         "<REPO>", "<reponame>", "<|file_sep|>"  // of a file of code
    };

    void collect_ends(const vocabulary_source& source, std::pmr::memory_resource* memory) {
        std::vector<token_id> ends;
        const auto add = [&](token_id id) {
            if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
        };
        std::array<token_id, turn_ends.size()> turns;
        turns.fill(-1);
        for (token_id id = 0; tokens_.contains(id); ++id) {
            const std::string_view name = source.tokens[static_cast<std::size_t>(id)];
            if (name.size() < 5 || (name[0] != '<' && name[0] != '_')) continue;
            const auto turn = std::find(turn_ends.begin(), turn_ends.end(), name);
            if (turn != turn_ends.end()) turns[static_cast<std::size_t>(turn - turn_ends.begin())] = id;
            if (turn == turn_ends.end() && std::find(other_ends.begin(), other_ends.end(), name) == other_ends.end()) continue;
            if (tokens_.piece(id) == name) tokens_.mark_control(id);  // some files call them normal
            add(id);
        }
        for (std::size_t i = 0; eot_ < 0 && i < turns.size(); ++i) eot_ = turns[i];
        for (const token_id id : {eos_, eot_, source.eom}) add(id);
        ends_ = buffer<token_id>(ends.size(), memory);
        std::copy(ends.begin(), ends.end(), ends_.data());
    }

    std::vector<token_id> encode_joined(std::string_view text, std::span<const text_segment> segments,
                                        const encode_options& options) const {
        if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            fail(errc::invalid_argument, "text", "has ", text.size(), " bytes; at most 2147483647 can be encoded at once");
        if (options.add_bos && bos_ < 0) fail(errc::invalid_argument, "add_bos", "the vocabulary has no BOS token");
        if (options.add_eos && eos_ < 0) fail(errc::invalid_argument, "add_eos", "the vocabulary has no EOS token");
        std::vector<token_id> out;
        if (options.add_bos) out.push_back(bos_);
        word_merger merger(tokens_, merges_);
        std::size_t open = 0, at = 0, segment_end = 0;  // [open, at) is text without added tokens
        for (const text_segment& segment : segments) {
            segment_end += segment.text.size();
            while (at < segment_end) {
                const token_id id = added_.match(tokens_, text, at, segment.trusted ? segment_end : 0);
                if (id < 0) {
                    ++at;
                    continue;
                }
                encode_words(text.substr(open, at - open), merger, out);
                out.push_back(id);
                open = at += tokens_.piece(id).size();
            }
        }
        encode_words(text.substr(open), merger, out);
        if (options.add_eos) out.push_back(eos_);
        return out;
    }

    void encode_words(std::string_view text, word_merger& merger, std::vector<token_id>& out) const {
        split(*pre_, text, [&](std::string_view word) {
            if (pre_->whole_words)
                if (const auto id = tokens_.find(word); id && !tokens_.is_added(*id)) {
                    out.push_back(*id);
                    return;
                }
            merger.encode(word, out);
        });
    }

    const pre_tokenizer* pre_;
    vocabulary tokens_;
    merge_table merges_;
    added_tokens added_;
    buffer<token_id> ends_;
    token_id bos_, eos_, eot_, unknown_;
    bool add_bos_, add_eos_;
};

}  // namespace skald::text
