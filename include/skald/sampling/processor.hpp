// SPDX-License-Identifier: MIT
#pragma once
// The two roles in a sampling chain. A processor changes or removes candidates; a selector, at the end, chooses one. Both are
// anything callable: an aggregate of this folder, a lambda, a grammar.
//
//     chain{repetition_penalty{1.1f},
//           [](candidates& c) { c.keep_if([](const candidate& k) { return k.token != 13; }); },
//           min_p{0.05f}, temperature{0.8f}}
//
// Parts run in the order in which they stand, each on what the one before left:
// - Penalties and biases belong in front: they look at logits, and temperature changes those. repetition_penalty treats positive
//   and negative logits differently, so after a temperature it means something else.
// - A truncation (top_k, top_p, min_p) takes probabilities among the candidates that are left: top_p keeps fewer tokens
//   after top_k than before it. top_k early makes what follows cheap.
// - A temperature in front of top_p or min_p changes what they keep; behind them it does not. llama.cpp puts it last.
// - temperature{0} leaves one candidate wherever it stands.
#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>

#include <skald/core/types.hpp>
#include <skald/sampling/candidates.hpp>

namespace skald::sampling {

/// What a step is about, beside its logits.
struct context {
    std::span<const token_id> history;  ///< the sequence so far, prompt included
    std::uint64_t step = 0;             ///< number of the token to choose, counted from 0 at the prompt's end
    std::uint64_t seed = 0;             ///< of the request; random parts draw from counter_rng(seed) at index `step`
};

/// Callable with (candidates&) or (candidates&, const context&).
template <class T>
concept chain_part = std::invocable<T&, candidates&, const context&> || std::invocable<T&, candidates&>;

/// Calls a part with the context where it takes one.
template <chain_part Part>
decltype(auto) call_part(Part& part, candidates& c, const context& x) {
    if constexpr (std::invocable<Part&, candidates&, const context&>)
        return part(c, x);
    else
        return part(c);
}

/// A part that returns the token it chose.
template <class T>
concept selector = chain_part<T> && requires(T& part, candidates& c, const context& x) {
    { call_part(part, c, x) } -> std::same_as<token_id>;
};

/// A part that returns nothing: it changes logits or removes candidates.
template <class T>
concept processor = chain_part<T> && requires(T& part, candidates& c, const context& x) {
    { call_part(part, c, x) } -> std::same_as<void>;
};

}  // namespace skald::sampling
