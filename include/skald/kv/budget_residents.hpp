// SPDX-License-Identifier: MIT
#pragma once
// Which sequences of a cache under a budget (budget.hpp) stand in its storage: who leaves when a step or a sequence lacks room, as the
// policy says (when_full.hpp), and how those come back that went to other memory. It knows nothing of what is done with a sequence that is
// there.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/fitting.hpp>
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

/// The storage and the sequences in it and beside it. Numbers of sequences are the caller's, but for those called `stored`.
template <policy Policy, class WhenFull>
class budget_residents {
protected:
    using storage = typename Policy::cache;
    using slot = budget_slot;
    using place = slot::place;
    static constexpr bool lets_go = detail::lets_go<WhenFull>, spills = detail::spills<WhenFull>;

    budget_residents(const cache_shape& shape, const Policy& policy, std::size_t limit, std::size_t sequences, const WhenFull& when_full,
                     std::pmr::memory_resource* memory)
        : limit_(limit),
          places_(sequences_of(policy)),
          longest_step_(longest_step(policy)),
          when_full_(when_full),
          slots_(sequences, memory),
          opened_(sequences, memory),
          leaving_(sequences, memory),
          candidates_(sequences, memory),
          saved_(spills ? sequences : 0, memory),
          storage_(policy.make(shape, memory)) {
        std::ranges::fill(slots_.span(), slot{});
        if (spills && !storable_cache<storage> && longest_step_ < state_chunk)
            fail(errc::invalid_argument, "kv cache", "steps of ", longest_step_, " tokens at most; sequences come back in steps of ",
                 state_chunk, ": raise .step");
    }

    /// Of the tables.
    static std::size_t table_bytes(std::size_t n) {
        return buffer<slot>::bytes_for(n) + buffer<std::size_t>::bytes_for(n) + buffer<sequence_id>::bytes_for(n) +
               buffer<candidate>::bytes_for(n) + (spills ? n * sizeof(buffer<>) : 0);
    }
    std::size_t spilled_bytes() const noexcept {
        std::size_t out = 0;
        for (const buffer<>& b : saved_) out += b.bytes();
        return out;
    }

    sequence_id open() {
        for (std::uint32_t i = 0; i < slots_.size(); ++i) {
            if (slots_[i].where != place::closed) continue;
            slots_[i] = {.used = ++clock_, .where = place::empty};
            return {i};
        }
        fail(errc::cache_full, "kv cache", "all ", slots_.size(), " sequences are in use; close one or raise .sequences");
    }
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

    /// Who may go does so that a step has room, and `slots` more sequences theirs. Throws errc::cache_full where that does not help; nobody
    /// has gone then.
    void make_room(const step_wish& wish, std::size_t slots = 0) {
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

    /// Gives up what a sequence holds.
    void drop(slot& here, [[maybe_unused]] sequence_id s) {
        if (here.where == place::stored) storage_.close(here.stored);
        if constexpr (spills) saved_[s.index] = {};
        here = {.used = here.used, .where = place::empty};
    }

    std::size_t limit_, places_, longest_step_;
    WhenFull when_full_;
    buffer<slot> slots_;
    buffer<std::size_t> opened_;  // rows of a step's sequences that are not in the storage
    std::uint64_t clock_ = 0, step_ = 0;
    budget_counts counts_;

private:
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
    std::size_t choose(const step_wish& wish, std::size_t slots) {
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

    buffer<sequence_id> leaving_;  // in the storage's numbers
    buffer<candidate> candidates_;
    std::pmr::vector<buffer<>> saved_;  // (sequences), where they spill

protected:
    storage storage_;
};

}  // namespace detail

}  // namespace skald::kv
