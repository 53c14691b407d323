// SPDX-License-Identifier: MIT
#pragma once
// Evicting storage and tiers by importance beside a naive model of them: which positions each layer and head has kept, by what the
// policies' papers say of recorded weights (evicting_reference.hpp), their rows' bits, and what can be gone back to or saved. Of tiers
// these are the hot ones; all others must be shown by the cold tier, and its rows be made of those that were hot.
#include <skald/kv/tiered_by.hpp>

#include "kv/evicting_reference.hpp"
#include "kv/random_model.hpp"
#include "kv/random_positions.hpp"

namespace skald::test {

/// Policies with windows that short steps fill.
template <class Policy>
Policy small_policy() {
    Policy p{};
    if constexpr (requires { p.window; }) p.window = 4, p.pool = 3;
    if constexpr (requires { p.steepness; }) p.steepness = 2;
    if constexpr (requires { p.sinks; }) p.sinks = 3;
    return p;
}

/// A budget that sequences outgrow.
template <class Policy, class Codec, std::size_t Budget, std::size_t Slack>
struct dropping_policy {
    static constexpr bool keeps_all = false;
    static constexpr std::size_t step = 23, budget = Budget, slack = Slack;
    static kv::evicting<Policy, Codec> make(std::size_t, std::size_t sequences) {
        return {{.budget = Budget, .step = step, .sequences = sequences, .slack = Slack, .undo = step}, small_policy<Policy>()};
    }
};

/// A hot tier that sequences outgrow.
template <class Policy, class Hot, class Cold, std::size_t Budget, std::size_t Slack>
struct demoting_policy {
    static constexpr bool keeps_all = false;
    static constexpr std::size_t step = 23, budget = Budget, slack = Slack, group = Cold::tokens;
    static kv::tiered_by<Policy, Hot, Cold> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = tokens, .budget = Budget, .sequences = sequences, .step = step, .slack = Slack, .undo = step},
                small_policy<Policy>()};
    }
};

template <class Policy, class Cache>
class evicted_rows {
    using view = decltype(std::declval<const Cache&>().view(0));
    static constexpr std::size_t runs = std::tuple_size_v<view>;
    using codec = typename std::tuple_element_t<runs - 1, view>::codec;
    static constexpr bool tiers = runs == 2;

public:
    struct kept_part {
        std::vector<reference_heads> layers{};
        std::vector<pending_step> steps{};
    };
    using sequence = known_sequence<kept_part>;
    using steps = std::span<const stepped<sequence>>;

    evicted_rows(const decltype(Policy::make(1, 1))& policy, std::mt19937& random) : policy_(policy), random_(random) {}

    bool keeps(const sequence& s, std::size_t length) const {
        if (length > s.size()) return false;
        if (length >= s.committed || length == 0) return true;
        for (const reference_heads& layer : s.extra.layers)
            for (const head_reference& h : layer)
                if (h.kept.size() < length || h.kept[length - 1] != static_cast<position>(length - 1)) return false;
        return true;
    }
    bool saves(const sequence& s, std::size_t length) const { return keeps(s, length); }

    /// Observations that count by whole steps are told apart in two of them.
    std::size_t observed(const sequence& s) const {
        if (!kv::detail::whole_steps(policy_.choice)) return 0;
        return static_cast<std::size_t>(std::ranges::count_if(s.extra.steps, [&](const pending_step& p) {
            return p.last == p.planned && kv::detail::observed_rows(policy_.choice, p.planned - p.first) != 0;
        }));
    }
    room room_for(std::span<const wish> wishes) const {
        const bool told_apart = std::ranges::all_of(
            wishes, [&](const wish& w) { return w.observed < 2 || kv::detail::observed_rows(policy_.choice, w.rows) == 0; });
        if (!told_apart || steps_fit(Policy::step, wishes) == room::none) return room::none;
        return room_to_restore(wishes);
    }
    room room_to_restore([[maybe_unused]] std::span<const wish> wishes) const {
        if constexpr (tiers) return each_fits(round_up(policy_.options.tokens, Policy::group), wishes);
        return room::enough;
    }

    void opened(sequence& s, std::size_t) const { s.extra.layers.resize(2); }
    void appended(sequence& s, std::size_t before) const { s.extra.steps.push_back({before, s.size(), s.size()}); }
    void committed(sequence& s) const {
        const recorded_sequence known{s.id, s.prefixes, s.committed};
        for (std::size_t layer = 0; layer < s.extra.layers.size() && s.pending() != 0; ++layer) {
            const std::size_t budget = kv::detail::layer_budget(policy_.choice, layer, s.extra.layers.size(), Policy::budget);
            const std::size_t n = s.extra.layers[layer][0].kept.size() + s.pending();
            reference_commit(policy_.choice, s.extra.layers[layer], known, s.extra.steps, layer, n > budget + Policy::slack ? budget : n,
                             tiers ? static_cast<position>(whole(s.size())) : none_stay);
        }
        s.extra.steps.clear();
    }
    void rolled_back(sequence& s, std::size_t to) const {
        std::vector<pending_step>& steps = s.extra.steps;
        while (!steps.empty() && steps.back().first >= to) steps.pop_back();
        if (!steps.empty()) steps.back().last = std::min(steps.back().last, to);
    }
    void truncated(sequence& s, std::size_t to) const {
        if (to >= s.committed) return rolled_back(s, to);
        for (reference_heads& layer : s.extra.layers)
            for (head_reference& h : layer) h.kept.resize(to), h.score.resize(to);
        s.extra.steps.clear();
    }
    sequence saved(sequence s, std::size_t length) const {
        if (length < s.committed) truncated(s, length);
        s.extra.steps.clear();
        s.resize(length);
        s.committed = length;
        return s;
    }

