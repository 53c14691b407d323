// SPDX-License-Identifier: MIT
#pragma once
// The cold tier of all layers (tiered.hpp): the memory of groups, which sequence has which place of it, as its own or in a pool, and how
// much of it is in memory at a time. It knows of the hot tier only that groups are sealed from there.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <span>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/executor.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/cold_pages.hpp>
#include <skald/kv/detail/group_table.hpp>
#include <skald/kv/tier_runs.hpp>

namespace skald::kv {

struct tiered_options {
    std::size_t tokens = 2048;  ///< room of each sequence; of all together where they share a pool; rounded up to whole groups
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t hot = 1;        ///< tokens, a row's own included, that it reads from the hot tier at least
    std::size_t step = 512;     ///< the most pending tokens of a sequence: a pipeline's chunk
    std::size_t context = 0;    ///< tokens one sequence is meant to reach; 0: as many as there is room for
    /// The first tokens, in the hot codec always: less than a group, and no more bytes than its keys or values. Unset: what the cold codec
    /// asks for, 4 for KIVI and none else, or as many as there is room for.
    std::optional<std::size_t> sinks{};
    std::pmr::memory_resource* cold = nullptr;  ///< memory of the cold tier, which outlives the cache; null: that of everything else
    cold_paging paging{};                       ///< what of it is in memory at a time
};

namespace detail {

/// Groups: ordered_groups or pooled_groups. // (planes, places, kv_heads, bytes of a group) or (planes, sequences, kv_heads, places, …)
template <cold_layout Layout, class Groups>
class cold_tier {
public:
    /// Places of each sequence or of all, with those before their groups.
    static std::size_t places_of(const tiered_options& o, const Layout& layout) {
        const std::size_t more = layout.first() == 0 ? 0 : Groups::shared ? o.sequences : 1;
        return (checked_size(groups_of(o), "kv cache") + more).size();
    }
    /// Of the cold tier, whose ever.
    std::size_t cold_bytes() const noexcept { return cold_.bytes(); }

protected:
    static constexpr std::size_t group = Layout::tokens;

    cold_tier(const cache_shape& shape, const tiered_options& options, const Layout& layout, std::pmr::memory_resource* memory)
        : shape_(shape),
          options_(options),
          layout_(checked(layout)),
          groups_(groups_of(options)),
          each_(places_of(options, layout)),
          places_(options.sequences, each_, memory),
          cold_(checked_cold_bytes(shape, options, layout), options.cold == nullptr ? memory : options.cold) {
        if (options.cold == nullptr) prefer_large_pages(cold_.span());
    }

    /// Of the cache's memory resource; the cold tier's own has cold_bytes().
    static std::size_t bytes(const cache_shape& shape, const tiered_options& o, const Layout& layout) {
        return Groups::bytes(o.sequences, places_of(o, layout)) +
               (o.cold == nullptr ? buffer<>::bytes_for(cold_bytes_of(shape, o, layout)) : 0);
    }
    std::size_t bytes() const noexcept { return places_.bytes() + (options_.cold == nullptr ? cold_.bytes() : 0); }

    static std::size_t groups_of(const tiered_options& o) { return round_up(checked_size(o.tokens, "kv cache"), group).size() / group; }
    static std::size_t groups_before(position length) noexcept { return static_cast<std::size_t>(length) / group; }
    std::size_t places_for(position length) const noexcept {
        const std::size_t groups = static_cast<std::size_t>(length) / group;
        return groups + (groups != 0 && layout_.first() != 0 ? 1 : 0);
    }
    /// Of a sequence's own room.
    std::size_t first_place(std::uint32_t s) const noexcept { return s * shape_.kv_heads * each_; }
    tiered_slot slot_of(std::uint32_t s, position hot_begin, position end) const noexcept {
        const std::size_t before = layout_.first() == 0 ? 0 : 1;
        const std::uint32_t* table = places_.table(s);
        return {table == nullptr ? nullptr : table + before, first_place(s) + before, s, hot_begin, end};
    }
    void release(sequence_id s, position from, position to) noexcept { places_.shrink(s.index, places_for(from), places_for(to)); }

