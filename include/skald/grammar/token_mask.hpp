// SPDX-License-Identifier: MIT
#pragma once
// Which tokens may come next: the tree of the vocabulary walked along a grammar. A grammar comes back to the same places all the
// time, so the answers are kept, the latest used up to a bound of bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/grammar/matcher.hpp>
#include <skald/grammar/token_trie.hpp>

namespace skald::grammar {

/// A set of tokens: listed while they are few, else a bit each.
struct token_mask {
    std::vector<token_id> listed;     ///< ascending; only if `bits` is empty
    std::vector<std::uint64_t> bits;  ///< token t is bit t % 64 of word t / 64
    std::size_t count = 0;

    bool contains(token_id id) const noexcept {
        const auto i = static_cast<std::size_t>(id);
        if (bits.empty()) return std::binary_search(listed.begin(), listed.end(), id);
        return id >= 0 && i / 64 < bits.size() && (bits[i / 64] >> (i % 64) & 1) != 0;
    }
    std::size_t bytes() const noexcept {
        return sizeof *this + listed.capacity() * sizeof(token_id) + bits.capacity() * sizeof(std::uint64_t);
    }
};

/// A matcher that reads tokens, and the masks it has made. Copyable; copies share the grammar and the tree, and nothing else.
class token_matcher {
public:
    /// `cache_bytes` bounds the masks that are kept, the last one apart; the matcher's own tables are bounded by `limits`.
    token_matcher(std::shared_ptr<const rules> grammar, std::shared_ptr<const token_trie> trie, match_limits limits = {},
                  std::size_t cache_bytes = std::size_t{16} << 20)
        : matcher_(std::move(grammar), limits), trie_(std::move(trie)), most_bytes_(cache_bytes) {}

    token_matcher(const token_matcher& other) : matcher_(other.matcher_), trie_(other.trie_), most_bytes_(other.most_bytes_) {}
    token_matcher(token_matcher&&) noexcept = default;
    token_matcher& operator=(token_matcher other) noexcept {
        matcher_ = std::move(other.matcher_);
        trie_ = std::move(other.trie_);
        most_bytes_ = other.most_bytes_;
        recent_ = std::move(other.recent_);
        known_ = std::move(other.known_);
        bytes_ = other.bytes_;
        return *this;
    }

    const token_trie& trie() const noexcept { return *trie_; }
    const matcher& reader() const noexcept { return matcher_; }
    match_state start() const noexcept { return matcher_.start(); }

    /// After a token that is no end token: read as a whole where the grammar names it, else by its bytes. A state stands for both.
    match_state next(match_state s, token_id token) {
        if (token < 0 || static_cast<std::size_t>(token) >= trie_->vocabulary()) return matcher::dead;
        if (const match_state named = matcher_.next_token(s, token, trie_->is_end(token)); named != matcher::dead) return named;
        const std::string_view bytes = trie_->piece(token);
        return bytes.empty() ? matcher::dead : matcher_.next(s, bytes);
    }

    /// The tokens that may come next; end tokens among them where the text may end. Valid until the next call.
    /// Cost: a look-up if the mask is known, else a walk over the tree's part that the grammar allows.
    const token_mask& mask(match_state s) {
        if (const auto found = known_.find(s); found != known_.end()) {
            recent_.splice(recent_.begin(), recent_, found->second);
            return found->second->mask;
        }
        recent_.push_front({s, make_mask(s)});
        known_.emplace(s, recent_.begin());
        bytes_ += recent_.front().mask.bytes();
        while (bytes_ > most_bytes_ && recent_.size() > 1) {
            bytes_ -= recent_.back().mask.bytes();
            known_.erase(recent_.back().state);
            recent_.pop_back();
        }
        return recent_.front().mask;
    }

    /// As matcher::forced_text.
    std::string forced_text(match_state s, std::size_t most) { return matcher_.forced_text(s, most); }

    /// Whether the matcher's tables are large enough to be worth a new start.
    bool wants_clearing() const noexcept { return matcher_.bytes() > most_bytes_; }

    /// Forgets states and masks.
    void clear() {
        recent_.clear();
        known_.clear();
        bytes_ = 0;
        matcher_.clear();
    }

private:
    struct entry {
        match_state state;
        token_mask mask;
    };

    token_mask make_mask(match_state s) {
        std::vector<token_id>& allowed = allowed_;
        allowed.clear();
        const std::span<const token_trie::node> nodes = trie_->nodes();
        const std::span<const token_id> tokens = trie_->tokens();
        path_.assign(trie_->deepest() + 1, s);  // path_[d]: the state after d bytes
        for (std::size_t i = 0; i < trie_->size();) {
            const token_trie::node& n = nodes[i];
            const match_state after = matcher_.next(path_[n.depth()], n.byte());
            if (after == matcher::dead) {
                i = n.skip;
                continue;
            }
            path_[n.depth() + 1] = after;
            const std::uint32_t end = nodes[i + 1].tokens;
            for (std::uint32_t t = n.tokens; t < end; ++t) allowed.push_back(tokens[t]);
            ++i;
        }
        if (matcher_.reads_tokens(s))
            for (std::size_t i = 0; i < trie_->vocabulary(); ++i)
                if (const auto id = static_cast<token_id>(i); matcher_.next_token(s, id, trie_->is_end(id)) != matcher::dead)
                    allowed.push_back(id);
        if (matcher_.accepts(s)) allowed.insert(allowed.end(), trie_->end_tokens().begin(), trie_->end_tokens().end());
        return compress();
    }

    token_mask compress() {
        token_mask out;
        if (allowed_.size() * 32 < trie_->vocabulary()) {
            std::sort(allowed_.begin(), allowed_.end());
            allowed_.erase(std::unique(allowed_.begin(), allowed_.end()), allowed_.end());
            out.listed = allowed_;
            out.count = allowed_.size();
            return out;
        }
        out.bits.assign((trie_->vocabulary() + 63) / 64, 0);
        for (const token_id id : allowed_) {
            std::uint64_t& word = out.bits[static_cast<std::size_t>(id) / 64];
            const std::uint64_t bit = std::uint64_t{1} << (id % 64);
            out.count += (word & bit) == 0;
            word |= bit;
        }
        return out;
    }

    matcher matcher_;
    std::shared_ptr<const token_trie> trie_;
    std::size_t most_bytes_, bytes_ = 0;
    std::list<entry> recent_;  // latest used first
    std::unordered_map<match_state, std::list<entry>::iterator> known_;
    std::vector<token_id> allowed_;  // of the mask that is made
    std::vector<match_state> path_;
};

}  // namespace skald::grammar
