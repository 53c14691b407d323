// SPDX-License-Identifier: MIT
#pragma once
// The KV cache role: who keeps the keys and values of which sequence, and how they are read. A policy (`contiguous`, `paged`,
// `ring`) is a plain value with options; bound to a model's shape and a memory resource it makes a cache. The forward asks the cache
// once a step for a plan (which rows stand at which positions) and once a layer for a view, which is trivially copyable.
//
// All growth is transactional. plan() appends pending tokens to every segment or to none; commit() makes them permanent;
// rollback() drops them. An error, a cancelled step and a rejected draft take the same way back.
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/codec.hpp>

namespace skald::kv {

/// What a model needs kept for every token.
struct cache_shape {
    std::size_t layers = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    std::size_t rope_pairs = 0;  ///< frequencies of all the model's ropes together; for caches that keep keys before rope
    /// A row is key and value in one (multi-head latent attention, attention/mla.hpp): storages keep it once, and their runs' value() gives
    /// the address of the key.
    bool latent = false;

    /// Rows of a token and head: a key and a value, or one that is both.
    std::size_t planes() const noexcept { return latent ? 1 : 2; }

    /// head_dim padded to whole vectors; the pad holds zeros.
    std::size_t width() const noexcept { return round_up(head_dim, lane_count); }
};

/// A sequence of one cache; invalid after close().
struct sequence_id {
    std::uint32_t index = 0;
    friend bool operator==(sequence_id, sequence_id) = default;
    friend auto operator<=>(sequence_id, sequence_id) = default;
};

/// A length to roll back to.
struct checkpoint {
    position length = 0;
};

/// The rows of one sequence in a step: batch rows [first_row, first_row + rows) follow the sequence's last token. Or they are a tree of
/// drafts that do, as row_range describes them: these stay pending, are rolled back before anything else is appended, and never committed.
struct segment {
    sequence_id sequence;
    std::size_t first_row = 0;
    std::size_t rows = 0;
    std::span<const std::uint32_t> parents{};  // (rows), or empty: a text. Outlives the step
};

/// A step that is only thought of: rows that follow open sequences, and rows of sequences that are yet to be opened.
struct step_wish {
    std::span<const segment> segments{};
    std::span<const std::size_t> opened{};  // rows of each
};

/// The window of a cache that keeps all tokens.
inline constexpr std::size_t all_tokens = std::numeric_limits<std::size_t>::max();

/// A KV cache. Not safe for use from several threads at once.
///
/// | member                          | meaning                                                                                |
/// |---------------------------------|----------------------------------------------------------------------------------------|
/// | c.shape()                       | the cache_shape it was made for                                                        |
/// | c.context()                     | the tokens it was asked to have room for                                               |
/// | c.window()                      | the last tokens that a row can see, its own included; all_tokens: every one, or those  |
/// |                                 | that the user chose the cache for showing                                              |
/// | c.bytes()                       | exactly what it took from its memory resource                                          |
/// | c.open() → sequence_id          | a new, empty sequence; errc::cache_full without a free slot                            |
/// | c.close(s)                      | frees the sequence and what only it holds                                              |
/// | c.fork(s) → sequence_id         | a new sequence with the committed tokens of s; errc::cache_full as for open            |
/// | c.length(s)                     | tokens, pending ones included                                                          |
/// | c.mark(s) → checkpoint          | the present length                                                                     |
/// | c.plan(segments)                | appends pending tokens for all segments, or throws and changes nothing; the ranges     |
/// |                                 | stay valid until the next plan                                                         |
/// | c.commit(s)                     | pending tokens become permanent                                                        |
/// | c.rollback(s, checkpoint)       | drops pending tokens past the checkpoint                                               |
/// | c.truncate(s, length)           | drops all tokens past `length`, committed ones too; errc::invalid_argument where it    |
/// |                                 | does not keep what rows from there on see                                              |
/// | c.keeps(s, length)              | whether it does, and truncate(s, length) is possible                                   |
/// | c.view(layer)                   | what kernels read and write in the planned step: a tuple of kv_run                     |
/// | c.select(s)                     | ends the step; view(layer) then shows the committed tokens of s as segment 0, to read  |
/// | schedule_invariant              | true when what row p reads depends on positions only                                   |
///
/// Where sequences share room, c.has_room(wish, leaving) says whether plan() would take a step if the sequences `leaving`, which are not in
/// it, were closed; it throws what plan() throws for segments that are none.
///
/// A cache whose view has a turning_run says by c.farthest() which position the queries of rows past it are turned to.
/// One whose steps may not reach any position says by c.step_room(s) how many rows the next step of s may have at most.
template <class C>
concept kv_cache = requires(C c, const C k, sequence_id s, checkpoint m, std::span<const segment> segments, std::size_t layer, position p) {
    { k.shape() } -> std::convertible_to<cache_shape>;
    { k.context() } -> std::same_as<std::size_t>;
    { k.window() } -> std::same_as<std::size_t>;
    { k.bytes() } -> std::same_as<std::size_t>;
    { c.open() } -> std::same_as<sequence_id>;
    c.close(s);
    { c.fork(s) } -> std::same_as<sequence_id>;
    { k.length(s) } -> std::same_as<position>;
    { k.mark(s) } -> std::same_as<checkpoint>;
    { c.plan(segments) } -> std::same_as<std::span<const row_range>>;
    c.commit(s);
    c.rollback(s, m);
    c.truncate(s, p);
    { k.keeps(s, p) } -> std::same_as<bool>;
    { C::schedule_invariant } -> std::convertible_to<bool>;
};

/// The position that queries of rows past it are turned to; that of caches which turn none is the last there is.
inline constexpr position no_turn = std::numeric_limits<position>::max();
template <kv_cache C>
position farthest(const C& cache) {
    if constexpr (requires { cache.farthest(); })
        return cache.farthest();
    else
        return no_turn;
}

/// How many rows the next step of s may have as far as where it ends is concerned; at least 1.
template <kv_cache C>
std::size_t step_room(const C& cache, sequence_id s) {
    if constexpr (requires { cache.step_room(s); })
        return cache.step_room(s);
    else
        return all_tokens;
}

/// Whether what row p reads depends on positions only; a cache of a run-time kind says so itself.
template <kv_cache C>
bool reads_by_position(const C& c) {
    if constexpr (requires { c.reads_by_position(); })
        return c.reads_by_position();
    else
        return C::schedule_invariant;
}

/// What open_with() gives: a new sequence, and how many of the prompt's tokens it holds already.
struct opened_sequence {
    sequence_id sequence;
    std::size_t reused = 0;
};

/// A cache that hands the beginnings of earlier sequences on to new ones.
///
/// | member                                | meaning                                                                          |
/// |---------------------------------------|----------------------------------------------------------------------------------|
/// | c.open_with(prompt) → opened_sequence | a new sequence that begins with the prompt's first `reused` tokens, committed;   |
/// |                                       | at most prompt.size() - 1, so that a token is left whose logits follow; throws   |
/// |                                       | as open, and nothing else                                                        |
/// | c.reusable(prompt)                    | the `reused` that open_with(prompt) would give now                               |
/// | c.remember(s, tokens)                 | offers the first tokens of s, committed ones, to later sequences                 |
template <class C>
concept prefix_sharing = kv_cache<C> && requires(C c, const C k, sequence_id s, std::span<const token_id> tokens) {
    { c.open_with(tokens) } -> std::same_as<opened_sequence>;
    { k.reusable(tokens) } -> std::same_as<std::size_t>;
    c.remember(s, tokens);
};

/// Tokens that a cache holds until unpin().
struct pinned_prefix {
    std::uint32_t last = std::numeric_limits<std::uint32_t>::max();  ///< the cache's own name for its last tokens
    std::size_t tokens = 0;                                          ///< its length
};

/// A cache that shares, and keeps some beginnings whatever is evicted.
///
/// | member                                | meaning                                                                          |
/// |---------------------------------------|----------------------------------------------------------------------------------|
/// | c.pin(tokens) → pinned_prefix         | holds the longest known beginning of `tokens` until unpin()                      |
/// | c.unpin(pinned)                       | ends a pin; errc::invalid_argument for one that is none                          |
template <class C>
concept prefix_pinning = prefix_sharing<C> && requires(C c, std::span<const token_id> tokens, pinned_prefix pinned) {
    { c.pin(tokens) } -> std::same_as<pinned_prefix>;
    c.unpin(pinned);
};

/// A value that makes caches: options plus the choice of storage and codec in its type.
template <class P>
concept policy = std::copyable<P> && requires(const P p, const cache_shape& shape, std::pmr::memory_resource* memory) {
    requires kv_cache<typename P::cache>;
    { p.make(shape, memory) } -> std::same_as<typename P::cache>;
    { p.bytes(shape) } -> std::same_as<std::size_t>;
    { p.max_length() } -> std::same_as<std::size_t>;
    { p.name() } -> std::convertible_to<std::string>;
};

/// For storages that cannot keep latents. Throws errc::unsupported for a shape that asks for it.
inline void require_values(const cache_shape& shape) {
    if (shape.latent)
        fail(errc::unsupported, "kv cache",
             "the model keeps latents, rows that are key and value in one; use contiguous, paged or radix storage");
}

/// Says in the user's terms what stands where a storage takes its codec, or a pipeline its cache, and does not belong there.
template <class T>
constexpr bool require_codec() {
    constexpr bool nested = requires { typename T::cache; };
    static_assert(!nested, "skald: a storage cannot hold another storage; name one, with a codec, as kv::paged<kv::q8>");
    static_assert(nested || codec<T>,
                  "skald: the rows of a storage are kept by a codec, as kv::f16 or kv::q8; one of your own has the members of kv::codec");
    return true;
}
template <class T>
constexpr bool require_rotated() {
    static_assert(!unrotated_codec<T>, "skald: this storage keeps rotated keys; kv::unroped goes with contiguous, paged and radix storage");
    return true;
}
template <class T>
constexpr bool require_untransformed() {
    static_assert(!hadamard_codec<T>,
                  "skald: kv::hadamard goes with storage all of whose rows one codec keeps: contiguous, paged, radix, ring and window");
    return true;
}
template <class T>
constexpr bool require_policy() {
    static_assert(!kv_cache<T>,
                  "skald: this takes the policy that makes a cache, as kv::paged<>{{.tokens = 4096}}, not a cache made by it");
    static_assert(!codec<T>, "skald: a codec alone is no cache; name a storage with it, as kv::paged<kv::q8>{{.tokens = 4096}}");
    static_assert(kv_cache<T> || codec<T> || policy<T>,
                  "skald: a cache is chosen by a policy, as kv::paged<>{{.tokens = 4096}}; one of your own has the members of kv::policy");
    return true;
}

/// The most rows of one sequence that a step into a policy's cache may hold: the policy's max_step(), where it has one.
template <policy P>
std::size_t longest_step(const P& p) {
    if constexpr (requires { p.max_step(); })
        return p.max_step();
    else
        return all_tokens;
}

/// The tokens that a sequence can reach: of a policy whose room depends on the model, as budget.hpp, its max_length(shape).
template <policy P>
std::size_t max_length(const P& p, const cache_shape& shape) {
    if constexpr (requires { p.max_length(shape); })
        return p.max_length(shape);
    else
        return p.max_length();
}

namespace detail {

/// Refuses what cannot be the rows of segment i, whatever the cache holds.
inline void check_rows(const segment& segment, std::size_t i) {
    if (segment.rows == 0) fail(errc::invalid_argument, "batch", "segment ", i, " has no rows");
    if (segment.parents.empty()) return;
    if (segment.parents.size() != segment.rows)
        fail(errc::invalid_argument, "batch", "segment ", i, " has ", segment.rows, " rows and ", segment.parents.size(), " parents");
    for (std::size_t row = 0; row < segment.rows; ++row)
        if (segment.parents[row] != no_parent && segment.parents[row] >= row)
            fail(errc::invalid_argument, "batch", "row ", row, " of segment ", i, " has the parent ", segment.parents[row],
                 "; parents stand before their children");
}

/// Tokens of one sequence, as every storage counts them.
struct sequence_state {
    position length = 0;
    position committed = 0;
    bool open = false;
    bool tree = false;  ///< the pending tokens end with a tree's
};

/// The bookkeeping of sequences that all storages share: slots, lengths, checkpoints, and the checks on them. Slots are
/// allocated once; nothing here throws but on misuse and exhaustion.
class sequence_table {
public:
    sequence_table(std::size_t sequences, std::pmr::memory_resource* memory) : states_(sequences, memory), ranges_(sequences, memory) {
        for (sequence_state& s : states_.span()) s = {};
    }

