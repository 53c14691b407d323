// SPDX-License-Identifier: MIT
#pragma once
// Tiers by recency: the last tokens of a sequence in one codec, older ones in groups of a cheaper one. With KIVI's groups (kivi.hpp) and
// a hot tier no longer than they need it is KIVI's residual cache.
//
// A row at p reads position j from the cold tier iff j < boundary(p) = E · ⌊max(0, p + 1 - hot) / E⌋, E the tokens of a group: a function
// of p and j alone, so that neither chunks nor batches nor rollbacks change what is read. hot = 1 is KIVI's rule: what stands in whole
// groups before p's own is quantized. The first tokens of a sequence, where attention rests (StreamingLLM, Xiao et al. 2023), can stay in
// the hot codec for ever: they then stand in a place of their own before that of group 0, and are copied there when group 0 is whole.
//
// The hot tier is a circle of at least step + hot + E - 2 tokens. Let c tokens be committed; pending ones are at most `step`, the first of
// them at c, and a row there reads hot tokens from boundary(c) > c - hot - E + 1 on, which no pending token overwrites. A group is sealed
// in the step that completes it, from the hot rows, and sealed again after a rollback into it: until it is committed all its rows are
// there. truncate() goes back to where the hot rows that a row reads are still there, or none is: to a multiple of E where hot = 1, to 0
// always.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/cold_tier.hpp>
#include <skald/kv/detail/group_table.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/kivi.hpp>
#include <skald/kv/state_terms.hpp>
#include <skald/kv/tier_runs.hpp>

namespace skald::kv {

/// Memory: the hot tier, layers × 2 × sequences × kv_heads × (step + hot + 2 groups at most) rows of its codec; the cold one, kv_heads ×
/// groups, and a place before them for the first tokens where these are kept apart, as the layout has them, for each sequence or for all.
template <cold_layout Layout, class Groups>
class tiered_cache : private detail::cold_tier<Layout, Groups> {
    using base = detail::cold_tier<Layout, Groups>;
    using Hot = typename Layout::hot;
    using base::each_, base::first_place, base::group, base::groups_, base::groups_of, base::layout_, base::options_, base::places_;
    using base::places_for, base::plane, base::release, base::release_planes, base::shape_, base::slot_of;

public:
    static constexpr bool schedule_invariant = true;

    /// Tokens that a sequence can reach: positions end there, less what tiles and restarts of attention are rounded up by.
    static constexpr std::size_t longest = static_cast<std::size_t>(std::numeric_limits<position>::max()) - 1023;

    tiered_cache(const cache_shape& shape, const tiered_options& options, const Layout& layout, std::pmr::memory_resource* memory)
        : base(shape, options, layout, memory),
          capacity_(checked_capacity(options)),
          table_(options.sequences, memory),
          slots_(options.sequences, memory),
          firsts_(options.sequences, memory),
          hot_(hot_bytes(shape, options), memory) {
        prefer_large_pages(hot_.span());
    }

    /// Of its memory resource; the cold tier's own has cold_bytes().
    static std::size_t bytes(const cache_shape& shape, const tiered_options& o, const Layout& layout) {
        return detail::sequence_table::bytes(o.sequences) + buffer<tiered_slot>::bytes_for(o.sequences) +
               buffer<position>::bytes_for(o.sequences) + buffer<>::bytes_for(hot_bytes(shape, o)) + base::bytes(shape, o, layout);
    }
    using base::cold_bytes, base::places_of;
    static std::size_t max_length(const tiered_options& o) {
        const std::size_t room = std::min(groups_of(o) * group, longest);
        return o.context == 0 ? room : std::min(o.context, room);
    }

    const cache_shape& shape() const noexcept { return shape_; }
    std::size_t context() const { return max_length(options_); }
    std::size_t window() const noexcept { return all_tokens; }
    std::size_t bytes() const noexcept {
        return detail::sequence_table::bytes(table_.size()) + slots_.bytes() + firsts_.bytes() + hot_.bytes() + base::bytes();
    }

