// SPDX-License-Identifier: MIT
#pragma once
// Tiers whose cold one is merged across layers (MiniCache, Liu et al. 2024, merged_rows.hpp): from the middle layer on, two layers share
// the groups of older tokens. With KIVI's groups it is "MiniCache + KIVI"; the first tokens can be kept as they are besides (StreamingLLM's
// sinks), and sequences of a pool share whole groups.
//
// The rule. A row at p reads position j merged iff sinks ≤ j < E · ⌊p/E⌋, E the tokens of a group; it reads the sinks and what stands in
// p's own group as the hot tier encoded it: a function of p and j, as in KIVI.
//
// A merged group needs the rows of both layers, and in a step the first layer's rows attend before those of the second are there. So a step
// ends where a group does: it may not cross a multiple of E (step_room() tells how far it may reach). Then every group that a row of the
// step reads was completed by an earlier step, by both layers, whatever the steps were: a group is sealed from hot rows when the second
// layer has stored its last one, committed or not, and sealed again after a rollback into it, as other tiers are. Layers that have no
// partner, those before the middle and an odd last one, keep groups of their own and follow the same rule.
//
// The sinks of a sequence stand in a place of their own before that of group 0; they are copied there when group 0 is whole, and shared
// with it. In group 0 they count as no tokens: neither in what is kept unmerged, nor in the ranges of its codes.
#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <span>
#include <string>
#include <tuple>

#include <skald/core/error.hpp>
#include <skald/kv/merged_rows.hpp>
#include <skald/kv/tier_runs.hpp>
#include <skald/kv/tiered.hpp>

namespace skald::kv {

struct merged_options {
    std::size_t tokens = 2048;  ///< room of each sequence; of all together where they share a pool; rounded up to whole groups
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t sinks = 4;      ///< the first tokens, kept as they are; less than a group
    std::size_t step = 64;      ///< the most pending tokens of a sequence
    std::size_t context = 0;    ///< tokens one sequence is meant to reach; 0: as many as there is room for
    merging merge{};
    std::pmr::memory_resource* cold = nullptr;  ///< memory of the cold tier, which outlives the cache; null: that of everything else
    cold_paging paging{};                       ///< what of it is in memory at a time
};

/// The run over the groups that two layers share, as one of them reads it. Where it is empty, no row reads anything of it.
template <codec Hot, group_codec Cold>
class merged_run {
    using group_of_two = merged_group<Hot, Cold>;

public:
    using codec = typename group_of_two::key_codec;
    using value_codec = typename group_of_two::value_codec;

    /// Which layers it is of, and whether the one that reads is the second, which makes groups; first, second: their hot tiers.
    struct sides {
        bool empty, second;
        hot_run<Hot> first_rows, second_rows;
    };

