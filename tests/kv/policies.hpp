// SPDX-License-Identifier: MIT
#pragma once
// The policies every cache test runs over, and a way to write and read a cache as a kernel does.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/kv/contiguous.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/merged.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/quest.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/radix_quest.hpp>
#include <skald/kv/radix_tiers.hpp>
#include <skald/kv/ring.hpp>
#include <skald/kv/tiered.hpp>
#include <skald/kv/window.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::test {

inline constexpr kv::cache_shape small_shape{.layers = 2, .kv_heads = 3, .head_dim = 20};

/// What a policy keeps: tokens that a row reads, and pending ones of a sequence.
template <std::size_t Window, std::size_t Step>
struct keeping {
    static constexpr bool keeps_all = Window == kv::all_tokens;
    static constexpr std::size_t step = Step;

    /// The first position that a row at p reads.
    static constexpr std::size_t first(std::size_t p) { return p - std::min(p, Window - 1); }
    /// Whether a sequence that has had `most` tokens since it was empty can go back to `length`.
    static constexpr bool keeps(std::size_t length, std::size_t most) {
        return keeps_all || length == 0 || most <= Window + Step || length + Step + 1 >= most;
    }
    /// The first position that is still there.
    static constexpr std::size_t oldest(std::size_t most) { return keeps_all ? 0 : most - std::min(most, Window + Step); }
    /// What then counts as the most tokens it has had.
    static constexpr std::size_t most_after(std::size_t length, std::size_t most) { return length == 0 ? 0 : most; }
};
using keeping_all = keeping<kv::all_tokens, std::numeric_limits<std::size_t>::max()>;

/// Policies with equal room, as types with a static make().
template <class Codec>
struct contiguous_policy : keeping_all {
    static kv::contiguous<Codec> make(std::size_t tokens, std::size_t sequences) { return {{.tokens = tokens, .sequences = sequences}}; }
};
template <class Codec, std::size_t Block>
struct paged_policy : keeping_all {
    static kv::paged<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = (tokens + 2 * Block) * sequences, .sequences = sequences, .block = Block}};
    }
};
template <class Codec, std::size_t Block>
struct radix_policy : keeping_all {
    static kv::radix<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {paged_policy<Codec, Block>::make(tokens, sequences).options};
    }
};

template <class Codec, std::size_t Page>
struct quest_policy : keeping_all {
    static kv::quest<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = (tokens + 2 * Page) * sequences, .sequences = sequences, .budget = 2 * Page, .page = Page}};
    }
};
template <class Codec, std::size_t Page>
struct radix_quest_policy : keeping_all {
    static kv::radix_quest<Codec> make(std::size_t tokens, std::size_t sequences) {
        return {quest_policy<Codec, Page>::make(tokens, sequences).options};
    }
};

/// Of any room.
template <class Codec, std::size_t Window, std::size_t Step>
struct ring_policy : keeping<Window, Step> {
    static kv::ring<Codec> make(std::size_t, std::size_t sequences) { return {{.window = Window, .step = Step, .sequences = sequences}}; }
};
template <class Codec, std::size_t Window, std::size_t Sinks, std::size_t Step>
struct window_policy : keeping<Window, Step> {
    static constexpr std::size_t sinks = Sinks;
    static kv::window<Codec> make(std::size_t, std::size_t sequences) {
        return {{.window = Window, .sinks = Sinks, .step = Step, .sequences = sequences}};
    }
};

/// Tiers of groups of rows, which keep values of marks exactly.
template <class Hot, class Cold, std::size_t Group, std::size_t Tokens, std::size_t Step,
          template <kv::codec, kv::group_codec> class Policy, std::size_t Sinks = 0>
struct tiered_policy : keeping_all {
    using hot = Hot;
    static constexpr std::size_t step = Step, group = Group;
    static constexpr bool pool = std::is_same_v<Policy<Hot, kv::kivi4>, kv::paged_tiered<Hot, kv::kivi4>>;
    static constexpr bool leads = Sinks != 0;
    static constexpr std::size_t capacity = round_up(Step + Tokens + Group, kv::word_unit);
    static constexpr std::size_t boundary(std::size_t p) { return (p + 1 - std::min(p + 1, Tokens)) / Group * Group; }

    static constexpr bool keeps(std::size_t length, std::size_t most) {
        return boundary(length) == length || most <= boundary(length) + capacity;
    }
    static constexpr std::size_t most_after(std::size_t length, std::size_t most) { return std::min(most, length + capacity); }
    static Policy<Hot, kv::grouped<Cold, Group>> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = pool ? tokens * sequences : tokens, .sequences = sequences, .hot = Tokens, .step = Step, .sinks = Sinks}};
    }
};

