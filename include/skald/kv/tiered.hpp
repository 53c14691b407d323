// SPDX-License-Identifier: MIT
#pragma once
// Tiers by recency: the last tokens of a sequence in one codec, older ones in groups of a cheaper one. With KIVI's groups (kivi.hpp) and
// a hot tier no longer than they need it is KIVI's residual cache.
//
// A row at p reads position j from the cold tier iff j < boundary(p) = E · ⌊max(0, p + 1 - hot) / E⌋, E the tokens of a group: a function
// of p and j alone, so that neither chunks nor batches nor rollbacks change what is read. hot = 1 is KIVI's rule: what stands in whole
// groups before p's own is quantized.
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
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/detail/group_table.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/kivi.hpp>
#include <skald/kv/state_format.hpp>
#include <skald/kv/state_stream.hpp>

namespace skald::kv {

struct tiered_options {
    std::size_t tokens = 2048;  ///< room of each sequence; of all together where they share a pool; rounded up to whole groups
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t hot = 1;        ///< tokens, a row's own included, that it reads from the hot tier at least
    std::size_t step = 512;     ///< the most pending tokens of a sequence: a pipeline's chunk
    std::size_t context = 0;    ///< tokens one sequence is meant to reach; 0: as many as there is room for
    std::pmr::memory_resource* cold = nullptr;  ///< memory of the cold tier, which outlives the cache; null: that of everything else
};

/// Which positions are read from which tier.
struct tier_rule {
    position hot, group;
    /// A row at p reads [0, boundary(p)) from the cold tier, [boundary(p), p] from the hot one.
    position boundary(position p) const noexcept { return std::max<position>(0, p + 1 - hot) / group * group; }
};

/// Where the segments of the step lie.
struct tiered_slot {
    const std::uint32_t* table;  ///< of places of groups; null: in order
    std::size_t first_place;     ///< without a table
    std::uint32_t sequence;
    position hot_begin, end;
};

/// The run over the hot tier at one layer.
template <codec Codec>
class hot_run {
public:
    using codec = Codec;

    hot_run(std::byte* keys, std::byte* values, const tiered_slot* slots, tier_rule rule, std::size_t kv_heads, std::size_t capacity,
            std::size_t row_bytes) noexcept
        : keys_(keys),
          values_(values),
          slots_(slots),
          rule_(rule),
          capacity_(static_cast<std::uint32_t>(capacity)),
          kv_heads_(kv_heads),
          row_bytes_(row_bytes) {}

    position begin(std::size_t segment) const noexcept { return slots_[segment].hot_begin; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end; }
    position_range seen_by(position p) const noexcept { return {rule_.boundary(p), p + 1}; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position p) const noexcept { return capacity_ - place(p); }

private:
    std::uint32_t place(position p) const noexcept { return static_cast<std::uint32_t>(p) % capacity_; }
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return ((slots_[segment].sequence * kv_heads_ + kv_head) * capacity_ + place(p)) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const tiered_slot* slots_;
    tier_rule rule_;
    std::uint32_t capacity_;
    std::size_t kv_heads_, row_bytes_;
};

/// The run over the cold tier: the whole groups of a segment. // (places, kv_heads, group bytes) or (sequences, kv_heads, groups, …)
template <codec Hot, group_codec Cold>
class cold_run {
public:
    using codec = typename Cold::key_codec;
    using value_codec = typename Cold::value_codec;

    /// Places of groups, of one kind of rows: how far places are apart, and heads.
    struct strides {
        std::size_t place, head;
    };

    cold_run(std::byte* keys, std::byte* values, const tiered_slot* slots, tier_rule rule, std::size_t width, strides key, strides value,
             const hot_run<Hot>& hot) noexcept
        : keys_(keys), values_(values), slots_(slots), rule_(rule), width_(width), key_(key), value_(value), hot_(hot) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end / group * group; }
    position_range seen_by(position p) const noexcept { return {0, rule_.boundary(p)}; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return keys_of(segment, kv_head, p / group) + Cold::first_key(width_) + static_cast<std::size_t>(p % group) * row_bytes();
    }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return values_of(segment, kv_head, p / group) + Cold::first_value(width_) + static_cast<std::size_t>(p % group) * value_row_bytes();
    }
    std::size_t row_bytes() const noexcept { return codec::row_bytes(width_); }
    std::size_t value_row_bytes() const noexcept { return value_codec::row_bytes(width_); }
    std::size_t stretch(position p) const noexcept { return static_cast<std::size_t>(group - p % group); }

    /// Makes the groups that the rows at [first, last) complete.
    template <format::float_vector V>
    void seal(std::size_t segment, std::size_t kv_head, position first, position last) const noexcept {
        for (position g = first / group; (g + 1) * group <= last; ++g) {
            const auto rows = [&](const auto& address) { return source_rows<Hot, std::remove_cvref_t<decltype(address)>>{address}; };
            const auto at = [&](std::size_t i) { return g * group + static_cast<position>(i); };
            Cold::template seal_keys<V>(rows([&](std::size_t i) -> const std::byte* { return hot_.key(segment, kv_head, at(i)); }), width_,
                                        keys_of(segment, kv_head, g));
            Cold::template seal_values<V>(rows([&](std::size_t i) -> const std::byte* { return hot_.value(segment, kv_head, at(i)); }),
                                          width_, values_of(segment, kv_head, g));
        }
    }

