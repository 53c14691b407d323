// SPDX-License-Identifier: MIT
#pragma once
// The tokens of a vocabulary: what bytes each stands for (or how it is written, where tokens are no bytes), of which kind it is, and
// which token given bytes are.
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

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/byte_text.hpp>
#include <skald/text/detail/flat_table.hpp>

namespace skald::text {

/// What a token is for, numbered as GGUF's token_type.
enum class token_kind : std::uint8_t {
    undefined = 0,
    normal = 1,
    unknown = 2,
    control = 3,       ///< marks structure; made from text only on request
    user_defined = 4,  ///< text that is always one token
    unused = 5,
    byte = 6,
};

/// How a word becomes tokens.
enum class model_kind : std::uint8_t {
    bpe,         ///< merges by rank
    spm,         ///< merges by the score of what they make (SentencePiece's BPE, as in GGUF files)
    unigram,     ///< the division with the best sum of scores
    word_piece,  ///< the longest token first
    word_level,  ///< the word is a token, or unknown
};

/// Two tokens that a merge joins, as files write them.
struct merge_text {
    std::string_view left, right;
};

/// A token that is looked for in texts before they are divided, and how.
struct added_token {
    token_id id = -1;
    bool left_strip = false, right_strip = false;  ///< takes the spaces before, after it along
    bool single_word = false;                      ///< only where no word character stands beside it
    bool normalized = false;                       ///< looked for in the normalized text
};

/// Where a tokenizer's model is made from: plain views, needed during construction only.
struct vocabulary_source {
    std::string_view place;                    ///< the file, for messages
    std::span<const std::string_view> tokens;  ///< at their ids, as files write them; an empty one is none
    std::span<const std::int32_t> kinds;       ///< numbers of token_kind; empty: all normal
    std::span<const std::uint8_t> in_model;    ///< 1: the model makes the token from text; empty: all but control and unknown ones
    std::span<const double> scores;            ///< of each token, for spm and unigram
    std::span<const std::string_view> merges;  ///< "left right", best first, for bpe
    std::span<const merge_text> merge_pairs;   ///< in place of `merges`
    std::span<const added_token> added;        ///< empty: the control, unknown and user-defined tokens, as they read
    model_kind model = model_kind::bpe;
    bool byte_level = true;              ///< tokens but control and user-defined ones are written in the byte alphabet of GPT-2
    bool byte_fallback = false;          ///< what is no token becomes tokens <0x00> to <0xFF>
    bool unknown_for_missing = false;    ///< bpe: what is no token becomes the unknown one; else it is left out
    bool fuse_unknown = false;           ///< neighbours that are unknown become one unknown token
    bool whole_words = false;            ///< bpe: a word that is a token is not built by merges
    std::string_view starting_prefix;    ///< word_piece: written before tokens that start a word: U+2581 of GGUF files
    std::string_view continuing_prefix;  ///< written before tokens that do not start a word: ## of WordPiece
    std::string_view ending_suffix;      ///< bpe: written behind tokens that end a word: </w> of CLIP
    std::size_t longest_word = 100;      ///< code points up to which WordPiece looks at a word
    token_id bos = -1, eos = -1, eot = -1, eom = -1, unknown = -1;  ///< -1: none
    bool add_bos = false, add_eos = false;                          ///< whether texts start with bos, end with eos

    /// Whether the model makes the token from text.
    bool makes(std::size_t id) const noexcept {
        if (tokens[id].empty()) return false;
        if (!in_model.empty()) return in_model[id] != 0;
        const auto kind = static_cast<token_kind>(kinds.empty() ? 1 : kinds[id]);
        return kind != token_kind::control && kind != token_kind::unknown;
    }
};

/// Token pieces in flat arrays. Move-only; const members may be called from several threads.
class vocabulary {
public:
    /// Throws errc::bad_file if the arrays contradict each other.
    vocabulary(const vocabulary_source& source, std::pmr::memory_resource* memory) {
        const std::size_t n = source.tokens.size();
        if (n == 0 || n > static_cast<std::size_t>(std::numeric_limits<token_id>::max()))
            fail(errc::bad_file, source.place, "the vocabulary has ", n, " tokens; 1 to 2147483647 are possible");
        if (!source.kinds.empty() && source.kinds.size() != n)
            fail(errc::bad_file, source.place, "key 'tokenizer.ggml.token_type' has ", source.kinds.size(),
                 " elements, but key 'tokenizer.ggml.tokens' has ", n);
        if (!source.in_model.empty() && source.in_model.size() != n)
            fail(errc::bad_file, source.place, source.in_model.size(), " marks of tokens in the model, but ", n, " tokens");
        copy_pieces(source, memory);
        byte_tokens_.fill(-1);
        std::size_t findable = 0;
        for (std::size_t id = 0; id < n; ++id) findable += listed_[id];
        table_ = detail::flat_table<slot>(findable, memory);
        detail::fill_with_some_seed(source.place, "the tokens", [&](std::uint64_t seed) { return fill(seed); });
        for (std::size_t id = 0; id < n; ++id)
            if (const std::string_view p = bytes(id); listed_[id] && p.size() == 1)
                byte_tokens_[static_cast<unsigned char>(p[0])] = *find(p);
    }

