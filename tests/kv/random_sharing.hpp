// SPDX-License-Identifier: MIT
#pragma once
// The random operations of caches that hand beginnings on to later sequences, and who holds how many blocks of a pool.
#include <limits>
#include <set>
#include <tuple>

#include "kv/random_cache.hpp"
#include "kv/random_steps.hpp"

namespace skald::test {

template <class Cache>
concept pinning = requires(Cache c, std::span<const token_id> t) { c.unpin(c.pin(t)); };

template <class Policy>
void open_with(random_cache<Policy>& c) {
    c.name("open_with");
    typename random_cache<Policy>::sequence s;
    std::vector<token_id> prompt = c.texts[c.pick(c.texts.size())];
    if (!prompt.empty()) prompt.resize(c.pick(prompt.size() + 1));
    for (std::size_t i = c.pick(9); i != 0; --i) prompt.push_back(static_cast<token_id>(c.pick(3)));
    const std::size_t known = c.cache.reusable(prompt);
    kv::opened_sequence o;
    const auto code = thrown([&] { o = c.cache.open_with(prompt); });
    expect(code == c.without_slot(), "open_with() of a cache with or without slots");
    if (code) return void(++c.counts.full_slots);
    expect(o.reused == known && known <= prompt.size() - (prompt.empty() ? 0 : 1), "open_with() reuses other than it said");
    for (std::size_t i = 0; i < o.reused; ++i) s.push(prompt[i]);
    s.committed = o.reused;
    s.id = o.sequence;
    c.rows.opened(s, o.reused);
    c.counts.reused += o.reused;
    c.sequences.push_back(std::move(s));
    c.rows.check(c.cache, c.sequences.back(), 8);
}

template <class Policy>
void remember(random_cache<Policy>& c) {
    c.name("remember");
    auto& s = c.any_sequence();
    std::vector<token_id> t(s.tokens.begin(), s.tokens.begin() + static_cast<std::ptrdiff_t>(s.committed - c.pick(1 + s.committed / 4)));
    c.cache.remember(s.id, t);
    const std::size_t whole = t.size() / c.block() * c.block();
    c.texts[c.pick(c.texts.size())] = t;
    t.push_back(1);
    expect(c.cache.reusable(t) == whole, "what was remembered is not reusable");
    c.rows.check(c.cache, s, 4);
}

/// What only caches that pin can be asked.
template <class Policy>
void share(random_cache<Policy>& c) {
    auto& cache = c.cache;
    if constexpr (pinning<typename random_cache<Policy>::cache_type>) {
        if (c.pick(3) == 0) {
            c.name("evict");
            const std::size_t before = cache.free_blocks(), gone = cache.evict(c.pick(4));
            expect(cache.free_blocks() == before + gone, "evict() frees other than it says");
        } else if (c.pick(2) == 0 && c.pinned.size() < 3) {
            c.name("pin");
            const std::vector<token_id>& t = c.texts[c.pick(c.texts.size())];
            const kv::pinned_prefix p = cache.pin(t);
            c.pinned.push_back({p, {t.begin(), t.begin() + static_cast<std::ptrdiff_t>(p.tokens)}});
        } else if (!c.pinned.empty()) {
            c.name("unpin");
            for (auto& [pin, text] : c.pinned) {
                std::vector<token_id> longer = text;
                longer.push_back(1);
                expect(cache.reusable(longer) == text.size(), "a pinned prefix is gone");
            }
            cache.unpin(c.pinned.back().first);
            c.pinned.pop_back();
        } else if (c.pick(8) == 0) {
            c.name("forget_all");
            cache.forget_all();
            c.pinned.clear();
            expect(cache.cached_tokens() == 0, "tokens are left when all are forgotten");
        }
    }
}

/// Of a pool of blocks that sequences hold whole or in part: what is not free is held, by sequences or by the tree.
template <class Policy>
void count_blocks(random_cache<Policy>& c) {
    std::set<const std::byte*> held;
    for (const auto& s : c.sequences) {
        c.cache.select(s.id);
        const auto [run] = c.cache.view(0);
        for (std::size_t p = 0; p < s.size(); p += c.block()) held.insert(run.key(0, 0, static_cast<position>(p)));
    }
    const std::size_t gone = c.all_blocks() - c.cache.free_blocks();
    if constexpr (pinning<typename random_cache<Policy>::cache_type>) {
        const std::size_t tree = c.cache.cached_tokens() / c.block();
        expect(gone >= std::max(held.size(), tree) && gone <= held.size() + tree, "blocks are lost, or free while held");
    } else {
        expect(gone == held.size(), concat(gone, " blocks are not free, ", held.size(), " are held"));
    }
}

/// Compares all rows of all sequences, and their blocks with those that are free.
template <class Policy>
void audit(random_cache<Policy>& c) {
    c.name("audit");
    ++c.counts.audits;
    for (auto& s : c.sequences) {
        if (c.pick(2) == 0)
            commit(c, s);
        else
            roll_back(c, s, s.committed);
    }
    for (auto& s : c.sequences) c.rows.check(c.cache, s, std::numeric_limits<std::size_t>::max());
    if constexpr (random_cache<Policy>::has_pool && requires { block_of(c.policy.options); }) count_blocks(c);
}

template <class Policy>
void close_all(random_cache<Policy>& c) {
    c.name("close all");
    for (const auto& s : c.sequences) c.cache.close(s.id);
    c.sequences.clear();
    if constexpr (random_cache<Policy>::has_pool) {
        if constexpr (pinning<typename random_cache<Policy>::cache_type>) {
            const std::size_t held = c.all_blocks() - c.cache.free_blocks(), tree = c.cache.cached_tokens() / c.block();
            expect(held >= tree && held <= (random_cache<Policy>::leads ? 2 * tree : tree),
                   "blocks are lost when all sequences are closed");
            for (const auto& [pin, text] : c.pinned) c.cache.unpin(pin);
            c.pinned.clear();
            c.cache.evict(c.all_blocks());
        }
        expect(c.cache.free_blocks() == c.all_blocks(), "blocks are lost when all sequences are closed and all is forgotten");
    }
}

}  // namespace skald::test
