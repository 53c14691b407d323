// SPDX-License-Identifier: MIT
#pragma once
// Tiers by importance: for each sequence, layer and kv head the tokens that an eviction policy (eviction.hpp) thinks most of are read in
// one codec, all others in groups of a cheaper one. Nothing is dropped: it is evicting storage (evicting.hpp) whose victims stay readable.
//
// The hot tier is evicting storage's, with its rules: pending tokens are hot; when they are committed, all but `budget` leave, those the
// policy thinks least of. What it observes are weights among hot tokens. Every whole group of committed tokens is in the cold tier, sealed
// from hot rows in the step that completes it, so that leaving the hot tier is a bit. Tokens behind the last whole group stay hot whatever
// the policy thinks of them.
//
// Only what is hot stays hot: a token that left does not come back, since what is left of it, read from a better codec, would be no better.
// It has been hot, and been looked at, since it came.
//
// What is hot depends on the steps a text was read in: schedule_invariant is false. It does not depend on threads, on other sequences or on
// rows that were rolled back.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/kivi.hpp>
#include <skald/kv/state_terms.hpp>
#include <skald/kv/tiered_by_runs.hpp>

namespace skald::kv {

struct tiered_by_options {
    std::size_t tokens = 2048;  ///< room of each sequence; rounded up to whole groups
    std::size_t budget = 256;   ///< committed tokens that stay hot in a layer, a group at least; policies may distribute them over layers
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t step = 512;     ///< the most pending tokens of a sequence: a pipeline's chunk; takes as many hot rows
    std::size_t context = 0;    ///< tokens one sequence is meant to reach; 0: as many as there is room for
    std::size_t slack = 0;      ///< as evicting_options has it
    std::size_t undo = 16;      ///< the same
};

/// Memory: evicting storage's of budget + slack + step tokens in the hot codec, whole groups of `tokens` tokens in the cold one, and a bit
/// for each of them. // cold: (layers, {k, v}, sequences, kv_heads, groups); bits: (layers, sequences, kv_heads, tokens)
///
/// Cost of a step: evicting storage's, and each group is sealed once, or again after a rollback into it. A row reads the cold tier's tiles
/// and then the hot one's.
template <eviction_policy Policy, codec Hot, group_codec Cold>
class tiered_by_cache : private evicting_cache<Policy, Hot> {
    using base = evicting_cache<Policy, Hot>;
    static constexpr std::size_t group = Cold::tokens;

public:
    static constexpr bool schedule_invariant = false;
    /// Tokens that a sequence can reach, since its hot ones are numbered behind them.
    static constexpr std::size_t longest = base::longest / 4;
    using hot_run = tiered_by_hot_run<Hot>;
    using cold_run = tiered_by_cold_run<Hot, Cold>;

    tiered_by_cache(const Policy& policy, const cache_shape& shape, const tiered_by_options& o, std::pmr::memory_resource* memory)
        : base(checked(policy, shape, o), shape, hot_options(o), memory),
          groups_(groups_of(o)),
          words_(words_of(o)),
          slots_(places_of(shape, o), memory),
          ranges_(places_of(shape, o), memory),
          shown_(shown_words(shape, o), memory),
          cold_(cold_bytes(shape, o), memory) {
        prefer_large_pages(cold_.span());
    }

    static std::size_t bytes(const Policy& policy, const cache_shape& shape, const tiered_by_options& o) {
        return base::bytes(checked(policy, shape, o), shape, hot_options(o)) + buffer<tiered_by_slot>::bytes_for(places_of(shape, o)) +
               buffer<row_range>::bytes_for(places_of(shape, o)) + buffer<std::uint64_t>::bytes_for(shown_words(shape, o)) +
               buffer<>::bytes_for(cold_bytes(shape, o));
    }
    std::size_t bytes() const noexcept { return base::bytes() + slots_.bytes() + ranges_.bytes() + shown_.bytes() + cold_.bytes(); }
    static std::size_t max_length(const tiered_by_options& o) {
        const std::size_t room = std::min(groups_of(o) * group, longest);
        return o.context == 0 ? room : std::min(o.context, room);
    }