/// The same in a tree of prefixes, with sinks.
template <class Cold, std::size_t Group>
struct radix_tiered_policy : tiered_policy<kv::f16, Cold, Group, 1, 20, kv::paged_tiered> {
    static constexpr bool leads = true;
    static constexpr std::size_t most_opened(std::size_t n) {
        return n == 0 ? 0 : n + tiered_policy<kv::f16, Cold, Group, 1, 20, kv::paged_tiered>::capacity;
    }
    static kv::radix_tiered<kv::f16, kv::grouped<Cold, Group>> make(std::size_t tokens, std::size_t sequences) {
        return {{.tokens = tokens * sequences, .sequences = sequences, .step = 20, .sinks = 3}};
    }
};

/// Layers 0 and 1 merged, in groups of 32. Rows whose values are all the same have one direction, and only their lengths are rounded.
template <class Cold, template <class, kv::codec> class Policy>
struct merged_policy : keeping_all {
    static constexpr std::size_t step = 20;
    static constexpr std::size_t capacity = round_up(step + 1 + Cold::tokens, kv::word_unit);

    static constexpr bool keeps(std::size_t length, std::size_t most) {
        const std::size_t boundary = length / Cold::tokens * Cold::tokens;
        return boundary == length || most <= boundary + capacity;
    }
    static constexpr std::size_t most_after(std::size_t length, std::size_t most) { return std::min(most, length + capacity); }
    static Policy<Cold, kv::f32> make(std::size_t tokens, std::size_t sequences) {
        constexpr bool pool = !std::is_same_v<Policy<Cold, kv::f32>, kv::merged<Cold, kv::f32>>;
        return {{.tokens = pool ? tokens * sequences : tokens, .sequences = sequences, .sinks = 3, .step = step, .merge = {.from = 0}}};
    }
};

/// With a budget that no test reaches, it keeps all.
template <class Policy, class Codec>
struct evicting_policy : keeping<kv::all_tokens, 23> {
    static kv::evicting<Policy, Codec> make(std::size_t tokens, std::size_t sequences) {
        return {{.budget = tokens, .step = 23, .sequences = sequences, .undo = 23}, {}};
    }
};

/// Of those that keep all tokens, of rings, of windows with sinks, of tiers, of pages that rows choose, and of evicting storage that evicts
/// nothing.
using keeping_policies =
    std::tuple<contiguous_policy<kv::f32>, contiguous_policy<kv::f16>, contiguous_policy<kv::bf16>, paged_policy<kv::f32, 1>,
               paged_policy<kv::f32, 8>, paged_policy<kv::f16, 16>, paged_policy<kv::bf16, 5>, contiguous_policy<kv::fp8>,
               contiguous_policy<kv::i16>, contiguous_policy<kv::q8>, contiguous_policy<kv::q4>, paged_policy<kv::fp8, 16>,
               paged_policy<kv::i16, 16>, paged_policy<kv::q8, 16>, paged_policy<kv::q4, 16>, radix_policy<kv::f32, 5>,
               radix_policy<kv::f16, 16>, radix_policy<kv::q8, 16>>;
using ring_policies =
    std::tuple<ring_policy<kv::f32, 7, 20>, ring_policy<kv::f16, 2, 23>, ring_policy<kv::bf16, 30, 40>, ring_policy<kv::q8, 7, 20>,
               ring_policy<kv::q4, 7, 20>, ring_policy<kv::i16, 7, 20>, ring_policy<kv::fp8, 7, 20>>;
using window_policies = std::tuple<window_policy<kv::f32, 7, 3, 20>, window_policy<kv::f16, 9, 0, 20>, window_policy<kv::q8, 5, 11, 20>>;
using tiered_policies =
    std::tuple<tiered_policy<kv::f16, kv::q8, 8, 1, 20, kv::tiered>, tiered_policy<kv::f32, kv::f32, 5, 7, 20, kv::tiered, 4>,
               tiered_policy<kv::f16, kv::q8, 8, 1, 20, kv::paged_tiered>, tiered_policy<kv::f32, kv::f16, 5, 7, 20, kv::paged_tiered, 2>,
               radix_tiered_policy<kv::q8, 8>>;
using merged_policies = std::tuple<merged_policy<kv::grouped<kv::f32>, kv::merged>, merged_policy<kv::grouped<kv::f16>, kv::paged_merged>,
                                   merged_policy<kv::grouped<kv::f16>, kv::radix_merged>>;
using quest_policies = std::tuple<quest_policy<kv::f16, 5>, radix_quest_policy<kv::f16, 5>>;
using evicting_policies = std::tuple<evicting_policy<kv::recent, kv::f32>, evicting_policy<kv::h2o, kv::q8>>;
/// Whose views are one run of one codec, which select() shows.
using one_run_policies = decltype(std::tuple_cat(keeping_policies{}, ring_policies{}));
using policies = decltype(std::tuple_cat(keeping_policies{}, ring_policies{}, window_policies{}, tiered_policies{}, merged_policies{},
                                         quest_policies{}, evicting_policies{}));

/// What a test writes at a place: small integers, told apart in every codec when a row has nothing else.
inline float mark_of(std::uint32_t writer, position p, std::size_t layer, std::size_t head) {
    return static_cast<float>((writer * 31 + static_cast<std::uint32_t>(p) * 7 + layer * 3 + head) % 255);
}

