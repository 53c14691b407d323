// SPDX-License-Identifier: MIT
// Philox4x32-10 against the known answers of its authors (Random123, kat_vectors), and what counter_rng makes of it.
#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include <skald/core/random.hpp>

#include "support/catch.hpp"

using namespace skald;

using words = std::array<std::uint32_t, 4>;

TEST_CASE("philox4x32 gives the published answers", "[random]") {
    CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
          words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("counter_rng is philox of index and stream under the seed, every bit of them", "[random]") {
    const words out = philox4x32({0x89abcdef, 0x01234567, 0x76543210, 0xfedcba98}, {0x55667788, 0x11223344});
    CHECK(counter_rng(0x1122334455667788).bits(0xfedcba9876543210, 0x0123456789abcdef) == (std::uint64_t{out[0]} << 32 | out[1]));
}

TEST_CASE("random numbers are a pure function of seed, stream and index", "[random]") {
    const counter_rng a(7), b(7);
    std::vector<std::uint64_t> forward, backward;
    for (std::uint64_t i = 0; i < 100; ++i) forward.push_back(a.bits(3, i));
    for (std::uint64_t i = 100; i-- > 0;) backward.insert(backward.begin(), b.bits(3, i));
    CHECK(forward == backward);
}

TEST_CASE("seeds, streams and indices all make a difference", "[random]") {
    std::set<std::uint64_t> seen;
    for (std::uint64_t seed = 0; seed < 20; ++seed)
        for (std::uint64_t stream = 0; stream < 20; ++stream)
            for (std::uint64_t index = 0; index < 20; ++index) seen.insert(counter_rng(seed).bits(stream, index));
    CHECK(seen.size() == 20 * 20 * 20);
}

TEST_CASE("uniform numbers lie in [0, 1) and spread evenly", "[random]") {
    constexpr std::uint64_t seed = 5;
    constexpr std::size_t bins = 64, draws = 64000;
    CAPTURE(seed);
    const counter_rng rng(seed);
    std::array<std::size_t, bins> counts{}, counts_double{};
    bool outside = false;
    for (std::size_t i = 0; i < draws; ++i) {
        const float f = rng.uniform(1, i);
        const double d = rng.uniform_double(2, i);
        outside = outside || !(f >= 0 && f < 1 && d >= 0 && d < 1);
        ++counts[static_cast<std::size_t>(f * bins)];
        ++counts_double[static_cast<std::size_t>(d * bins)];
    }
    CHECK_FALSE(outside);
    const auto chi_square = [](const auto& observed) {
        double sum = 0;
        for (const std::size_t n : observed) sum += (static_cast<double>(n) - 1000.0) * (static_cast<double>(n) - 1000.0) / 1000.0;
        return sum;
    };
    // 63 degrees of freedom: a probability of 1e-4 above 111.5, and of 1e-4 below 29.
    CHECK(chi_square(counts) < 111.5);
    CHECK(chi_square(counts) > 29);
    CHECK(chi_square(counts_double) < 111.5);
    CHECK(chi_square(counts_double) > 29);
}

static_assert(counter_rng(1).uniform(0, 0) < 1.0f);  // usable in constant expressions
