// SPDX-License-Identifier: MIT
#pragma once
// A cache, a naive model of what it holds, and what the random operations on both have in common: names for messages, random picks, and
// what holds after each of them.
#include <array>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/memory.hpp>

#include "kv/random_evictions.hpp"
#include "kv/random_model.hpp"
#include "kv/random_positions.hpp"

namespace skald::test {

/// How often each thing was done, so that a test can see that none is left out.
struct operation_counts {
    std::size_t steps = 0, full_steps = 0, full_slots = 0, truncations = 0, refused_truncations = 0, forks = 0, reused = 0, saves = 0,
                refused_saves = 0, restores = 0, full_restores = 0, audits = 0;
};

/// The code that f throws; none where it does not.
template <class F>
std::optional<errc> thrown(F&& f) {
    try {
        f();
    } catch (const error& e) {
        return e.code();
    }
    return std::nullopt;
}

template <class Policy>
struct random_cache {
    static constexpr std::size_t layers = [] {
        if constexpr (requires { Policy::layers; }) return Policy::layers;
        return std::size_t{2};
    }();
    static constexpr kv::cache_shape shape{.layers = layers, .kv_heads = recorded_kv_heads, .head_dim = 16};
    static constexpr std::size_t slots = 4, tokens = 48;
    using policy_type = decltype(Policy::make(tokens, slots));
    using cache_type = typename policy_type::cache;
    static constexpr bool evicts = requires(const cache_type c, kv::sequence_id s) { c.positions(s, 0, 0); };
    static constexpr bool shares = kv::prefix_sharing<cache_type>;
    static constexpr bool has_pool = requires(const cache_type c) { c.free_blocks(); };
    using rows_type = std::conditional_t<evicts, evicted_rows<Policy, cache_type>, position_rows<Policy, cache_type>>;
    using sequence = typename rows_type::sequence;

    struct saved_state {
        sequence known;
        std::vector<std::byte> bytes;
    };

    std::mt19937 random;
    counting_resource memory;
    policy_type policy = Policy::make(tokens, slots);
    cache_type cache = policy.make(shape, &memory);
    rows_type rows{policy, random};
    std::size_t bytes = cache.bytes();
    std::size_t number = 0;
    std::deque<std::string_view> names;  // of the last operations
    std::vector<sequence> sequences;
    std::array<std::vector<token_id>, 6> texts;
    std::array<saved_state, 3> saved;
    std::vector<std::pair<kv::pinned_prefix, std::vector<token_id>>> pinned;
    operation_counts counts;

    explicit random_cache(std::uint32_t seed) : random(seed) {
        expect(bytes == policy.bytes(shape), "the policy's bytes are not the cache's");
    }
    random_cache(const random_cache&) = delete;
    random_cache& operator=(const random_cache&) = delete;

    [[noreturn]] void fail_here(std::string_view what) const {
        std::string last;
        for (const std::string_view name : names) last += concat(" ", name);
        throw mismatch{concat(policy.name(), ", operation ", number, ": ", what, "; the last ones:", last)};
    }

    std::size_t pick(std::size_t n) { return random() % n; }
    sequence& any_sequence() { return sequences[pick(sequences.size())]; }
    bool has_slot() const noexcept { return sequences.size() < slots; }
    /// What opening a sequence throws.
    std::optional<errc> without_slot() const noexcept { return has_slot() ? std::nullopt : std::optional(errc::cache_full); }
    void name(std::string_view operation) {
        names.push_back(operation);
        if (names.size() > 12) names.pop_front();
    }

    /// Whether beginnings in a pool take a place more.
    static constexpr bool leads = [] {
        if constexpr (requires { Policy::leads; }) return Policy::leads;
        return false;
    }();
    /// Tokens of a block or group, and how many of these the pool has.
    std::size_t block() const {
        if constexpr (requires { block_of(policy.options); })
            return block_of(policy.options);
        else
            return Policy::group;
    }
    std::size_t all_blocks() const { return ceil_div(policy.options.tokens, block()) + (leads ? policy.options.sequences : 0); }

    /// Whether there is room, as far as the model knows; pins may be in the way of what it knows nothing of.
    room expected(room without_pins) const { return without_pins == room::enough && !pinned.empty() ? room::either : without_pins; }
    static void check_room(std::optional<errc> code, room expected, std::string_view what) {
        expect(!code || code == errc::cache_full, concat(what, " is refused otherwise than by cache_full"));
        expect(code ? expected != room::enough : expected != room::none,
               concat(what, code ? " that has room is refused" : " without room"));
    }

    /// Holds after every operation.
    void settled() {
        for (const sequence& s : sequences)
            expect(cache.length(s.id) == static_cast<position>(s.size()) && cache.mark(s.id).length == cache.length(s.id),
                   "another length than that of the model");
        expect(cache.bytes() == bytes && memory.bytes() == bytes, "the cache's bytes have changed");
        if (sequences.empty()) return;
        sequence& s = any_sequence();
        const std::size_t length = pick(s.size() + 2);
        expect(cache.keeps(s.id, static_cast<position>(length)) == rows.keeps(s, length), "keeps() says otherwise than the policy");
        if (pick(4) == 0) rows.check(cache, s, 4);
    }

    /// A token that often continues a sequence as an earlier text did.
    token_id next_token(const sequence& s) {
        const std::vector<token_id>& t = texts[pick(texts.size())];
        if (t.size() > s.size() && pick(4) != 0 && (s.size() == 0 || t[s.size() - 1] == s.tokens.back())) return t[s.size()];
        return static_cast<token_id>(pick(3));
    }
};

}  // namespace skald::test
