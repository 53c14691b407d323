// SPDX-License-Identifier: MIT
// Caches under a number of bytes: random steps, forks and truncations beside a naive model of what each sequence holds, and what goes when
// the bytes are used up.
#include <array>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/budget.hpp>

#include "kv/policies.hpp"
#include "support/catch.hpp"

using namespace skald;

namespace {

constexpr std::size_t kib = 1024;

/// The code of the error that f throws, if it does.
template <class F>
std::optional<errc> thrown(F&& f) {
    try {
        f();
    } catch (const error& e) {
        return e.code();
    }
    return std::nullopt;
}

/// What a sequence should hold.
struct known {
    kv::sequence_id id;
    std::vector<std::uint32_t> writers;  // of each token
    std::size_t committed = 0;
    std::uint64_t used = 0;
    bool evicted = false;
};

/// One random operation after another; all is compared after each.
template <class Policy>
class trace {
    using cache_type = typename Policy::cache;

public:
    trace(const Policy& policy, unsigned seed) : policy_(policy), random_(seed), cache_(policy.make(test::small_shape, &memory_)) {}

    void run(std::size_t operations) {
        for (std::size_t i = 0; i < operations; ++i) {
            one(random_() % 20);
            check();
        }
        INFO("steps " << steps << ", refused " << refused);
        CHECK(steps > operations / 8);
        for (const known& s : sequences_) cache_.close(s.id);
        CHECK(cache_.spilled_bytes() == 0);
    }
    std::size_t steps = 0, refused = 0, lost = 0;
    const cache_type& cache() const { return cache_; }

private:
    void one(std::size_t what) {
        if (sequences_.empty() || what == 0) return open();
        known& s = sequences_[random_() % sequences_.size()];
        if (what < 12) return step();
        if (what < 14) return fork(s);
        if (what == 14) {
            cache_.close(s.id);
            sequences_.erase(sequences_.begin() + (&s - sequences_.data()));
        } else if (what == 15) {
            truncate(s, s.evicted ? 0 : random_() % (s.writers.size() + 1));
        } else if (what < 19 && !s.evicted) {
            if (attempt([&] { cache_.select(s.id); }, {&s})) {
                s.used = ++clock_;
                REQUIRE((s.writers.empty() || test::holds(cache_, 0, s.writers)));
            }
        } else if (s.evicted) {
            CHECK(thrown([&] { cache_.length(s.id); }) == errc::cache_full);
            CHECK(thrown([&] { cache_.fork(s.id); }) == errc::cache_full);
        }
    }

    void open() {
        const auto before = sequences_.size();
        if (attempt([&] { sequences_.push_back({cache_.open(), {}, 0, ++clock_, false}); }))
            CHECK(cache_.length(sequences_.back().id) == 0);
        else
            CHECK(sequences_.size() == before);
    }

    void fork(known& s) {
        if (s.evicted) return;
        known copy = s;
        if (!attempt([&] { copy.id = cache_.fork(s.id); }, {&s})) return;
        copy.used = ++clock_;
        s.used = ++clock_;
        sequences_.push_back(copy);
    }

    void truncate(known& s, std::size_t length) {
        const auto code = thrown([&] { cache_.truncate(s.id, static_cast<position>(length)); });
        if (code == errc::cache_full) return;  // it should have come back for this
        REQUIRE(code == std::nullopt);
        s.writers.resize(length);
        s.committed = length;
        s.evicted = false;
        s.used = ++clock_;
    }

    void step() {
        std::vector<kv::segment> segments;
        std::vector<std::uint32_t> writers;
        std::vector<known*> those;
        for (known& s : sequences_)
            if (!s.evicted && random_() % 3 == 0) {
                segments.push_back({s.id, segments.size() * 40, 1 + random_() % (random_() % 4 == 0 ? 40 : 6)});
                writers.push_back(++writer_);
                those.push_back(&s);
            }
        if (segments.empty()) return;
        std::span<const row_range> ranges;
        if (!attempt([&] { ranges = cache_.plan(segments); }, those)) return;
        ++steps;
        ++clock_;
        test::write_rows(cache_, ranges, writers);
        for (std::size_t i = 0; i < those.size(); ++i) {
            known& s = *those[i];
            REQUIRE(ranges[i].first_position == static_cast<position>(s.writers.size()));
            s.writers.resize(s.writers.size() + segments[i].rows, writers[i]);
            s.used = clock_;
        }
        for (std::size_t i = 0; i < those.size(); ++i) {
            known& s = *those[i];
            REQUIRE(test::holds(cache_, i, s.writers));
            if (random_() % 4 == 0) {
                cache_.rollback(s.id, {static_cast<position>(s.committed)});
                s.writers.resize(s.committed);
            } else {
                cache_.commit(s.id);
                s.committed = s.writers.size();
            }
        }
    }