    static std::size_t bytes(std::size_t sequences) noexcept {
        return buffer<sequence_state>::bytes_for(sequences) + buffer<row_range>::bytes_for(sequences);
    }

    sequence_id open() {
        for (std::size_t i = 0; i < states_.size(); ++i) {
            if (states_[i].open) continue;
            states_[i] = {.length = 0, .committed = 0, .open = true};
            return {static_cast<std::uint32_t>(i)};
        }
        fail(errc::cache_full, "kv cache", "all ", states_.size(), " sequences are in use; close one or raise .sequences");
    }

    sequence_state& at(sequence_id s) {
        check(s);
        return states_[s.index];
    }
    const sequence_state& at(sequence_id s) const {
        check(s);
        return states_[s.index];
    }

    std::size_t size() const noexcept { return states_.size(); }
    std::span<const sequence_state> states() const noexcept { return states_.span(); }

    void commit(sequence_id s) {
        sequence_state& state = at(s);
        if (state.tree)
            fail(errc::invalid_argument, "kv cache", "the pending tokens of sequence ", s.index,
                 " are a tree; roll them back and append a text");
        state.committed = state.length;
    }

    void rollback(sequence_id s, checkpoint to) {
        sequence_state& state = at(s);
        if (to.length < state.committed || to.length > state.length)
            fail(errc::invalid_argument, "kv cache", "rollback to ", to.length, " is outside the pending tokens ", state.committed, " to ",
                 state.length);
        state.tree = state.tree && to.length == state.length;
        state.length = to.length;
    }