    std::size_t size() const noexcept { return kinds_.size(); }
    bool contains(token_id id) const noexcept { return id >= 0 && static_cast<std::size_t>(id) < size(); }

    /// The bytes of a token that is contained; they need not be whole code points.
    std::string_view piece(token_id id) const noexcept { return bytes(static_cast<std::size_t>(id)); }
    token_kind kind(token_id id) const noexcept { return kinds_[static_cast<std::size_t>(id)]; }

    /// Whether the token is matched as a whole before words are divided: control, unknown, user-defined.
    bool is_added(token_id id) const noexcept {
        const token_kind k = kind(id);
        return k == token_kind::control || k == token_kind::unknown || k == token_kind::user_defined;
    }

    /// The token for exactly these bytes, or nothing. A normal token goes before an added one, a later before an earlier.
    std::optional<token_id> find(std::string_view piece_bytes) const noexcept {
        const slot* s = locate(piece_bytes);
        if (s == nullptr || s->empty()) return std::nullopt;
        return s->id;
    }

    /// The token of a single byte, or -1: a vocabulary may lack bytes that its training texts did not have.
    token_id byte_token(std::uint8_t byte) const noexcept { return byte_tokens_[byte]; }

    /// Makes a token a control token.
    void mark_control(token_id id) noexcept { kinds_[static_cast<std::size_t>(id)] = token_kind::control; }

private:
    struct slot {
        token_id id = -1;
        bool empty() const noexcept { return id < 0; }
    };

    std::string_view bytes(std::size_t id) const noexcept { return {text_.data() + ends_[id], ends_[id + 1] - ends_[id]}; }

    slot* locate(std::string_view piece_bytes) const noexcept {
        return table_.find(detail::hash_bytes(piece_bytes, seed_), [&](const slot& s) { return piece(s.id) == piece_bytes; });
    }

    void copy_pieces(const vocabulary_source& source, std::pmr::memory_resource* memory) {
        const std::size_t n = source.tokens.size();
        kinds_ = buffer<token_kind>(n, memory);
        listed_ = buffer<bool>(n, memory);
        ends_ = buffer<std::uint32_t>(n + 1, memory);
        ends_[0] = 0;
        std::string all;
        for (std::size_t id = 0; id < n; ++id) {
            const std::int32_t kind = source.kinds.empty() ? 1 : source.kinds[id];
            if (kind < 0 || kind > static_cast<std::int32_t>(token_kind::byte))
                fail(errc::bad_file, source.place, "key 'tokenizer.ggml.token_type': element ", id, " is ", kind,
                     ", not a type from 0 to 6");
            kinds_[id] = static_cast<token_kind>(kind);
            const std::string_view text = source.tokens[id];
            if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) - all.size())
                fail(errc::bad_file, source.place, "key 'tokenizer.ggml.tokens': the first ", id + 1,
                     " tokens have more than 2147483647 bytes together");
            const bool added = is_added(static_cast<token_id>(id));
            const bool mapped = source.byte_level && !added && detail::append_bytes_of(text, all);
            if (!mapped) all += text;
            listed_[id] = !text.empty() && (source.in_model.empty() || source.in_model[id] != 0) &&
                          (!source.byte_level || (added ? detail::is_own_bytes(text) : mapped));
            ends_[id + 1] = static_cast<std::uint32_t>(all.size());
        }
        text_ = buffer<char>(all.size(), memory);
        std::copy(all.begin(), all.end(), text_.data());
    }

    bool fill(std::uint64_t seed) noexcept {
        seed_ = seed;
        table_.clear();
        for (const bool added : {true, false})
            for (std::size_t i = 0; i < size(); ++i) {
                const auto id = static_cast<token_id>(i);
                if (!listed_[i] || is_added(id) != added) continue;
                slot* s = locate(piece(id));
                if (s == nullptr) return false;
                s->id = id;
            }
        return true;
    }

    buffer<char> text_;
    buffer<std::uint32_t> ends_;  // (n + 1): token i is text_[ends_[i] .. ends_[i + 1])
    buffer<token_kind> kinds_;
    buffer<bool> listed_;  // can be found by its bytes
    detail::flat_table<slot> table_;
    std::uint64_t seed_ = 0;
    std::array<token_id, 256> byte_tokens_{};
};

}  // namespace skald::text
