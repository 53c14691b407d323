// SPDX-License-Identifier: MIT
#pragma once
// Byte-pair encoding of one word, of bytes or of code points: of all neighbouring pairs that a merge exists for, the one with the best rank
// (the leftmost of equals) becomes one token, until none is left. (Sennrich, Haddow, Birch 2016; on bytes: Radford et al. 2019.)
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/byte_text.hpp>
#include <skald/text/detail/code_point_set.hpp>
#include <skald/text/detail/flat_table.hpp>
#include <skald/text/detail/scored_tokens.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

/// One merge: two tokens that become a third. Ranks count from 0, the best.
struct merge {
    token_id left = -1, right = -1, result = -1;
    std::uint32_t rank = 0;

    bool empty() const noexcept { return left < 0; }
};

/// All merges of a vocabulary, found by their pair in constant time. Move-only; const members may be called from several threads.
class merge_table {
public:
    /// Throws errc::bad_file for a merge without separator or one that names or makes a token which is not in the vocabulary.
    merge_table(const vocabulary_source& source, const vocabulary& tokens, std::pmr::memory_resource* memory)
        : table_(source.merges.size() + source.merge_pairs.size(), memory) {
        if (source.merges.size() + source.merge_pairs.size() > std::numeric_limits<std::uint32_t>::max())
            fail(errc::bad_file, source.place, "there are ", source.merges.size() + source.merge_pairs.size(),
                 " merges; at most 4294967295 are possible");
        detail::fill_with_some_seed(source.place, "the merges", [&](std::uint64_t seed) { return fill(seed, source, tokens); });
    }

    /// The merge of two tokens, or null.
    const merge* find(token_id left, token_id right) const noexcept {
        const merge* m = locate(left, right);
        return m == nullptr || m->empty() ? nullptr : m;
    }

private:
    merge* locate(token_id left, token_id right) const noexcept {
        const std::uint64_t pair = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
        return table_.find(detail::mix(pair ^ seed_), [&](const merge& m) { return m.left == left && m.right == right; });
    }

    bool fill(std::uint64_t seed, const vocabulary_source& source, const vocabulary& tokens) {
        seed_ = seed * 0x9E3779B97F4A7C15u;
        table_.clear();
        std::string bytes;
        for (std::size_t i = 0; i < source.merges.size(); ++i) {
            const std::string_view text = source.merges[i];
            const std::size_t space = text.find(' ', 1);
            if (space == std::string_view::npos || space + 1 == text.size())
                refuse(source, i, text, "not two tokens with a space between them");
            if (!add({text.substr(0, space), text.substr(space + 1)}, i, source, tokens, bytes)) return false;
        }
        for (std::size_t i = 0; i < source.merge_pairs.size(); ++i)
            if (!add(source.merge_pairs[i], i, source, tokens, bytes)) return false;
        return true;
    }

    [[noreturn]] static void refuse(const vocabulary_source& source, std::size_t i, std::string_view text, std::string_view what) {
        fail(errc::bad_file, source.place, source.merges.empty() ? "key 'model.merges'" : "key 'tokenizer.ggml.merges'", ": element ", i,
             " is ", io::detail::in_quotes(text), ", ", what);
    }

    /// False if the table has no place for it.
    bool add(const merge_text& pair, std::size_t i, const vocabulary_source& source, const vocabulary& tokens, std::string& bytes) {
        const auto refuse_pair = [&](std::string_view what) { refuse(source, i, concat(pair.left, " ", pair.right), what); };
        bytes.clear();
        const auto token = [&](std::string_view part) {
            const std::size_t start = bytes.size();
            std::optional<token_id> id;
            if (!source.byte_level) bytes += part;
            if (!source.byte_level || detail::append_bytes_of(part, bytes)) id = tokens.find(std::string_view(bytes).substr(start));
            if (!id) refuse_pair(concat("but the vocabulary has no token ", io::detail::in_quotes(part)));
            return *id;
        };
        const token_id left = token(pair.left);
        const std::size_t middle = bytes.size();
        const token_id right = token(pair.right);
        bytes.erase(middle, std::min(source.continuing_prefix.size(), bytes.size() - middle));
        const std::optional<token_id> result = tokens.find(bytes);
        if (!result) refuse_pair("but the vocabulary has no token for the two together");
        merge* m = locate(left, right);
        if (m == nullptr) return false;
        if (m->empty()) *m = {left, right, *result, static_cast<std::uint32_t>(i)};  // the best rank counts if a pair stands twice
        return true;
    }

