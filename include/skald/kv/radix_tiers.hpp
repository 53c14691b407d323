// SPDX-License-Identifier: MIT
#pragma once
// Tiers whose older tokens stay behind in a tree of prefixes: radix.hpp over tiered.hpp and merged.hpp. What is shared is whole groups; a
// new sequence goes on where they end, which is where a row reads nothing of the hot tier but itself. So the hot tier is as short as
// groups need it (hot = 1, KIVI's rule), and kept by every sequence for itself.
#include <algorithm>
#include <cstddef>
#include <memory_resource>
#include <optional>
#include <string>
#include <utility>

#include <skald/kv/merged.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/tiered.hpp>

namespace skald::kv {

struct radix_tiered_options {
    std::size_t tokens = 2048;           ///< room of sequences and of what is remembered, beside the hot tiers; rounded up to whole groups
    std::size_t sequences = 1;           ///< how many can be open at once
    std::size_t step = 512;              ///< the most pending tokens of a sequence: a pipeline's chunk
    std::size_t context = 0;             ///< tokens one sequence is meant to reach; 0: as many as there is room for
    std::optional<std::size_t> sinks{};  ///< the first tokens, in the hot codec always, as in tiered_options
    std::pmr::memory_resource* cold = nullptr;  ///< memory of the cold tier, which outlives the cache; null: that of everything else
    cold_paging paging{};                       ///< what of it is in memory at a time
};

namespace detail {

/// Makes and measures prefix_caches over tiers.
template <cold_layout Layout>
struct tiers_in_tree {
    using tiers = tiered_cache<Layout, pooled_groups>;
    using cache = prefix_cache<tiers>;

    static cache make(const cache_shape& shape, const tiered_options& o, const Layout& layout, std::pmr::memory_resource* memory) {
        return cache(tiers(shape, o, layout, memory), layout.first() != 0, memory);
    }
    static std::size_t bytes(const cache_shape& shape, const tiered_options& o, const Layout& layout) {
        const std::size_t all = tiers::bytes(shape, o, layout);
        return all + cache::bytes_beside(tiers::places_of(o, layout), Layout::tokens, layout.first() != 0);
    }
};

}  // namespace detail

/// The policy: `radix_tiered<f16, kivi4>{{.tokens = 4096, .sequences = 8}}`.
template <codec Hot = f16, group_codec Cold = kivi4>
struct radix_tiered {
    static_assert(require_rotated<Hot>() && require_untransformed<Hot>());
    using layout = layers_apart<Hot, Cold>;
    using maker = detail::tiers_in_tree<layout>;
    using cache = typename maker::cache;
    radix_tiered_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return maker::make(shape, tiers(), layout(shape, options.sinks), memory);
    }
    std::size_t bytes(const cache_shape& shape) const { return maker::bytes(shape, tiers(), layout(shape, options.sinks)); }
    std::size_t max_length() const { return maker::tiers::max_length(tiers()); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return detail::name_of_tiers<Hot, Cold>("radix", "radix-tiered", 1, options.sinks); }

private:
    tiered_options tiers() const noexcept {
        return {.tokens = options.tokens,
                .sequences = options.sequences,
                .step = options.step,
                .context = options.context,
                .sinks = options.sinks,
                .cold = options.cold,
                .paging = options.paging};
    }
};

/// `radix_merged<kivi4>{{.tokens = 4096, .sequences = 8}}`: MiniCache, KIVI, sinks and shared prefixes in one cache.
template <class Cold = kivi4, codec Hot = f16>
struct radix_merged {
    static_assert(require_merged<Cold>() && require_rotated<Hot>() && require_untransformed<Hot>());
    using layout = layers_merged<Hot, detail::group_of<Cold>>;
    using maker = detail::tiers_in_tree<layout>;
    using cache = typename maker::cache;
    merged_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return maker::make(shape, detail::tiers_of(options), layout(shape, options.sinks, options.merge), memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        return maker::bytes(shape, detail::tiers_of(options), layout(shape, options.sinks, options.merge));
    }
    std::size_t max_length() const { return maker::tiers::max_length(detail::tiers_of(options)); }
    std::size_t max_step() const noexcept { return std::min(options.step, layout::tokens); }
    std::string name() const { return concat("radix-minicache/", options.sinks, ":", Cold::name); }
};

static_assert(prefix_pinning<radix_tiered<>::cache> && prefix_pinning<radix_merged<>::cache>);
static_assert(policy<radix_tiered<>> && policy<radix_merged<>>);

}  // namespace skald::kv
