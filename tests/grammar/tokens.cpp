// SPDX-License-Identifier: MIT
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <skald/grammar/gbnf.hpp>
#include <skald/sampling/chain.hpp>
#include <skald/sampling/dynamic_chain.hpp>
#include <skald/sampling/grammar.hpp>
#include <skald/sampling/greedy.hpp>
#include <skald/sampling/top_k.hpp>
#include <skald/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "text/fixture.hpp"

using namespace skald;
using grammar::match_state;
using sampling::candidates;
using sampling::grammar_constraint;

namespace {

struct setting {
    text::tokenizer tokenizer = test::fixture_tokenizer();
    std::shared_ptr<const grammar::token_trie> trie = std::make_shared<const grammar::token_trie>(tokenizer);

    std::shared_ptr<const grammar::rules> rules(std::string_view gbnf) const {
        return std::make_shared<const grammar::rules>(
            grammar::parse_gbnf(gbnf, "grammar", [this](std::string_view name) { return tokenizer.find(name); }));
    }
    grammar_constraint constraint(std::string_view gbnf) const { return {rules(gbnf), trie}; }

    /// The tokens a constraint leaves of the whole vocabulary.
    std::vector<token_id> left(grammar_constraint& g, const std::vector<token_id>& history, std::size_t generated) const {
        candidates c;
        c.assign(std::vector<float>(tokenizer.size(), 0.0f));
        g(c, {history, generated, 0});
        std::vector<token_id> out;
        for (const sampling::candidate& k : c) out.push_back(k.token);
        return out;
    }
};

const std::vector<std::string> grammars{
    "root ::= [a-z ]+",
    "root ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" [\"\\\\/bfnrt])* \"\\\"\"",
    "root ::= .{0,5}",
    "root ::= \"the \" (\"quick\" | \"quiet\") \" fox\" (\", \" root)?",
    "root ::= [0-9]{1,3} (\".\" [0-9]+)? | [一-龥é🦙]*",
};

}  // namespace

TEST_CASE("a mask holds exactly the tokens whose bytes the grammar allows", "[grammar]") {
    const setting s;
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const std::string& text : grammars) {
        CAPTURE(text);
        const auto rules = s.rules(text);
        grammar::token_matcher tokens(rules, s.trie);
        grammar::matcher naive(rules);
        match_state at = tokens.start();
        std::string written;
        for (int step = 0; step < 30; ++step) {
            const grammar::token_mask mask = tokens.mask(at);
            std::vector<token_id> allowed;
            for (token_id id = 0; s.tokenizer.tokens().contains(id); ++id) {
                const bool is_text = !s.tokenizer.is_special(id) && !s.tokenizer.piece(id).empty();
                const match_state after = naive.next(naive.start(), written + std::string(s.tokenizer.piece(id)));
                const bool may =
                    s.tokenizer.is_end(id) ? naive.accepts(naive.next(naive.start(), written)) : is_text && after != grammar::matcher::dead;
                if (mask.contains(id) != may) FAIL("token " << id << " after '" << written << "': " << may << " expected");
                if (may && !s.tokenizer.is_end(id)) allowed.push_back(id);
            }
            CHECK_FALSE(mask.contains(-1));
            CHECK_FALSE(mask.contains(static_cast<token_id>(s.tokenizer.size())));
            if (allowed.empty()) break;
            const token_id chosen = allowed[random() % allowed.size()];
            written += s.tokenizer.piece(chosen);
            at = tokens.next(at, chosen);
        }
    }
}

TEST_CASE("what random choices within a grammar give follows it, split code points included", "[grammar]") {
    const setting s;
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const std::string& text : grammars)
        for (int round = 0; round < 20; ++round) {
            CAPTURE(text);
            grammar_constraint g = s.constraint(text);
            std::vector<token_id> history{1, 2, 3};
            bool ended = false;
            while (history.size() < 40 && !ended) {
                const auto left = s.left(g, history, history.size() - 3);
                const token_id chosen = left[random() % left.size()];
                ended = s.tokenizer.is_end(chosen);
                history.push_back(chosen);
            }
            if (!ended) continue;
            history.pop_back();
            grammar::matcher m(s.rules(text));
            std::string written = s.tokenizer.decode({history.data() + 3, history.size() - 3});
            CHECK(m.accepts(m.next(m.start(), written)));
        }
}