    /// Whether f worked; where it did not, nothing has gone, where it did, what is gone was unused longer than what is not.
    template <class F>
    bool attempt(F&& f, const std::vector<known*>& those = {}) {
        const kv::budget_counts before = cache_.counts();
        const auto code = thrown(f);
        REQUIRE((code == std::nullopt || code == errc::cache_full));
        const bool worked = code == std::nullopt;
        if (!worked) {
            ++refused;
            CHECK(cache_.counts().evicted == before.evicted);
            CHECK(cache_.counts().spilled == before.spilled);
        }
        std::uint64_t newest_gone = 0, oldest_there = clock_ + 1;
        for (known& s : sequences_) {
            if (s.evicted || s.committed == 0 || std::ranges::find(those, &s) != those.end()) continue;
            if (s.id.index != none && cache_.evicted(s.id)) {
                s.evicted = true;
                ++lost;
                newest_gone = std::max(newest_gone, s.used);
            } else {
                oldest_there = std::min(oldest_there, s.used);
            }
        }
        CHECK(newest_gone <= oldest_there);  // those of one step are as old as one another
        return worked;
    }

    void check() {
        REQUIRE(cache_.bytes() <= policy_.limit);
        REQUIRE(cache_.bytes() == memory_.bytes());
        REQUIRE(memory_.peak_bytes() <= policy_.limit);
        for (const known& s : sequences_) {
            REQUIRE(cache_.evicted(s.id) == s.evicted);
            if (s.evicted) continue;
            REQUIRE(cache_.length(s.id) == static_cast<position>(s.writers.size()));
            REQUIRE(cache_.keeps(s.id, cache_.length(s.id)));
        }
    }

    static constexpr std::uint32_t none = ~0u;
    Policy policy_;
    std::mt19937 random_;
    counting_resource memory_;
    cache_type cache_;
    std::vector<known> sequences_;
    std::uint32_t writer_ = 0;
    std::uint64_t clock_ = 0;
};

const unsigned seed = std::random_device{}();

template <class Policy>
auto traced(const Policy& policy, unsigned rounds = 4) {
    INFO(policy.name() << ", seed " << seed);
    struct totals {
        std::size_t refused = 0, lost = 0, spilled = 0, restored = 0;
    } out;
    for (unsigned i = 0; i < rounds; ++i) {
        trace<Policy> t(policy, seed + i);
        t.run(150);
        out.refused += t.refused;
        out.lost += t.lost;
        out.spilled += t.cache().counts().spilled;
        out.restored += t.cache().counts().restored;
        CHECK(t.cache().counts().evicted == t.lost);
    }
    return out;
}

const kv::paged_options pool{.tokens = 1 << 20, .sequences = 5, .block = 8};

}  // namespace

TEST_CASE("a cache under a budget refuses what it has no room for, and stays as it was", "[kv]") {
    const auto a = traced(kv::budget<kv::paged<kv::f32>>{.limit = 300 * kib, .storage = {pool}});
    CHECK(a.refused > 0);
    CHECK(a.lost == 0);
    const auto b = traced(kv::budget<kv::contiguous<kv::f32>>{.limit = 300 * kib, .storage = {{.tokens = 1 << 20, .sequences = 3}}});
    CHECK(b.refused > 0);
}

TEST_CASE("sequences that take no part in a step are evicted for it, the longest unused ones first", "[kv]") {
    CHECK(traced(kv::budget<kv::paged<kv::f32>, kv::evict_sequences<>>{.limit = 300 * kib, .storage = {pool}}).lost > 0);
    CHECK(traced(kv::budget<kv::radix<kv::f32>, kv::evict_sequences<>>{.limit = 300 * kib, .storage = {pool}}).lost > 0);
    CHECK(traced(kv::budget<kv::contiguous<kv::f32>, kv::evict_sequences<>>{
                     .limit = 300 * kib, .storage = {{.tokens = 1 << 20, .sequences = 2}}, .sequences = 5})
              .lost > 0);
}

TEST_CASE("sequences that take no part in a step go to other memory for it, and come back as they were", "[kv]") {
    counting_resource elsewhere;
    const auto a = traced(kv::budget<kv::paged<kv::f32>, kv::spill_sequences<>>{
        .limit = 300 * kib, .storage = {pool}, .when_full = {&elsewhere}, .sequences = 9});
    CHECK(a.spilled > 0);
    CHECK(a.restored > 0);
    CHECK(a.lost == 0);
    CHECK(elsewhere.peak_bytes() > 0);
    CHECK(elsewhere.bytes() == 0);
    CHECK(traced(kv::budget<kv::contiguous<kv::f32>, kv::spill_sequences<>>{
                     .limit = 300 * kib, .storage = {{.tokens = 1 << 20, .sequences = 2}}, .sequences = 6})
              .restored > 0);
}
