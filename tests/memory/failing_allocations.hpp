// SPDX-License-Identifier: MIT
#pragma once
// Allocations that fail when a test wants it, of this whole program.
#include <atomic>
#include <new>

#include "support/catch.hpp"

namespace skald::test {

extern std::atomic<long> left;  // allocations until one fails; negative: none does
extern std::atomic<long> live;  // allocations that are not given back

/// Runs `body` with its n-th allocation failing, for n = 0, 1, … until it has no n-th one; `check` after each failure. Returns how many
/// there were.
template <class Body, class Check>
long fail_each(Body body, Check check) {
    for (long n = 0;; ++n) {
        const long before = live.load();
        bool threw = false;
        left = n;
        try {
            body();
        } catch (const std::bad_alloc&) {
            threw = true;
        }
        const bool reached = left.exchange(-1) < 0;
        const long leaked = live.load() - before;
        CAPTURE(n, leaked, threw, reached);
        REQUIRE(leaked == 0);
        REQUIRE(threw == reached);
        if (!reached) return n;
        REQUIRE(check());
    }
}

template <class Body>
long fail_each(Body body) {
    return fail_each(body, [] { return true; });
}

}  // namespace skald::test
