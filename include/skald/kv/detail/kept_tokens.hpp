// SPDX-License-Identifier: MIT
#pragma once
// What evicting storage knows of the tokens it keeps, apart from their rows: for each sequence, layer and kv head which position stands in
// which slot, and the policy's scores, with those of pending tokens in a log of observations that a rollback cuts.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <numeric>
#include <span>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/eviction.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv {

struct evicting_options {
    std::size_t budget = 512;   ///< committed tokens that stay in a layer; policies may distribute them over layers
    std::size_t step = 512;     ///< the most pending tokens of a sequence: a pipeline's chunk
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t context = 0;    ///< tokens one sequence is meant to reach, which costs nothing; 0: as many as there are positions
    std::size_t slack = 0;      ///< tokens over the budget that may be committed before these are dropped, so that rows move less often
    std::size_t undo = 16;      ///< observations of pending rows that can be taken back one by one; a rollback further keeps tokens whose
                                ///< rows it forgets to have observed, unless it drops the whole step
};

namespace detail {

inline constexpr position none_lost = std::numeric_limits<position>::max();

/// Slots of one layer: [tokens, tokens + kv_heads · capacity) of each sequence's.
struct layer_place {
    std::size_t tokens, capacity, budget;
};

/// How many observations a policy needs kept apart.
template <class P>
std::size_t observations_of(const P& p, const evicting_options& o) {
    if (observed_rows(p, 1) == 0 && observed_rows(p, o.step) == 0) return 0;
    return whole_steps(p) ? 2 : std::max<std::size_t>(o.undo, 1);
}

/// The layers' places, and in one past them the sum. Throws errc::invalid_argument for sizes that make no cache.
template <class P, class F>
void place_layers(const P& p, const cache_shape& shape, const evicting_options& o, F&& f) {
    constexpr auto longest = static_cast<std::size_t>(std::numeric_limits<position>::max()) - 1023;
    checked_size tokens(0, "kv cache");
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const std::size_t budget = layer_budget(p, layer, shape.layers, o.budget);
        if (budget == 0 || budget >= longest || o.step == 0 || o.step > longest - budget || o.slack > longest - budget - o.step)
            fail(errc::invalid_argument, "kv cache", "an evicting cache with a budget of ", budget, " tokens in layer ", layer,
                 ", steps of ", o.step, " and a slack of ", o.slack, "; .budget and .step must be positive and all no more than ", longest,
                 " together");
        const std::size_t capacity = budget + o.slack + o.step;
        f(layer, layer_place{tokens.size(), capacity, budget});
        tokens = tokens + (checked_size(shape.kv_heads, "kv cache") * capacity).value();
    }
    f(shape.layers, layer_place{tokens.size(), 0, 0});
}

template <eviction_policy Policy>
class kept_table {
public:
    kept_table(const Policy& policy, const cache_shape& shape, const evicting_options& o, std::pmr::memory_resource* memory)
        : policy_(policy),
          layers_(shape.layers),
          kv_heads_(shape.kv_heads),
          sequences_(o.sequences),
          log_size_(observations_of(policy, o)),
          slack_(o.slack),
          places_(layers_ + 1, memory) {
        place_layers(policy, shape, o, [&](std::size_t i, const layer_place& place) {
            places_[i] = place;
            most_ = std::max(most_, place.capacity);
        });
        const std::size_t tokens = places_[layers_].tokens;
        sequence_ = buffer<sequence_part>(sequences_, memory);
        kept_ = buffer<std::uint32_t>(sequences_ * layers_, memory);
        positions_ = buffer<position>((checked_size(tokens, "kv cache") * sequences_).size(), memory);
        dropped_ = buffer<std::uint8_t>(tokens, memory);
        worth_ = buffer<float>(most_, memory);
        order_ = buffer<std::uint32_t>(most_, memory);
        if (log_size_ == 0) return;
        scores_ = buffer<float>((checked_size(tokens, "kv cache") * sequences_ * (log_size_ + 1)).size(), memory);
        ends_ = buffer<std::uint32_t>(sequences_ * log_size_, memory);
        observed_ = buffer<std::uint32_t>(sequences_ * layers_, memory);
    }