    void write(Cache& cache, steps step) {
        std::vector<recorded_sequence> known;
        std::vector<const recorded_sequence*> pointers;
        known.reserve(step.size());
        for (const auto& part : step) {
            known.push_back({part.sequence->id, part.sequence->prefixes, part.sequence->committed});
            pointers.push_back(&known.back());
        }
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
            const auto run = std::get<runs - 1>(cache.view(layer));
            for (std::size_t i = 0; i < step.size(); ++i)
                for (std::size_t p = step[i].before; p < step[i].sequence->size(); ++p)
                    for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
                        const auto slot = cache.ranges(layer)[i].first_position + static_cast<position>(p - step[i].before);
                        const std::uint32_t prefix = step[i].sequence->prefixes[p];
                        put_row(run, run.key(i, h, slot), cache.shape().width(), prefix, layer, h, false);
                        put_row(run, run.value(i, h, slot), cache.shape().width(), prefix, layer, h, true);
                    }
            seal_rows(cache, layer);
        }
        observe_recorded(cache, pointers);
    }

    void check_step(Cache& cache, steps step) {
        for (std::size_t i = 0; i < step.size(); ++i) {
            const sequence& s = *step[i].sequence;
            const std::size_t layer = pick(cache.shape().layers), head = pick(cache.shape().kv_heads);
            const std::vector<position>& kept = s.extra.layers[layer][head].kept;
            const auto run = std::get<runs - 1>(cache.view(layer));
            expect(run.end(i) - run.begin(i) == static_cast<position>(kept.size() + s.pending()),
                   "a step shows other tokens than those kept and those pending");
            for (std::size_t n = 0; n < 4; ++n) {
                const std::size_t slot = pick(kept.size() + s.pending());
                check_row(cache, s, i, layer, head, slot, slot < kept.size() ? kept[slot] : position_of(s, slot - kept.size()));
            }
        }
    }

    void check(Cache& cache, sequence& s, std::size_t samples) {
        cache.select(s.id);
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
            for (std::size_t head = 0; head < cache.shape().kv_heads; ++head) {
                const std::vector<position>& kept = s.extra.layers[layer][head].kept;
                expect(std::ranges::equal(cache.positions(s.id, layer, head), kept),
                       concat("layer ", layer, ", head ", head, " of sequence ", s.id.index, " has kept other positions"));
                const auto run = std::get<runs - 1>(cache.view(layer));
                expect(run.end(0) - run.begin(0) == static_cast<position>(kept.size()), "other slots than tokens kept");
                for (std::size_t n = 0; n < std::min(samples, kept.size()); ++n) {
                    const std::size_t slot = samples < kept.size() ? pick(kept.size()) : n;
                    check_row(cache, s, 0, layer, head, slot, kept[slot]);
                }
                if constexpr (tiers) check_cold(cache, s, layer, head, kept, samples);
            }
    }

private:
    static constexpr std::size_t whole(std::size_t length) {
        if constexpr (tiers) return length / Policy::group * Policy::group;
        return length;
    }

    /// All committed tokens of whole groups are in the cold tier, and what is not hot is shown.
    void check_cold(const Cache& cache, const sequence& s, std::size_t layer, std::size_t head, std::span<const position> hot,
                    std::size_t samples) const {
        const auto run = std::get<0>(cache.view(layer));
        const std::size_t end = whole(s.committed);
        expect(run.end(0) == static_cast<position>(end), "other groups than whole ones are cold");
        for (std::size_t n = 0; n < std::min(samples, s.committed); ++n) {
            const std::size_t p = samples < s.committed ? pick(s.committed) : n;
            const auto at = static_cast<position>(p),
                       tile = at / static_cast<position>(attention::tile_size) * static_cast<position>(attention::tile_size);
            const bool shown = (run.shown(0, head, at, tile) >> (at - tile) & 1) != 0;
            expect(shown != std::ranges::binary_search(hot, at),
                   concat("the cold tier shows position ", p, " or not, as it is hot or not"));
            for (const bool value : {false, true})
                expect(p >= end || same_row<codec>(run, value ? run.value(0, head, at) : run.key(0, head, at), cache.shape().width(),
                                                   s.prefixes[p], layer, head, value),
                       concat(value ? "the value" : "the key", " of sequence ", s.id.index, ", layer ", layer, ", head ", head,
                              ", position ", p, " is cold and not what was made of the hot one"));
        }
    }

    std::size_t pick(std::size_t n) const { return random_() % n; }
    static position position_of(const sequence& s, std::size_t pending) { return static_cast<position>(s.committed + pending); }

    void check_row(const Cache& cache, const sequence& s, std::size_t segment, std::size_t layer, std::size_t head, std::size_t slot,
                   position p) const {
        const auto run = std::get<runs - 1>(cache.view(layer));
        const auto at = run.begin(segment) + static_cast<position>(slot);
        for (const bool value : {false, true})
            expect(same_row<codec>(run, value ? run.value(segment, head, at) : run.key(segment, head, at), cache.shape().width(),
                                   s.prefixes[static_cast<std::size_t>(p)], layer, head, value),
                   concat(value ? "the value" : "the key", " of sequence ", s.id.index, ", layer ", layer, ", head ", head, ", position ",
                          p, " is not what was written"));
    }

    const decltype(Policy::make(1, 1))& policy_;
    std::mt19937& random_;
};

}  // namespace skald::test
