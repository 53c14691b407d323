// SPDX-License-Identifier: MIT
#pragma once
// The role of an eviction policy: which tokens a full cache lets go, for each layer and kv head. A policy is a plain value that keeps
// nothing itself: the cache (kv/evicting.hpp) keeps one float for each token, layer and kv head, its score, which the policy writes from
// the weights it asks to see, and which moves, forks and rolls back with the token. Policies from papers are in kv/eviction_policies.hpp.
#include <concepts>
#include <cstddef>
#include <span>
#include <string>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>

namespace skald::kv {

/// The tokens of one sequence that one kv head of a layer has, in ascending order of position.
struct kept_tokens {
    std::size_t layer = 0, kv_head = 0;
    std::size_t budget = 0;                 ///< tokens that stay in this layer
    std::span<const position> positions{};  // (tokens)
    std::span<float> scores{};              // (tokens); without observe(): empty
};

/// One observed row: what it gave each token it saw, summed over the query heads of the kv head. Its own token is the last.
struct observed_row {
    std::span<const float> weights{};  // (tokens seen): the first of those kept
    std::size_t index = 0, count = 0;  ///< which of the rows that are looked at together
};

/// | member                                 | meaning                                                                                     |
/// |----------------------------------------|---------------------------------------------------------------------------------------------|
/// | p.name()                               | the word that specs and names of caches have for it                                         |
/// | p.worth(kept, worth)                   | what each token is worth // (tokens). Tokens of least worth are dropped when too many are   |
/// |                                        | committed, of equal ones the oldest; NaN is worth least                                     |
/// | p.layer_budget(layer, layers, budget)  | optional: the budget of a layer; else all have the same                                     |
/// | p.settings()                           | optional: what else than its name its choices depend on, in printable ASCII, so that        |
/// |                                        | sequences are not restored under another policy                                             |
template <class P>
concept eviction_policy = std::copyable<P> && requires(const P p, const kept_tokens& kept, std::span<float> worth) {
    { p.name() } -> std::convertible_to<std::string>;
    p.worth(kept, worth);
};

/// A policy that looks at attention weights.
///
/// | member                                 | meaning                                                                                     |
/// |----------------------------------------|---------------------------------------------------------------------------------------------|
/// | p.observed(rows)                       | how many of the last rows of a step of so many it looks at; 0: none                         |
/// | p.observe(kept, row)                   | writes the tokens' scores; once a row looked at, in order. New tokens have fresh_score()    |
/// | p.fresh_score()                        | optional; else 0                                                                            |
/// | p.whole_layer()                        | optional: whether weights are summed over all heads of a layer, so that these keep the same |
/// | p.whole_steps()                        | optional: whether the rows looked at are one observation, which counts if the whole step is |
/// |                                        | committed; else each row is one                                                             |
template <class P>
concept observing_policy = eviction_policy<P> && requires(const P p, std::size_t rows, const kept_tokens& kept, const observed_row& row) {
    { p.observed(rows) } -> std::same_as<std::size_t>;
    p.observe(kept, row);
};

namespace detail {

template <class P>
std::size_t layer_budget(const P& p, std::size_t layer, std::size_t layers, std::size_t budget) {
    if constexpr (requires { p.layer_budget(layer, layers, budget); })
        return p.layer_budget(layer, layers, budget);
    else
        return budget;
}
template <class P>
std::string settings_of(const P& p) {
    if constexpr (requires { p.settings(); })
        return concat(" (", p.settings(), ")");
    else
        return {};
}
template <class P>
std::size_t observed_rows(const P& p, std::size_t rows) {
    if constexpr (observing_policy<P>)
        return p.observed(rows) < rows ? p.observed(rows) : rows;
    else
        return 0;
}
template <class P>
float fresh_score(const P& p) {
    if constexpr (requires { p.fresh_score(); })
        return p.fresh_score();
    else
        return 0.0f;
}
template <class P>
bool whole_layer(const P& p) {
    if constexpr (requires { p.whole_layer(); })
        return p.whole_layer();
    else
        return false;
}
template <class P>
bool whole_steps(const P& p) {
    if constexpr (requires { p.whole_steps(); })
        return p.whole_steps();
    else
        return false;
}

}  // namespace detail

}  // namespace skald::kv