    /// Places of the pool that nobody holds.
    std::size_t free_blocks() const noexcept
        requires(Groups::shared)
    {
        return places_.free();
    }

    sequence_id open() {
        const sequence_id s = table_.open();
        firsts_[s.index] = 0;
        return s;
    }
    void close(sequence_id s) {
        release(s, table_.at(s).length, 0);
        table_.at(s).open = false;
    }
    position length(sequence_id s) const { return table_.at(s).length; }
    checkpoint mark(sequence_id s) const { return {table_.at(s).length}; }
    void commit(sequence_id s) { table_.commit(s); }
    void rollback(sequence_id s, checkpoint to) {
        const position before = table_.at(s).length;
        table_.rollback(s, to);
        release(s, before, to.length);
    }

    bool keeps(sequence_id s, position length) const {
        if (!table_.keeps(s, length)) return false;
        const position from = rule().boundary(length);
        return from == length || firsts_[s.index] <= from;
    }
    /// Throws errc::invalid_argument, too, where hot rows that a row at `length` reads have been overwritten.
    void truncate(sequence_id s, position length) {
        const position before = table_.at(s).length;
        if (table_.keeps(s, length) && !keeps(s, length))
            fail(errc::invalid_argument, "kv cache", "truncation to ", length, " of a sequence of ", before,
                 " tokens of which the hot tier has those from ", firsts_[s.index], " on; a row there reads from ", rule().boundary(length),
                 " on: truncate to 0 and read the text again, or raise .step");
        table_.truncate(s, length);
        release(s, before, length);
        firsts_[s.index] = std::min(firsts_[s.index], length);  // lower only where nothing before is read hot
    }

    /// A copy of the hot tier; groups are shared in a pool, else copied. Cost: as many bytes as these take.
    sequence_id fork(sequence_id s) {
        const position length = table_.at(s).committed;
        const sequence_id copy = table_.open();
        table_.at(copy) = {.length = length, .committed = length, .open = true};
        firsts_[copy.index] = firsts_[s.index];
        const std::size_t head = capacity_ * hot_row_bytes(), sequence = shape_.kv_heads * head;
        const std::size_t used = std::min(static_cast<std::size_t>(length), capacity_) * hot_row_bytes(), places = places_for(length);
        for (std::size_t plane = 0; plane < 2 * shape_.layers; ++plane)
            for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                std::byte* base = hot_.data() + plane * table_.size() * sequence + h * head;
                std::memcpy(base + copy.index * sequence, base + s.index * sequence, used);
            }
        if constexpr (Groups::shared) {
            places_.share(s.index, copy.index, places);
        } else {
            for (std::size_t i = 0; i < layout_.planes(); ++i) {
                const cold_plane plane = this->plane(i);
                for (std::size_t h = 0; h < shape_.kv_heads; ++h)
                    std::memcpy(plane.at(first_place(copy.index), h), plane.at(first_place(s.index), h), places * plane.place);
                release_planes(i, i + 1);
            }
        }
        return copy;
    }

    /// The most rows that the next step of s may have besides what `step` leaves: those up to a group's end, or any number.
    std::size_t step_room(sequence_id s) const {
        const auto length = static_cast<std::size_t>(table_.at(s).length);
        return Layout::whole_steps ? group - length % group : all_tokens;
    }

    /// Cost: a look at each place of those that leave.
    bool has_room(const step_wish& wish, std::span<const sequence_id> leaving)
        requires Groups::shared
    {
        return without(leaving, [&](std::size_t freed) { return blocks_needed(wish) <= places_.free() + freed; });
    }

