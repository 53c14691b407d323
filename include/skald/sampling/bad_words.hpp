// SPDX-License-Identifier: MIT
#pragma once
// Sequences of tokens that must not come up. As Hugging Face's bad_words_ids.
#include <algorithm>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald::sampling {

/// Forbids (logit -inf) the last token of every sequence whose other tokens end the history: `bad_words{{5}, {17, 4}}`. A token
/// that is no candidate is passed over. Cost: the sequences' total length.
class bad_words {
public:
    bad_words() = default;
    bad_words(std::initializer_list<std::vector<token_id>> sequences) : bad_words(std::vector<std::vector<token_id>>(sequences)) {}
    /// Throws errc::invalid_argument for an empty sequence.
    explicit bad_words(std::vector<std::vector<token_id>> sequences) : sequences_(std::move(sequences)) {
        for (const std::vector<token_id>& s : sequences_)
            if (s.empty()) fail(errc::invalid_argument, "bad_words", "a sequence of no tokens; leave it out");
    }

    /// The tokens of words, each as it is and with a blank before it. A text that the model spells with other tokens than its
    /// tokenizer does is not found.
    bad_words(const text::tokenizer& tokenizer, std::span<const std::string> words) : bad_words(spelled(tokenizer, words)) {}

    void operator()(candidates& c, const context& x) const {
        std::vector<token_id>& banned = c.scratch();
        banned.clear();
        for (const std::vector<token_id>& s : sequences_) {
            const std::span<const token_id> before = std::span(s).first(s.size() - 1);
            if (before.size() > x.history.size()) continue;
            const std::span<const token_id> end = x.history.last(before.size());
            if (std::equal(before.begin(), before.end(), end.begin())) banned.push_back(s.back());
        }
        if (banned.empty()) return;
        std::sort(banned.begin(), banned.end());
        c.change_tokens(banned, [](candidate& k, std::size_t) { k.logit = -std::numeric_limits<float>::infinity(); });
    }

private:
    static std::vector<std::vector<token_id>> spelled(const text::tokenizer& tokenizer, std::span<const std::string> words) {
        std::vector<std::vector<token_id>> out;
        for (const std::string& word : words)
            for (const std::string& text : {word, " " + word}) out.push_back(tokenizer.encode(text));
        return out;
    }

    std::vector<std::vector<token_id>> sequences_;
};

static_assert(processor<bad_words>);

}  // namespace skald::sampling