private:
    static constexpr auto group = static_cast<position>(Cold::tokens);

    std::size_t place(std::size_t segment, position g) const noexcept {
        const tiered_slot& slot = slots_[segment];
        return slot.table == nullptr ? slot.first_place + static_cast<std::size_t>(g) : slot.table[g];
    }
    std::byte* keys_of(std::size_t segment, std::size_t kv_head, position g) const noexcept {
        return keys_ + place(segment, g) * key_.place + kv_head * key_.head;
    }
    std::byte* values_of(std::size_t segment, std::size_t kv_head, position g) const noexcept {
        return values_ + place(segment, g) * value_.place + kv_head * value_.head;
    }

    std::byte* keys_;
    std::byte* values_;
    const tiered_slot* slots_;
    tier_rule rule_;
    std::size_t width_;
    strides key_, value_;
    hot_run<Hot> hot_;
};

/// Memory: the hot tier, layers × 2 × sequences × kv_heads × (step + hot + 2 groups at most) rows of Hot; the cold one, layers × kv_heads ×
/// groups of Cold, for each sequence or for all.
template <codec Hot, group_codec Cold, class Groups>
class tiered_cache {
public:
    static constexpr bool schedule_invariant = true;

    /// Tokens that a sequence can reach: positions end there, less what tiles and restarts of attention are rounded up by.
    static constexpr std::size_t longest = static_cast<std::size_t>(std::numeric_limits<position>::max()) - 1023;

    tiered_cache(const cache_shape& shape, const tiered_options& options, std::pmr::memory_resource* memory)
        : shape_(checked_shape(shape)),
          options_(options),
          capacity_(checked_capacity(options)),
          groups_(groups_of(options)),
          table_(options.sequences, memory),
          slots_(options.sequences, memory),
          firsts_(options.sequences, memory),
          places_(options.sequences, groups_, memory),
          hot_(hot_bytes(shape, options), memory),
          cold_(cold_bytes(shape, options), options.cold == nullptr ? memory : options.cold) {
        prefer_large_pages(hot_.span());
        if (options.cold == nullptr) prefer_large_pages(cold_.span());
    }

    /// Of its memory resource; the cold tier's own has cold_bytes().
    static std::size_t bytes(const cache_shape& shape, const tiered_options& o) {
        return detail::sequence_table::bytes(o.sequences) + buffer<tiered_slot>::bytes_for(o.sequences) +
               buffer<position>::bytes_for(o.sequences) + Groups::bytes(o.sequences, groups_of(o)) +
               buffer<>::bytes_for(hot_bytes(shape, o)) + (o.cold == nullptr ? buffer<>::bytes_for(cold_bytes(shape, o)) : 0);
    }
    static std::size_t max_length(const tiered_options& o) {
        const std::size_t room = std::min(groups_of(o) * Cold::tokens, longest);
        return o.context == 0 ? room : std::min(o.context, room);
    }

