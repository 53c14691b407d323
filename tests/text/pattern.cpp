// SPDX-License-Identifier: MIT
// Regular expressions: what they match, what is refused, and that no text takes long.
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <skald/text/pattern.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"

using namespace skald;
using matches = std::vector<std::string>;

namespace {

matches all(std::string_view regex, std::string_view text) {
    const text::pattern p(regex);
    text::pattern_matcher m(p);
    m.reset(text);
    matches out;
    for (text::text_range r; m.next(r);) out.emplace_back(text.substr(r.begin, r.end - r.begin));
    return out;
}

}  // namespace

TEST_CASE("patterns match as in Oniguruma") {
    CHECK(all("a|ab", "abab") == matches{"a", "a"});
    CHECK(all("a+?b|a*", "aab") == matches{"aab"});
    CHECK(all("x*", "axxb") == matches{"", "xx", ""});
    CHECK(all("a{2}|a{,1}b", "aaab") == matches{"aa", "ab"});
    CHECK(all("a++a|b", "aab") == matches{"b"});
    CHECK(all("(?>a+|ab)b", "aab") == matches{"aab"});
    CHECK(all("(?=(\\d{3})+(?!\\d))", "1234567").size() == 2);
    CHECK(all("(?<=\\d)[a-z]|(?<!a)b", "1aab") == matches{"a"});
    CHECK(all("^\\w|\\w$|\\bz", "ab\ncd z") == matches{"a", "b", "c", "z"});
    CHECK(all("(?i:S|k)", "sS\u017F\u212Ak") == matches{"s", "S", "\u017F", "\u212A", "k"});
    CHECK(all("(?i)straSs|x", "STRASSX") == matches{"STRASS", "X"});
    CHECK(all("[a-z&&[^aeiou]]+", "straße") == matches{"str"});
    CHECK(all("[^\\W\\d_]+|[]x-]", "a1_b]-") == matches{"a", "b", "]", "-"});
    CHECK(all("\\w", "½") == matches{"½"});
    CHECK(all("[\\w]", "½").empty());
    CHECK(all("\\p{Han}+|\\p{^L}\\P{L}|\\p{Sc}", "日本1 €") == matches{"日本", "1 ", "€"});
    CHECK(all("\\x41|\\u00e9|\\x{4e2d}|\\t", "Aé中\t").size() == 4);
    CHECK(all("{2}x|{", "{2}x{") == matches{"{2}x", "{"});
}

TEST_CASE("bytes that are no UTF-8 belong to complements only") {
    CHECK(all("[^a]", "a\xFF\xC3z") == matches{"\xFF", "\xC3", "z"});
    CHECK(all("\\S|.", "\xE4\xB8") == matches{"\xE4", "\xB8"});
    CHECK(all("\\p{L}|\\p{So}|\\p{Cn}", "\xFF\x80").empty());
}

TEST_CASE("what is no regular expression, or none of those known, is refused with its place") {
    for (const char* bad : {"a(", "a)", "[a", "*a", "a{3,2}", "\\x{110000}", "[z-a]", "\\"}) {
        CAPTURE(bad);
        test::check_error([&] { text::pattern(bad, "here"); }, errc::bad_file, "here", {"offset"});
    }
    for (const char* other : {"\\1", "(?P<n>a)", "\\p{Klingon}", "[[:alpha:]]", "\\k<a>", "(a*)*", "a{2000}", "(?<=a+)b", "\\G"}) {
        CAPTURE(other);
        test::check_error([&] { text::pattern(other, "here"); }, errc::unsupported, "here", {"regular expression"});
    }
    CHECK_THROWS_AS(text::pattern(std::string(100000, 'a')), error);
    CHECK_THROWS_AS(text::pattern(std::string(5000, '(')), error);
    CHECK_THROWS_AS(text::pattern("((((a{900}){900}){900}){900})"), error);
}

TEST_CASE("no text takes more than linear time") {
    const auto start = std::chrono::steady_clock::now();
    for (const char* regex : {"\\s*[\\r\\n]|\\s{1,2}(?!\\S)|x", "(?=(\\d{3})+(?!\\d))", "(?:a|a)*b|(?:(?:a+)+)+!|c", "a+?b|.*?c|\\w+?\\d",
                              "\\s++x|a*+b|(?>\\d+)x"})
        for (const char* part : {" ", "a", "1", "aA", "\xF0\x9F\x99\x82"}) {
            std::string text;
            while (text.size() < 200000) text += part;
            all(regex, text);
        }
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 60);  // about one; quadratic, hours
}