    /// Throws errc::cache_full for more than `step` pending tokens of a sequence or more than step_room(), and where there is no room for
    /// the groups they complete.
    std::span<const row_range> plan(std::span<const segment> segments) {
        const std::size_t needed = blocks_needed(segments);
        if constexpr (Groups::shared)
            if (needed > places_.free())
                fail(errc::cache_full, "kv cache", "the step needs ", needed, " more places of ", group, " tokens and ", places_.free(),
                     " of ", each_, " are free; raise .tokens or close sequences");
        const std::span<const row_range> ranges = table_.append(segments);
        if (std::exchange(layers_done_, 0) != 0) release_planes(0, layout_.planes());  // a step was broken off
        planned_ = segments.size();
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const std::uint32_t s = segments[i].sequence.index;
            const position end = table_.states()[s].length;
            places_.grow(s, places_for(ranges[i].first_position), places_for(end));
            slots_[i] = slot_of(s, rule().boundary(ranges[i].first_position), end);
            firsts_[s] = std::max(firsts_[s], end - static_cast<position>(capacity_));
        }
        return ranges;
    }

    auto view(std::size_t layer) const noexcept {
        const std::size_t hot_plane = table_.size() * shape_.kv_heads * capacity_ * hot_row_bytes();
        const auto hot = [&](std::size_t of) {
            std::byte* keys = hot_.data() + 2 * of * hot_plane;
            return hot_run<Hot>(keys, keys + hot_plane, slots_.data(), rule(), shape_.kv_heads, capacity_, hot_row_bytes());
        };
        return layout_.view(layer, hot, [&](std::size_t i) { return plane(i); }, slots_.data(), rule());
    }

    /// What attention::run_layer() calls once the step's rows are appended: attend(ranges, view(layer)), after the threads of the backend's
    /// pool have begun to fetch what the next layer will read, if the tier is paged; then what this layer has read is released.
    template <class Backend, class Call, class Attend>
    void attend_parts(const Backend& backend, std::size_t layer, const Call&, std::span<const row_range> ranges, const Attend& attend) {
        if (options_.paging.by == nullptr) return attend(ranges, view(layer));
        const std::size_t here = layout_.plane_of(layer), next = layout_.plane_of((layer + 1) % shape_.layers);
        layers_done_ = layer + 1;
        if (next != here)
            base::fetch_planes(backend, slots_.span().first(planned_), next,
                               options_.paging.resident - options_.paging.by->slack() - base::plane_bytes(here, here + 2));
        attend(ranges, view(layer));
        if (next != here) release_planes(here, here + 2);
        if (layers_done_ == shape_.layers) layers_done_ = 0;
    }

    // What storable_cache asks for. A stream has the first hot position; of each layer keys, then values, of each head from there on; and
    // place after place of each plane each head's part. // (layers, {k, v}, kv_heads, hot tokens, row_bytes), (places, planes, kv_heads, …)

    state_form form() const {
        state_form out{.codec = std::string(Hot::name),
                       .row_bytes = hot_row_bytes(),
                       .terms = {{"kind", "tiers"}, {"hot tier", concat(options_.hot, " tokens")}}};
        layout_.describe(out.terms);
        return out;
    }
    position committed(sequence_id s) const { return table_.at(s).committed; }

    /// From the first position on that the hot tier has, so that keeps() answers as before.
    void write_kept(sequence_id s, position length, const state_put& put) const {
        const position first = std::min(firsts_[s.index], length);
        detail::put_number(put, first);
        each_hot_piece(s, first, length, [&](std::span<std::byte> rows) { put(rows); });
        base::each_cold_piece(s, length, [&](std::size_t, bool, std::span<std::byte> part) { put(part); });
    }

    /// Of a cache whose hot tier was longer, the rows that this one has no room for are passed over.
    void read_kept(sequence_id s, position length, const state_plan& plan, const state_get& get, std::string_view place) {
        const auto first = detail::get_number<position>(get);
        if (first < 0 || first > rule().boundary(length))
            fail(errc::bad_file, place, "its hot tier begins at ", first, "; a row at ", length, " reads from ", rule().boundary(length),
                 " on");
        for (auto left = static_cast<std::size_t>(length); left != 0;) {
            const std::size_t rows = std::min({left, options_.step, step_room(s)});
            plan({.sequence = s, .first_row = 0, .rows = rows});
            commit(s);
            left -= rows;
        }
        firsts_[s.index] = std::max(first, length - static_cast<position>(capacity_));
        each_hot_piece(s, first, length, get);
        base::each_cold_piece(s, length, [&](std::size_t plane, bool lead, std::span<std::byte> part) {
            get(part);
            if (!lead && !layout_.plausible(plane, part))
                fail(errc::bad_file, place, "holds a group of ", group, " tokens that cannot be one of ", layout_.name());
        });
    }