    static std::size_t bytes(const Policy& policy, const cache_shape& shape, const evicting_options& o) {
        std::size_t tokens = 0, most = 0;
        place_layers(policy, shape, o, [&](std::size_t, const layer_place& place) {
            tokens = place.tokens;
            most = std::max(most, place.capacity);
        });
        const std::size_t log = observations_of(policy, o);
        const std::size_t observations =
            log == 0
                ? 0
                : buffer<float>::bytes_for((checked_size(tokens, "kv cache") * o.sequences * (log + 1)).size()) +
                      buffer<std::uint32_t>::bytes_for(o.sequences * log) + buffer<std::uint32_t>::bytes_for(o.sequences * shape.layers);
        return buffer<layer_place>::bytes_for(shape.layers + 1) + buffer<sequence_part>::bytes_for(o.sequences) +
               buffer<std::uint32_t>::bytes_for(o.sequences * shape.layers) +
               buffer<position>::bytes_for((checked_size(tokens, "kv cache") * o.sequences).size()) +
               buffer<std::uint8_t>::bytes_for(tokens) + buffer<float>::bytes_for(most) + buffer<std::uint32_t>::bytes_for(most) +
               observations;
    }
    std::size_t bytes() const noexcept {
        return places_.bytes() + sequence_.bytes() + kept_.bytes() + positions_.bytes() + dropped_.bytes() + worth_.bytes() +
               order_.bytes() + scores_.bytes() + ends_.bytes() + observed_.bytes();
    }

    const Policy& policy() const noexcept { return policy_; }
    const layer_place& place(std::size_t layer) const noexcept { return places_[layer]; }
    std::size_t all_tokens() const noexcept { return places_[layers_].tokens; }
    std::size_t most_slots() const noexcept { return most_; }
    bool observes() const noexcept { return log_size_ != 0; }

    /// Slots of committed tokens.
    std::size_t kept(std::uint32_t s, std::size_t layer) const noexcept { return kept_[s * layers_ + layer]; }
    /// The least position that a layer or head has dropped since the sequence was empty, or none_lost.
    position first_lost(std::uint32_t s) const noexcept { return sequence_[s].first_lost; }

    position* positions(std::uint32_t s, std::size_t layer, std::size_t head) const noexcept {
        return positions_.data() + s * all_tokens() + offset(layer, head);
    }
    /// Scores after the first `entries` observations of pending rows.
    float* scores(std::uint32_t s, std::size_t entries, std::size_t layer, std::size_t head) const noexcept {
        return scores_.data() + (s * (log_size_ + 1) + entries) * all_tokens() + offset(layer, head);
    }

    void clear(std::uint32_t s) noexcept {
        std::fill_n(kept_.data() + s * layers_, layers_, 0u);
        sequence_[s] = {.first_lost = none_lost, .entries = 0};
        if (observes()) std::fill_n(observed_.data() + s * layers_, layers_, 0u);
    }

    /// Observations in the log, and the pending rows after each.
    std::size_t entries(std::uint32_t s) const noexcept { return sequence_[s].entries; }
    std::size_t end(std::uint32_t s, std::size_t entry) const noexcept { return ends_[s * log_size_ + entry]; }
    std::size_t free_entries(std::uint32_t s) const noexcept { return log_size_ - sequence_[s].entries; }

    /// Entries for a step of so many rows, of which there are always `free` at most.
    std::size_t wanted_entries(std::size_t rows, std::size_t free) const noexcept {
        if (whole_steps(policy_)) return observed_rows(policy_, rows) == 0 ? 0 : 1;
        return std::min(rows, std::max<std::size_t>(free, 1));
    }

