// SPDX-License-Identifier: MIT
#pragma once
// Random operations on a cache beside a naive model of it (random_cache.hpp). After each operation lengths, bytes, what is kept and some
// of the rows are compared; now and then all rows and who holds how many blocks. What disagrees is a failure that names the operation;
// the same seed does the same operations again. SKALD_KV_OPERATIONS sets how many operations each policy does.
#include <cstdlib>

#include "kv/random_cache.hpp"
#include "kv/random_saves.hpp"
#include "kv/random_sharing.hpp"
#include "kv/random_steps.hpp"
#include "support/catch.hpp"

namespace skald::test {

template <class Policy>
void one_operation(random_cache<Policy>& c) {
    constexpr bool shares = random_cache<Policy>::shares;
    const std::size_t what = c.pick(100);
    if constexpr (shares)
        if ((c.sequences.empty() || (what >= 66 && what < 71)) && c.pick(2) == 0) return open_with(c);
    if (c.sequences.empty()) return open(c);
    if (what < 45) return step(c);
    if (what < 58) return commit(c);
    if (what < 66) return roll_back(c);
    if (what < 71) return open(c);
    if (what < 76) return fork(c);
    if (what < 80) return truncate(c);
    if (what < 84) return close(c);
    if (what < 86) return save(c);
    if (what < 88) return restore(c);
    if (what < 90) return misuse(c);
    if (what < 91) return audit(c);
    if constexpr (shares) return what < 97 ? remember(c) : share(c);
    return step(c);
}

/// Throws a mismatch.
template <class Policy>
void operate(random_cache<Policy>& c, std::size_t operations) {
    const auto named = [&](const auto& f) {
        try {
            f();
        } catch (const mismatch& m) {
            c.fail_here(m.what);
        } catch (const error& e) {
            c.fail_here(concat("an error that was not expected: ", e.what()));
        }
    };
    for (c.number = 0; c.number < operations; ++c.number)
        named([&] {
            one_operation(c);
            c.settled();
        });
    named([&] { close_all(c); });
}

/// As many operations as the environment asks for, `usual` by itself.
template <class Policy>
void check_random_operations(std::size_t usual) {
    const char* const wanted = std::getenv("SKALD_KV_OPERATIONS");
    const std::size_t operations = wanted == nullptr ? usual : std::strtoull(wanted, nullptr, 10);
    const auto seed = static_cast<std::uint32_t>(Catch::rngSeed());
    CAPTURE(seed, operations);
    random_cache<Policy> c(seed);
    try {
        operate(c, operations);
    } catch (const mismatch& m) {
        FAIL(m.what << "; the seed: " << seed);
    }
    if (operations < 2000) return;
    using cache = typename random_cache<Policy>::cache_type;
    constexpr bool goes_back = Policy::keeps_all && !kv::storable_cache<cache>;  // to any length
    const operation_counts& n = c.counts;
    CHECK(n.steps > operations / 8);
    CHECK(n.full_steps > 0);
    CHECK(n.full_slots > 0);
    CHECK(n.truncations > 0);
    CHECK((n.refused_truncations > 0) == !goes_back);
    CHECK(n.forks > 0);
    CHECK(n.saves > 0);
    CHECK((n.refused_saves > 0) == !goes_back);
    CHECK(n.restores > 0);
    CHECK(n.audits > 0);
    if constexpr (random_cache<Policy>::has_pool) CHECK(n.full_restores > 0);
    if constexpr (random_cache<Policy>::shares) CHECK(n.reused > 0);
}

}  // namespace skald::test