    using base::committed, base::context, base::keeps, base::length, base::mark, base::policy, base::positions, base::rollback;
    using base::shape, base::window;

    sequence_id open() {
        const sequence_id s = base::open();
        hide(s.index);
        return s;
    }
    void close(sequence_id s) { base::close(s); }

    /// Throws what the policy throws; nothing is committed then.
    void commit(sequence_id s) {
        base::commit(s, whole(base::length(s)), [&](std::size_t layer, std::size_t h, std::span<const position> positions) {
            for (const position p : positions) show(layer, s.index, h, p);
        });
    }

    /// Back to where all tokens before `length` are hot, to 0, or into pending ones. Throws errc::invalid_argument elsewhere.
    void truncate(sequence_id s, position length) {
        const bool cuts = length < base::table().at(s).committed;
        base::truncate(s, length);
        if (cuts) hide(s.index);
    }

    /// Copies the committed tokens of both tiers. Cost: as many bytes as they take.
    sequence_id fork(sequence_id s) {
        const sequence_id copy = base::fork(s);
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            std::copy_n(shown(layer, s.index, 0), shape().kv_heads * words_, shown(layer, copy.index, 0));
        each_cold_piece(s, base::length(copy), [&](const cold_plane& plane, std::size_t h, bool, std::span<std::byte> groups) {
            std::memcpy(plane.at(first_group(copy.index), h), groups.data(), groups.size());
        });
        return copy;
    }

    /// Throws errc::cache_full, too, where a sequence has no room for its rows.
    std::span<const row_range> plan(std::span<const segment> segments) {
        base::table().check(segments);
        const std::size_t room = std::min(groups_ * group, longest);
        for (const segment& s : segments)
            if (const auto used = static_cast<std::size_t>(base::length(s.sequence)); s.rows > room - used)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " holds ", used, " of ", room, " tokens and cannot take ",
                     s.rows, " more; raise .tokens");
        const std::span<const row_range> planned = base::plan(segments);
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            for (std::size_t i = 0; i < segments.size(); ++i) {
                const row_range range = base::ranges(layer)[i];
                const tiered_by_slot slot = slot_of(segments[i].sequence, range.first_position, planned[i]);
                slots_[layer * base::table().size() + i] = slot;
                ranges_[layer * base::table().size() + i] = {range.first_row, range.rows, slot.first + range.first_position};
            }
        return planned;
    }

    /// Where the rows of the planned step stand in a layer's runs.
    std::span<const row_range> ranges(std::size_t layer) const noexcept {
        return {ranges_.data() + layer * base::table().size(), base::planned()};
    }

    /// view(layer) then shows the committed tokens of s.
    void select(sequence_id s) {
        base::select(s);
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            slots_[layer * base::table().size()] =
                slot_of(s, static_cast<position>(base::kept(s.index, layer)), {0, 0, base::table().at(s).committed});
    }

    std::tuple<cold_run, hot_run> view(std::size_t layer) const noexcept {
        const tiered_by_slot* slots = slots_.data() + layer * base::table().size();
        const hot_run hot(base::rows(false, layer), base::rows(true, layer), slots, shape().kv_heads, base::place(layer).capacity,
                          Hot::row_bytes(shape().width()));
        return {cold_run(plane(layer, false), plane(layer, true), shown(layer, 0, 0), words_, groups_, shape().kv_heads, shape().width(),
                         slots, hot),
                hot};
    }

    /// As evicting storage has it; a window, too, must not be shorter than what the runs number.
    template <class Variant>
    void require(std::size_t layer, const Variant& variant) const {
        base::require(layer, variant);
        for (std::size_t i = 0; i < base::planned(); ++i)
            if (const position end = slots_[layer * base::table().size() + i].end; end > variant.window)
                fail(errc::unsupported, "kv cache", "layer ", layer, " sees the last ", variant.window,
                     " positions, and tiers by importance ", "number ", end, "; use tiered storage");
    }

    using base::observe;

    // What storable_cache asks for. A stream has what evicting storage's has, which tells what is hot and so what is shown cold; then layer
    // after layer, head after head the keys, then the values of all whole groups. // (layers, kv_heads, {k, v}, groups, group bytes)