    /// Notes pending tokens at p … p + rows - 1, `pending` of the sequence before them. There is room.
    void append(std::uint32_t s, std::size_t pending, position p, std::size_t rows) noexcept {
        for (std::size_t layer = 0; layer < layers_; ++layer)
            for (std::size_t h = 0; h < kv_heads_; ++h) {
                position* at = positions(s, layer, h) + kept(s, layer) + pending;
                std::iota(at, at + rows, p);
            }
        if (!observes()) return;
        const std::size_t n = wanted_entries(rows, free_entries(s));
        for (std::size_t i = 0; i < n; ++i)
            ends_[s * log_size_ + sequence_[s].entries + i] = static_cast<std::uint32_t>(pending + rows - (n - 1 - i));
        sequence_[s].entries += static_cast<std::uint32_t>(n);
    }

    /// Drops what was observed of rows past the first `pending`.
    void cut(std::uint32_t s, std::size_t pending) noexcept {
        std::uint32_t& n = sequence_[s].entries;
        while (n > 0 && end(s, n - 1) > pending) --n;
        for (std::size_t layer = 0; observes() && layer < layers_; ++layer)
            observed_[s * layers_ + layer] = std::min(observed_[s * layers_ + layer], n);
    }

    /// Of a layer, entry `entry`'s scores begin as those before it, those of new tokens fresh; all entries before it are there, too.
    void begin_entry(std::uint32_t s, std::size_t layer, std::size_t entry) noexcept {
        for (std::size_t e = observed_[s * layers_ + layer]; e <= entry; ++e) {
            const std::size_t before = kept(s, layer) + (e == 0 ? 0 : end(s, e - 1)), now = kept(s, layer) + end(s, e);
            for (std::size_t h = 0; h < kv_heads_; ++h) {
                std::copy_n(scores(s, e, layer, h), before, scores(s, e + 1, layer, h));
                std::fill(scores(s, e + 1, layer, h) + before, scores(s, e + 1, layer, h) + now, fresh_score(policy_));
            }
        }
        observed_[s * layers_ + layer] = static_cast<std::uint32_t>(entry);
    }
    void end_entry(std::uint32_t s, std::size_t layer, std::size_t entry) noexcept {
        observed_[s * layers_ + layer] = static_cast<std::uint32_t>(entry + 1);
    }

    kept_tokens tokens(std::uint32_t s, std::size_t entries, std::size_t layer, std::size_t head, std::size_t count) const noexcept {
        return {.layer = layer,
                .kv_head = head,
                .budget = place(layer).budget,
                .positions = {positions(s, layer, head), count},
                .scores = observes() ? std::span(scores(s, entries, layer, head), count) : std::span<float>{}};
    }

    /// Makes `pending` tokens permanent, and drops what is then too much: none from the position `stay` on, of which there are no more than
    /// a layer's budget. move(layer, head, from, to, count) moves the rows of slots, lose(layer, head, positions) tells what is dropped.
    /// Strong guarantee: only the policy may throw, before anything has changed.
    template <class Move, class Lose>
    void commit(std::uint32_t s, std::size_t pending, position stay, const Move& move, const Lose& lose) {
        for (std::size_t layer = 0; layer < layers_; ++layer) choose(s, layer, kept(s, layer) + pending, stay);
        for (std::size_t layer = 0; layer < layers_; ++layer) {
            const std::size_t n = kept(s, layer) + pending, latest = latest_entry(s, layer);
            for (std::size_t h = 0; h < kv_heads_; ++h) compact(s, layer, h, n, latest, move, lose);
            kept_[s * layers_ + layer] = static_cast<std::uint32_t>(n - excess(layer, n));
        }
        sequence_[s].entries = 0;
        if (observes()) std::fill_n(observed_.data() + s * layers_, layers_, 0u);
    }

