// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#include <nlohmann/json.hpp>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/grammar/gbnf.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/sampling.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/text_folder.hpp"

using namespace skald;
using test::code_of;

namespace {

const std::string folder = std::string(SKALD_TEST_DATA) + "/";

model<cpu<>> tiny(compute policy = compute::exact, executor* pool = nullptr) {
    return load_model<cpu<>>(folder + "tiny-llama.gguf", {.pool = pool, .compute = policy});
}

nlohmann::json facts() {
    std::ifstream in(folder + "tiny-llama.json");
    return nlohmann::json::parse(in);
}

std::vector<token_id> ids(const std::vector<generated_token>& tokens) {
    std::vector<token_id> out;
    for (const generated_token& t : tokens) out.push_back(t.token);
    return out;
}

bool is_whole_utf8(std::string_view s) {
    for (std::size_t i = 0; i < s.size();) {
        const auto c = static_cast<unsigned char>(s[i]);
        const std::size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
        if (n == 0 || i + n > s.size()) return false;
        for (std::size_t k = 1; k < n; ++k)
            if ((static_cast<unsigned char>(s[i + k]) & 0xc0) != 0x80) return false;
        i += n;
    }
    return true;
}

}  // namespace

TEST_CASE("a greedy chat gives the tokens of transformers", "[pipeline]") {
    const nlohmann::json greedy = facts().at("greedy");
    const auto expected = greedy.at("answer").get<std::vector<token_id>>();
    pipeline p{tiny(), kv::paged<kv::f32>{{.tokens = 512}}};
    const completion c = p.run(p.chat(greedy.at("user").get<std::string>(), {.max_tokens = expected.size(), .ignore_end = true}));
    CHECK(ids(c.tokens) == expected);
    CHECK(c.finish == finish_reason::length);
    CHECK(c.stats.prompt_tokens == greedy.at("prompt").size());
    CHECK(c.stats.generated_tokens == expected.size());
    for (const generated_token& t : c.tokens) CHECK(t.logprob < 0);
}

TEST_CASE("pieces are whole code points and add up to the text", "[pipeline]") {
    pipeline p{tiny(), kv::paged<kv::f16>{{.tokens = 512}}, sampling::chain{sampling::temperature{1.5f}}};
    for (const std::uint64_t seed : {1, 2, 3}) {
        std::string all;
        auto g = p.generate("some text", {.max_tokens = 100, .seed = seed, .ignore_end = true});
        for (const std::string_view piece : g) {
            CHECK_FALSE(piece.empty());
            CHECK(is_whole_utf8(piece));
            all += piece;
        }
        CHECK(all == g.text());
        CHECK(g.tokens().size() == 100);
    }
}

TEST_CASE("same seed and request, same tokens, whatever ran before", "[pipeline]") {
    thread_pool pool(2);
    const model<cpu<>> m = tiny(compute::native, &pool);
    const auto run = [&](std::size_t chunk, bool warm) {
        pipeline p{m,
                   kv::paged<kv::f32>{{.tokens = 512, .block = 8}},
                   sampling::chain{sampling::min_p{0.02f}, sampling::temperature{1.2f}},
                   {.chunk = chunk}};
        if (warm) (void)p.complete("a text that begins otherwise", {.max_tokens = 20, .seed = 9});
        return ids(p.complete("a text that begins like this and goes on for a while", {.max_tokens = 40, .seed = 5}).tokens);
    };
    const auto expected = run(512, false);
    CHECK(run(1, false) == expected);
    CHECK(run(7, false) == expected);
    CHECK(run(512, true) == expected);
}

