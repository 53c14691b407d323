// SPDX-License-Identifier: MIT
#pragma once
// Between text and token ids, as a pipeline: what is written as a token is looked for, the rest normalized, divided into words, and made
// tokens of by a model; then decoded. Texts are bytes: whatever is no UTF-8 is kept byte by byte.
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
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/once.hpp>
#include <skald/core/types.hpp>
#include <skald/io/metadata.hpp>
#include <skald/text/added_tokens.hpp>
#include <skald/text/detail/gguf_vocabulary.hpp>
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
    tokenizer(const vocabulary_source& source, tokenizer_steps steps, std::pmr::memory_resource* memory = std::pmr::get_default_resource())
        : steps_(std::move(steps)),
          tokens_(source, memory),
          model_(source, tokens_, memory),
          bos_(source.bos),
          eos_(source.eos),
          eot_(source.eot),
          unknown_(source.unknown),
          byte_level_(source.byte_level),
          decoder_minds_first_(!source.byte_level && steps_.decode.minds_first()) {
        for (const token_id id : {bos_, eos_, eot_, source.eom, unknown_}) check_id(id, source, true);
        if (source.add_bos && bos_ < 0 && steps_.before.empty())
            fail(errc::bad_file, source.place, "texts shall start with a BOS token (add_bos_token is true), but there is no BOS token");
        if (source.add_eos && eos_ < 0 && steps_.after.empty())
            fail(errc::bad_file, source.place, "texts shall end with an EOS token (add_eos_token is true), but there is no EOS token");
        if (source.add_bos && steps_.before.empty()) steps_.before.push_back(bos_);
        if (source.add_eos && steps_.after.empty()) steps_.after.push_back(eos_);
        for (const token_id id : steps_.before) check_id(id, source, false);
        for (const token_id id : steps_.after) check_id(id, source, false);
        collect_ends(source, memory);
        collect_added(source, memory);
        if (!byte_level_) show_pieces(source.place, memory);
    }

    /// Reads the keys tokenizer.ggml.* of a GGUF file; `file` names it in messages. Throws errc::unsupported for a tokenizer model
    /// or pre-tokenizer that is not known, errc::bad_file for keys that are malformed or contradict each other.
    static tokenizer from_gguf(const io::metadata& meta, std::string_view file,
                               std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
        detail::gguf_vocabulary v(meta, file);
        return tokenizer(v.source, std::move(v.steps), memory);
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
        for (const text_segment& s : segments) {
            check_size(joined.size() + s.text.size());
            joined += s.text;
        }
        return encode_joined(joined, segments, options);
    }

    /// The text that tokens stand for: of what encode() gave, the text again, but for what normalization changed and for bytes that
    /// the vocabulary lacks. Throws errc::invalid_argument for an id outside the vocabulary.
    std::string decode(std::span<const token_id> ids, const decode_options& options = {}) const {
        std::string out;
        bool first = decoder_minds_first_;
        for (const token_id id : ids) {
            const std::string_view shown = piece(id);
            if (options.skip_special && is_special(id)) continue;
            if (first)
                out += steps_.decode.piece(tokens_.piece(id), true);
            else
                out += shown;
            first = false;
        }
        if (!byte_level_) steps_.decode.finish(out);
        return out;
    }

    /// The bytes of a token where it does not stand first; they need not be whole code points (see stream_decoder). Valid as long as
    /// the tokenizer.
    std::string_view piece(token_id id) const {
        if (!tokens_.contains(id)) fail(errc::invalid_argument, "token", id, " is outside the vocabulary of ", size(), " tokens");
        if (byte_level_) return tokens_.piece(id);
        const auto i = static_cast<std::size_t>(id);
        return {shown_.data() + shown_ends_[i], shown_ends_[i + 1] - shown_ends_[i]};
    }

    /// The token whose bytes are these, or -1.
    token_id find(std::string_view piece_bytes) const {
        if (piece_bytes.empty()) return -1;
        added_tokens::match m{};
        if (by_name_.find(
                piece_bytes, 0, 0, [](std::size_t, std::size_t) { return true; }, m) &&
            m.begin == 0 && m.matched_end == piece_bytes.size())
            return m.id;
        if (byte_level_) return tokens_.find(piece_bytes).value_or(-1);
        std::string marked;
        for (const char c : piece_bytes) c == ' ' ? marked += blank_mark : marked += c;
        for (const std::string_view written : {std::string_view(marked), piece_bytes})
            if (const auto id = tokens_.find(written); id && piece(*id) == piece_bytes) return *id;
        return piece_bytes.size() == 1 ? byte_tokens_[static_cast<unsigned char>(piece_bytes[0])] : -1;
    }

    std::size_t size() const noexcept { return tokens_.size(); }
    token_id bos() const noexcept { return bos_; }                    ///< begins a text; -1: none
    token_id eos() const noexcept { return eos_; }                    ///< ends a text; -1: none
    token_id eot() const noexcept { return eot_; }                    ///< ends a turn of a conversation; -1: none
    token_id unknown() const noexcept { return unknown_; }            ///< stands for text that the vocabulary lacks; -1: none
    bool add_bos() const noexcept { return !steps_.before.empty(); }  ///< whether the model expects texts to start with bos()
    bool add_eos() const noexcept { return !steps_.after.empty(); }

    /// Lets further tokens end texts: those that a model's files name beside the tokenizer. Ids outside the vocabulary stand for no text
    /// and are left out.
    void add_ends(std::span<const token_id> ids, std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
        std::vector<token_id> ends(ends_.span().begin(), ends_.span().end());
        for (const token_id id : ids)
            if (tokens_.contains(id) && !is_end(id)) ends.push_back(id);
        keep_ends(ends, memory);
    }

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
            if (!source.added.empty() && !tokens_.is_added(id)) continue;
            if (name.size() < 5 || (name[0] != '<' && name[0] != '_')) continue;
            const auto turn = std::find(turn_ends.begin(), turn_ends.end(), name);
            if (turn != turn_ends.end()) turns[static_cast<std::size_t>(turn - turn_ends.begin())] = id;
            if (turn == turn_ends.end() && std::find(other_ends.begin(), other_ends.end(), name) == other_ends.end()) continue;
            if (tokens_.piece(id) == name) tokens_.mark_control(id);  // some files call them normal
            add(id);
        }
        for (std::size_t i = 0; eot_ < 0 && i < turns.size(); ++i) eot_ = turns[i];
        for (const token_id id : {eos_, eot_, source.eom}) add(id);
        keep_ends(ends, memory);
    }

    void keep_ends(const std::vector<token_id>& ends, std::pmr::memory_resource* memory) {
        ends_ = buffer<token_id>(ends.size(), memory);
        std::copy(ends.begin(), ends.end(), ends_.data());
    }

    static void check_id(token_id id, const vocabulary_source& source, bool may_lack) {
        if ((may_lack && id == -1) || (id >= 0 && static_cast<std::size_t>(id) < source.tokens.size())) return;
        fail(errc::bad_file, source.place, "special token ", id, " is outside the vocabulary of ", source.tokens.size(), " tokens");
    }

    static void check_size(std::size_t bytes) {
        if (bytes > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            fail(errc::invalid_argument, "text", "has ", bytes, " bytes or more; at most 2147483647 can be encoded at once");
    }

    void collect_added(const vocabulary_source& source, std::pmr::memory_resource* memory) {
        std::vector<token_needle> by_name, in_text, in_normalized;
        const auto add = [&](const added_token& token) {
            check_id(token.id, source, false);
            const std::string name(tokens_.piece(token.id));
            const bool control = tokens_.kind(token.id) != token_kind::user_defined;
            by_name.push_back({{.id = token.id}, name, control});
            if (token.normalized)
                in_normalized.push_back({token, steps_.normalize.normalize(name), control});
            else
                in_text.push_back({token, name, control});
        };
        for (const added_token& token : source.added) add(token);
        for (token_id id = 0; source.added.empty() && tokens_.contains(id); ++id)
            if (tokens_.is_added(id)) add({.id = id});
        by_name_ = added_tokens(by_name, source.place, memory);
        in_text_ = added_tokens(in_text, source.place, memory);
        in_normalized_ = added_tokens(in_normalized, source.place, memory);
    }

    void show_pieces(std::string_view place, std::pmr::memory_resource* memory) {
        std::string all;
        shown_ends_ = buffer<std::uint32_t>(size() + 1, memory);
        shown_ends_[0] = 0;
        byte_tokens_.fill(-1);
        for (token_id id = 0; tokens_.contains(id); ++id) {
            const std::string shown = steps_.decode.piece(tokens_.piece(id), false);
            if (shown.size() == 1 && !tokens_.is_added(id)) byte_tokens_[static_cast<unsigned char>(shown[0])] = id;
            all += shown;
            if (all.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
                fail(errc::bad_file, place, "the first ", id + 1, " tokens stand for more than 2147483647 bytes together");
            shown_ends_[static_cast<std::size_t>(id) + 1] = static_cast<std::uint32_t>(all.size());
        }
        shown_ = buffer<char>(all.size(), memory);
        std::copy(all.begin(), all.end(), shown_.data());
    }

    /// What one call of encode() works with.
    struct encoding {
        text_divider divider;
        tokenizer_model::encoder words;
        std::vector<token_id> out{};
    };

    template <class = once>
    std::vector<token_id> encode_joined(std::string_view text, std::span<const text_segment> segments,
                                        const encode_options& options) const {
        check_size(text.size());
        if (options.add_bos && !add_bos() && bos_ < 0) fail(errc::invalid_argument, "add_bos", "the vocabulary has no BOS token");
        if (options.add_eos && !add_eos() && eos_ < 0) fail(errc::invalid_argument, "add_eos", "the vocabulary has no EOS token");
        encoding e{text_divider(steps_.pre), model_.start(tokens_)};
        const auto enclose = [&](const std::vector<token_id>& ids, token_id id) {
            e.out.insert(e.out.end(), ids.begin(), ids.end());
            if (ids.empty()) e.out.push_back(id);
        };
        if (options.add_bos) enclose(steps_.before, bos_);
        encode_text(text, segments, e);
        if (options.add_eos) enclose(steps_.after, eos_);
        return std::move(e.out);
    }

    void encode_text(std::string_view text, std::span<const text_segment> segments, encoding& e) const {
        // Control tokens that are looked for in normalized text could not be told from strangers' text there, so where segments
        // differ in trust they are looked for by name.
        const bool whole = segments.size() == 1;
        std::size_t segment = 0, segment_begin = 0;
        const auto trusted = [&](std::size_t begin, std::size_t end) {
            while (segment < segments.size() && begin >= segment_begin + segments[segment].text.size())
                segment_begin += segments[segment++].text.size();
            return segment < segments.size() && segments[segment].trusted && end <= segment_begin + segments[segment].text.size();
        };
        const added_tokens& added = whole ? in_text_ : by_name_;
        std::size_t open = 0;
        added_tokens::match m{};
        for (std::size_t at = 0; added.find(text, at, open, trusted, m); at = m.matched_end) {
            if (open < m.begin) encode_piece(text.substr(open, m.begin - open), open == 0, whole && segments[0].trusted, e);
            e.out.push_back(m.id);
            open = m.end;
        }
        if (open < text.size()) encode_piece(text.substr(open), open == 0, whole && segments[0].trusted, e);
    }

    void encode_piece(std::string_view text, bool first, bool trusted, encoding& e) const {
        std::string normalized;
        if (!steps_.normalize.steps.empty()) text = normalized = steps_.normalize.normalize(text, first);
        const auto trust = [&](std::size_t, std::size_t) { return trusted; };
        const auto words = [&](std::size_t begin, std::size_t end) {
            e.divider.divide(text.substr(begin, end - begin), first && begin == 0,
                             [&](std::string_view word) { e.words.encode(word, e.out); });
        };
        std::size_t open = 0;
        added_tokens::match m{};
        for (std::size_t at = 0; in_normalized_.find(text, at, open, trust, m); at = m.matched_end) {
            if (open < m.begin) words(open, m.begin);
            e.out.push_back(m.id);
            open = m.end;
        }
        if (open < text.size()) words(open, text.size());
    }

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

SKALD_ONCE(std::vector<token_id> tokenizer::encode_joined<>(std::string_view, std::span<const text_segment>, const encode_options&) const)

}  // namespace skald::text