protected:  // radix.hpp builds on these
    static constexpr std::size_t block_ = group;
    std::uint32_t* blocks_of(sequence_id s) const noexcept { return places_.table(s.index) + (layout_.first() == 0 ? 0 : 1); }
    static std::size_t blocks_for(position length) noexcept { return base::groups_before(length); }
    /// The place before that of group 0; null where no tokens are kept apart.
    std::uint32_t* lead_of(sequence_id s) const noexcept { return layout_.first() == 0 ? nullptr : places_.table(s.index); }
    detail::block_pool& pool() noexcept { return places_.pool(); }
    const detail::block_pool& pool() const noexcept { return places_.pool(); }
    void begin_at(sequence_id s, position length) noexcept {
        table_.at(s) = {.length = length, .committed = length, .open = true};
        firsts_[s.index] = length;
    }
    std::uint32_t* tail_of(sequence_id) const noexcept { return nullptr; }
    std::size_t holders_of_tail(std::span<const segment>, std::size_t) const noexcept { return 0; }

    /// The places that a step takes. Checks its segments.
    std::size_t blocks_needed(std::span<const segment> segments) const {
        table_.check(segments);
        std::size_t needed = 0;
        for (const segment& s : segments) {
            const detail::sequence_state& state = table_.at(s.sequence);
            const auto pending = static_cast<std::size_t>(state.length - state.committed), used = static_cast<std::size_t>(state.length);
            if (s.rows > options_.step - pending)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", pending, " pending tokens and cannot take ",
                     s.rows, " more: the hot tier has room for ", options_.step, "; raise .step or take fewer rows a step");
            if (s.rows > step_room(s.sequence))
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", used, " tokens and takes at most ",
                     step_room(s.sequence), " in the next step, not ", s.rows, ", since its layers are merged ", group,
                     " tokens at a time; take as many rows as step_room() says");
            const std::size_t room = std::min(Groups::shared ? longest : groups_ * group, longest);
            if (s.rows > room - used)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " holds ", used, " of ", room, " tokens and cannot take ",
                     s.rows, " more; raise .tokens");
            needed += places_for(state.length + static_cast<position>(s.rows)) - places_for(state.length);
        }
        return needed;
    }

    std::size_t blocks_needed(const step_wish& wish) const {
        std::size_t needed = blocks_needed(wish.segments);
        for (const std::size_t rows : wish.opened) needed += places_for(static_cast<position>(rows));
        return needed;
    }

    /// f(places that would be free besides) while places are counted as if these sequences, each of which stands here once, were closed.
    template <class F>
    bool without(std::span<const sequence_id> sequences, const F& f) {
        const auto each_place = [&](const auto& visit) {
            for (const sequence_id s : sequences)
                for (std::size_t i = 0; i < places_for(table_.at(s).length); ++i) visit(places_.table(s.index)[i]);
        };
        return pool().without(each_place, f);
    }

