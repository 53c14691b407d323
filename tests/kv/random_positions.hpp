// SPDX-License-Identifier: MIT
#pragma once
// Caches that read by position alone, beside a naive model of them: which rows a row reads, where each is found, its bits, and what can be
// gone back to or saved. Rings, windows with sinks and tiers of rows are such.
#include <optional>

#include <skald/backend/ops.hpp>
#include <skald/kv/state.hpp>

#include "kv/random_model.hpp"

namespace skald::test {

/// A segment of a planned step: whose rows it has, from position `before` on.
template <class Sequence>
struct stepped {
    Sequence* sequence;
    std::size_t before;
};

template <class Policy, class Cache>
class position_rows {
    template <class P>
    static constexpr bool has_tiers = requires { typename P::hot; };
    static constexpr bool tiers = has_tiers<Policy>, chooses = requires { Policy::full_layers; };

public:
    struct nothing {};
    using sequence = known_sequence<nothing>;
    using steps = std::span<const stepped<sequence>>;

    position_rows(const decltype(Policy::make(1, 1))& policy, std::mt19937& random) : policy_(policy), random_(random) {}

    bool keeps(const sequence& s, std::size_t length) const { return length <= s.size() && Policy::keeps(length, s.most); }
    /// Committed tokens.
    bool saves(const sequence& s, std::size_t length) const {
        if constexpr (tiers)
            return keeps(s, length);
        else
            return length <= sinks || Policy::oldest(s.most) <= sinks;
    }

    std::size_t observed(const sequence&) const { return 0; }
    room room_for(std::span<const wish> wishes) const { return room_for(wishes, true); }
    room room_to_restore(std::span<const wish> wishes) const { return room_for(wishes, !tiers); }

    // What happens to a sequence, when the cache has done it and before the model's tokens have changed.
    void opened(sequence& s, std::size_t reused) const {
        s.most = reused;
        if constexpr (requires { Policy::most_opened(reused); }) s.most = Policy::most_opened(reused);
    }
    void appended(sequence&, std::size_t) const {}
    void committed(sequence&) const {}
    void rolled_back(sequence&, std::size_t) const {}
    void truncated(sequence& s, std::size_t to) const { s.most = Policy::most_after(to, s.most); }
    /// What comes back of the first `length` tokens.
    sequence saved(sequence s, std::size_t length) const {
        s.resize(length);
        s.committed = length;
        s.most = tiers ? Policy::most_after(length, s.most) : length;
        return s;
    }

    void write(Cache& cache, steps step) {
        const std::size_t width = cache.shape().width();
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
            for (const bool sealing : {false, true})
                each_run(cache, layer, [&]<class Run>(const Run& run) {
                    if (sealing_run<Run, format::scalar> != sealing) return;
                    for (std::size_t i = 0; i < step.size(); ++i)
                        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) write_run(run, i, step[i], layer, h, width);
                });
        if constexpr (chooses) {
            std::vector<row_range> ranges;
            std::size_t row = 0;
            for (const auto& part : step) {
                ranges.push_back({row, part.sequence->size() - part.before, static_cast<position>(part.before)});
                row += ranges.back().rows;
            }
            Policy::read(cache, ranges);
        }
    }

    /// Some of what the rows of a step read.
    void check_step(Cache& cache, steps step) {
        for (std::size_t i = 0; i < step.size(); ++i) {
            const sequence& s = *step[i].sequence;
            expect(begin_of(cache, i) <= Policy::first(step[i].before) && end_of(cache, i) == s.size(),
                   "a step does not show what its rows read");
            for (std::size_t n = 0; n < 4; ++n) {
                const std::size_t reader = step[i].before + pick(s.size() - step[i].before), first = Policy::first(reader);
                const std::size_t p = sinks != 0 && pick(4) == 0 ? pick(std::min(sinks, reader + 1)) : first + pick(reader + 1 - first);
                check_row(cache, s, i, reader, pick(cache.shape().layers), pick(cache.shape().kv_heads), p);
            }
        }
    }

    /// What the next row of a sequence reads: `samples` places, or all.
    void check(Cache& cache, sequence& s, std::size_t samples) {
        if constexpr (tiers) {
            const std::array next{kv::segment{s.id, 0, 1}};
            try {
                cache.plan(next);
            } catch (const error& e) {
                return expect(e.code() == errc::cache_full, "a step of one row is refused otherwise than by cache_full");
            }
            s.most = std::max(s.most, s.size() + 1);
            check_next(cache, s, s.size(), samples);
            cache.rollback(s.id, {static_cast<position>(s.size())});
        } else {
            cache.select(s.id);
            expect(end_of(cache, 0) == s.committed, "a selected sequence shows another length than is committed");
            expect(begin_of(cache, 0) <= std::min(Policy::first(s.committed), s.committed),
                   "a selected sequence does not show what the next row reads");
            check_next(cache, s, s.committed, samples);
            if constexpr (chooses)
                for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
                    expect(Policy::same_bounds(cache, s, layer), "what pages are chosen by is not what they hold");
        }
    }

private:
    static constexpr std::size_t sinks = [] {
        if constexpr (requires { Policy::sinks; }) return Policy::sinks;
        return std::size_t{0};
    }();

    std::size_t pick(std::size_t n) const { return random_() % n; }

    static bool reads(std::size_t reader, std::size_t p) { return p <= reader && (p < sinks || p >= Policy::first(reader)); }

