// SPDX-License-Identifier: MIT
// The thread pool: every part once, whatever runs beside it, inside it or fails in it.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <skald/core/thread_pool.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

/// Runs a region and gives how often each part ran.
std::vector<int> counts(executor& pool, std::size_t parts) {
    std::vector<std::atomic<int>> ran(parts);
    pool.run(parts, [&](std::size_t i) { ++ran[i]; });
    return {ran.begin(), ran.end()};
}

/// Waits until `n` threads are here at one time; false after ten seconds.
bool meet(std::atomic<std::size_t>& here, std::size_t n) {
    ++here;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (here < n)
        if (std::chrono::steady_clock::now() > deadline) return false;
    return true;
}

}  // namespace

TEST_CASE("every part of a region runs once", "[thread_pool]") {
    for (const std::size_t threads : {1, 2, 3, 8}) {
        thread_pool pool(threads);
        CHECK(pool.concurrency() == threads);
        for (const std::size_t parts : {0, 1, 2, 3, 7, 8, 9, 1000}) {
            CAPTURE(threads, parts);
            CHECK(counts(pool, parts) == std::vector<int>(parts, 1));
        }
    }
}

TEST_CASE("a pool has the available processors unless told otherwise", "[thread_pool]") {
    CHECK(thread_pool().concurrency() == available_concurrency());
}

