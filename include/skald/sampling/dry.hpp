// SPDX-License-Identifier: MIT
#pragma once
// DRY, "don't repeat yourself": the longer a repetition the next token would continue, the less likely that token. p-e-w's sampler
// (2024), as llama.cpp has it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/sampling/detail/recent.hpp>
#include <skald/sampling/detail/suffix_matches.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/sampling/sequence_breakers.hpp>

namespace skald::sampling {

/// Where the last L >= allowed_length tokens of the history stood before and a token followed them, its logit falls by
/// multiplier · base^(L - allowed_length), with the greatest such L. A repetition reaches back to the last breaker at most, and a token
/// that is a breaker goes free. Only the last `last_n` tokens are looked at; negative: all. A multiplier of 0 does nothing.
/// O(last_n log last_n). Throws errc::invalid_argument for a multiplier that is not finite, a base below 1, or a negative allowed length.
struct dry {
    float multiplier = 0.8f;
    float base = 1.75f;
    std::int64_t allowed_length = 2;
    std::int64_t last_n = -1;
    sequence_breakers breakers{};

    void operator()(candidates& c, const context& x) const {
        if (!std::isfinite(multiplier))
            fail(errc::invalid_argument, "dry", "the multiplier is ", multiplier, "; it must be a finite number");
        if (!(base >= 1) || !std::isfinite(base))
            fail(errc::invalid_argument, "dry", "the base is ", base, "; it must be a finite number of 1 or more");
        if (allowed_length < 0) fail(errc::invalid_argument, "dry", "the allowed length is ", allowed_length, "; it must be 0 or more");
        if (multiplier == 0) return;
        const std::span<const token_id> tokens = detail::last_of(x.history, last_n);
        const auto allowed = static_cast<std::size_t>(allowed_length);
        if (tokens.size() <= allowed) return;
        const std::size_t limit = breakers.length_after(tokens);
        if (limit < allowed) return;

        // Scratch memory: the lengths of the repetitions that end at each token; where those end that count; the tokens after them.
        const std::size_t n = tokens.size();
        c.scratch().resize(3 * n);
        const std::span<token_id> scratch(c.scratch());
        const std::span<token_id> matches = scratch.first(n);
        detail::suffix_matches(tokens, limit, matches);
        const std::span<token_id> ends = longest_ends(tokens, matches, allowed, scratch.subspan(n, n));
        const std::span<token_id> next = scratch.subspan(2 * n, ends.size());
        std::transform(ends.begin(), ends.end(), next.begin(), [&](token_id end) { return after(tokens, end); });
        c.change_tokens(next, [&](candidate& k, std::size_t) {
            const std::size_t at = static_cast<std::size_t>(std::lower_bound(next.begin(), next.end(), k.token) - next.begin());
            k.logit -= penalty(static_cast<std::size_t>(matches[static_cast<std::size_t>(ends[at])]) - allowed);
        });
    }

private:
    static token_id after(std::span<const token_id> tokens, token_id end) noexcept { return tokens[static_cast<std::size_t>(end) + 1]; }

    /// Where the repetitions of `allowed` tokens or more end, by the token after, of each token the longest one.
    std::span<token_id> longest_ends(std::span<const token_id> tokens, std::span<const token_id> matches, std::size_t allowed,
                                     std::span<token_id> out) const {
        const auto length = [&](token_id end) { return matches[static_cast<std::size_t>(end)]; };
        std::size_t count = 0;
        for (std::size_t i = 0; i + 1 < tokens.size(); ++i)
            if (static_cast<std::size_t>(matches[i]) >= allowed && !breakers.contains(tokens[i + 1]))
                out[count++] = static_cast<token_id>(i);
        const auto last = out.begin() + static_cast<std::ptrdiff_t>(count);
        std::sort(out.begin(), last, [&](token_id a, token_id b) {
            const token_id next_a = after(tokens, a), next_b = after(tokens, b);
            return next_a != next_b ? next_a < next_b : length(a) > length(b);
        });
        const auto end = std::unique(out.begin(), last, [&](token_id a, token_id b) { return after(tokens, a) == after(tokens, b); });
        return {out.begin(), end};
    }

    float penalty(std::size_t beyond) const noexcept {
        constexpr double most = std::numeric_limits<float>::max();
        const double value =
            static_cast<double>(multiplier) * std::min(most, std::pow(static_cast<double>(base), static_cast<double>(beyond)));
        return static_cast<float>(std::clamp(value, -most, most));
    }
};

static_assert(processor<dry>);

}  // namespace skald::sampling
