// SPDX-License-Identifier: MIT
// UTF-8 units and the classes of code points.
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/text/detail/utf8.hpp>

#include "support/catch.hpp"

using namespace skald::text::detail;

TEST_CASE("each class has as many code points as in Hugging Face's tokenizers") {
    struct row {
        unsigned bits;
        std::size_t count;
    };
    // Counted by asking tokenizers 0.23.3: \p{L} \p{N} \s \p{P} \p{M}, Digits, [\p{Lu}\p{Lt}] and \p{Ll}.
    for (const row r : {row{letter, 141028}, row{number, 1911}, row{space, 25}, row{punctuation, 855}, row{mark, 2501}, row{digit, 1924},
                        row{upper, 1889}, row{lower, 2258}}) {
        std::size_t n = 0;
        for (char32_t c = 0; c < 0x110000; ++c) n += (class_of(c) & r.bits) != 0;
        CAPTURE(r.bits);
        CHECK(n == r.count);
    }
}

TEST_CASE("code points on the borders of Unicode versions and classes have the classes that tokenizers gives them") {
    CHECK(class_of(0x180E) == 0);                // Mongolian vowel separator: a space in old versions of Unicode
    CHECK(class_of(0x85) == space);              // next line
    CHECK(class_of(0x200B) == 0);                // zero width space
    CHECK(class_of(0x11DE0) == digit);           // a digit of Unicode 17, which Oniguruma does not know yet
    CHECK(class_of(0xBD) == (number | digit));   // ½
    CHECK(class_of(0x1C5) == (letter | upper));  // ǅ, title case
    CHECK(class_of(0x2B0) == letter);            // ʰ, a modifier letter, has no case
    CHECK(class_of(0x301) == mark);
    CHECK(class_of(0x10FFFF) == 0);
}

TEST_CASE("classes of disjoint categories do not overlap") {
    for (char32_t c = 0; c < 0x110000; ++c) {
        const unsigned k = class_of(c);
        const int categories = ((k & letter) != 0) + ((k & number) != 0) + ((k & punctuation) != 0) + ((k & mark) != 0);
        const bool cased = (k & (upper | lower)) != 0;
        if (categories > 1 || (cased && (k & letter) == 0) || (k & (upper | lower)) == (upper | lower) ||
            ((k & number) != 0 && (k & digit) == 0)) {
            CAPTURE(static_cast<unsigned>(c), k);
            FAIL("a code point of two categories");
        }
    }
}

TEST_CASE("every code point is read back from its UTF-8") {
    for (char32_t c = 0; c < 0x110000; ++c) {
        std::string s;
        if (c < 0x80)
            s = {static_cast<char>(c)};
        else if (c < 0x800)
            s = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
        else if (c < 0x10000)
            s = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
        else
            s = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
                 static_cast<char>(0x80 | (c & 0x3F))};
        const unit u = unit_at(s, 0);
        const bool surrogate = c >= 0xD800 && c < 0xE000;
        if (surrogate ? u.length != 1 || u.code != replacement : u.code != c || u.length != s.size()) {
            CAPTURE(static_cast<unsigned>(c));
            FAIL("read as another code point");
        }
    }
}

TEST_CASE("bytes that are no UTF-8 are units of one byte") {
    for (const std::string_view s : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xC3(", "\xE0\x80\x80", "\xE4\xB8", "\xED\xA0\x80",
                                     "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
        const unit u = unit_at(s, 0);
        CHECK(u.length == 1);
        CHECK(u.other());
    }
}