TEST_CASE("a second turn does not read the shared prefix again", "[pipeline]") {
    pipeline p{tiny(), kv::paged<kv::f32>{{.tokens = 1024}}};
    const completion first = p.run(p.chat("one two three four five six seven eight nine ten", {.max_tokens = 12, .ignore_end = true}));
    CHECK(first.stats.reused_tokens == 0);
    const completion second = p.run(p.chat("eleven", {.max_tokens = 4, .ignore_end = true}));
    CHECK(second.stats.reused_tokens >= first.stats.prompt_tokens - 1);
    CHECK(second.stats.prompt_tokens > second.stats.reused_tokens);
    REQUIRE(p.conversation().size() == 4);
    CHECK(p.conversation()[1].role == "assistant");
    CHECK(p.conversation()[1].content == first.text);

    // The same conversation without anything cached gives the same answer.
    const auto messages = std::vector<text::message>(p.conversation().begin(), p.conversation().begin() + 3);
    pipeline fresh{tiny(), kv::contiguous<kv::f32>{{.tokens = 1024}}};
    CHECK(ids(fresh.run(fresh.chat(messages, {.max_tokens = 4, .ignore_end = true})).tokens) == ids(second.tokens));

    const auto same = p.run(p.chat(messages, {.max_tokens = 4, .ignore_end = true}));
    CHECK(same.stats.reused_tokens == same.stats.prompt_tokens - 1);
}

TEST_CASE("stop strings end a text across token borders and are not shown", "[pipeline]") {
    pipeline p{tiny(), kv::paged<kv::f32>{{.tokens = 512}}};
    const std::string whole = p.complete("hello", {.max_tokens = 60, .ignore_end = true}).text;
    REQUIRE(whole.size() > 24);
    const std::string stop = whole.substr(9, 7);
    const completion cut = p.complete("hello", {.max_tokens = 60, .stop = {stop}, .ignore_end = true});
    CHECK(cut.finish == finish_reason::stop_string);
    CHECK(cut.text == whole.substr(0, whole.find(stop)));
}

TEST_CASE("a living generation keeps its pipeline busy; breaking off keeps what was yielded", "[pipeline]") {
    pipeline p{tiny(), kv::paged<kv::f32>{{.tokens = 256}}};
    std::string seen;
    {
        auto g = p.chat("tell me", {.max_tokens = 50, .ignore_end = true});
        CHECK(code_of([&] { (void)p.generate("x"); }) == errc::busy);
        CHECK(code_of([&] { p.reset(); }) == errc::busy);
        for (const std::string_view piece : g) {
            seen += piece;
            if (seen.size() > 5) break;
        }
    }
    REQUIRE(p.conversation().size() == 2);
    CHECK(p.conversation()[1].content == seen);
    {
        auto unused = p.chat("never walked");
    }
    CHECK(p.conversation().size() == 2);
    p.reset();
    CHECK(p.conversation().empty());
}

TEST_CASE("a generation outlives its pipeline", "[pipeline]") {
    std::optional<pipeline<cpu<>>> p(std::in_place, tiny());
    auto g = p->generate("abc", {.max_tokens = 5, .ignore_end = true});
    p.reset();
    std::size_t n = 0;
    while (g.next()) ++n;
    CHECK(n == 5);
}

TEST_CASE("a cancelled request throws and leaves the pipeline usable", "[pipeline]") {
    pipeline p{tiny(), kv::paged<kv::f32>{{.tokens = 512}}, sampling::chain{sampling::greedy{}}, {.chunk = 4}};
    const auto expected = ids(p.complete("a prompt of some length", {.max_tokens = 8}).tokens);
    std::stop_source before;
    before.request_stop();
    CHECK(code_of([&] { (void)p.complete("quite another prompt", {.cancel = before.get_token()}); }) == errc::cancelled);

    std::stop_source during;
    auto g = p.generate("a prompt of some length", {.max_tokens = 8, .cancel = during.get_token()});
    REQUIRE(g.next());
    REQUIRE(g.next());
    during.request_stop();
    CHECK(code_of([&] { (void)g.next(); }) == errc::cancelled);
    CHECK(g.tokens().size() == 2);
    {
        auto ended = std::move(g);
    }
    CHECK(ids(p.complete("a prompt of some length", {.max_tokens = 8}).tokens) == expected);
}

TEST_CASE("a prompt beyond the cache is refused, a long answer ends with it", "[pipeline]") {
    pipeline p{tiny(), kv::contiguous<kv::f32>{{.tokens = 16}}};
    CHECK(code_of([&] { (void)p.generate(std::vector<token_id>(17, 5)); }) == errc::cache_full);
    CHECK(code_of([&] { (void)p.generate(std::vector<token_id>{}); }) == errc::invalid_argument);
    auto g = p.generate(std::vector<token_id>(10, 5), {.ignore_end = true});
    while (g.next()) {
    }
    CHECK(g.finish() == finish_reason::length);
    CHECK(g.tokens().size() == 7);  // 16 tokens in the cache, and one more that nobody has read yet
}