    /// The first `length` tokens of all, of which none has been dropped.
    void shorten(std::uint32_t s, std::size_t length) noexcept {
        clear(s);
        std::fill_n(kept_.data() + s * layers_, layers_, static_cast<std::uint32_t>(length));
    }

    /// Committed tokens only.
    void copy(std::uint32_t from, std::uint32_t to) noexcept {
        clear(to);
        sequence_[to].first_lost = sequence_[from].first_lost;
        for (std::size_t layer = 0; layer < layers_; ++layer) {
            kept_[to * layers_ + layer] = kept_[from * layers_ + layer];
            for (std::size_t h = 0; h < kv_heads_; ++h) {
                std::copy_n(positions(from, layer, h), kept(from, layer), positions(to, layer, h));
                if (observes()) std::copy_n(scores(from, 0, layer, h), kept(from, layer), scores(to, 0, layer, h));
            }
        }
    }

    // Of a stream: the least position lost, and of each layer how many tokens are kept, then head after head their positions and scores;
    // rows(layer, head, count) goes on with what belongs to these.

    /// The first `length` committed tokens: all that are kept of all, or, of fewer, those of which none has been dropped.
    template <class Rows>
    void write(std::uint32_t s, position length, bool all, const state_put& put, const Rows& rows) const {
        put_number(put, all ? first_lost(s) : none_lost);
        for (std::size_t layer = 0; layer < layers_; ++layer) {
            const std::size_t count = all ? kept(s, layer) : static_cast<std::size_t>(length);
            put_number(put, static_cast<std::uint32_t>(count));
            for (std::size_t h = 0; h < kv_heads_; ++h) {
                put(std::as_bytes(std::span(positions(s, layer, h), count)));
                if (observes()) put(std::as_bytes(std::span(scores(s, 0, layer, h), count)));
                rows(layer, h, count);
            }
        }
    }

    /// Throws errc::bad_file for what cannot be left of so many tokens; nothing is kept then.
    template <class Rows>
    void read(std::uint32_t s, position length, const state_get& get, std::string_view place, const Rows& rows) {
        const auto refuse = [&](const auto&... what) { fail(errc::bad_file, place, what...); };
        clear(s);
        try {
            const auto lost = get_number<position>(get);
            if (lost != none_lost && (lost < 0 || lost >= length))
                refuse("the first token that it lost is said to be ", lost, " of ", length);
            const auto whole = static_cast<std::size_t>(std::min(lost, length));
            for (std::size_t layer = 0; layer < layers_; ++layer) {
                const std::size_t count = get_number<std::uint32_t>(get), most = places_[layer].budget + slack_;
                if (count > most || count > static_cast<std::size_t>(length) || count < whole)
                    refuse("layer ", layer, " is said to keep ", count, " of ", length, " tokens; it keeps at most ", most, ", and ", whole,
                           " at least");
                for (std::size_t h = 0; h < kv_heads_; ++h) {
                    const std::span<position> at(positions(s, layer, h), count);
                    get(std::as_writable_bytes(at));
                    for (std::size_t i = 0; i < count; ++i)
                        if (at[i] >= length || at[i] < (i == 0 ? 0 : at[i - 1] + 1) || (i < whole && at[i] != static_cast<position>(i)))
                            refuse("the positions that layer ", layer, " keeps, ", at[i], " among them, are not some of ", length,
                                   " in ascending order, all before the first lost");
                    if (observes()) get(std::as_writable_bytes(std::span(scores(s, 0, layer, h), count)));
                    rows(layer, h, count);
                }
                kept_[s * layers_ + layer] = static_cast<std::uint32_t>(count);
            }
            sequence_[s].first_lost = lost;
        } catch (...) {
            clear(s);
            throw;
        }
    }

private:
    struct sequence_part {
        position first_lost;
        std::uint32_t entries;
    };