    room room_for(std::span<const wish> wishes, bool in_one_step) const {
        const auto& o = policy_.options;
        if (in_one_step && steps_fit(Policy::step, wishes) == room::none) return room::none;
        if constexpr (requires { Policy::whole_steps; })
            if (in_one_step &&
                !std::ranges::all_of(wishes, [](const wish& w) { return w.length % Policy::group + w.rows <= Policy::group; }))
                return room::none;
        if constexpr (tiers) {
            const std::size_t groups = ceil_div(o.tokens, Policy::group);
            if constexpr (Policy::pool)
                return blocks_fit(groups + (Policy::leads ? o.sequences : 0), wishes, [](std::size_t length) {
                    const std::size_t whole = length / Policy::group;
                    return whole + (Policy::leads && whole != 0 ? 1 : 0);
                });
            else
                return each_fits(groups * Policy::group, wishes);
        } else if constexpr (requires { block_of(o); }) {
            return blocks_fit(ceil_div(o.tokens, block_of(o)), wishes, [&](std::size_t length) { return ceil_div(length, block_of(o)); });
        } else if constexpr (requires { o.tokens; }) {
            return each_fits(o.tokens, wishes);
        } else {
            return room::enough;
        }
    }

    template <class F>
    static void each_run(const Cache& cache, std::size_t layer, const F& f) {
        std::apply([&](const auto&... run) { (f(run), ...); }, cache.view(layer));
    }
    /// The positions that a view shows of a segment.
    static std::size_t begin_of(const Cache& cache, std::size_t segment) {
        return static_cast<std::size_t>(std::apply([&](const auto&... run) { return std::min({run.begin(segment)...}); }, cache.view(0)));
    }
    static std::size_t end_of(const Cache& cache, std::size_t segment) {
        return static_cast<std::size_t>(std::apply([&](const auto&... run) { return std::max({run.end(segment)...}); }, cache.view(0)));
    }

    template <class Run>
    static void write_run(const Run& run, std::size_t segment, const stepped<sequence>& step, std::size_t layer, std::size_t head,
                          std::size_t width) {
        const auto first = static_cast<position>(step.before), last = static_cast<position>(step.sequence->size());
        if constexpr (sealing_run<Run, format::scalar>)
            run.template seal<format::scalar>(segment, head, first, last);
        else
            for (position p = std::max(first, run.begin(segment)); p < std::min(last, run.end(segment)); ++p) {
                const std::uint32_t prefix = step.sequence->prefixes[static_cast<std::size_t>(p)];
                put_row(run, run.key(segment, head, p), width, prefix, layer, head, false);
                put_row(run, run.value(segment, head, p), width, prefix, layer, head, true);
            }
    }

    void check_next(const Cache& cache, const sequence& s, std::size_t reader, std::size_t samples) {
        const std::size_t begin = begin_of(cache, 0);
        if (reader - begin > samples) {
            for (std::size_t i = 0; i < samples; ++i)
                check_row(cache, s, 0, reader, pick(cache.shape().layers), pick(cache.shape().kv_heads), begin + pick(reader - begin));
            return;
        }
        for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
            for (std::size_t head = 0; head < cache.shape().kv_heads; ++head)
                for (std::size_t p = begin; p < reader; ++p) check_row(cache, s, 0, reader, layer, head, p);
    }

    /// One run, and no second one, has what the reader reads at p, as it was written.
    void check_row(const Cache& cache, const sequence& s, std::size_t segment, std::size_t reader, std::size_t layer, std::size_t head,
                   std::size_t p) const {
        const auto at = static_cast<position>(p);
        std::size_t found = 0;
        each_run(cache, layer, [&]<class Run>(const Run& run) {
            const position_range part = seen(run, segment, static_cast<position>(reader));
            if (at < part.from || at >= part.to) return;
            ++found;
            for (const bool value : {false, true}) {
                const std::byte* row = value ? run.value(segment, head, at) : run.key(segment, head, at);
                expect(is_written(run, row, cache.shape().width(), s, p, layer, head, value),
                       concat(value ? "the value" : "the key", " of sequence ", s.id.index, ", layer ", layer, ", head ", head,
                              ", position ", p, " of ", s.size(), " is not what was written"));
            }
            expect(run.stretch(at) != 0, "a stretch of no rows");
            if (run.stretch(at) > 1 && at + 1 < part.to)
                expect(run.key(segment, head, at + 1) == run.key(segment, head, at) + run.row_bytes(), "rows of a stretch lie apart");
        });
        expect(found == 1 || (found == 0 && !reads(reader, p)), concat(found, " runs have the position ", p, " for a row at ", reader));
    }

    template <class Run>
    static bool is_written(const Run& run, const std::byte* row, std::size_t width, const sequence& s, std::size_t p, std::size_t layer,
                           std::size_t head, bool value) {
        if constexpr (requires { Run::codec::behind(row); })
            return Policy::same_merged(row, width, s.prefixes, p, layer, head, value);
        else
            return same_row<source<typename Run::codec>>(run, row, width, s.prefixes[p], layer, head, value);
    }

    template <class Codec, bool = tiers>
    struct source_of {
        using type = Codec;
    };
    template <class Codec>
    struct source_of<Codec, true> {
        using type = typename Policy::hot;
    };
    template <class Codec>
    using source = typename source_of<Codec>::type;

    const decltype(Policy::make(1, 1))& policy_;
    std::mt19937& random_;
};

}  // namespace skald::test
