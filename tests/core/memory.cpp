// SPDX-License-Identifier: MIT
// The memory resources that watch.
#include <cstddef>
#include <memory_resource>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <skald/core/memory.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

/// Refuses everything.
class empty_resource : public std::pmr::memory_resource {
    void* do_allocate(std::size_t, std::size_t) override { throw std::bad_alloc(); }
    void do_deallocate(void*, std::size_t, std::size_t) override {}
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

}  // namespace

TEST_CASE("a counting resource knows the bytes, their peak and the calls", "[memory]") {
    counting_resource memory;
    CHECK(memory.upstream() == std::pmr::new_delete_resource());
    void* a = memory.allocate(100, 64);
    CHECK(reinterpret_cast<std::uintptr_t>(a) % 64 == 0);
    void* b = memory.allocate(50);
    CHECK(memory.bytes() == 150);
    memory.deallocate(a, 100, 64);
    CHECK(memory.bytes() == 50);
    CHECK(memory.peak_bytes() == 150);
    void* c = memory.allocate(99);
    CHECK(memory.peak_bytes() == 150);
    CHECK(memory.allocations() == 3);
    memory.deallocate(b, 50);
    memory.deallocate(c, 99);
    CHECK(memory.bytes() == 0);
    CHECK(memory.peak_bytes() == 150);
}

TEST_CASE("what upstream refuses is not counted", "[memory]") {
    empty_resource nothing;
    counting_resource counting(&nothing);
    CHECK_THROWS_AS(counting.allocate(10), std::bad_alloc);
    CHECK(counting.bytes() == 0);
    CHECK(counting.peak_bytes() == 0);
    CHECK(counting.allocations() == 0);
    capped_resource capped(100, &nothing);
    CHECK_THROWS_AS(capped.allocate(10), std::bad_alloc);
    CHECK(capped.bytes() == 0);
}

TEST_CASE("several threads may allocate through one resource", "[memory]") {
    counting_resource memory;
    capped_resource capped(3 * 64, &memory);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 2000; ++i) capped.deallocate(capped.allocate(64), 64);
        });
    for (std::thread& t : threads) t.join();
    CHECK(memory.bytes() == 0);
    CHECK(capped.bytes() == 0);
    CHECK(memory.allocations() == 6000);
    CHECK(memory.peak_bytes() >= 64);
    CHECK(memory.peak_bytes() <= 3 * 64);
}

TEST_CASE("a capped resource gives its cap to the last byte and no more", "[memory]") {
    capped_resource memory(100);
    CHECK(memory.cap() == 100);
    void* a = memory.allocate(60);
    void* b = memory.allocate(40);
    CHECK(memory.bytes() == 100);
    CHECK_THROWS_AS(memory.allocate(1), error);
    CHECK(memory.bytes() == 100);
    memory.deallocate(b, 40);
    void* c = memory.allocate(40);
    memory.deallocate(c, 40);
    memory.deallocate(a, 60);
    CHECK(memory.bytes() == 0);
}

TEST_CASE("the refusal of a capped resource names the cap, what is in use and what was asked for", "[memory]") {
    capped_resource memory(1000);
    void* a = memory.allocate(300);
    try {
        memory.deallocate(memory.allocate(701), 701);
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::memory_limit);
        const std::string what = e.what();
        for (const char* number : {"1000", "300", "701"}) {
            CAPTURE(what, number);
            CHECK(what.find(number) != std::string::npos);
        }
    }
    memory.deallocate(a, 300);
}

TEST_CASE("a size near the highest does not wrap around the cap", "[memory]") {
    capped_resource memory(1000);
    void* a = memory.allocate(10);
    CHECK_THROWS_AS(memory.allocate(static_cast<std::size_t>(-1)), error);
    CHECK_THROWS_AS(memory.allocate(static_cast<std::size_t>(-10)), error);
    CHECK(memory.bytes() == 10);
    memory.deallocate(a, 10);
}

TEST_CASE("resources are equal to themselves only", "[memory]") {
    counting_resource a, b;
    CHECK(a.is_equal(a));
    CHECK_FALSE(a.is_equal(b));
    capped_resource c(1), d(1);
    CHECK(c.is_equal(c));
    CHECK_FALSE(c.is_equal(d));
}