    std::size_t offset(std::size_t layer, std::size_t head) const noexcept {
        return places_[layer].tokens + head * places_[layer].capacity;
    }
    std::size_t excess(std::size_t layer, std::size_t n) const noexcept {
        return n > places_[layer].budget + slack_ ? n - places_[layer].budget : 0;
    }
    std::size_t latest_entry(std::uint32_t s, std::size_t layer) const noexcept { return observes() ? observed_[s * layers_ + layer] : 0; }

    /// Marks the slots of each head that are to go.
    void choose(std::uint32_t s, std::size_t layer, std::size_t n, position stay) {
        const std::size_t latest = latest_entry(s, layer), excess = this->excess(layer, n);
        for (std::size_t h = 0; h < kv_heads_; ++h) {
            if (observes()) {
                const std::size_t covered = kept(s, layer) + (latest == 0 ? 0 : end(s, latest - 1));
                std::fill(scores(s, latest, layer, h) + covered, scores(s, latest, layer, h) + n, fresh_score(policy_));
            }
            std::uint8_t* dropped = dropped_.data() + offset(layer, h);
            std::fill_n(dropped, n, std::uint8_t{0});
            if (excess == 0) continue;
            const kept_tokens all = tokens(s, latest, layer, h, n);
            policy_.worth(all, worth_.span().first(n));
            for (float& x : worth_.span().first(n))
                if (std::isnan(x)) x = -std::numeric_limits<float>::infinity();
            for (std::size_t i = n; i-- > 0 && all.positions[i] >= stay;) worth_[i] = std::numeric_limits<float>::infinity();
            std::iota(order_.data(), order_.data() + n, 0u);
            std::nth_element(order_.data(), order_.data() + excess, order_.data() + n,
                             [&](std::uint32_t a, std::uint32_t b) { return worth_[a] != worth_[b] ? worth_[a] < worth_[b] : a < b; });
            for (std::size_t i = 0; i < excess; ++i) dropped[order_[i]] = 1;
        }
    }

    template <class Move, class Lose>
    void compact(std::uint32_t s, std::size_t layer, std::size_t h, std::size_t n, std::size_t latest, const Move& move,
                 const Lose& lose) noexcept {
        const std::uint8_t* dropped = dropped_.data() + offset(layer, h);
        position* at = positions(s, layer, h);
        const float* score = observes() ? scores(s, latest, layer, h) : nullptr;
        float* base = observes() ? scores(s, 0, layer, h) : nullptr;
        std::size_t to = 0;
        for (std::size_t from = 0, end; from < n; from = end) {
            const std::uint8_t gone = dropped[from];
            for (end = from + 1; end < n && dropped[end] == gone;) ++end;
            if (gone) {
                sequence_[s].first_lost = std::min(sequence_[s].first_lost, at[from]);
                lose(layer, h, std::span<const position>(at + from, end - from));
                continue;
            }
            if (to != from) {
                std::copy(at + from, at + end, at + to);
                move(layer, h, from, to, end - from);
            }
            if (score != nullptr && (to != from || score != base)) std::copy(score + from, score + end, base + to);
            to += end - from;
        }
    }

    Policy policy_;
    std::size_t layers_, kv_heads_, sequences_, log_size_, slack_, most_ = 0;
    buffer<layer_place> places_;      // (layers + 1)
    buffer<sequence_part> sequence_;  // (sequences)
    buffer<std::uint32_t> kept_;      // (sequences, layers)
    buffer<position> positions_;      // (sequences, tokens): layers, heads, slots
    buffer<std::uint8_t> dropped_;    // (tokens)
    buffer<float> worth_;             // (slots of the largest layer)
    buffer<std::uint32_t> order_;     // the same
    buffer<float> scores_;            // (sequences, 1 + log, tokens)
    buffer<std::uint32_t> ends_;      // (sequences, log)
    buffer<std::uint32_t> observed_;  // (sequences, layers): entries that are there
};

}  // namespace detail

}  // namespace skald::kv
