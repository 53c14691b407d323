// SPDX-License-Identifier: MIT
#pragma once
// The texts of a vocabulary's tokens as a tree, each byte a step: what a grammar refuses at one byte is refused for all tokens that
// share the beginning. Built once for a tokenizer, in flat arrays that are walked from front to back.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::grammar {

/// Holds copies of the tokens' bytes: the tokenizer may go. Takes about 12 bytes for each byte of the vocabulary at most.
/// Control, unknown and unused tokens, and those without bytes, are no text and stand in no tree; the end tokens are listed apart.
class token_trie {
public:
    struct node {
        std::uint32_t skip;    ///< the node after all that begin like this one
        std::uint32_t tokens;  ///< first of the tokens that end here; the next node's `tokens` ends them
        std::uint32_t depth_and_byte;

        std::uint32_t depth() const noexcept { return depth_and_byte >> 8; }  ///< bytes before this one
        std::uint8_t byte() const noexcept { return static_cast<std::uint8_t>(depth_and_byte); }
    };
    static constexpr std::size_t longest = 1 << 12;  ///< bytes of a token; longer ones are never chosen

    explicit token_trie(const text::tokenizer& t) : vocabulary_(t.size()) {
        ends_.push_back(0);
        for (std::size_t i = 0; i < vocabulary_; ++i) {
            const auto id = static_cast<token_id>(i);
            if (t.is_end(id)) end_tokens_.push_back(id);
            if (is_text(t, id)) bytes_.insert(bytes_.end(), t.piece(id).begin(), t.piece(id).end());
            ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
        }
        for (std::size_t i = 0; i < vocabulary_; ++i)
            if (!piece(static_cast<token_id>(i)).empty()) order_.push_back(static_cast<token_id>(i));
        std::sort(order_.begin(), order_.end(), [this](token_id a, token_id b) {
            const int way = piece(a).compare(piece(b));
            return way != 0 ? way < 0 : a < b;
        });
        build();
    }

    /// In the order of their texts; one more than there are, so that the last has a next one. // (size() + 1)
    std::span<const node> nodes() const noexcept { return nodes_; }
    std::size_t size() const noexcept { return nodes_.size() - 1; }
    /// Tokens by text, as the nodes refer to them.
    std::span<const token_id> tokens() const noexcept { return order_; }
    /// Ascending.
    std::span<const token_id> end_tokens() const noexcept { return end_tokens_; }
    bool is_end(token_id id) const noexcept { return std::binary_search(end_tokens_.begin(), end_tokens_.end(), id); }

    std::size_t vocabulary() const noexcept { return vocabulary_; }
    std::size_t deepest() const noexcept { return deepest_; }  ///< bytes of the longest token

    /// A token's bytes; empty for one that is no text. Of a token of the vocabulary.
    std::string_view piece(token_id id) const noexcept {
        const auto i = static_cast<std::size_t>(id);
        return {bytes_.data() + ends_[i], ends_[i + 1] - ends_[i]};
    }

private:
    static bool is_text(const text::tokenizer& t, token_id id) {
        const text::token_kind kind = t.tokens().kind(id);
        return !t.is_special(id) && !t.is_end(id) && kind != text::token_kind::unused && t.piece(id).size() <= longest;
    }

    void build() {
        std::vector<std::uint32_t> path;  // the nodes of the last token's bytes
        std::string_view last;
        for (std::size_t i = 0; i < order_.size(); ++i) {
            const std::string_view text = piece(order_[i]);
            if (i > 0 && text == last) continue;  // the next node's `tokens` counts it
            const std::size_t common =
                static_cast<std::size_t>(std::mismatch(last.begin(), last.end(), text.begin(), text.end()).second - text.begin());
            for (; path.size() > common; path.pop_back()) nodes_[path.back()].skip = static_cast<std::uint32_t>(nodes_.size());
            for (std::size_t k = common; k < text.size(); ++k) {
                path.push_back(static_cast<std::uint32_t>(nodes_.size()));
                const auto depth_and_byte = static_cast<std::uint32_t>(k << 8 | static_cast<unsigned char>(text[k]));
                nodes_.push_back({0, static_cast<std::uint32_t>(i), depth_and_byte});
            }
            deepest_ = std::max(deepest_, text.size());
            last = text;
        }
        for (const std::uint32_t n : path) nodes_[n].skip = static_cast<std::uint32_t>(nodes_.size());
        nodes_.push_back({static_cast<std::uint32_t>(nodes_.size() + 1), static_cast<std::uint32_t>(order_.size()), 0});
    }

    std::size_t vocabulary_, deepest_ = 0;
    std::vector<char> bytes_;
    std::vector<std::uint32_t> ends_;  // (vocabulary + 1)
    std::vector<token_id> order_, end_tokens_;
    std::vector<node> nodes_;
};

}  // namespace skald::grammar