    state_form form() const {
        state_form out = base::form();
        out.terms.front().value = "tiers by importance";
        describe_groups<Cold>(out.terms);
        return out;
    }
    void write_kept(sequence_id s, position length, const state_put& put) const {
        base::write_kept(s, length, put);
        each_cold_piece(s, length, [&](const cold_plane&, std::size_t, bool, std::span<std::byte> groups) { put(groups); });
    }
    void read_kept(sequence_id s, position length, const state_plan& plan, const state_get& get, std::string_view place) {
        const std::size_t room = std::min(groups_ * group, longest);
        if (static_cast<std::size_t>(length) > room)
            fail(errc::cache_full, place, "has ", length, " tokens; a sequence has room for ", room, ": raise .tokens");
        base::read_kept(s, length, plan, get, place);
        require_tail(s, length, place);
        each_cold_piece(s, length, [&](const cold_plane& plane, std::size_t, bool values, std::span<std::byte> groups) {
            get(groups);
            for (; !groups.empty(); groups = groups.subspan(plane.place))
                if (!plausible_group<Cold>(!values, shape().width(), groups.data()))
                    fail(errc::bad_file, place, "holds a group of ", group, " tokens that cannot be one of ", Cold::name);
        });
        show_lost(s, length);
    }

private:
    static constexpr std::size_t tile = attention::tile_size;
    static constexpr auto restart = static_cast<position>(attention::restart_size);

    static const Policy& checked(const Policy& policy, const cache_shape& shape, const tiered_by_options& o) {
        if (shape.width() > Cold::most_width)
            fail(errc::unsupported, "kv cache", "heads of ", shape.head_dim, " values in groups of ", Cold::name, "; the widest are ",
                 Cold::most_width);
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            if (const std::size_t budget = detail::layer_budget(policy, layer, shape.layers, o.budget); budget < group)
                fail(errc::invalid_argument, "kv cache", "a budget of ", budget, " hot tokens in layer ", layer, "; groups of ", Cold::name,
                     " are made of ", group, ", which are hot until then: raise .budget");
        if (o.budget > longest || o.slack > longest || o.step > longest)
            fail(errc::invalid_argument, "kv cache", "a hot tier of ", o.budget, " tokens, a slack of ", o.slack, " and steps of ", o.step,
                 "; .budget, .slack and .step must be at most ", longest);
        return policy;
    }
    static evicting_options hot_options(const tiered_by_options& o) {
        return {.budget = o.budget, .step = o.step, .sequences = o.sequences, .context = max_length(o), .slack = o.slack, .undo = o.undo};
    }
    static std::size_t groups_of(const tiered_by_options& o) { return round_up(checked_size(o.tokens, "kv cache"), group).size() / group; }
    static std::size_t words_of(const tiered_by_options& o) {
        return ceil_div((checked_size(groups_of(o), "kv cache") * group).size(), tile);
    }
    static std::size_t places_of(const cache_shape& shape, const tiered_by_options& o) {
        return (checked_size(shape.layers, "kv cache") * o.sequences).size();
    }
    static std::size_t shown_words(const cache_shape& shape, const tiered_by_options& o) {
        return ((checked_size(places_of(shape, o), "kv cache") * shape.kv_heads) * words_of(o)).size();
    }
    static std::size_t cold_bytes(const cache_shape& shape, const tiered_by_options& o) {
        return ((checked_size(places_of(shape, o), "kv cache") * shape.kv_heads) * groups_of(o) *
                (Cold::key_bytes(shape.width()) + Cold::value_bytes(shape.width())))
            .size();
    }

    static position whole(position length) noexcept { return length / static_cast<position>(group) * static_cast<position>(group); }

    /// Of rows that follow `before` hot ones.
    tiered_by_slot slot_of(sequence_id s, position before, const row_range& rows) const {
        const position sealed = whole(base::table().at(s).committed), first = (sealed + restart - 1) / restart * restart;
        return {.sequence = s.index,
                .sealed = sealed,
                .first = first,
                .end = first + before + static_cast<position>(rows.rows),
                .behind = first + before - rows.first_position};
    }