    merged_run(const cold_plane& keys, const cold_plane& values, const tiered_slot* slots, tier_rule rule, std::size_t width,
               const merging& how, const sides& of) noexcept
        : keys_(keys), values_(values), slots_(slots), rule_(rule), width_(width), how_(how), of_(of) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return of_.empty ? 0 : slots_[segment].end / group * group; }
    position_range seen_by(position p) const noexcept { return {rule_.first, of_.empty ? 0 : rule_.boundary(p)}; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return row(keys_, segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return row(values_, segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return codec::row_bytes(width_); }
    std::size_t value_row_bytes() const noexcept { return value_codec::row_bytes(width_); }
    std::size_t stretch(position p) const noexcept { return static_cast<std::size_t>(group - p % group); }

    /// Makes the groups that the rows at [first, last) of the second layer complete.
    template <format::float_vector V>
    void seal(std::size_t segment, std::size_t kv_head, position first, position last) const noexcept {
        if (of_.empty || !of_.second) return;
        for (position g = first / group; (g + 1) * group <= last; ++g) {
            const auto keys_of = [&](const hot_run<Hot>& run) {
                return rows([&run, segment, kv_head, g](std::size_t i) -> const std::byte* {
                    return run.key(segment, kv_head, g * group + static_cast<position>(i));
                });
            };
            const auto values_of = [&](const hot_run<Hot>& run) {
                return rows([&run, segment, kv_head, g](std::size_t i) -> const std::byte* {
                    return run.value(segment, kv_head, g * group + static_cast<position>(i));
                });
            };
            const std::size_t place = place_of(slots_[segment], g), skip = g == 0 ? static_cast<std::size_t>(rule_.first) : 0;
            group_of_two::template seal_keys<V>(keys_of(of_.first_rows), keys_of(of_.second_rows), width_, skip, how_,
                                                keys_.at(place, kv_head));
            group_of_two::template seal_values<V>(values_of(of_.first_rows), values_of(of_.second_rows), width_, skip, how_,
                                                  values_.at(place, kv_head));
        }
    }

private:
    static constexpr auto group = static_cast<position>(Cold::tokens);

    template <class Address>
    static source_rows<Hot, Address> rows(const Address& address) noexcept {
        return {address};
    }
    std::byte* row(const cold_plane& plane, std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return plane.at(place_of(slots_[segment], p / group), kv_head) + group_of_two::first_row(of_.second ? 1 : 0) +
               static_cast<std::size_t>(p % group) * row_bytes();
    }

    cold_plane keys_, values_;
    const tiered_slot* slots_;
    tier_rule rule_;
    std::size_t width_;
    merging how_;
    sides of_;
};

/// Layers before the middle one, or .merge.from, have groups of their own; the others share them by twos, but for an odd last one.
/// Planes: keys, then values, of each layer that has its own; then of each pair.
template <codec Hot, group_codec Cold>
class layers_merged {
    using group_of_two = merged_group<Hot, Cold>;

public:
    using hot = Hot;
    static constexpr std::size_t tokens = Cold::tokens;
    static constexpr bool whole_steps = true;

    layers_merged(const cache_shape& shape, std::size_t sinks, const merging& how) noexcept : shape_(shape), sinks_(sinks), how_(how) {}

    static std::string name() { return concat(Hot::name, " and merged ", Cold::name); }
    void check() const {
        check_groups_of(shape_);
        const std::size_t width = shape_.width();
        if (width > Cold::most_width || std::max(pair_keys(), pair_values()) > group_of_two::most_bytes)
            fail(errc::unsupported, "kv cache", "heads of ", shape_.head_dim, " values in merged groups of ", tokens, " tokens in ",
                 Cold::name, " are too wide");
        const std::size_t room = std::min({Cold::key_bytes(width), Cold::value_bytes(width), pair_keys() / 2, pair_values() / 2});
        check_sinks(sinks_, most_sinks<Hot>(tokens, room, width), Cold::name);
        if (!(how_.share >= 0 && how_.share <= 1) || !(how_.far >= 0 && how_.far <= 1) || how_.kept > 32)
            fail(errc::invalid_argument, "kv cache", "merging with .share ", how_.share, ", .far ", how_.far, " and .kept ", how_.kept,
                 "; they are from 0 to 1, from 0 to 1 and at most 32");
    }
    std::size_t first() const noexcept { return sinks_; }
    std::size_t planes() const noexcept { return 2 * (apart() + pairs()); }
    std::size_t bytes_before(std::size_t plane) const noexcept {
        const std::size_t keys = Cold::key_bytes(shape_.width()), values = Cold::value_bytes(shape_.width()), own = 2 * apart();
        if (plane <= own) return plane / 2 * (keys + values) + plane % 2 * keys;
        return apart() * (keys + values) + (plane - own) / 2 * (pair_keys() + pair_values()) + plane % 2 * pair_keys();
    }

    std::size_t first_bytes(std::size_t plane) const noexcept {
        return (plane < 2 * apart() ? 1 : 2) * sinks_ * Hot::row_bytes(shape_.width());
    }
    void describe(state_terms& terms) const {
        terms[0].value = "merged tiers";
        describe_groups<Cold>(terms);
        terms.push_back({"sinks", concat(sinks_, " tokens")});
        terms.push_back({"merging", concat("from layer ", middle(), ", ", how_.share, " of the way, ", how_.far, " of the angles, ",
                                           how_.kept, " of 64 tokens kept")});
    }
    bool plausible(std::size_t plane, std::span<const std::byte> bytes) const noexcept {
        const bool keys = plane % 2 == 0;
        if (plane < 2 * apart()) return plausible_group<Cold>(keys, shape_.width(), bytes.data());
        return group_of_two::plausible(keys, shape_.width(), how_.kept_of(tokens), bytes.data());
    }

    std::size_t plane_of(std::size_t layer) const noexcept {
        return 2 * (is_paired(layer) ? apart() + (layer - middle()) / 2 : layer < middle() ? layer : middle());
    }

    template <class HotOf, class PlaneAt>
    std::tuple<kept_sinks<Hot>, merged_run<Hot, Cold>, cold_run<Hot, Cold>, hot_run<Hot>> view(std::size_t layer, const HotOf& hot,
                                                                                               const PlaneAt& plane,
                                                                                               const tiered_slot* slots,
                                                                                               tier_rule rule) const noexcept {
        const bool paired = is_paired(layer), second = paired && (layer - middle()) % 2 != 0;
        const std::size_t width = shape_.width(), row_bytes = Hot::row_bytes(width);
        const cold_plane keys = plane(plane_of(layer)), values = plane(plane_of(layer) + 1);
        const hot_run<Hot> tail = hot(layer), other = hot(second ? layer - 1 : layer);
        return {kept_sinks<Hot>(keys, values, second ? sinks_ * row_bytes : 0, slots, rule, row_bytes, tail),
                merged_run<Hot, Cold>(keys, values, slots, rule, width, how_, {!paired, second, other, tail}),
                cold_run<Hot, Cold>(keys, values, slots, rule, width, tail, paired), tail};
    }

private:
    std::size_t middle() const noexcept { return how_.from == middle_layer ? shape_.layers / 2 : std::min(how_.from, shape_.layers); }
    std::size_t pairs() const noexcept { return (shape_.layers - middle()) / 2; }
    bool is_paired(std::size_t layer) const noexcept { return layer >= middle() && layer < middle() + 2 * pairs(); }
    std::size_t apart() const noexcept { return shape_.layers - 2 * pairs(); }
    std::size_t pair_keys() const noexcept { return group_of_two::key_bytes(shape_.width(), how_.kept_of(tokens)); }
    std::size_t pair_values() const noexcept { return group_of_two::value_bytes(shape_.width(), how_.kept_of(tokens)); }

    cache_shape shape_;
    std::size_t sinks_;
    merging how_;
};

/// Says in the user's terms what can be merged.
template <class T>
constexpr bool require_merged() {
    constexpr bool nested = requires { typename T::cache; };
    static_assert(!nested,
                  "skald: merging across layers is a storage of its own, and one that drops tokens keeps others in every layer; name a "
                  "codec, as kv::merged<kv::kivi4>, or take kv::evicting without merging");
    static_assert(nested || codec<T> || group_codec<T>,
                  "skald: merged rows are kept by a codec or a group codec, as kv::merged<kv::q8> or kv::merged<kv::kivi4>");
    return true;
}

namespace detail {

/// Rows of a codec are merged 64 at a time.
template <class Cold>
struct named_group {
    using type = std::conditional_t<group_codec<Cold>, Cold, kivi4>;  // what is neither has been refused
};
template <codec Cold>
struct named_group<Cold> {
    using type = grouped<Cold, 64>;
};
template <class Cold>
using group_of = typename named_group<Cold>::type;

inline tiered_options tiers_of(const merged_options& o) noexcept {
    return {.tokens = o.tokens,
            .sequences = o.sequences,
            .step = o.step,
            .context = o.context,
            .sinks = o.sinks,
            .cold = o.cold,
            .paging = o.paging};
}

}  // namespace detail

/// The policy: `merged<kivi4>{{.tokens = 4096}}`, `merged<q8>`; every sequence owns its room.
template <class Cold = kivi4, codec Hot = f16>
struct merged {
    static_assert(require_merged<Cold>() && require_rotated<Hot>() && require_untransformed<Hot>());
    using layout = layers_merged<Hot, detail::group_of<Cold>>;
    using cache = tiered_cache<layout, detail::ordered_groups>;
    merged_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(shape, detail::tiers_of(options), layout(shape, options.sinks, options.merge), memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        return cache::bytes(shape, detail::tiers_of(options), layout(shape, options.sinks, options.merge));
    }
    std::size_t max_length() const { return cache::max_length(detail::tiers_of(options)); }
    std::size_t max_step() const noexcept { return std::min(options.step, layout::tokens); }
    std::string name() const { return concat("minicache/", options.sinks, ":", Cold::name); }
};

/// The same with a pool of groups, which forks share: `paged_merged<kivi4>{{.tokens = 4096, .sequences = 8}}`.
template <class Cold = kivi4, codec Hot = f16>
struct paged_merged {
    static_assert(require_merged<Cold>() && require_rotated<Hot>() && require_untransformed<Hot>());
    using layout = layers_merged<Hot, detail::group_of<Cold>>;
    using cache = tiered_cache<layout, detail::pooled_groups>;
    merged_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(shape, detail::tiers_of(options), layout(shape, options.sinks, options.merge), memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        return cache::bytes(shape, detail::tiers_of(options), layout(shape, options.sinks, options.merge));
    }
    std::size_t max_length() const { return cache::max_length(detail::tiers_of(options)); }
    std::size_t max_step() const noexcept { return std::min(options.step, layout::tokens); }
    std::string name() const { return concat("paged-minicache/", options.sinks, ":", Cold::name); }
};

static_assert(cold_layout<layers_merged<f16, kivi4>> && kv_cache<merged<>::cache> && policy<merged<>> && policy<paged_merged<>>);
static_assert(sealing_run<merged_run<f16, kivi4>, format::scalar> && split_run<merged_run<f16, kivi4>>);
static_assert(attention::word_codec<merged_run<f16, kivi4>::codec> && !attention::word_codec<merged_run<f16, grouped<f16>>::codec>);

}  // namespace skald::kv
