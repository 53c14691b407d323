// SPDX-License-Identifier: MIT
// Text from bytes in portions.
#include <random>
#include <string>
#include <string_view>

#include <skald/text/stream_decoder.hpp>

#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;

namespace {

std::string decode_at_once(std::string_view bytes) {
    text::stream_decoder d;
    std::string out(d.push(bytes));
    return out += d.flush();
}

}  // namespace

TEST_CASE("half a code point is held back until it is whole") {
    text::stream_decoder d;
    CHECK(d.push("a\xF0\x9F") == "a");
    CHECK(d.pending() == 2);
    CHECK(d.push("\xA6").empty());
    CHECK(d.pending() == 3);
    CHECK(d.push("\x99!") == "🦙!");
    CHECK(d.pending() == 0);
    CHECK(d.flush().empty());
}

TEST_CASE("bytes that are no UTF-8 become U+FFFD, one for each longest start of a code point") {
    const std::string r = "\uFFFD";
    CHECK(decode_at_once("\x80z") == r + "z");
    CHECK(decode_at_once("\xF0\x9Fz") == r + "z");
    CHECK(decode_at_once("\xF0\x9F") == r);
    CHECK(decode_at_once("\xE4\xB8\xE4\xB8\xAD") == r + "中");
    CHECK(decode_at_once("\xED\xA0\x80") == r + r + r);
    CHECK(decode_at_once("\xC0\xAF\xF5\xFF") == r + r + r + r);
    CHECK(decode_at_once("\xF4\x90\x80\x80") == r + r + r + r);
    // The example of the Unicode standard, table 3-11.
    CHECK(decode_at_once("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == r + r + r + r + "A");
}

TEST_CASE("the text does not depend on how the bytes are divided, is valid UTF-8, and little is held back") {
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 2000; ++round) {
        const std::string bytes = random_text(random, random() % 40, round % 2 == 0);
        text::stream_decoder d;
        std::string out;
        for (std::size_t at = 0; at < bytes.size();) {
            const std::size_t n = random() % 4;
            out += d.push(std::string_view(bytes).substr(at, n));
            at += n;
            REQUIRE(d.pending() <= 3);
            REQUIRE(io::detail::is_utf8(out));
        }
        out += d.flush();
        REQUIRE(out == decode_at_once(bytes));
        if (io::detail::is_utf8(bytes)) REQUIRE(out == bytes);
    }
}
