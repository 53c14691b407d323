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
#include <utility>
#include <vector>

#include <skald/attention/layer.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/fitting.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/when_full.hpp>

namespace skald::kv {

/// What became of sequences since the cache was made.
struct budget_counts {
    std::size_t evicted = 0;   ///< sequences that went for good
    std::size_t spilled = 0;   ///< times that one went to other memory
    std::size_t restored = 0;  ///< times that one came back
};

namespace detail {

/// A sequence of a cache under a budget. Of one that is not in the storage, how long it was.
struct budget_slot {
    enum class place : std::uint8_t { closed, empty, stored, spilled, evicted };
    sequence_id stored{};
    position length = 0, committed = 0;
    std::uint64_t used = 0, step = 0;
    place where = place::closed;
};

}  // namespace detail

/// Memory: that of the storage, and some tables a sequence; none after construction but what sequences spill to.
template <policy Policy, class WhenFull>
class budget_cache {
    using storage = typename Policy::cache;
    using slot = detail::budget_slot;
    using place = slot::place;
    static constexpr bool lets_go = detail::lets_go<WhenFull>, spills = detail::spills<WhenFull>;
    static constexpr bool saves_itself = storable_cache<storage> || detail::self_saving_cache<storage>;

public:
    static constexpr bool schedule_invariant = storage::schedule_invariant;

    /// `policy` fits the limit with the tables of `sequences`.
    budget_cache(const cache_shape& shape, const Policy& policy, std::size_t limit, std::size_t sequences, const WhenFull& when_full,
                 std::pmr::memory_resource* memory)
        : limit_(limit),
          places_(detail::sequences_of(policy)),
          longest_step_(longest_step(policy)),
          when_full_(when_full),
          slots_(sequences, memory),
          mapped_(sequences, memory),
          present_(sequences, memory),
          opened_(sequences, memory),
          leaving_(sequences, memory),
          candidates_(sequences, memory),
          saved_(spills ? sequences : 0, memory),
          storage_(policy.make(shape, memory)) {
        std::ranges::fill(slots_.span(), slot{});
        if (spills && !storable_cache<storage> && longest_step_ < detail::state_chunk)
            fail(errc::invalid_argument, "kv cache", "steps of ", longest_step_, " tokens at most; sequences come back in steps of ",
                 detail::state_chunk, ": raise .step");
    }

    /// Of the tables.
    static std::size_t table_bytes(std::size_t n) {
        return buffer<slot>::bytes_for(n) + 2 * buffer<segment>::bytes_for(n) + buffer<std::size_t>::bytes_for(n) +
               buffer<sequence_id>::bytes_for(n) + buffer<candidate>::bytes_for(n) + (spills ? n * sizeof(buffer<>) : 0);
    }

    cache_shape shape() const { return storage_.shape(); }
    std::size_t context() const { return storage_.context(); }
    std::size_t window() const { return storage_.window(); }
    std::size_t bytes() const { return table_bytes(slots_.size()) + storage_.bytes(); }
    std::size_t limit() const noexcept { return limit_; }  ///< bytes() is never more
    std::size_t spilled_bytes() const noexcept {           ///< of the memory that sequences spill to
        std::size_t out = 0;
        for (const buffer<>& b : saved_) out += b.bytes();
        return out;
    }
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

