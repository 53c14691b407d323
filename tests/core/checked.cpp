// SPDX-License-Identifier: MIT
// Sizes that throw instead of wrapping.
#include <cstdint>
#include <limits>
#include <string>

#include <skald/core/checked.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

constexpr std::uint64_t highest = std::numeric_limits<std::uint64_t>::max();

/// What a failing expression says.
template <class F>
std::string refusal(F f) {
    try {
        f();
    } catch (const error& e) {
        CHECK(e.code() == errc::bad_file);
        CHECK(e.place() == "file.gguf");
        return e.what();
    }
    return "";
}

checked_size size(std::uint64_t value) { return {value, "file.gguf"}; }

}  // namespace

TEST_CASE("checked sizes compute what fits", "[checked]") {
    CHECK((size(3) + 4).value() == 7);
    CHECK((size(highest - 1) + 1).value() == highest);
    CHECK((size(3) * 4).value() == 12);
    CHECK((size(0) * highest).value() == 0);
    CHECK((size(highest) * 0).value() == 0);
    CHECK((size(highest) * 1).value() == highest);
    CHECK((size(1ull << 32) * ((1ull << 32) - 1)).value() == highest - ((1ull << 32) - 1));
    CHECK(size(7).size() == 7);
}

TEST_CASE("checked sums and products that wrap are refused with their operands", "[checked]") {
    CHECK(refusal([] { size(highest) + 1; }).find("18446744073709551615") != std::string::npos);
    CHECK(refusal([] { size(1) + highest; }) != "");
    CHECK(refusal([] { size(1ull << 32) * (1ull << 32); }).find("4294967296") != std::string::npos);
    CHECK(refusal([] { size(3) * (highest / 3 + 1); }) != "");
}

TEST_CASE("checked sizes round up to whole units", "[checked]") {
    CHECK(round_up(size(0), 32).value() == 0);
    CHECK(round_up(size(1), 32).value() == 32);
    CHECK(round_up(size(32), 32).value() == 32);
    CHECK(round_up(size(highest), 1).value() == highest);
    CHECK(refusal([] { round_up(size(highest - 3), 32); }) != "");
}

TEST_CASE("plain sizes round and divide up", "[checked]") {
    CHECK(round_up(std::size_t{0}, std::size_t{64}) == 0);
    CHECK(round_up(std::size_t{65}, std::size_t{64}) == 128);
    CHECK(ceil_div(0, 3) == 0);
    CHECK(ceil_div(6, 3) == 2);
    CHECK(ceil_div(7, 3) == 3);
}