TEST_CASE("many short regions one after another lose no part", "[thread_pool]") {
    for (const std::size_t threads : {2, 4}) {  // 4: more threads than processors, on small machines
        thread_pool pool(threads);
        std::size_t wrong = 0;
        for (std::size_t round = 0; round < 20000; ++round) {
            const std::size_t parts = 2 + round % 40;
            std::vector<std::size_t> sum(parts, 0);  // not atomic: run() makes what the parts wrote visible
            pool.run(parts, [&](std::size_t i) { sum[i] += round + i; });
            for (std::size_t i = 0; i < parts; ++i) wrong += sum[i] != round + i;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("as many parts run at one time as the pool has threads", "[thread_pool]") {
    for (const std::size_t threads : {2, 3, 5}) {
        thread_pool pool(threads);
        std::atomic<std::size_t> here = 0, met = 0;
        pool.run(threads, [&](std::size_t) { met += meet(here, threads); });
        CHECK(met == threads);
    }
}

TEST_CASE("no more parts run at one time than the pool has threads, several callers included", "[thread_pool]") {
    thread_pool pool(2);
    std::atomic<int> running = 0, most = 0;
    const auto call = [&] {
        for (int round = 0; round < 200; ++round)
            pool.run(5, [&](std::size_t) {
                const int now = ++running;
                for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
                }
                --running;
            });
    };
    std::thread other(call);
    call();
    other.join();
    CHECK(most >= 1);
    CHECK(most <= 2);
}

TEST_CASE("workers that sleep are woken", "[thread_pool]") {
    thread_pool pool(3);
    for (int round = 0; round < 20; ++round) {
        std::this_thread::sleep_for(5 * thread_pool::linger);
        std::atomic<std::size_t> here = 0, met = 0;
        pool.run(3, [&](std::size_t) { met += meet(here, 3); });
        CHECK(met == 3);
    }
}

TEST_CASE("a caller that sleeps while the last part runs is woken", "[thread_pool]") {
    thread_pool pool(2);
    for (int round = 0; round < 10; ++round) {
        std::atomic<std::size_t> here = 0;
        const auto caller = std::this_thread::get_id();
        pool.run(2, [&](std::size_t) {
            meet(here, 2);
            if (std::this_thread::get_id() != caller) std::this_thread::sleep_for(5 * thread_pool::linger);
        });
        CHECK(here == 2);
    }
}

TEST_CASE("a region inside a part runs on the thread of that part", "[thread_pool]") {
    thread_pool pool(3), other(2);
    std::atomic<int> inner = 0, elsewhere = 0;
    pool.run(6, [&](std::size_t i) {
        const auto here = std::this_thread::get_id();
        (i % 2 == 0 ? pool : other).run(4, [&](std::size_t) {
            ++inner;
            elsewhere += std::this_thread::get_id() != here;
        });
    });
    CHECK(inner == 24);
    CHECK(elsewhere == 0);
}

TEST_CASE("a thread is free again after a region: later regions run in parallel", "[thread_pool]") {
    thread_pool pool(2);
    pool.run(2, [&](std::size_t) { pool.run(2, [](std::size_t) {}); });
    std::atomic<std::size_t> here = 0, met = 0;
    pool.run(2, [&](std::size_t) { met += meet(here, 2); });
    CHECK(met == 2);
}

TEST_CASE("several threads may call a pool at once", "[thread_pool]") {
    thread_pool pool(2);
    std::atomic<std::size_t> wrong = 0;
    std::vector<std::thread> callers;
    for (std::size_t caller = 0; caller < 4; ++caller)
        callers.emplace_back([&, caller] {
            for (std::size_t round = 0; round < 500; ++round) {
                std::vector<std::size_t> out(1 + (round + caller) % 7, 0);
                pool.run(out.size(), [&](std::size_t i) { out[i] = caller * 1000 + i; });
                for (std::size_t i = 0; i < out.size(); ++i) wrong += out[i] != caller * 1000 + i;
            }
        });
    for (std::thread& t : callers) t.join();
    CHECK(wrong == 0);
}

TEST_CASE("an exception of a part reaches the caller after all parts have run", "[thread_pool]") {
    thread_pool pool(3);
    for (const std::size_t parts : {1, 2, 50}) {
        std::atomic<std::size_t> ran = 0;
        CHECK_THROWS_AS(pool.run(parts,
                                 [&](std::size_t i) {
                                     ++ran;
                                     if (i == parts / 2) throw std::out_of_range("part");
                                 }),
                        std::out_of_range);
        CHECK(ran == parts);
        CHECK(counts(pool, parts) == std::vector<int>(parts, 1));  // the pool is as before
    }
}

TEST_CASE("of several exceptions one arrives", "[thread_pool]") {
    thread_pool pool(4);
    for (int round = 0; round < 100; ++round) {
        std::string what;
        try {
            pool.run(8, [](std::size_t i) { throw std::runtime_error(std::to_string(i)); });
        } catch (const std::runtime_error& e) {
            what = e.what();
        }
        CHECK((what.size() == 1 && what[0] >= '0' && what[0] <= '7'));
    }
}

TEST_CASE("an exception inside a nested region ends the outer part it belongs to", "[thread_pool]") {
    thread_pool pool(2);
    std::atomic<int> outer = 0;
    CHECK_THROWS_AS(pool.run(4,
                             [&](std::size_t i) {
                                 pool.run(3, [&](std::size_t k) {
                                     if (i == 1 && k == 1) throw std::logic_error("inner");
                                 });
                                 ++outer;
                             }),
                    std::logic_error);
    CHECK(outer == 3);
}

TEST_CASE("pools come and go, used and unused, awake and asleep", "[thread_pool]") {
    for (int round = 0; round < 50; ++round) {
        const auto pool = std::make_unique<thread_pool>(3);
        if (round % 3 != 0) CHECK(counts(*pool, 5) == std::vector<int>(5, 1));
        if (round % 10 == 0) std::this_thread::sleep_for(3 * thread_pool::linger);
    }
}

TEST_CASE("two pools at work at the same time do not disturb each other", "[thread_pool]") {
    std::atomic<std::size_t> parts = 0;
    const auto call = [&] {
        thread_pool pool(2);
        for (int round = 0; round < 500; ++round) pool.run(3, [&](std::size_t) { ++parts; });
    };
    std::thread other(call);
    call();
    other.join();
    CHECK(parts == 2 * 500 * 3);
}
