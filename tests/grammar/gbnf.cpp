// SPDX-License-Identifier: MIT
#include <random>
#include <string>
#include <vector>

#include "grammar/follow.hpp"
#include "support/catch.hpp"

using namespace skald;
using test::follower;
using test::verdict;

namespace {

struct example {
    std::string grammar;
    std::vector<std::string> texts, beginnings, others;
};

const std::vector<example> examples{
    {R"g(root ::= (expr "=" " "? term "\n")+
expr ::= term ([-+*/] term)*   # left-associative
term ::= ident | num | "(" " "? expr ")"
ident ::= [a-z] [a-z0-9_]*
num ::= [0-9]+)g",
     {"1+2=3\n", "a1*(b-(7))= x\ny=y\n"},
     {"", "1", "1+", "((((((1", "a=b"},
     {"+", "1+2=3\n\n", ")", "A"}},
    {R"g(
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
)g",
     {"{}", R"({"a": [1, -2.5e3, "x\u00e9é\n"], "b": {"c": null}})", "{\n  \"k\": true}"},
     {"{", "{\"", "{\"a\":[", "{\"\xC3"},
     {"[]", "{]", "{\"a\" 1}", "{\"a\":01}", "{\"\x01", "{\"\xC3\x28", "{\"\xED\xA0\x80"}},
    {"root ::= item+\nitem ::= \"- \" [^\\r\\n\\x0b\\u0085\\u2028]+ \"\\n\"",
     {"- a\n", "- ä\n- 🦙 x\n"},
     {"", "-", "- \xF0\x9F"},
     {"a", "- \n", "- \xE2\x80\xA8"}},
    {"root ::= a{3} b{2,} c{1,3} d{0} e?\na::=\"a\"\nb::=\"b\"\nc::=\"c\"\nd::=\"d\"\ne::=\"e\"",
     {"aaabbc", "aaabbbbbccce"},
     {"aaabb", "aa"},
     {"aab", "aaabc", "aaabbcccc", "aaabbcd"}},
    {"root ::= \"a\"\n       | \"b\"   # goes on\n\n       | .", {"a", "b", "é", "\n"}, {"\xC3"}, {"ab", "\xFF"}},
    {"root ::= [\\]\\-a\\^] [^\\[] [-x-z] [a-]", {"]bxa", "-\xC2\xA9--", "^az-"}, {"^"}, {"b", "a["}},
    {"root ::= \"\" | \"x\" root \"y\"", {"", "xy", "xxxyyy"}, {"xx"}, {"y", "xyx"}},
    {"root ::= (\"a\"? \"b\"?)* (\"\" | \"\")+ \"c\"", {"c", "ababbbc", "aaac"}, {"", "ab"}, {"cc"}},
    {"root ::= \"\\u00e9\\U0001F999\\x41\\t\\\"\"", {"é🦙A\t\""}, {"é"}, {"e"}},
    // chess: a move list with check marks
    {R"g(root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?)g",
     {"1. e4 e5\n2. Nf3 Nc6\n", "1. d4 d5\n2. Bxc4+ O-O-O\n11. exd8=Q# Kh1\n"},
     {"1. e4 e5\n"},
     {"1. e9", "2. e4 e5\n", "1. e4 e5\n2. O-O-O-O"}},
};

struct malformed {
    std::string grammar, sentence;
};

const std::vector<malformed> bad{
    {"", "grammar: line 1, column 1: there is no rule 'root', with which texts begin"},
    {"a ::= \"x\"\n", "grammar: line 2, column 1: there is no rule 'root', with which texts begin"},
    {"root ::= \"x\"\nroot ::= \"y\"", "grammar: line 2, column 1: the rule 'root' is defined a second time"},
    {"root ::= \"x\" other", "grammar: line 1, column 14: the rule 'other' is not defined"},
    {"root = \"x\"", "grammar: line 1, column 6: '::=' after a rule's name should stand at '= \"x\"'"},
    {"::= x", "grammar: line 1, column 1: a rule's name should stand at '::= x'"},
    {"root ::= \"abc", "grammar: line 1, column 10: this literal is never closed"},
    {"root ::= [abc", "grammar: line 1, column 10: this class is never closed"},
    {"root ::= (\"a\" | (\"b\")", "grammar: line 1, column 10: this bracket is never closed"},
    {"root ::= \"a\")", "grammar: line 1, column 13: the end of the line or more of the rule should stand at ')'"},
    {"root ::= * \"a\"", "grammar: line 1, column 10: something to repeat should stand at '* \"a\"'"},
    {"root ::= \"a\"{", "grammar: line 1, column 14: the text ends where a number of repetitions should stand"},
    {"root ::= \"a\"{2,1}", "grammar: line 1, column 13: at least 2 and at most 1 times is impossible"},
    {"root ::= \"a\"{99999999999999999999}", "grammar: line 1, column 14: a repetition counts to 1000000 at most"},
    {"root ::= \"a\"{1;}", "grammar: line 1, column 15: '}' after the bounds of a repetition should stand at ';}'"},
    {"root ::= \"é\\q\"", "grammar: line 1, column 12: there is no escape '\\q'"},
    {"root ::= \"\\x4\"", "grammar: line 1, column 11: this escape needs 2 hexadecimal digits"},
    {"root ::= \"\\uD800\"", "grammar: line 1, column 11: this escape is no character of Unicode"},
    {"root ::= \"\\U00110000\"", "grammar: line 1, column 11: this escape is no character of Unicode"},
    {"root ::= \"\xFF\"", "grammar: line 1, column 11: this byte is no UTF-8"},
    {"root ::= [z-a]", "grammar: line 1, column 11: this range ends before it begins"},
    {"root ::= []", "grammar: line 1, column 10: no character is in this class"},
    {"root ::= <nothing>", "grammar: line 1, column 10: the vocabulary has no token '<nothing>'"},
    {"root ::= <[12", "grammar: line 1, column 14: the text ends where ']>' after a token's number should stand"},
    {"root ::= <[99999999999]>", "grammar: line 1, column 10: this is no token's number"},
    {"root ::= root \"a\" | \"b\"", "grammar: the rule 'root' is left-recursive"},
    {"root ::= x\nx ::= \"\" y\ny ::= (\"q\"?) x", "is left-recursive"},
    {"root ::= \"a\" root", "grammar: no finite text satisfies the rule 'root': it never comes to an end"},
    {"root ::= a b\na ::= \"x\"\nb ::= \"(\" b \")\"", "grammar: no finite text satisfies the rule 'root'"},
};