    const cache_shape& shape() const noexcept { return shape_; }
    std::size_t context() const { return max_length(options_); }
    std::size_t window() const noexcept { return all_tokens; }
    std::size_t bytes() const noexcept {
        return detail::sequence_table::bytes(table_.size()) + slots_.bytes() + firsts_.bytes() + places_.bytes() + hot_.bytes() +
               (options_.cold == nullptr ? cold_.bytes() : 0);
    }
    /// Of the cold tier, whose ever.
    std::size_t cold_bytes() const noexcept { return cold_.bytes(); }

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
        const std::size_t used = std::min(static_cast<std::size_t>(length), capacity_) * hot_row_bytes(), groups = whole_groups(length);
        for (std::size_t plane = 0; plane < 2 * shape_.layers; ++plane)
            for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                std::byte* base = hot_.data() + plane * table_.size() * sequence + h * head;
                std::memcpy(base + copy.index * sequence, base + s.index * sequence, used);
            }
        if constexpr (Groups::shared) {
            places_.share(s.index, copy.index, groups);
        } else {
            each_cold_plane([&](std::byte* base, std::size_t group_bytes) {
                for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                    const auto head = [&](sequence_id of) { return base + (of.index * shape_.kv_heads + h) * groups_ * group_bytes; };
                    std::memcpy(head(copy), head(s), groups * group_bytes);
                }
            });
        }
        return copy;
    }

    /// Throws errc::cache_full for more than `step` pending tokens of a sequence, and where there is no room for the groups they complete.
    std::span<const row_range> plan(std::span<const segment> segments) {
        table_.check(segments);
        std::size_t needed = 0;
        for (const segment& s : segments) {
            const detail::sequence_state& state = table_.at(s.sequence);
            const auto pending = static_cast<std::size_t>(state.length - state.committed), used = static_cast<std::size_t>(state.length);
            if (s.rows > options_.step - pending)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", pending, " pending tokens and cannot take ",
                     s.rows, " more: the hot tier has room for ", options_.step, "; raise .step or take fewer rows a step");
            const std::size_t room = std::min(Groups::shared ? longest : groups_ * Cold::tokens, longest);
            if (s.rows > room - used)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " holds ", used, " of ", room, " tokens and cannot take ",
                     s.rows, " more; raise .tokens");
            needed += (used + s.rows) / Cold::tokens - used / Cold::tokens;
        }
        if constexpr (Groups::shared)
            if (needed > places_.free())
                fail(errc::cache_full, "kv cache", "the step completes ", needed, " groups of ", Cold::tokens, " tokens and ",
                     places_.free(), " of ", groups_, " are free; raise .tokens or close sequences");
        const std::span<const row_range> ranges = table_.append(segments);
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const std::uint32_t s = segments[i].sequence.index;
            const position end = table_.states()[s].length;
            places_.grow(s, whole_groups(ranges[i].first_position), whole_groups(end));
            slots_[i] = slot_of(s, rule().boundary(ranges[i].first_position), end);
            firsts_[s] = std::max(firsts_[s], end - static_cast<position>(capacity_));
        }
        return ranges;
    }

    std::tuple<cold_run<Hot, Cold>, hot_run<Hot>> view(std::size_t layer) const noexcept {
        const std::size_t hot_plane = table_.size() * shape_.kv_heads * capacity_ * hot_row_bytes();
        std::byte* hot = hot_.data() + 2 * layer * hot_plane;
        const hot_run<Hot> tail(hot, hot + hot_plane, slots_.data(), rule(), shape_.kv_heads, capacity_, hot_row_bytes());
        const std::size_t width = shape_.width();
        std::byte* keys = cold_.data() + layer * (plane_bytes(Cold::key_bytes(width)) + plane_bytes(Cold::value_bytes(width)));
        return {cold_run<Hot, Cold>(keys, keys + plane_bytes(Cold::key_bytes(width)), slots_.data(), rule(), width,
                                    strides_of(Cold::key_bytes(width)), strides_of(Cold::value_bytes(width)), tail),
                tail};
    }

    /// What kv::save, kv::restore and kv::require_fit call: such sequences are not saved. Throw errc::unsupported.
    void save(sequence_id, std::span<const token_id>, std::string_view, const state_sink&, const state_options& o) { refuse(o); }
    saved_text restore(sequence_id, const state_source&, bool, const state_options& o) { refuse(o); }
    void require_fit(const state_header&, const state_options& o) const { refuse(o); }

