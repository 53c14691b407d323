// SPDX-License-Identifier: MIT
#pragma once
// The sampling chain: processors in their order, then a selector. Known at compile time, so a chain costs what its parts cost.
// For one put together at run time see dynamic_chain.
#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/sampling/detail/log_sum_exp.hpp>
#include <skald/sampling/greedy.hpp>
#include <skald/sampling/logprobs.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/sampling/sample.hpp>

namespace skald::sampling {

namespace detail {

/// The choice of `token` with its log-probability, once it is known to be one of the vocabulary.
inline choice make_choice(std::span<const float> logits, float max, token_id token) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size())
        fail(errc::invalid_argument, "sampling", "the selector chose token ", token, "; the vocabulary has ", logits.size());
    return {token, logprob_of(logits[static_cast<std::size_t>(token)], max, log_sum_exp(logits, max))};
}

/// Processors must leave something to choose from.
inline void require_some(const candidates& c) {
    if (c.empty()) fail(errc::invalid_argument, "sampling", "a processor removed every candidate; at least one token must stay possible");
}

/// Whether selectors stand nowhere but last; true where something is no part at all, which has a message of its own.
template <class... Parts>
constexpr bool selectors_only_last() {
    if (!(chain_part<Parts> && ...)) return true;
    constexpr std::array<bool, sizeof...(Parts) + 1> is{selector<Parts>..., true};
    for (std::size_t i = 0; i + 1 < sizeof...(Parts); ++i)
        if (is[i]) return false;
    return true;
}

}  // namespace detail

/// `chain{min_p{0.05f}, temperature{0.8f}}` samples after its processors; with a selector as last part, that one chooses.
/// Holds its parts and the candidates' memory by value: one call of choose() at a time.
template <class... Parts>
class chain {
    static_assert((chain_part<Parts> && ...),
                  "a part of a sampling chain must be callable with (candidates&) or (candidates&, const context&)");
    static_assert(((!chain_part<Parts> || processor<Parts> || selector<Parts>) && ...),
                  "a part of a sampling chain must return nothing, or as its selector a token_id");
    static_assert(detail::selectors_only_last<Parts...>(), "a selector (a part that returns a token_id) must be the last of its chain");

public:
    chain() = default;
    explicit chain(Parts... parts)
        requires(sizeof...(Parts) > 0)
        : parts_(std::move(parts)...) {}

    /// Chooses the token of one step from the model's logits. // logits: (vocabulary)
    /// A pure function of the arguments where the parts are. Allocates at the first call only.
    /// Throws errc::invalid_argument for NaN, for logits that are all -inf, and for processors that leave nothing.
    choice choose(std::span<const float> logits, std::span<const token_id> history, std::uint64_t seed, std::uint64_t step) {
        const float max = detail::highest(logits);
        if constexpr (std::same_as<chain, chain<greedy>>) {
            const auto first = std::find(logits.begin(), logits.end(), max);
            return detail::make_choice(logits, max, static_cast<token_id>(first - logits.begin()));
        } else {
            const context x{history, step, seed};
            candidates_.assign(logits);
            process(candidates_, x);
            token_id token = -1;
            if constexpr (has_selector)
                token = call_part(std::get<sizeof...(Parts) - 1>(parts_), candidates_, x);
            else
                token = sample{}(candidates_, x);
            return detail::make_choice(logits, max, token);
        }
    }

    /// Tokens that come next in any case, by the first part that knows some: see grammar_constraint::forced.
    template <class Encode>
    std::vector<token_id> forced(const context& x, Encode encode) {
        std::vector<token_id> out;
        const auto ask = [&]<class Part>(Part& part) {
            if constexpr (requires { part.forced(x, encode); })
                if (out.empty()) out = part.forced(x, encode);
        };
        std::apply([&](Parts&... parts) { (ask(parts), ...); }, parts_);
        return out;
    }

    /// Runs the processors alone, for searches that want more than one token of a step. Throws as choose().
    void process(candidates& c, const context& x) {
        const auto run = [&]<class Part>(Part& part) {
            if constexpr (processor<Part>) {
                call_part(part, c, x);
                detail::require_some(c);
            }
        };
        std::apply([&](Parts&... parts) { (run(parts), ...); }, parts_);
    }

private:
    static constexpr bool has_selector = (selector<Parts> || ... || false);

    std::tuple<Parts...> parts_;
    candidates candidates_;
};

template <class... Parts>
chain(Parts...) -> chain<Parts...>;

}  // namespace skald::sampling