    std::uint64_t* shown(std::size_t layer, std::size_t s, std::size_t h) const noexcept {
        return shown_.data() + ((layer * base::table().size() + s) * shape().kv_heads + h) * words_;
    }
    /// Of a sequence all of whose tokens are hot.
    void hide(std::uint32_t s) noexcept {
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            std::fill_n(shown(layer, s, 0), shape().kv_heads * words_, std::uint64_t{0});
    }

    void show(std::size_t layer, std::uint32_t s, std::size_t h, position p) noexcept {
        shown(layer, s, h)[static_cast<std::size_t>(p) / tile] |= std::uint64_t{1} << static_cast<std::size_t>(p) % tile;
    }
    /// Of a sequence of `length` tokens that showed none.
    void show_lost(sequence_id s, position length) noexcept {
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            for (std::size_t h = 0; h < shape().kv_heads; ++h) {
                std::span<const position> hot = base::positions(s, layer, h);
                for (position p = 0; p < length; ++p)
                    if (!hot.empty() && hot.front() == p)
                        hot = hot.subspan(1);
                    else
                        show(layer, s.index, h, p);
            }
    }

    /// Throws errc::bad_file unless the tokens behind the last whole group are hot.
    void require_tail(sequence_id s, position length, std::string_view place) const {
        const auto tail = static_cast<std::size_t>(length - whole(length));
        for (std::size_t layer = 0; tail != 0 && layer < shape().layers; ++layer)
            for (std::size_t h = 0; h < shape().kv_heads; ++h) {
                const std::span<const position> hot = base::positions(s, layer, h);
                if (hot.size() < tail || hot[hot.size() - tail] != whole(length))
                    fail(errc::bad_file, place, "layer ", layer, " is said to have lost some of the last ", tail, " of ", length,
                         " tokens, which are in no group of ", group, " yet");
            }
    }

    /// f(plane, kv head, whether they are values, bytes) for the whole groups before `length`.
    template <class F>
    void each_cold_piece(sequence_id s, position length, const F& f) const {
        const std::size_t groups = static_cast<std::size_t>(length) / group;
        for (std::size_t layer = 0; groups != 0 && layer < shape().layers; ++layer)
            for (std::size_t h = 0; h < shape().kv_heads; ++h)
                for (const bool values : {false, true}) {
                    const cold_plane plane = this->plane(layer, values);
                    f(plane, h, values, std::span<std::byte>(plane.at(first_group(s.index), h), groups * plane.place));
                }
    }

    cold_plane plane(std::size_t layer, bool values) const noexcept {
        const std::size_t heads = base::table().size() * shape().kv_heads * groups_;  // groups of all
        const std::size_t keys = Cold::key_bytes(shape().width()), all = keys + Cold::value_bytes(shape().width());
        const std::size_t bytes = values ? all - keys : keys;
        return {cold_.data() + heads * (layer * all + (values ? keys : 0)), bytes, groups_ * bytes};
    }
    std::size_t first_group(std::uint32_t s) const noexcept { return s * shape().kv_heads * groups_; }

    std::size_t groups_, words_;
    buffer<tiered_by_slot> slots_;  // (layers, sequences)
    buffer<row_range> ranges_;      // (layers, sequences)
    buffer<std::uint64_t> shown_;   // (layers, sequences, kv_heads, words): of the cold tier, what is not hot
    buffer<> cold_;
};

/// The policy: `tiered_by<h2o, f16, kivi2>{{.tokens = 4096, .budget = 256}}`.
template <eviction_policy Policy, class Hot = f16, group_codec Cold = kivi2>
struct tiered_by {
    static_assert(require_codec<Hot>() && require_rotated<Hot>() && require_untransformed<Hot>());
    using cache = tiered_by_cache<Policy, Hot, Cold>;
    tiered_by_options options{};
    Policy choice{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(choice, shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(choice, shape, options); }
    std::size_t max_length() const { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return concat("tiered-", choice.name(), ":", options.budget, ":", Hot::name, ",", Cold::name); }
};

static_assert(storable_cache<tiered_by<h2o>::cache> && policy<tiered_by<h2o>>);

}  // namespace skald::kv