private:
    using strides = typename cold_run<Hot, Cold>::strides;

    [[noreturn]] static void refuse(const state_options& o) {
        fail(errc::unsupported, o.place, "a cache of tiers, ", Hot::name, " and ", Cold::name,
             ", cannot be saved or restored; save from one of a single codec");
    }

    static const cache_shape& checked_shape(const cache_shape& shape) {
        if (shape.width() > Cold::most_width)
            fail(errc::unsupported, "kv cache", "heads of ", shape.head_dim, " values in groups of ", Cold::name, "; the widest are ",
                 Cold::most_width);
        return shape;
    }
    static std::size_t checked_capacity(const tiered_options& o) {
        const std::size_t most = longest / 4;
        if (o.hot == 0 || o.hot > most || o.step == 0 || o.step > most)
            fail(errc::invalid_argument, "kv cache", "a hot tier of ", o.hot, " tokens and steps of ", o.step,
                 "; .hot and .step must be positive and at most ", most);
        return round_up(o.step + o.hot + Cold::tokens, word_unit);
    }
    static std::size_t groups_of(const tiered_options& o) {
        return round_up(checked_size(o.tokens, "kv cache"), Cold::tokens).size() / Cold::tokens;
    }
    static std::size_t hot_bytes(const cache_shape& shape, const tiered_options& o) {
        require_values(shape);
        return ((((checked_size(shape.layers, "kv cache") * 2) * o.sequences) * shape.kv_heads) * checked_capacity(o) *
                Hot::row_bytes(shape.width()))
            .size();
    }
    static std::size_t cold_bytes(const cache_shape& shape, const tiered_options& o) {
        return (((checked_size(shape.layers, "kv cache") * Groups::places(o.sequences, groups_of(o))) * shape.kv_heads) *
                (Cold::key_bytes(shape.width()) + Cold::value_bytes(shape.width())))
            .size();
    }

    tier_rule rule() const noexcept { return {static_cast<position>(options_.hot), static_cast<position>(Cold::tokens)}; }
    std::size_t hot_row_bytes() const noexcept { return Hot::row_bytes(shape_.width()); }
    static std::size_t whole_groups(position length) noexcept { return static_cast<std::size_t>(length) / Cold::tokens; }
    std::size_t plane_bytes(std::size_t group_bytes) const noexcept {
        return Groups::places(table_.size(), groups_) * shape_.kv_heads * group_bytes;
    }
    /// A pool has the heads of a place side by side, ordered groups those of a head.
    strides strides_of(std::size_t group_bytes) const noexcept {
        if constexpr (Groups::shared) return {shape_.kv_heads * group_bytes, group_bytes};
        return {group_bytes, groups_ * group_bytes};
    }
    tiered_slot slot_of(std::uint32_t s, position hot_begin, position end) const noexcept {
        return {places_.table(s), s * shape_.kv_heads * groups_, s, hot_begin, end};
    }
    /// f(keys, bytes of a group), f(values, …) of each layer.
    template <class F>
    void each_cold_plane(const F& f) const {
        std::byte* at = cold_.data();
        for (std::size_t layer = 0; layer < shape_.layers; ++layer)
            for (const std::size_t bytes : {Cold::key_bytes(shape_.width()), Cold::value_bytes(shape_.width())}) {
                f(at, bytes);
                at += plane_bytes(bytes);
            }
    }
    void release(sequence_id s, position from, position to) noexcept { places_.shrink(s.index, whole_groups(from), whole_groups(to)); }

    cache_shape shape_;
    tiered_options options_;
    std::size_t capacity_, groups_;
    detail::sequence_table table_;
    buffer<tiered_slot> slots_;
    buffer<position> firsts_;  // (sequences), the first position that the hot tier has
    Groups places_;
    buffer<> hot_, cold_;
};

namespace detail {

/// A group codec whose words name the cache by themselves where the hot tier is as short as it can be; rows in groups are tiers always.
template <codec Hot, group_codec Cold>
std::string name_of_tiers(bool pool, std::size_t tokens) {
    if (tokens == 1 && !codec<typename Cold::key_codec>) return concat(pool ? "paged:" : "contiguous:", Cold::name);
    return concat(pool ? "paged-tiered:" : "tiered:", Hot::name, "/", tokens, ",", Cold::name);
}

}  // namespace detail

/// The policy: `tiered<f16, kivi4>{{.tokens = 4096, .hot = 256}}`; every sequence owns its room.
template <codec Hot = f16, group_codec Cold = kivi4>
struct tiered {
    using cache = tiered_cache<Hot, Cold, detail::ordered_groups>;
    tiered_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return detail::name_of_tiers<Hot, Cold>(false, options.hot); }
};

/// The same with a pool of groups, which forks share: `paged_tiered<f16, kivi4>{{.tokens = 4096, .sequences = 8}}`.
template <codec Hot = f16, group_codec Cold = kivi4>
struct paged_tiered {
    using cache = tiered_cache<Hot, Cold, detail::pooled_groups>;
    tiered_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return detail::name_of_tiers<Hot, Cold>(true, options.hot); }
};

static_assert(kv_run<hot_run<f16>> && selective_run<hot_run<f16>>);
static_assert(selective_run<cold_run<f16, kivi4>> && split_run<cold_run<f16, kivi4>> && sealing_run<cold_run<f16, kivi4>, format::scalar>);
static_assert(kv_cache<tiered_cache<f16, kivi4, detail::ordered_groups>> && policy<tiered<>> && policy<paged_tiered<>>);

}  // namespace skald::kv