    /// Takes no room before the first step.
    sequence_id open() {
        for (std::uint32_t i = 0; i < slots_.size(); ++i) {
            if (slots_[i].where != place::closed) continue;
            slots_[i] = {.used = ++clock_, .where = place::empty};
            return {i};
        }
        fail(errc::cache_full, "kv cache", "all ", slots_.size(), " sequences are in use; close one or raise .sequences");
    }
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
            require_step(s, here);
        }
        const step_wish wish{{present_.data(), present}, {opened_.data(), absent}};
        if (const std::size_t going = choose(wish); going != 0) let_go(going);
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
            make_room({}, 1);
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
    const slot& opened(sequence_id s) const {
        if (s.index >= slots_.size() || slots_[s.index].where == place::closed)
            fail(errc::invalid_argument, "kv cache", "sequence ", s.index, " is not open");
        return slots_[s.index];
    }
    slot& opened(sequence_id s) { return const_cast<slot&>(std::as_const(*this).opened(s)); }
    const slot& at(sequence_id s) const {
        const slot& here = opened(s);
        if (here.where == place::evicted)
            fail(errc::cache_full, "kv cache", "sequence ", s.index, " was evicted after ", here.length,
                 " tokens to make room for others; truncate it to 0 and read its text again, or close it");
        return here;
    }
    slot& at(sequence_id s) { return const_cast<slot&>(std::as_const(*this).at(s)); }