    detail::flat_table<merge> table_;
    std::uint64_t seed_ = 0;
};

/// What the symbols are that a word is merged from, where they are not bytes or not all bytes have a token.
struct bpe_symbols {
    explicit bpe_symbols(const vocabulary_source& source)
        : unknown(source.unknown_for_missing ? source.unknown : -1),
          byte_level(source.byte_level),
          byte_fallback(source.byte_fallback),
          fuse_unknown(source.fuse_unknown),
          continuing_prefix(source.continuing_prefix),
          ending_suffix(source.ending_suffix) {
        if (byte_fallback) bytes = detail::byte_tokens_of(source);
    }
    bpe_symbols() = default;  ///< bytes; those without a token are left out

    token_id unknown = -1;  ///< for what has no token; -1: it is left out
    bool byte_level = true, byte_fallback = false, fuse_unknown = false;
    std::string continuing_prefix, ending_suffix;
    detail::byte_tokens bytes{};  ///< that unknown code points become
};

/// Merges words; keeps its scratch memory from word to word. Results do not depend on what was merged before.
class word_merger {
public:
    word_merger(const vocabulary& tokens, const merge_table& merges, const bpe_symbols& symbols) noexcept
        : tokens_(&tokens), merges_(&merges), symbols_of_(&symbols) {}

    /// Appends the tokens of a word of at most 2^31 - 1 bytes. Cost: n log n.
    void encode(std::string_view word, std::vector<token_id>& out) {
        start_.clear();
        if (symbols_of_->byte_level)
            start_from_bytes(word);
        else
            start_from_code_points(word);
        if (start_.empty()) return;
        if (start_.size() <= short_word)
            encode_short(out);
        else
            encode_long(out);
    }

private:
    static constexpr std::size_t short_word = 32;  // symbols up to which a scan for the best pair beats a heap: words are 6 on average

    struct symbol {
        token_id id;                 // -1 once merged into its left neighbour
        std::int32_t before, after;  // -1 at the ends
    };
    struct candidate {
        std::uint64_t order;  // rank, then place
        const merge* pair;
        std::size_t at() const noexcept { return order & 0xFFFFFFFFu; }
    };

    /// A symbol without a token: unknown tokens wait for their neighbours to join them, if these do.
    void miss() {
        if (symbols_of_->unknown < 0) return;
        if (missing_ && !symbols_of_->fuse_unknown) start_.push_back(symbols_of_->unknown);
        missing_ = true;
    }
    void meet(token_id id) {
        settle();
        start_.push_back(id);
    }
    void settle() {
        if (missing_) start_.push_back(symbols_of_->unknown);
        missing_ = false;
    }

    void start_from_bytes(std::string_view word) {
        for (const char c : word) {
            const token_id id = tokens_->byte_token(static_cast<std::uint8_t>(c));
            id >= 0 ? meet(id) : miss();
        }
        settle();
    }

    void start_from_code_points(std::string_view word) {
        const bpe_symbols& s = *symbols_of_;
        for (std::size_t at = 0, length = 0; at < word.size(); at += length) {
            length = detail::code_unit_at(word, at).length;
            const std::string_view unit = word.substr(at, length);
            const bool prefix = at > 0 && !s.continuing_prefix.empty(), suffix = at + length == word.size() && !s.ending_suffix.empty();
            std::optional<token_id> id;
            if (!prefix && !suffix)
                id = length == 1 ? byte_id(unit[0]) : tokens_->find(unit);
            else
                id = tokens_->find(concat(prefix ? s.continuing_prefix : "", unit, suffix ? s.ending_suffix : ""));
            if (id)
                meet(*id);
            else if (!s.byte_fallback || !detail::append_byte_tokens(s.bytes, unit, start_))
                miss();
        }
        settle();
    }