TEST_CASE("a constraint follows any history: the next token, a rollback, another request", "[grammar]") {
    const setting s;
    const std::string text = "root ::= \"{\" [a-z]+ (\",\" [a-z]+)* \"}\"";
    grammar_constraint kept = s.constraint(text);
    const auto ids = [&](std::string_view t) { return s.tokenizer.encode(t); };
    std::mt19937 random(5);
    const std::vector<std::string> starts{"", "{", "{a", "{the", "{the,quick", "{the,quick}", "{a,b,c,d,e,f", "{abc"};
    for (int round = 0; round < 100; ++round) {
        std::vector<token_id> history = ids("Some prompt ");
        const std::vector<token_id> generated = ids(starts[random() % starts.size()]);
        history.insert(history.end(), generated.begin(), generated.end());
        grammar_constraint fresh = s.constraint(text);
        REQUIRE(s.left(kept, history, generated.size()) == s.left(fresh, history, generated.size()));
        grammar_constraint copy = kept;
        REQUIRE(s.left(copy, history, generated.size()) == s.left(fresh, history, generated.size()));
    }
}

TEST_CASE("end tokens are allowed exactly where the grammar may end, and alone where it must", "[grammar]") {
    const setting s;
    grammar_constraint g = s.constraint("root ::= \"a\" \"b\"?");
    const auto ends = [&](const std::vector<token_id>& tokens) {
        std::size_t n = 0;
        for (const token_id t : tokens) n += s.tokenizer.is_end(t);
        return n;
    };
    const token_id a = s.tokenizer.find("a"), b = s.tokenizer.find("b");
    const std::size_t all = s.trie->end_tokens().size();
    REQUIRE(all > 0);
    CHECK(ends(s.left(g, {}, 0)) == 0);
    const auto after_a = s.left(g, {a}, 1);
    CHECK(ends(after_a) == all);
    CHECK(after_a.size() == all + 1);
    CHECK(s.left(g, {a, b}, 2).size() == all);
    CHECK(ends(s.left(g, {a, b}, 2)) == all);
    CHECK(ends(s.left(g, {a, b, s.trie->end_tokens()[0]}, 3)) == all);
    CHECK(test::code_of([&] { s.left(g, {b}, 1); }) == errc::invalid_argument);
    CHECK(test::code_of([&] { s.left(g, {a, b, a}, 3); }) == errc::invalid_argument);
    CHECK(test::code_of([&] { s.left(g, {a}, 2); }) == errc::invalid_argument);

    test::vocabulary_parts endless = test::vocabulary_parts::read();
    endless.source.eos = endless.source.eot = -1;
    for (std::size_t i = 0; i < endless.kinds.size(); ++i)
        if (endless.kinds[i] == 3) endless.tokens[i] = "<plain" + std::to_string(i) + ">";
    const text::tokenizer without = endless.make();
    CHECK(test::code_of([&] { grammar_constraint(*s.rules("root ::= \"a\""), without); }) == errc::unsupported);
}

TEST_CASE("grammars name tokens: by number, by name, and all but one", "[grammar]") {
    const setting s;
    const token_id end = s.trie->end_tokens()[0];
    const std::string name(s.tokenizer.piece(end));
    const token_id a = s.tokenizer.find("a");
    grammar_constraint g = s.constraint("root ::= <[" + std::to_string(a) + "]> !<[" + std::to_string(a) + "]> \"b\" " + name);
    CHECK(s.left(g, {}, 0) == std::vector<token_id>{a});
    const auto others = s.left(g, {a}, 1);
    CHECK(others.size() == s.tokenizer.size() - 1 - s.trie->end_tokens().size());
    const token_id x = s.tokenizer.find("x"), b = s.tokenizer.find("b");
    CHECK(s.left(g, {a, x, b}, 3) == std::vector<token_id>{end});
    CHECK(test::code_of([&] { s.left(g, {a, a}, 2); }) == errc::invalid_argument);
}