/// Writes the planned rows of all segments, and what is made of them: every value of a row is its mark; values are the negative of keys.
template <class Cache>
void write_rows(Cache& cache, std::span<const row_range> ranges, const std::vector<std::uint32_t>& writers) {
    std::vector<float> row(cache.shape().width());
    const auto write = [&]<class Run>(const Run& run, std::size_t layer) {
        for (std::size_t s = 0; s < ranges.size(); ++s)
            for (std::size_t h = 0; h < cache.shape().kv_heads; ++h) {
                const position first = ranges[s].first_position, last = first + static_cast<position>(ranges[s].rows);
                if constexpr (sealing_run<Run, format::scalar>)
                    run.template seal<format::scalar>(s, h, first, last);
                else
                    for (position p = std::max(first, run.begin(s)); p < std::min(last, run.end(s)); ++p) {
                        row.assign(row.size(), mark_of(writers[s], p, layer, h));
                        Run::codec::template encode<format::scalar>(row.data(), row.size(), run.key(s, h, p));
                        for (float& x : row) x = -x;
                        Run::codec::template encode<format::scalar>(row.data(), row.size(), run.value(s, h, p));
                    }
            }
    };
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
        for (const bool sealing : {false, true})
            std::apply([&]<class... Runs>(
                           const Runs&... run) { ((sealing_run<Runs, format::scalar> == sealing ? write(run, layer) : void()), ...); },
                       cache.view(layer));
}

/// What is read where every value of a row was `mark`.
template <class Codec>
float read_back(float mark, std::size_t width, std::size_t i) {
    std::vector<std::byte> bytes(Codec::row_bytes(width));
    Codec::template encode<format::scalar>(std::vector<float>(width, mark).data(), width, bytes.data());
    return Codec::template decode<format::scalar>(bytes.data(), i).value;
}

/// Whether this is what is read where every value of a row was `mark`: exactly, or, of rows that a codec makes of others, nearly.
template <class Codec>
bool reads_as(float mark, std::size_t width, const std::byte* row, std::size_t i) {
    const float got = Codec::template decode<format::scalar>(row, i).value;
    if constexpr (requires { Codec::name; })
        return got == read_back<Codec>(mark, width, i);
    else
        return std::fabs(got - mark) <= std::fabs(mark) / 255;
}

/// Whether the positions that row `reader` of segment s reads of the run hold the marks of `writers`, keys, values and heads alike.
template <class Cache, class Run>
bool run_holds(const Cache& cache, const Run& run, std::size_t layer, std::size_t s, const std::vector<std::uint32_t>& writers,
               position_range part) {
    const std::size_t width = cache.shape().width();
    for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
        for (position p = part.from; p < part.to; ++p) {
            const float expected = mark_of(writers[static_cast<std::size_t>(p)], p, layer, h);
            if (run.stretch(p) == 0) return false;
            if (run.stretch(p) > 1 && p + 1 < part.to &&
                (run.key(s, h, p + 1) != run.key(s, h, p) + row_bytes_of<true>(run) ||
                 run.value(s, h, p + 1) != run.value(s, h, p) + row_bytes_of<false>(run)))
                return false;
            for (const std::size_t i : {std::size_t{0}, cache.shape().head_dim - 1}) {
                using key = codec_of<Run, true>;
                using value = codec_of<Run, false>;
                if (!reads_as<key>(expected, width, run.key(s, h, p), i) || !reads_as<value>(-expected, width, run.value(s, h, p), i))
                    return false;
            }
        }
    return true;
}

/// Whether segment s of the planned step has the marks of `writers`, from `first` on at least, wherever rows read: in what each run holds,
/// one of them all from `first` on; where tiers hold the same positions, in what they show the last row, each position in one tier.
template <class Cache>
bool holds(Cache& cache, std::size_t s, const std::vector<std::uint32_t>& writers, std::size_t first = 0) {
    const auto length = static_cast<position>(writers.size()), begin = static_cast<position>(first);
    const auto right = [&]<class... Runs>(std::size_t layer, const Runs&... run) {
        constexpr bool tiers = (sealing_run<Runs, format::scalar> || ...);
        position shown = 0;
        bool whole = false;
        const auto look = [&](const auto& one) {
            const position_range part = tiers ? seen(one, s, length - 1) : position_range{one.begin(s), one.end(s)};
            if (part.from >= part.to) return true;
            shown += std::max<position>(0, part.to - std::max(part.from, begin));
            whole = whole || (part.from <= begin && part.to == length);
            return part.from >= 0 && part.to <= length && run_holds(cache, one, layer, s, writers, part);
        };
        return (look(run) && ...) && (tiers ? shown == length - begin : whole);
    };
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer)
        if (!std::apply([&](const auto&... run) { return right(layer, run...); }, cache.view(layer))) return false;
    return true;
}

}  // namespace skald::test
