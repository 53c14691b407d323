// SPDX-License-Identifier: MIT
#pragma once
// A hard number of bytes for all sequences of a cache, and what happens when they are used up. The storage is made with the room that
// fits (fitting.hpp), so that bytes() is the same at every step; sequences have numbers of their own and stand in the storage's slots and
// room while they are used. When a step lacks some, those that take no part in it go as the policy says (when_full.hpp); a step that
// cannot be helped is refused before anything has gone. How rows are kept and read is the storage's matter alone.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <skald/attention/layer.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/budget_residents.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/fitting.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/kv/shifting.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/when_full.hpp>

namespace skald::kv {

/// Memory: that of the storage, and some tables a sequence; none after construction but what sequences spill to.
template <policy Policy, class WhenFull>
class budget_cache : private detail::budget_residents<Policy, WhenFull> {
    using base = detail::budget_residents<Policy, WhenFull>;
    using base::at, base::bring, base::clock_, base::counts_, base::drop, base::enter, base::limit_, base::opened, base::opened_;
    using base::slots_, base::step_, base::storage_;
    using typename base::place;
    using typename base::slot;
    using typename base::storage;
    static constexpr bool saves_itself = storable_cache<storage> || detail::self_saving_cache<storage>;

public:
    static constexpr bool schedule_invariant = storage::schedule_invariant, shifts_positions = shifting_cache<storage>;

    /// `policy` fits the limit with the tables of `sequences`.
    budget_cache(const cache_shape& shape, const Policy& policy, std::size_t limit, std::size_t sequences, const WhenFull& when_full,
                 std::pmr::memory_resource* memory)
        : base(shape, policy, limit, sequences, when_full, memory), mapped_(sequences, memory), present_(sequences, memory) {}

    /// Of the tables.
    static std::size_t table_bytes(std::size_t n) { return base::table_bytes(n) + 2 * buffer<segment>::bytes_for(n); }

    cache_shape shape() const { return storage_.shape(); }
    std::size_t context() const { return storage_.context(); }
    std::size_t window() const { return storage_.window(); }
    std::size_t bytes() const { return table_bytes(slots_.size()) + storage_.bytes(); }
    std::size_t limit() const noexcept { return limit_; }  ///< bytes() is never more
    using base::spilled_bytes;                             ///< of the memory that sequences spill to
    const budget_counts& counts() const noexcept { return counts_; }
    bool reads_by_position() const { return kv::reads_by_position(storage_); }
    position farthest() const { return kv::farthest(storage_); }
    auto rotations() noexcept { return rotations_of(storage_); }
    auto rotations() const noexcept { return rotations_of(storage_); }
    std::string reading() const
        requires requires(const storage& c) { c.reading(); }
    {
        return storage_.reading();
    }

    using base::open;  ///< takes no room before the first step
    void close(sequence_id s) {
        drop(opened(s), s);
        slots_[s.index].where = place::closed;
    }

    /// Whether it lost what it held: other members then throw errc::cache_full, but for close(s), keeps(s, 0) and truncate(s, 0).
    bool evicted(sequence_id s) const { return opened(s).where == place::evicted; }
    /// Whether it is in the memory that sequences spill to.
    bool spilled(sequence_id s) const { return opened(s).where == place::spilled; }

    position length(sequence_id s) const {
        const slot& here = at(s);
        return here.where == place::stored ? storage_.length(here.stored) : here.length;
    }
    checkpoint mark(sequence_id s) const { return {length(s)}; }

    /// Throws as open(), and as plan() where the storage has no slot for it.
    sequence_id fork(sequence_id s) {
        const sequence_id copy = open();
        slot& to = slots_[copy.index];
        try {
            if (at(s).where == place::empty) return copy;
            const slot& from = bring(s, 1);
            to.stored = storage_.fork(from.stored);
            to.committed = from.committed;
        } catch (...) {
            to.where = place::closed;
            throw;
        }
        to.where = place::stored;
        return copy;
    }

    /// Throws errc::cache_full where the step has no room although all have gone that may; nobody has gone then.
    std::span<const row_range> plan(std::span<const segment> segments) {
        std::size_t present = 0, absent = 0;
        ++step_;
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const segment& s = segments[i];
            slot& here = at(s.sequence);
            if (here.step == step_)
                fail(errc::invalid_argument, "batch", "sequence ", s.sequence.index, " stands in two segments of one step");
            detail::check_rows(s, i);
            here.step = step_;
            mapped_[i] = s;
            if (here.where == place::stored) {
                mapped_[i].sequence = here.stored;
                present_[present++] = mapped_[i];
            } else {
                opened_[absent++] = (checked_size(static_cast<std::size_t>(here.length), "batch") + s.rows).size();
            }
            base::require_step(s, here);
        }
        const step_wish wish{{present_.data(), present}, {opened_.data(), absent}};
        base::make_room(wish);
        for (std::size_t i = 0; absent != 0 && i < segments.size(); ++i) mapped_[i].sequence = enter(segments[i].sequence).stored;
        const std::span<const row_range> ranges = storage_.plan({mapped_.data(), segments.size()});
        ++clock_;
        for (const segment& s : segments) slots_[s.sequence.index].used = clock_;
        return ranges;
    }