TEST_CASE("tokens that only pad the model's vocabulary are never allowed", "[grammar]") {
    const setting s;
    const std::size_t padded = s.tokenizer.size() + 100;
    const token_id a = s.tokenizer.find("a");
    for (const std::string_view text : {"root ::= .*", "root ::= \"a\"", "root ::= !<[0]>"})  // many tokens, few, all but one
        for (const std::vector<token_id>& history : {std::vector<token_id>{}, std::vector<token_id>{a}}) {
            grammar_constraint g = s.constraint(text);
            candidates c;
            c.assign(std::vector<float>(padded, 0.0f));
            g(c, {history, history.size(), 0});
            CHECK_FALSE(c.empty());
            for (const sampling::candidate& k : c) REQUIRE(s.tokenizer.tokens().contains(k.token));
        }
}

TEST_CASE("a chain chooses the best token of those the grammar allows", "[grammar]") {
    const setting s;
    sampling::chain chain{s.constraint("root ::= [0-9]+"), sampling::top_k{1}, sampling::greedy{}};
    std::vector<float> logits(s.tokenizer.size(), 0.0f);
    const token_id x = s.tokenizer.find("x"), seven = s.tokenizer.find("7");
    logits[static_cast<std::size_t>(x)] = 9;
    logits[static_cast<std::size_t>(seven)] = 1;
    CHECK(chain.choose(logits, std::vector<token_id>{x}, 0, 0).token == seven);

    sampling::chain behind{sampling::top_k{1}, s.constraint("root ::= [0-9]+"), sampling::greedy{}};
    CHECK(test::code_of([&] { behind.choose(logits, std::vector<token_id>{x}, 0, 0); }) == errc::invalid_argument);
}

TEST_CASE("bounds of caches change nothing but time", "[grammar]") {
    const setting s;
    const auto rules = s.rules(grammars[1]);
    grammar::token_matcher roomy(rules, s.trie), tight(rules, s.trie, {}, 1);
    match_state a = roomy.start(), b = tight.start();
    for (const token_id t : s.tokenizer.encode("\"the quick\\n brown 中 fox\"")) {
        const grammar::token_mask x = roomy.mask(a), y = tight.mask(b);
        REQUIRE(x.count == y.count);
        for (token_id id = 0; s.tokenizer.tokens().contains(id); ++id) REQUIRE(x.contains(id) == y.contains(id));
        a = roomy.next(a, t);
        b = tight.next(b, t);
        REQUIRE(a != grammar::matcher::dead);
    }
    CHECK(roomy.reader().accepts(a));
    CHECK(tight.wants_clearing());
}

TEST_CASE("text without a choice is known ahead, as the tokenizer divides it", "[grammar]") {
    const setting s;
    const auto encode = [&](std::string_view text) { return s.tokenizer.encode(text); };
    const auto spelled = [&](const std::vector<token_id>& tokens) { return s.tokenizer.decode(tokens); };
    const std::string all = "{\"the quick brown fox\": ";
    grammar_constraint g =
        s.constraint(R"(root ::= "{\"the quick brown fox\": " [0-9] " the end" | "{\"the quick brown fox\": " [0-9] " the end.")");
    std::vector<token_id> history;
    const std::vector<token_id> ahead = g.forced({history, 0, 0}, encode);
    REQUIRE_FALSE(ahead.empty());
    std::vector<token_id> canonical = encode(all);
    canonical.pop_back();  // could become longer with what follows
    CHECK(ahead == canonical);
    sampling::dynamic_chain chain;
    chain.add(sampling::top_k{1}).add(g);
    CHECK(chain.forced({history, 0, 0}, encode) == ahead);
    CHECK(sampling::chain{sampling::top_k{1}, g}.forced({history, 0, 0}, encode) == ahead);
    for (const token_id t : ahead) {
        const auto left = s.left(g, history, history.size());
        CHECK(std::find(left.begin(), left.end(), t) != left.end());
        history.push_back(t);
    }
    for (const token_id t : encode(all.substr(spelled(history).size()))) history.push_back(t);
    CHECK(g.forced({history, history.size(), 0}, encode).empty());  // a digit is a choice
    for (const token_id t : encode("7 the")) history.push_back(t);
    CHECK(all + "7 the" + spelled(g.forced({history, history.size(), 0}, encode)) <= all + "7 the end");
    for (const token_id t : encode(" end")) history.push_back(t);
    CHECK(g.forced({history, history.size(), 0}, encode).empty());  // it may end, or go on
    CHECK(g.forced({{}, 0, 0}, [](std::string_view) { return std::vector<token_id>{0, 1, 2}; }).empty());
}