std::string error_of(const std::string& grammar) {
    try {
        grammar::parse_gbnf(grammar);
    } catch (const error& e) {
        return e.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("GBNF grammars accept their texts, the beginnings of those, and nothing else", "[grammar]") {
    for (const example& e : examples) {
        CAPTURE(e.grammar);
        follower follow(e.grammar);
        for (const std::string& text : e.texts) {
            CAPTURE(text);
            CHECK(follow(text) == verdict::yes);
            for (std::size_t n = 0; n < text.size(); ++n) CHECK(follow(text.substr(0, n)) != verdict::no);
        }
        for (const std::string& text : e.beginnings) {
            CAPTURE(text);
            CHECK(follow(text) == verdict::begins);
        }
        for (const std::string& text : e.others) {
            CAPTURE(text);
            CHECK(follow(text) == verdict::no);
        }
    }
}

TEST_CASE("a malformed grammar is refused with its place and what is wrong there", "[grammar]") {
    for (const malformed& b : bad) {
        CAPTURE(b.grammar);
        const std::string said = error_of(b.grammar);
        CAPTURE(said);
        CHECK(said.find(b.sentence) != said.npos);
    }
    CHECK(error_of("root ::= " + std::string(100000, '(')).find("line 1, column 210: more than 200 brackets are open") == 9);
}

TEST_CASE("grammars with random damage are read or refused, never worse", "[grammar]") {
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::string alphabet = "\"[](){}|*+?.:=<>!^-\\#,\n 09azx\xC3";
    std::size_t read = 0;
    for (int round = 0; round < 4000; ++round) {
        const example& e = examples[random() % examples.size()];
        std::string text = e.grammar;
        for (int k = 1 + static_cast<int>(random() % 4); k > 0; --k) {
            const std::size_t at = random() % text.size();
            switch (random() % 3) {
                case 0: text[at] = alphabet[random() % alphabet.size()]; break;
                case 1: text.insert(at, 1, alphabet[random() % alphabet.size()]); break;
                default: text.erase(at, 1 + random() % 3);
            }
            if (text.empty()) text = " ";
        }
        try {
            follower follow(text);
            ++read;
            for (const std::string& sample : e.texts) follow(sample);
        } catch (const error&) {
        }
    }
    CHECK(read > 100);
    CHECK(read < 4000);
}

TEST_CASE("large repetitions count exactly, in little space", "[grammar]") {
    follower five("root ::= [ab]{5,10000}");
    CHECK(five.matcher().grammar().nodes.size() < 500);
    CHECK(five(std::string(4, 'a')) == verdict::begins);
    for (const std::size_t n : {5u, 6u, 4999u, 5000u, 9999u, 10000u}) CHECK(five(std::string(n, 'b')) == verdict::yes);
    CHECK(five(std::string(10001, 'a')) == verdict::no);

    follower exact("root ::= (\"xy\"{777}){3} \"z\"");
    std::string text;
    for (int i = 0; i < 2331; ++i) text += "xy";
    CHECK(exact(text) == verdict::begins);
    CHECK(exact.accepts(text + "z"));
    CHECK(exact(text + "x") == verdict::no);
    CHECK(exact(text.substr(2) + "z") == verdict::no);

    for (const unsigned n : {300u, 511u, 512u, 513u, 1000u}) {
        follower upto("root ::= (\"a\" \"bcdefg\"?){" + std::to_string(n / 3) + "," + std::to_string(n) + "}");
        for (const unsigned k : {0u, n / 3 - 1, n / 3, n / 3 + 1, n - 1, n, n + 1}) {
            CAPTURE(n, k);
            CHECK(upto.accepts(std::string(k, 'a')) == (k >= n / 3 && k <= n));
        }
    }
}

TEST_CASE("recursion is bounded: depth, ambiguity and memory have limits", "[grammar]") {
    follower nested("root ::= \"(\" root \")\" | \"x\"");
    CHECK(nested.accepts(std::string(900, '(') + "x" + std::string(900, ')')));
    CHECK(nested(std::string(1001, '(')) == verdict::no);  // deeper than match_limits::depth

    follower list("root ::= \"a\" root | \"a\"");  // recursion at the end of a rule takes no stack
    CHECK(list.accepts(std::string(100000, 'a')));
    CHECK(list.matcher().states() < 10);

    follower many(R"(root ::= "a" root "b" | "a" root "c" | "a")");  // what closes doubles with every a
    CHECK_THROWS_AS(many(std::string(10000, 'a')), error);
    CHECK(many.accepts("aaabc"));  // still usable

    grammar::matcher small(std::make_shared<const grammar::rules>(grammar::parse_gbnf("root ::= [a-z]{0,100000}")),
                           {.bytes = std::size_t{1} << 20});
    try {
        small.next(small.start(), std::string(100000, 'q'));
        FAIL("the limit of memory was passed");
    } catch (const error& e) {
        CHECK(e.code() == errc::memory_limit);
    }
    CHECK(small.bytes() < std::size_t{3} << 20);
}