private:
    /// f(bytes) for the hot rows at [first, last), those that follow each other together.
    template <class F>
    void each_hot_piece(sequence_id s, position first, position last, const F& f) const {
        const std::size_t head = capacity_ * hot_row_bytes();
        for (std::size_t plane = 0; plane < 2 * shape_.layers; ++plane)
            for (std::size_t h = 0; h < shape_.kv_heads; ++h)
                for (auto p = static_cast<std::size_t>(first), end = static_cast<std::size_t>(last); p < end;) {
                    const std::size_t at = p % capacity_, count = std::min(capacity_ - at, end - p);
                    std::byte* base = hot_.data() + ((plane * table_.size() + s.index) * shape_.kv_heads + h) * head;
                    f(std::span<std::byte>(base + at * hot_row_bytes(), count * hot_row_bytes()));
                    p += count;
                }
    }

    static std::size_t checked_capacity(const tiered_options& o) {
        const std::size_t most = longest / 4;
        if (o.hot == 0 || o.hot > most || o.step == 0 || o.step > most)
            fail(errc::invalid_argument, "kv cache", "a hot tier of ", o.hot, " tokens and steps of ", o.step,
                 "; .hot and .step must be positive and at most ", most);
        return round_up(o.step + o.hot + group, word_unit);
    }
    static std::size_t hot_bytes(const cache_shape& shape, const tiered_options& o) {
        require_values(shape);
        return ((((checked_size(shape.layers, "kv cache") * 2) * o.sequences) * shape.kv_heads) * checked_capacity(o) *
                Hot::row_bytes(shape.width()))
            .size();
    }
    tier_rule rule() const noexcept {
        return {static_cast<position>(options_.hot), static_cast<position>(group), static_cast<position>(layout_.first())};
    }
    std::size_t hot_row_bytes() const noexcept { return Hot::row_bytes(shape_.width()); }

    std::size_t capacity_;

protected:
    detail::sequence_table table_;

private:
    buffer<tiered_slot> slots_;
    buffer<position> firsts_;  // (sequences), the first position that the hot tier has
    buffer<> hot_;
    std::size_t planned_ = 0, layers_done_ = 0;  // segments and layers of the step, the latter where the cold tier is paged
};

namespace detail {

/// A group codec whose words name the cache by themselves where the hot tier is as short as it can be; rows in groups are tiers always.
template <codec Hot, group_codec Cold>
std::string name_of_tiers(std::string_view plain, std::string_view tiers, std::size_t tokens, std::optional<std::size_t> sinks) {
    if (tokens == 1 && !sinks && !codec<typename Cold::key_codec>) return concat(plain, ":", Cold::name);
    return concat(tiers, ":", Hot::name, "/", tokens, sinks ? concat("+", *sinks) : "", ",", Cold::name);
}

}  // namespace detail

/// The policy: `tiered<f16, kivi4>{{.tokens = 4096, .hot = 256}}`; every sequence owns its room.
template <codec Hot = f16, group_codec Cold = kivi4>
struct tiered {
    static_assert(require_rotated<Hot>() && require_untransformed<Hot>());
    using cache = tiered_cache<layers_apart<Hot, Cold>, detail::ordered_groups>;
    tiered_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(shape, options, layers_apart<Hot, Cold>(shape, options.sinks), memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        return cache::bytes(shape, options, layers_apart<Hot, Cold>(shape, options.sinks));
    }
    std::size_t max_length() const { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return detail::name_of_tiers<Hot, Cold>("contiguous", "tiered", options.hot, options.sinks); }
};

/// The same with a pool of groups, which forks share: `paged_tiered<f16, kivi4>{{.tokens = 4096, .sequences = 8}}`.
template <codec Hot = f16, group_codec Cold = kivi4>
struct paged_tiered {
    static_assert(require_rotated<Hot>() && require_untransformed<Hot>());
    using cache = tiered_cache<layers_apart<Hot, Cold>, detail::pooled_groups>;
    tiered_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(shape, options, layers_apart<Hot, Cold>(shape, options.sinks), memory);
    }
    std::size_t bytes(const cache_shape& shape) const {
        return cache::bytes(shape, options, layers_apart<Hot, Cold>(shape, options.sinks));
    }
    std::size_t max_length() const { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return detail::name_of_tiers<Hot, Cold>("paged", "paged-tiered", options.hot, options.sinks); }
};

static_assert(storable_cache<tiered<>::cache> && storable_cache<paged_tiered<>::cache> && policy<tiered<>> && policy<paged_tiered<>>);

}  // namespace skald::kv
