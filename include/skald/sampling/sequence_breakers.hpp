// SPDX-License-Identifier: MIT
#pragma once
// Where a repetition may begin anew: the sequences of tokens that `dry` takes for borders.
#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::sampling {

/// A set of token sequences.
class sequence_breakers {
public:
    sequence_breakers() = default;

    /// Throws errc::invalid_argument for an empty sequence.
    explicit sequence_breakers(std::vector<std::vector<token_id>> sequences) {
        for (std::vector<token_id>& s : sequences) {
            if (s.empty()) fail(errc::invalid_argument, "sequence_breakers", "a sequence of no tokens; leave it out");
            if (s.size() == 1)
                single_.push_back(s[0]);
            else
                longer_.push_back(std::move(s));
        }
        order();
    }

    /// The tokens in which texts can appear, as in llama.cpp: every token that contains a text, and every token whose end begins one,
    /// followed by the tokens of the rest, of which 20 count. Of a text, 40 bytes count; an empty one is passed over.
    /// Cost: the vocabulary's bytes for each text.
    sequence_breakers(const text::tokenizer& tokenizer, std::span<const std::string> texts) {
        for (const std::string& text : texts)
            if (!text.empty()) add(tokenizer, std::string_view(text).substr(0, most_bytes));
        order();
    }

    /// Whether a token alone is a breaker.
    bool contains(token_id token) const noexcept { return std::binary_search(single_.begin(), single_.end(), token); }

    /// How many tokens follow the last breaker in `tokens`, at most; all of them where there is none.
    std::size_t length_after(std::span<const token_id> tokens) const noexcept {
        for (std::size_t i = tokens.size(); i-- > 0;)
            if (const std::size_t length = longest_at(tokens.subspan(i)); length > 0) return tokens.size() - i - length;
        return tokens.size();
    }

private:
    static constexpr std::size_t most_bytes = 40, most_following = 20;

    void add(const text::tokenizer& tokenizer, std::string_view text) {
        for (token_id t = 0; static_cast<std::size_t>(t) < tokenizer.size(); ++t) {
            const std::string_view piece = tokenizer.piece(t);
            if (piece.find(text) != std::string_view::npos) {
                single_.push_back(t);
                continue;
            }
            for (std::size_t n = 1; n < std::min(text.size(), piece.size() + 1); ++n) {
                if (!piece.ends_with(text.substr(0, n))) continue;
                std::vector<token_id> sequence = tokenizer.encode(text.substr(n));
                sequence.resize(std::min(sequence.size(), most_following));
                sequence.insert(sequence.begin(), t);
                if (sequence.size() > 1) longer_.push_back(std::move(sequence));
            }
        }
    }

    void order() {
        std::sort(single_.begin(), single_.end());
        single_.erase(std::unique(single_.begin(), single_.end()), single_.end());
        std::sort(longer_.begin(), longer_.end());
        longer_.erase(std::unique(longer_.begin(), longer_.end()), longer_.end());
    }

    /// The length of the longest breaker that `tokens` begin with; 0: none.
    std::size_t longest_at(std::span<const token_id> tokens) const noexcept {
        std::size_t longest = contains(tokens[0]) ? 1 : 0;
        auto s = std::lower_bound(longer_.begin(), longer_.end(), tokens[0], [](const auto& a, token_id head) { return a[0] < head; });
        for (; s != longer_.end() && (*s)[0] == tokens[0]; ++s)
            if (s->size() > longest && s->size() <= tokens.size() && std::equal(s->begin(), s->end(), tokens.begin())) longest = s->size();
        return longest;
    }

    std::vector<token_id> single_;               // ascending
    std::vector<std::vector<token_id>> longer_;  // ascending, so those of one first token stand together
};

}  // namespace skald::sampling
