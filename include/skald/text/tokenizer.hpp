// SPDX-License-Identifier: MIT
#pragma once
// Between text and token ids, as a pipeline: what is written as a token is looked for, the rest normalized, divided into words, and made
// tokens of by a model; then decoded. Texts are bytes: whatever is no UTF-8 is kept byte by byte.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/once.hpp>
#include <skald/core/types.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/added_tokens.hpp>
#include <skald/text/pre_tokenizer.hpp>
#include <skald/text/tokenizer_model.hpp>
#include <skald/text/tokenizer_steps.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

struct encode_options {
    bool parse_special = false;  ///< text that reads like a control token becomes that token; never for text of strangers
    bool add_bos = false;        ///< start with the BOS token, or with what the model's texts start with in its place
    bool add_eos = false;        ///< end with the EOS token, or with what the model's texts end with in its place
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
    /// Throws errc::bad_file if the source contradicts itself.
    tokenizer(const vocabulary_source& source, tokenizer_steps steps, std::pmr::memory_resource* memory = std::pmr::get_default_resource());

    /// Reads the keys tokenizer.ggml.* of a GGUF file; `file` names it in messages. Throws errc::unsupported for a tokenizer model
    /// or pre-tokenizer that is not known, errc::bad_file for keys that are malformed or contradict each other.
    static tokenizer from_gguf(const io::metadata& meta, std::string_view file,
                               std::pmr::memory_resource* memory = std::pmr::get_default_resource());

    /// The tokens of a text. Throws errc::invalid_argument for 2^31 bytes or more, or if a token asked for does not exist.
    /// Cost: linear in the text, n log n in its longest word.
    std::vector<token_id> encode(std::string_view text, const encode_options& options = {}) const {
        const text_segment whole{text, options.parse_special};
        return encode_joined(text, {&whole, 1}, options);
    }

    /// The tokens of segments joined together: words and tokens may cross their borders, control tokens may not.
    std::vector<token_id> encode(std::span<const text_segment> segments, const encode_options& options = {}) const;

    /// The text that tokens stand for: of what encode() gave, the text again, but for what normalization changed and for bytes that
    /// the vocabulary lacks. Throws errc::invalid_argument for an id outside the vocabulary.
    std::string decode(std::span<const token_id> ids, const decode_options& options = {}) const;

    /// The bytes of a token where it does not stand first; they need not be whole code points (see stream_decoder). Valid as long as
    /// the tokenizer.
    std::string_view piece(token_id id) const {
        if (!tokens_.contains(id)) fail(errc::invalid_argument, "token", id, " is outside the vocabulary of ", size(), " tokens");
        if (byte_level_) return tokens_.piece(id);
        const auto i = static_cast<std::size_t>(id);
        return {shown_.data() + shown_ends_[i], shown_ends_[i + 1] - shown_ends_[i]};
    }

    /// The token whose bytes are these, or -1.
    token_id find(std::string_view piece_bytes) const;

    std::size_t size() const noexcept { return tokens_.size(); }
    token_id bos() const noexcept { return bos_; }                    ///< begins a text; -1: none
    token_id eos() const noexcept { return eos_; }                    ///< ends a text; -1: none
    token_id eot() const noexcept { return eot_; }                    ///< ends a turn of a conversation; -1: none
    token_id unknown() const noexcept { return unknown_; }            ///< stands for text that the vocabulary lacks; -1: none
    bool add_bos() const noexcept { return !steps_.before.empty(); }  ///< whether the model expects texts to start with bos()
    bool add_eos() const noexcept { return !steps_.after.empty(); }

    /// Lets further tokens end texts: those that a model's files name beside the tokenizer. Ids outside the vocabulary stand for no text
    /// and are left out.
    void add_ends(std::span<const token_id> ids, std::pmr::memory_resource* memory = std::pmr::get_default_resource());

    /// Whether a model that generates the token has finished: EOS, EOT, EOM, tokens that are such by their name, and those of add_ends().
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
    bool has_byte(std::uint8_t byte) const {
        const char c = static_cast<char>(byte);
        return find({&c, 1}) >= 0;
    }

    /// The tokens as they are written in the file; see piece() for what they stand for.
    const vocabulary& tokens() const noexcept { return tokens_; }
    const tokenizer_steps& steps() const noexcept { return steps_; }

private:
    void collect_ends(const vocabulary_source& source, std::pmr::memory_resource* memory);
    void keep_ends(const std::vector<token_id>& ends, std::pmr::memory_resource* memory);
    static void check_id(token_id id, const vocabulary_source& source, bool may_lack);
    void collect_added(const vocabulary_source& source, std::pmr::memory_resource* memory);
    void show_pieces(std::string_view place, std::pmr::memory_resource* memory);

    struct encoding;
    std::vector<token_id> encode_joined(std::string_view text, std::span<const text_segment> segments, const encode_options& options) const;
    void encode_text(std::string_view text, std::span<const text_segment> segments, encoding& e) const;
    void encode_piece(std::string_view text, bool first, bool trusted, encoding& e) const;

    tokenizer_steps steps_;
    vocabulary tokens_;
    tokenizer_model model_;
    added_tokens by_name_, in_text_, in_normalized_;
    buffer<token_id> ends_;
    buffer<char> shown_;                // unless byte-level: what tokens stand for,
    buffer<std::uint32_t> shown_ends_;  // (n + 1): token i is shown_[shown_ends_[i] .. shown_ends_[i + 1])
    std::array<token_id, 256> byte_tokens_{};
    token_id bos_, eos_, eot_, unknown_;
    bool byte_level_, decoder_minds_first_;
};

}  // namespace skald::text

#if SKALD_DEFINES
#include <skald/text/tokenizer_impl.hpp>
#endif