    /// What the storage would refuse whoever goes, where it does not say so by has_room().
    void require_step(const segment& s, const slot& here) const {
        const position length = here.where == place::stored ? storage_.length(here.stored) : here.length;
        const auto pending = static_cast<std::size_t>(length - here.committed);
        if (s.rows > longest_step_ - std::min(pending, longest_step_))
            fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", pending, " pending tokens and cannot take ", s.rows,
                 " more: steps have ", longest_step_, " at most; raise .step or take fewer rows a step");
    }

    bool has_room(const step_wish& wish, std::span<const sequence_id> leaving) {
        if constexpr (requires { storage_.has_room(wish, leaving); })
            return storage_.has_room(wish, leaving);
        else
            return true;
    }

    std::size_t stored_count() const noexcept {
        return static_cast<std::size_t>(std::ranges::count(slots_.span(), place::stored, &slot::where));
    }

    /// Who goes so that the step has room (those that hold nothing first, whatever the policy), and `slots` more sequences theirs: the
    /// first of leaving_. Those of step number step_ stay.
    std::size_t choose(const step_wish& wish, std::size_t slots = 0) {
        std::size_t going = 0;
        slots += wish.opened.size();
        const auto fits = [&] {
            return (slots == 0 || stored_count() - going + slots <= places_) && has_room(wish, {leaving_.data(), going});
        };
        while (!fits()) {
            const std::size_t count = find_candidates(going);
            const std::span<const candidate> candidates(candidates_.data(), count);
            auto chosen = static_cast<std::size_t>(std::ranges::find(candidates, std::size_t{0}, &candidate::tokens) - candidates.begin());
            if constexpr (lets_go)
                if (chosen == count && count != 0) chosen = when_full_.choice(candidates);
            if (chosen >= count) refuse_step(wish, slots, count != 0);
            leaving_[going++] = slots_[candidates_[chosen].sequence.index].stored;
        }
        return going;
    }

    /// Whether a sequence in the storage is one of the first `going` of leaving_.
    bool goes(const slot& s, std::size_t going) const noexcept {
        return std::find(leaving_.data(), leaving_.data() + going, s.stored) != leaving_.data() + going;
    }

    std::size_t find_candidates(std::size_t going) {
        std::size_t count = 0;
        for (std::uint32_t i = 0; i < slots_.size(); ++i) {
            const slot& s = slots_[i];
            if (s.where != place::stored || s.step == step_ || storage_.length(s.stored) != s.committed) continue;
            if (goes(s, going)) continue;
            candidates_[count++] = {{i}, static_cast<std::size_t>(s.committed), s.used};
        }
        return count;
    }

    [[noreturn]] void refuse_step(const step_wish& wish, std::size_t slots, bool some_stay) const {
        std::size_t rows = 0, held = 0;
        for (const segment& s : wish.segments) {
            rows += s.rows;
            held += static_cast<std::size_t>(storage_.length(s.sequence));
        }
        for (const std::size_t n : wish.opened) rows += n;
        fail(errc::cache_full, "kv cache", "the step puts ", rows, " tokens, ", slots, " sequences of them new there, beside ", held,
             " of its own into a storage of ", places_, " sequences made for ", limit_, " bytes, which have no room for it; ",
             !lets_go    ? "close sequences, raise the limit, or let sequences go by kv::evict_sequences or kv::spill_sequences"
             : some_stay ? "the policy lets no more sequences go"
                         : "no sequence is left that could go; raise the limit or take fewer at a time");
    }

    /// The first `count` of leaving_ go, all or none.
    void let_go(std::size_t count) {
        const auto each = [&](const auto& f) {
            for (slot& s : slots_.span())
                if (s.where == place::stored && goes(s, count)) f(s, static_cast<std::size_t>(&s - slots_.data()));
        };
        if constexpr (spills) {
            try {
                each([&](const slot& s, std::size_t i) {
                    if (s.committed != 0) saved_[i] = saved(s);
                });
            } catch (...) {
                each([&](const slot&, std::size_t i) { saved_[i] = {}; });
                throw;
            }
        }
        each([&](slot& s, std::size_t) {
            storage_.close(s.stored);
            s.length = s.committed;
            s.where = s.length == 0 ? place::empty : spills ? place::spilled : place::evicted;
            counts_.spilled += s.where == place::spilled;
            counts_.evicted += s.where == place::evicted;
        });
    }

    buffer<> saved(const slot& s) {
        const std::pmr::vector<token_id> unknown(static_cast<std::size_t>(s.committed), 0, when_full_.memory);
        const state_options options{.memory = when_full_.memory};
        std::size_t size = 0;
        kv::save(storage_, s.stored, unknown, state_sink([&](std::span<const std::byte> bytes) { size += bytes.size(); }), options);
        buffer<> out(size, when_full_.memory);
        std::byte* to = out.data();
        const auto put = [&](std::span<const std::byte> bytes) { to = std::ranges::copy(bytes, to).out; };
        kv::save(storage_, s.stored, unknown, state_sink(put), options);
        return out;
    }

    /// A sequence that has room in the storage goes there.
    slot& enter(sequence_id s) {
        slot& here = at(s);
        if (here.where == place::stored) return here;
        here.stored = storage_.open();
        if constexpr (spills)
            if (here.where == place::spilled) {
                try {
                    detail::restore(storage_, here.stored, detail::source_of(saved_[s.index].span()), true,
                                    {.place = "spilled sequence", .memory = when_full_.memory});
                } catch (...) {
                    storage_.close(here.stored);
                    throw;
                }
                saved_[s.index] = {};
                ++counts_.restored;
            }
        here.where = place::stored;
        return here;
    }

    void make_room(const step_wish& wish, std::size_t slots) {
        if (const std::size_t going = choose(wish, slots); going != 0) let_go(going);
    }

    /// A sequence in the storage, and `slots` free ones there.
    slot& bring(sequence_id s, std::size_t slots = 0) {
        slot& here = at(s);
        here.step = ++step_;
        opened_[0] = static_cast<std::size_t>(here.length);
        make_room({.opened = {opened_.data(), here.where == place::stored ? 0u : 1u}}, slots);
        enter(s).used = ++clock_;
        return here;
    }

    /// Gives up what a sequence holds.
    void drop(slot& here, [[maybe_unused]] sequence_id s) {
        if (here.where == place::stored) storage_.close(here.stored);
        if constexpr (spills) saved_[s.index] = {};
        here = {.used = here.used, .where = place::empty};
    }

    std::size_t limit_, places_, longest_step_;
    WhenFull when_full_;
    buffer<slot> slots_;
    buffer<segment> mapped_, present_;  // of a step: in the storage's numbers; those of them that are there already
    buffer<std::size_t> opened_;        // rows of the others
    buffer<sequence_id> leaving_;       // in the storage's numbers
    buffer<candidate> candidates_;
    std::pmr::vector<buffer<>> saved_;  // (sequences), where they spill
    storage storage_;
    std::uint64_t clock_ = 0, step_ = 0;
    budget_counts counts_;
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