    std::optional<token_id> byte_id(char c) const noexcept {
        const token_id id = tokens_->byte_token(static_cast<std::uint8_t>(c));
        return id < 0 ? std::nullopt : std::optional(id);
    }

    void encode_short(std::vector<token_id>& out) {
        std::array<token_id, short_word> ids;
        std::array<const merge*, short_word> pairs;  // pairs[i]: of ids[i] and ids[i + 1]
        std::size_t n = start_.size();
        std::copy(start_.begin(), start_.end(), ids.begin());
        for (std::size_t i = 0; i + 1 < n; ++i) pairs[i] = merges_->find(ids[i], ids[i + 1]);
        for (;;) {
            const merge* best = nullptr;
            std::size_t at = 0;
            for (std::size_t i = 0; i + 1 < n; ++i)
                if (pairs[i] != nullptr && (best == nullptr || pairs[i]->rank < best->rank)) best = pairs[at = i];
            if (best == nullptr) break;
            ids[at] = best->result;
            --n;
            for (std::size_t i = at + 1; i < n; ++i) {
                ids[i] = ids[i + 1];
                pairs[i - 1] = pairs[i];
            }
            if (at > 0) pairs[at - 1] = merges_->find(ids[at - 1], ids[at]);
            if (at + 1 < n) pairs[at] = merges_->find(ids[at], ids[at + 1]);
        }
        out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
    }

    void encode_long(std::vector<token_id>& out) {
        symbols_.clear();
        heap_.clear();
        for (const token_id id : start_) {
            const auto i = static_cast<std::int32_t>(symbols_.size());
            symbols_.push_back({id, i - 1, i + 1});
        }
        symbols_.back().after = -1;
        for (std::size_t i = 0; i + 1 < symbols_.size(); ++i) consider(static_cast<std::int32_t>(i));
        std::make_heap(heap_.begin(), heap_.end(), later);
        while (!heap_.empty()) {
            std::pop_heap(heap_.begin(), heap_.end(), later);
            const candidate c = heap_.back();
            heap_.pop_back();
            symbol& left = symbols_[c.at()];
            if (left.id != c.pair->left || left.after < 0) continue;  // a symbol of it was merged meanwhile
            symbol& right = symbols_[static_cast<std::size_t>(left.after)];
            if (right.id != c.pair->right) continue;
            left.id = c.pair->result;
            left.after = right.after;
            right.id = -1;
            const auto at = static_cast<std::int32_t>(c.at());
            if (left.after >= 0) {
                symbols_[static_cast<std::size_t>(left.after)].before = at;
                if (consider(at)) std::push_heap(heap_.begin(), heap_.end(), later);
            }
            if (left.before >= 0 && consider(left.before)) std::push_heap(heap_.begin(), heap_.end(), later);
        }
        for (std::int32_t i = 0; i >= 0; i = symbols_[static_cast<std::size_t>(i)].after)
            out.push_back(symbols_[static_cast<std::size_t>(i)].id);
    }

    static bool later(const candidate& a, const candidate& b) noexcept { return a.order > b.order; }

    /// Adds the pair of a symbol and the next, if there is a merge for it, at the end of heap_.
    bool consider(std::int32_t at) {
        const symbol& left = symbols_[static_cast<std::size_t>(at)];
        const merge* m = merges_->find(left.id, symbols_[static_cast<std::size_t>(left.after)].id);
        if (m != nullptr) heap_.push_back({static_cast<std::uint64_t>(m->rank) << 32 | static_cast<std::uint32_t>(at), m});
        return m != nullptr;
    }

    const vocabulary* tokens_;
    const merge_table* merges_;
    const bpe_symbols* symbols_of_;
    std::vector<token_id> start_;  // the symbols of a word
    bool missing_ = false;         // an unknown token is to be written
    std::vector<symbol> symbols_;
    std::vector<candidate> heap_;
};

}  // namespace skald::text
