// SPDX-License-Identifier: MIT
// Owned memory.
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include <skald/core/buffer.hpp>
#include <skald/core/memory.hpp>

#include "support/catch.hpp"

using namespace skald;

static_assert(!std::is_copy_constructible_v<buffer<float>> && std::is_nothrow_move_constructible_v<buffer<float>>);

TEST_CASE("a buffer takes whole, aligned lines from its resource and gives them back", "[buffer]") {
    counting_resource memory;
    for (const std::size_t size : {1, 15, 16, 17, 1000}) {
        CAPTURE(size);
        const buffer<float> b(size, &memory);
        CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % 64 == 0);
        CHECK(b.size() == size);
        CHECK(b.span().size() == size);
        CHECK(b.bytes() == (size * 4 + 63) / 64 * 64);
        CHECK(memory.bytes() == b.bytes());
        b[size - 1] = 1.0f;
    }
    CHECK(memory.bytes() == 0);
}

TEST_CASE("an empty buffer takes nothing", "[buffer]") {
    counting_resource memory;
    const buffer<int> none(0, &memory);
    CHECK(none.empty());
    CHECK(none.bytes() == 0);
    CHECK(memory.allocations() == 0);
    none.zero();
    buffer<int>().zero();
}

TEST_CASE("zeroing a buffer clears all of it", "[buffer]") {
    const buffer<int> b(37);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = -1;
    b.zero();
    int all = 0;
    for (const int x : b.span()) all |= x;
    CHECK(all == 0);
}

TEST_CASE("moving a buffer moves its memory", "[buffer]") {
    counting_resource first, second;
    {
        buffer<int> a(10, &first), b(20, &second);
        a[3] = 7;
        const int* const data = a.data();
        b = std::move(a);
        CHECK(b.data() == data);
        CHECK(b.size() == 10);
        CHECK(b[3] == 7);
        CHECK(second.bytes() == 0);
        CHECK(first.bytes() == b.bytes());
        buffer<int> c(std::move(b));
        CHECK(c.data() == data);
        CHECK(b.data() == nullptr);  // NOLINT(bugprone-use-after-move)
        CHECK(b.empty());
        c = buffer<int>();
        CHECK(first.bytes() == 0);
    }
    CHECK(first.bytes() == 0);
}

TEST_CASE("a buffer throws what its resource throws", "[buffer]") {
    capped_resource memory(64);
    const buffer<float> b(16, &memory);
    CHECK_THROWS_AS(buffer<float>(1, &memory), error);
}