TEST_CASE("alternatives are reported best first, the greedy token among them", "[pipeline]") {
    pipeline p{tiny(), kv::paged<kv::f32>{{.tokens = 64}}};
    auto g = p.generate("abc", {.max_tokens = 3, .top_logprobs = 4, .ignore_end = true});
    while (const auto t = g.next()) {
        REQUIRE(t->top.size() == 4);
        CHECK(t->top[0].token == t->token);
        CHECK(t->top[0].logprob == t->logprob);
        CHECK(t->top[0].logprob >= t->top[1].logprob);
    }
}

TEST_CASE("a model without a tokenizer generates tokens, and says why it has no text", "[pipeline]") {
    pipeline p{load_model<cpu<>>(folder + "tiny-llama-f16.gguf")};
    CHECK(code_of([&] { (void)p.generate("text"); }) == errc::unsupported);
    auto g = p.generate(std::vector<token_id>{1, 2, 3}, {.max_tokens = 4});
    std::size_t n = 0;
    while (g.next()) ++n;
    CHECK(n == 4);
    CHECK(g.text().empty());
}

TEST_CASE("several threads use one model through pipelines of their own", "[pipeline]") {
    thread_pool pool(2);
    const model<cpu<>> m = tiny(compute::native, &pool);
    const auto run = [&](std::uint64_t seed) {
        pipeline p{m, kv::paged<kv::f16>{{.tokens = 256}}, sampling::chain{sampling::temperature{1.0f}}};
        return ids(p.complete("shared", {.max_tokens = 30, .seed = seed, .ignore_end = true}).tokens);
    };
    std::vector<std::vector<token_id>> alone, together(4);
    for (std::uint64_t s = 0; s < 4; ++s) alone.push_back(run(s));
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t s = 0; s < 4; ++s) threads.emplace_back([&, s] { together[s] = run(s); });
    }
    CHECK(alone == together);
}

TEST_CASE("fast-forward writes what a grammar leaves no choice about in fewer steps", "[pipeline]") {
    const auto m = tiny();
    const grammar::rules rules =
        grammar::parse_gbnf(R"(root ::= "The answer to your question is: " ("yes" | "no") ", for all that I know.")");
    const auto writer = [&] {
        return pipeline{m,
                        kv::paged<kv::f32>{{.tokens = 256}},
                        sampling::chain{sampling::grammar_constraint{rules, m.tokenizer()}, sampling::greedy{}},
                        {.chunk = 3}};
    };
    auto slow = writer(), fast = writer();
    const auto prompt = m.tokenizer().encode("hello");
    const completion plain = slow.run(slow.generate(prompt)), ahead = fast.run(fast.generate(prompt, {.fast_forward = true}));
    for (const completion* c : {&plain, &ahead}) {
        CHECK((c->text == "The answer to your question is: yes, for all that I know." ||
               c->text == "The answer to your question is: no, for all that I know."));
        CHECK(c->finish == finish_reason::end_token);
        CHECK(c->stats.generated_tokens == c->tokens.size());
    }
    CHECK(plain.stats.forced_tokens == 0);
    CHECK(ahead.stats.forced_tokens > 4);
    std::size_t unscored = 0;
    for (const generated_token& t : ahead.tokens) unscored += std::isnan(t.logprob);
    CHECK(unscored == ahead.stats.forced_tokens);

    // What was read ahead stands in the cache as if it had been the prompt.
    std::vector<token_id> all = prompt;
    for (const token_id t : ids(ahead.tokens)) all.push_back(t);
    all.pop_back();
    pipeline reader{m, kv::paged<kv::f32>{{.tokens = 256}}, sampling::chain{sampling::greedy{}}};
    const auto& end = ahead.tokens.back();
    float expected = NAN;
    const completion last = reader.run(reader.generate(all, {.max_tokens = 1, .top_logprobs = 100000}));
    for (const scored_token& t : last.tokens[0].top)
        if (t.token == end.token) expected = t.logprob;
    CHECK(end.logprob == expected);
}

