// SPDX-License-Identifier: MIT
#pragma once
// What tokenizer.hpp declares: setting up, encoding and decoding.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/text/detail/gguf_vocabulary.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::text {

namespace detail {

/// Names that end a generation whatever the keys say, as llama.cpp has them: of a turn, the best sign of it first, and others.
inline constexpr std::array<std::string_view, 8> turn_ends{"<|eot_id|>",    "<|im_end|>", "<|end|>", "<end_of_turn>",
                                                           "<|endoftext|>", "<EOT>",      "_<EOT>",  "<｜end▁of▁sentence｜>"};
inline constexpr std::array<std::string_view, 13> other_ends{
    "<|eom_id|>",   "<|end_of_text|>", "<end_of_utterance>",                                         // of a message, a text
    "<|fim_pad|>",  "<fim-pad>",       "<fim_pad>",          "<PAD>",                                // of code filled in
    "<|fim_repo|>", "<|repo_name|>",   "<fim-repo>",         "<REPO>", "<reponame>", "<|file_sep|>"  // of a file of code
};

inline void check_text_size(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
        fail(errc::invalid_argument, "text", "has ", bytes, " bytes or more; at most 2147483647 can be encoded at once");
}

}  // namespace detail

SKALD_FUNCTION tokenizer::tokenizer(const vocabulary_source& source, tokenizer_steps steps, std::pmr::memory_resource* memory)
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

SKALD_FUNCTION tokenizer tokenizer::from_gguf(const io::metadata& meta, std::string_view file, std::pmr::memory_resource* memory) {
    detail::gguf_vocabulary v(meta, file);
    return tokenizer(v.source, std::move(v.steps), memory);
}

SKALD_FUNCTION void tokenizer::collect_ends(const vocabulary_source& source, std::pmr::memory_resource* memory) {
    std::vector<token_id> ends;
    const auto add = [&](token_id id) {
        if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
    };
    std::array<token_id, detail::turn_ends.size()> turns;
    turns.fill(-1);
    for (token_id id = 0; tokens_.contains(id); ++id) {
        const std::string_view name = source.tokens[static_cast<std::size_t>(id)];
        if (!source.added.empty() && !tokens_.is_added(id)) continue;
        if (name.size() < 5 || (name[0] != '<' && name[0] != '_')) continue;
        const auto turn = std::find(detail::turn_ends.begin(), detail::turn_ends.end(), name);
        if (turn != detail::turn_ends.end()) turns[static_cast<std::size_t>(turn - detail::turn_ends.begin())] = id;
        if (turn == detail::turn_ends.end() &&
            std::find(detail::other_ends.begin(), detail::other_ends.end(), name) == detail::other_ends.end())
            continue;
        if (tokens_.piece(id) == name) tokens_.mark_control(id);  // some files call them normal
        add(id);
    }
    for (std::size_t i = 0; eot_ < 0 && i < turns.size(); ++i) eot_ = turns[i];
    for (const token_id id : {eos_, eot_, source.eom}) add(id);
    keep_ends(ends, memory);
}

SKALD_FUNCTION void tokenizer::keep_ends(const std::vector<token_id>& ends, std::pmr::memory_resource* memory) {
    ends_ = buffer<token_id>(ends.size(), memory);
    std::copy(ends.begin(), ends.end(), ends_.data());
}

SKALD_FUNCTION void tokenizer::add_ends(std::span<const token_id> ids, std::pmr::memory_resource* memory) {
    std::vector<token_id> ends(ends_.span().begin(), ends_.span().end());
    for (const token_id id : ids)
        if (tokens_.contains(id) && !is_end(id)) ends.push_back(id);
    keep_ends(ends, memory);
}

SKALD_FUNCTION void tokenizer::check_id(token_id id, const vocabulary_source& source, bool may_lack) {
    if ((may_lack && id == -1) || (id >= 0 && static_cast<std::size_t>(id) < source.tokens.size())) return;
    fail(errc::bad_file, source.place, "special token ", id, " is outside the vocabulary of ", source.tokens.size(), " tokens");
}

SKALD_FUNCTION void tokenizer::collect_added(const vocabulary_source& source, std::pmr::memory_resource* memory) {
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

SKALD_FUNCTION void tokenizer::show_pieces(std::string_view place, std::pmr::memory_resource* memory) {
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

SKALD_FUNCTION std::vector<token_id> tokenizer::encode(std::span<const text_segment> segments, const encode_options& options) const {
    std::string joined;
    for (const text_segment& s : segments) {
        detail::check_text_size(joined.size() + s.text.size());
        joined += s.text;
    }
    return encode_joined(joined, segments, options);
}

/// What one call of encode() works with.
struct tokenizer::encoding {
    text_divider divider;
    tokenizer_model::encoder words;
    std::vector<token_id> out{};
};

SKALD_FUNCTION std::vector<token_id> tokenizer::encode_joined(std::string_view text, std::span<const text_segment> segments,
                                                              const encode_options& options) const {
    detail::check_text_size(text.size());
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

SKALD_FUNCTION void tokenizer::encode_text(std::string_view text, std::span<const text_segment> segments, encoding& e) const {
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

SKALD_FUNCTION void tokenizer::encode_piece(std::string_view text, bool first, bool trusted, encoding& e) const {
    std::string normalized;
    if (!steps_.normalize.steps.empty()) text = normalized = steps_.normalize.normalize(text, first);
    const auto trust = [&](std::size_t, std::size_t) { return trusted; };
    const auto words = [&](std::size_t begin, std::size_t end) {
        e.divider.divide(text.substr(begin, end - begin), first && begin == 0, [&](std::string_view word) { e.words.encode(word, e.out); });
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

SKALD_FUNCTION std::string tokenizer::decode(std::span<const token_id> ids, const decode_options& options) const {
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

SKALD_FUNCTION token_id tokenizer::find(std::string_view piece_bytes) const {
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

}  // namespace skald::text
