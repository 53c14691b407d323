// SPDX-License-Identifier: MIT
#pragma once
// No n-gram twice. Paulus, Xiong, Socher, "A deep reinforced model for abstractive summarization" (2017); as Hugging Face's
// no_repeat_ngram_size.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <skald/sampling/detail/suffix_matches.hpp>
#include <skald/sampling/processor.hpp>

namespace skald::sampling {

/// Forbids (logit -inf) every token that would complete an `n`-gram which stands in the history, prompt included, already. 1 forbids
/// all its tokens; 0 and below nothing. Linear in the history.
struct no_repeat_ngram {
    std::int32_t n = 3;

    void operator()(candidates& c, const context& x) const {
        if (n <= 0 || x.history.size() < static_cast<std::size_t>(n)) return;
        const std::size_t prefix = static_cast<std::size_t>(n) - 1;
        std::vector<token_id>& banned = c.scratch();
        if (prefix == 0) {
            banned.assign(x.history.begin(), x.history.end());
        } else {
            banned.resize(x.history.size());
            detail::suffix_matches(x.history, prefix, banned);
            std::size_t count = 0;
            for (std::size_t i = 0; i + 1 < x.history.size(); ++i)
                if (static_cast<std::size_t>(banned[i]) == prefix) banned[count++] = x.history[i + 1];
            banned.resize(count);
        }
        std::sort(banned.begin(), banned.end());
        c.change_tokens(banned, [](candidate& k, std::size_t) { k.logit = -std::numeric_limits<float>::infinity(); });
    }
};

static_assert(processor<no_repeat_ngram>);

}  // namespace skald::sampling