    bool keeps(sequence_id s, position length) const { return length >= 0 && length <= at(s).length; }

    void truncate(sequence_id s, position length) {
        sequence_state& state = at(s);
        if (length < 0 || length > state.length)
            fail(errc::invalid_argument, "kv cache", "truncation to ", length, " of a sequence of ", state.length, " tokens");
        state.tree = state.tree && length == state.length;
        state.length = length;
        if (state.committed > length) state.committed = length;
    }

    /// Checks the segments of a step: open sequences, each once, with rows.
    void check(std::span<const segment> segments) const {
        if (segments.size() > states_.size())
            fail(errc::invalid_argument, "batch", segments.size(), " segments for a cache of ", states_.size(), " sequences");
        for (std::size_t i = 0; i < segments.size(); ++i) {
            check(segments[i].sequence);
            if (at(segments[i].sequence).tree)
                fail(errc::invalid_argument, "batch", "segment ", i, " follows a tree in sequence ", segments[i].sequence.index,
                     "; roll it back first");
            check_rows(segments[i], i);
            for (std::size_t j = 0; j < i; ++j)
                if (segments[j].sequence == segments[i].sequence)
                    fail(errc::invalid_argument, "batch", "sequence ", segments[i].sequence.index, " stands in two segments of one step");
        }
    }

    /// Appends the segments' rows, which the storage has made room for, and says where they stand.
    std::span<const row_range> append(std::span<const segment> segments) noexcept {
        for (std::size_t i = 0; i < segments.size(); ++i) {
            sequence_state& state = states_[segments[i].sequence.index];
            ranges_[i] = {.first_row = segments[i].first_row,
                          .rows = segments[i].rows,
                          .first_position = state.length,
                          .parents = segments[i].parents.empty() ? nullptr : segments[i].parents.data()};
            state.tree = !segments[i].parents.empty();
            state.length += static_cast<position>(segments[i].rows);
        }
        return {ranges_.data(), segments.size()};
    }

private:
    void check(sequence_id s) const {
        if (s.index >= states_.size() || !states_[s.index].open)
            fail(errc::invalid_argument, "kv cache", "sequence ", s.index, " is not open");
    }

    buffer<sequence_state> states_;
    buffer<row_range> ranges_;
};

}  // namespace detail

}  // namespace skald::kv