    /// Plane i. A pool has the heads of a place side by side, ordered groups those of a head.
    cold_plane plane(std::size_t i) const noexcept {
        const std::size_t before = layout_.bytes_before(i), bytes = layout_.bytes_before(i + 1) - before;
        const std::size_t all = Groups::shared ? each_ : each_ * options_.sequences;
        std::byte* data = cold_.data() + before * all * shape_.kv_heads;
        if constexpr (Groups::shared) return {data, shape_.kv_heads * bytes, bytes};
        return {data, bytes, each_ * bytes};
    }
    /// Of the planes [from, to), which lie one after another.
    std::size_t plane_bytes(std::size_t from, std::size_t to) const noexcept {
        const std::size_t each = layout_.bytes_before(layout_.planes());
        return cold_.size() / each * (layout_.bytes_before(to) - layout_.bytes_before(from));
    }
    void release_planes(std::size_t from, std::size_t to) const noexcept {
        if (options_.paging.by != nullptr) options_.paging.by->release(std::span<std::byte>(plane(from).data, plane_bytes(from, to)));
    }
    /// What a step's sequences have in two planes from `first` on.
    template <class Backend>
    void fetch_planes(const Backend& backend, std::span<const tiered_slot> slots, std::size_t first, std::size_t room) const {
        executor* pool = nullptr;
        if constexpr (requires { backend.pool(); }) pool = backend.pool();
        detail::fetch(*options_.paging.by, pool, room, [&](const auto& f) {
            for (std::size_t i = first; i < first + 2; ++i)
                for (const tiered_slot& slot : slots) each_stretch(plane(i), slot, f);
        });
    }

    /// f(plane, whether they are those before group 0, bytes) for all groups before `length`.
    template <class F>
    void each_cold_piece(sequence_id s, position length, const F& f) const {
        const tiered_slot slot = slot_of(s.index, 0, length);
        const auto groups = static_cast<position>(groups_before(length));
        for (position g = groups == 0 || layout_.first() == 0 ? 0 : -1; g < groups; ++g)
            for (std::size_t i = 0; i < layout_.planes(); ++i) {
                const std::size_t bytes = g < 0 ? layout_.first_bytes(i) : layout_.bytes_before(i + 1) - layout_.bytes_before(i);
                for (std::size_t h = 0; h < shape_.kv_heads; ++h)
                    f(i, g < 0, std::span<std::byte>(plane(i).at(place_of(slot, g), h), bytes));
            }
    }

    cache_shape shape_;
    tiered_options options_;
    Layout layout_;
    std::size_t groups_, each_;  // each_: places of a sequence, or of all
    Groups places_;

private:
    static const Layout& checked(const Layout& layout) {
        layout.check();
        return layout;
    }
    static std::size_t cold_bytes_of(const cache_shape& shape, const tiered_options& o, const Layout& layout) {
        return ((checked_size(Groups::places(o.sequences, places_of(o, layout)), "kv cache") * shape.kv_heads) *
                layout.bytes_before(layout.planes()))
            .size();
    }
    static std::size_t checked_cold_bytes(const cache_shape& shape, const tiered_options& o, const Layout& layout) {
        const std::size_t all = cold_bytes_of(shape, o, layout), each = layout.bytes_before(layout.planes());
        std::size_t most = 0;  // of a place of one head, of what a layer reads
        for (std::size_t i = 0; i < layout.planes(); i += 2) most = std::max(most, layout.bytes_before(i + 2) - layout.bytes_before(i));
        detail::check_paging(o.paging, o.cold != nullptr, all / each * most);
        return all;
    }
    /// f(bytes that lie together) for the places of a sequence in a plane.
    template <class F>
    void each_stretch(const cold_plane& in, const tiered_slot& slot, const F& f) const {
        const std::size_t places = places_for(slot.end), before = layout_.first() == 0 ? 0 : 1;
        if (places == 0) return;
        if constexpr (Groups::shared) {
            const std::uint32_t* table = slot.table - before;
            for (std::size_t from = 0, to; from < places; from = to) {
                for (to = from + 1; to < places && table[to] == table[to - 1] + 1;) ++to;
                f(std::span<const std::byte>(in.at(table[from], 0), (to - from) * in.place));
            }
        } else {
            for (std::size_t h = 0; h < shape_.kv_heads; ++h)
                f(std::span<const std::byte>(in.at(slot.first_place - before, h), places * in.place));
        }
    }

    buffer<> cold_;
};

}  // namespace detail

}  // namespace skald::kv