    void commit(sequence_id s) {
        slot& here = at(s);
        if (here.where != place::stored) return;
        storage_.commit(here.stored);
        here.committed = storage_.length(here.stored);
    }
    void rollback(sequence_id s, checkpoint to) {
        const slot& here = at(s);
        if (here.where == place::stored)
            storage_.rollback(here.stored, to);
        else if (to.length != here.length)
            fail(errc::invalid_argument, "kv cache", "rollback to ", to.length, " of a sequence of ", here.length, " tokens, none pending");
    }
    bool keeps(sequence_id s, position length) const {
        const slot& here = opened(s);
        if (here.where == place::stored) return storage_.keeps(here.stored, length);
        return length >= 0 && length <= (here.where == place::evicted ? 0 : here.length);
    }
    void truncate(sequence_id s, position length) {
        slot& here = length == 0 ? opened(s) : at(s);
        if (here.where == place::stored || (length != 0 && length != here.length)) {
            slot& stored = bring(s);
            storage_.truncate(stored.stored, length);
            stored.committed = std::min(stored.committed, length);
        } else if (length == 0) {
            drop(here, s);
        }
    }

    /// As shifting.hpp says, of storages that have it; they bring the sequence back.
    void remove(sequence_id s, position first, position last)
        requires shifts_positions
    {
        slot& here = bring(s);
        storage_.remove(here.stored, first, last);
        here.committed = storage_.length(here.stored);
    }
    void shift(sequence_id s, position first, position last, position by)
        requires shifts_positions
    {
        storage_.shift(bring(s).stored, first, last, by);
    }

    /// Brings the sequence back.
    auto select(sequence_id s)
        requires requires(storage& c) { c.select(s); }
    {
        return storage_.select(bring(s).stored);
    }
    auto view(std::size_t layer) const
        requires requires(const storage& c) { c.view(layer); }
    {
        return storage_.view(layer);
    }
    template <class Backend>
    void run_layer(const Backend& backend, std::size_t layer, const attention::layer_call<Backend>& call) {
        attention::run_layer(backend, storage_, layer, call);
    }

    // What prefix_pinning asks for, of storages that have it.
    opened_sequence open_with(std::span<const token_id> prompt)
        requires prefix_sharing<storage>
    {
        const sequence_id s = open();
        slot& here = slots_[s.index];
        ++step_;
        try {
            base::make_room({}, 1);
            const opened_sequence inner = storage_.open_with(prompt);
            here.stored = inner.sequence;
            here.committed = static_cast<position>(inner.reused);
            here.where = place::stored;
            return {s, inner.reused};
        } catch (...) {
            here.where = place::closed;
            throw;
        }
    }
    std::size_t reusable(std::span<const token_id> prompt) const
        requires prefix_sharing<storage>
    {
        return storage_.reusable(prompt);
    }
    void remember(sequence_id s, std::span<const token_id> tokens)
        requires prefix_sharing<storage>
    {
        if (tokens.empty() && at(s).where != place::stored) return;
        storage_.remember(bring(s).stored, tokens);
    }
    pinned_prefix pin(std::span<const token_id> tokens)
        requires prefix_pinning<storage>
    {
        return storage_.pin(tokens);
    }
    void unpin(const pinned_prefix& pinned)
        requires prefix_pinning<storage>
    {
        storage_.unpin(pinned);
    }

    // What kv::save, restore and encode ask for, of storages that keep more than rows by position, or are of a run-time kind.
    void save(sequence_id s, std::span<const token_id> tokens, std::string_view note, const state_sink& sink, const state_options& options)
        requires saves_itself
    {
        kv::save(storage_, bring(s).stored, tokens, sink, options, note);
    }
    saved_text restore(sequence_id s, const state_source& source, bool whole, const state_options& options)
        requires saves_itself
    {
        slot& here = bring(s);
        saved_text out = detail::restore(storage_, here.stored, source, whole, options);
        here.committed = storage_.length(here.stored);
        return out;
    }
    void require_fit(const state_header& saved, const state_options& options) const
        requires saves_itself
    {
        kv::require_fit(storage_, saved, options);
    }
    void load_rows(std::size_t layer, position from, position to, std::span<float> out) const
        requires requires(const storage& c) { c.load_rows(layer, from, to, out); }
    {
        storage_.load_rows(layer, from, to, out);
    }
    void store_rows(std::size_t layer, std::size_t head, position from, std::span<const float> keys, std::span<const float> values,
                    std::vector<float>& scratch) const
        requires requires(const storage& c) { c.store_rows(layer, head, from, keys, values, scratch); }
    {
        storage_.store_rows(layer, head, from, keys, values, scratch);
    }

private:
    buffer<segment> mapped_, present_;  // of a step: in the storage's numbers; those of them that are there already
};

/// The policy: `budget<paged<q8>, evict_sequences<>>{.limit = 64 << 20, .storage = {{.tokens = 1 << 16, .sequences = 8}}}`: a cache of at
/// most so many bytes, with at most the storage's tokens. Making it throws errc::memory_limit where the limit is too small for one token.
template <policy Policy, class WhenFull = refuse>
struct budget {
    using cache = budget_cache<Policy, WhenFull>;
    std::size_t limit = 0;  ///< bytes, of all sequences and tables together; spilled sequences are elsewhere
    Policy storage{};
    WhenFull when_full{};
    std::size_t sequences = 0;  ///< how many can be open at once; 0: as many as the storage's. More wait outside the storage

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return cache(shape, cut(shape), limit, slots(), when_full, memory);
    }
    std::size_t bytes(const cache_shape& shape) const { return cache::table_bytes(slots()) + cut(shape).bytes(shape); }
    std::size_t max_length() const { return storage.max_length(); }
    std::size_t max_length(const cache_shape& shape) const { return cut(shape).max_length(); }
    std::size_t max_step() const { return longest_step(storage); }
    std::string name() const { return storage.name(); }

private:
    std::size_t slots() const noexcept { return sequences == 0 ? detail::sequences_of(storage) : sequences; }
    Policy cut(const cache_shape& shape) const {
        const std::size_t tables = cache::table_bytes(slots());
        return fitted(storage, shape, limit - std::min(limit, tables));
    }
};

}  // namespace skald::kv