TEST_CASE("turns whose thinking a template drops later are answered as by a pipeline that reads everything at once", "[pipeline]") {
    const test::text_folder thinking(
        "{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}"
        "{%- endfor %}{%- for m in messages %}{%- set content = m.content %}{%- if m.role == 'assistant' and loop.index0 < ns.last %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
        "{{- '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}");
    const auto m = load_model<cpu<>>(thinking.path(), {.compute = compute::exact});
    const grammar::rules rules = grammar::parse_gbnf(R"(root ::= "<think>" [a-z]{8} "</think>\n" [a-z]{4})");
    const auto writer = [&] {
        return pipeline{m,
                        kv::paged<kv::f32>{{.tokens = 512}},
                        sampling::chain{sampling::grammar_constraint{rules, m.tokenizer()}, sampling::greedy{}},
                        {.chunk = 5}};
    };
    auto kept = writer();
    std::vector<token_id> cached;  // after each turn
    for (const std::string_view question : {"abc", "what else", "and then"}) {
        const completion answer = kept.run(kept.chat(question));
        REQUIRE(answer.finish == finish_reason::end_token);
        REQUIRE(answer.text.starts_with("<think>"));
        REQUIRE(answer.text.size() == 7 + 8 + 9 + 4);
        const std::vector<text::message> asked(kept.conversation().begin(), kept.conversation().end() - 1);
        auto fresh = writer();
        const completion expected = fresh.run(fresh.chat(asked));
        CHECK(ids(answer.tokens) == ids(expected.tokens));
        for (std::size_t i = 0; i < answer.tokens.size(); ++i) REQUIRE(answer.tokens[i].logprob == expected.tokens[i].logprob);
        // Exactly what the prompts have in common is not read again.
        const std::vector<token_id> prompt = text::encode_chat(m.tokenizer(), m.chat(), asked);
        const auto differs = std::mismatch(cached.begin(), cached.end(), prompt.begin(), prompt.end()).first;
        CHECK(answer.stats.reused_tokens == static_cast<std::size_t>(differs - cached.begin()));
        CHECK((cached.empty() || differs != cached.end()));
        cached = prompt;
        for (const token_id t : ids(answer.tokens)) cached.push_back(t);
        cached.pop_back();  // the end token is not read
    }
}

TEST_CASE("a padded vocabulary and the end tokens of generation_config.json keep to a grammar too", "[pipeline]") {
    const test::text_folder folder("");
    const auto m = load_model<cpu<>>(folder.path(), {.compute = compute::exact});
    using test::text_folder;
    REQUIRE(m.config().vocabulary == text_folder::padded);
    REQUIRE(m.tokenizer().size() == text_folder::vocabulary);
    CHECK(m.tokenizer().is_end(text_folder::done));
    CHECK_FALSE(m.tokenizer().is_end(95));
    CHECK(m.is_end(95));
    pipeline p{m, kv::paged<kv::f32>{{.tokens = 512}}, sampling::chain<>{}};
    bool beyond = false;
    for (const generated_token& t : p.complete("abc", {.max_tokens = 100, .seed = 3, .ignore_end = true}).tokens)
        beyond = beyond || static_cast<std::size_t>(t.token) >= text_folder::vocabulary;
    CHECK(beyond);
    sampling::dynamic_chain chain;
    chain.add(sampling::grammar_constraint{grammar::parse_gbnf(R"(root ::= "<done>"? [a-z]{3,9} " and so on")"), m.tokenizer()});
    pipeline follows{m, kv::paged<kv::f32>{{.tokens = 512}}, chain};
    std::vector<token_id> last;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const completion c = follows.complete("abc", {.seed = seed, .fast_forward = seed % 2 == 1});
        CHECK(c.finish == finish_reason::end_token);
        CHECK(c.text.ends_with(" and so on"));
        CHECK((c.stats.forced_tokens > 5) == (seed % 2 == 1));
        for (const generated_token& t : c.tokens) REQUIRE(m.tokenizer().tokens().contains(t.token));
        last.push_back(c.tokens.back().token);
    }
    CHECK(std::count(last.begin(), last.end(), text_folder::done) > 0);
    CHECK(std::count(last.begin(), last.end(), text_folder::end) > 0);
}
