// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/beam_search.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/pipeline/scorer.hpp>
#include <skald/sampling/sampling.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/text_folder.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using test::code_of;

namespace {

const std::string folder = std::string(SKALD_TEST_DATA) + "/";

model<cpu<>> tiny(std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
    return load_model<cpu<>>(folder + "tiny-llama.gguf", {.compute = compute::exact, .memory = memory});
}

std::vector<token_id> ids(const beam& b) {
    std::vector<token_id> out;
    for (const scored_token& t : b.tokens) out.push_back(t.token);
    return out;
}

/// What identifies results: tokens and scores.
std::vector<std::pair<std::vector<token_id>, float>> facts(const std::vector<beam>& beams) {
    std::vector<std::pair<std::vector<token_id>, float>> out;
    for (const beam& b : beams) out.emplace_back(ids(b), b.score);
    return out;
}

template <class Policy>
void check_fixture(Policy policy) {
    const model<cpu<>> m = tiny();
    std::ifstream in(folder + "tiny-llama-beams.json");
    std::size_t number = 0;
    for (const nlohmann::json& c : nlohmann::json::parse(in)) {
        CAPTURE(number++);
        sampling::dynamic_chain processors;
        processors.add(sampling::repetition_penalty{c.at("repetition").get<float>(), -1});
        processors.add(sampling::no_repeat_ngram{c.at("ngram").get<std::int32_t>()});
        const auto stopping = c.at("early_stopping").get<std::string>();
        policy.options.sequences = c.at("beams").get<std::size_t>();
        beam_search search{m, policy, std::move(processors), {.beams = policy.options.sequences}};
        const std::vector<beam> found =
            search.run(c.at("prompt").get<std::vector<token_id>>(), {.max_tokens = c.at("max_tokens").get<std::size_t>(),
                                                                     .returned = c.at("returned").get<std::size_t>(),
                                                                     .length_penalty = c.at("length_penalty").get<float>(),
                                                                     .early_stopping = stopping == "on"    ? early_stopping::on
                                                                                       : stopping == "off" ? early_stopping::off
                                                                                                           : early_stopping::never,
                                                                     .end_tokens = c.at("end_tokens").get<std::vector<token_id>>(),
                                                                     .ignore_end = true});
        const nlohmann::json& expected = c.at("expected");
        REQUIRE(found.size() == expected.size());
        for (std::size_t i = 0; i < found.size(); ++i) {
            REQUIRE(ids(found[i]) == expected[i].at("tokens").get<std::vector<token_id>>());
            REQUIRE(found[i].score == Approx(expected[i].at("score").get<double>()).margin(2e-4));
        }
    }
    REQUIRE(number > 30);
}

}  // namespace

TEST_CASE("beams are those of transformers, whatever holds the keys and values", "[pipeline]") {
    check_fixture(kv::contiguous<kv::f32>{{.tokens = 64}});
    check_fixture(kv::paged<kv::f32>{{.tokens = 256, .block = 16}});
    check_fixture(kv::paged<kv::f32>{{.tokens = 256, .block = 3}});
}

TEST_CASE("as many beams as there are texts find the best of all", "[pipeline]") {
    const test::open_model file({.vocabulary = 5});
    const auto m = load_model<cpu<>>(file.file(), {.compute = compute::exact});
    const std::vector<token_id> prompt{1, 4, 2};
    scorer scores{m};
    std::vector<std::pair<std::vector<token_id>, float>> all;
    for (token_id a = 0; a < 5; ++a)
        for (token_id b = 0; b < 5; ++b)
            for (token_id c = 0; c < 5; ++c)
                all.emplace_back(std::vector{a, b, c}, static_cast<float>(scores.score(prompt, std::vector{a, b, c}).logprob()));
    std::sort(all.begin(), all.end(), [](const auto& x, const auto& y) { return x.second > y.second; });

    beam_search search{m, kv::contiguous<kv::f32>{{.tokens = 8, .sequences = 125}}, sampling::chain<>{}, {.beams = 125}};
    const std::vector<beam> found = search.run(prompt, {.max_tokens = 3, .returned = 125, .length_penalty = 0});
    REQUIRE(found.size() == 125);
    for (std::size_t i = 0; i < found.size(); ++i) {
        REQUIRE(ids(found[i]) == all[i].first);
        REQUIRE(found[i].score == Approx(all[i].second).epsilon(1e-5));
        double sum = 0;
        for (const scored_token& t : found[i].tokens) sum += static_cast<double>(t.logprob);
        REQUIRE(sum == Approx(found[i].score).epsilon(1e-5));
    }
}

TEST_CASE("one beam is greedy decoding, and a text comes with its tokens", "[pipeline]") {
    const model<cpu<>> m = tiny();
    beam_search search{m, kv::paged<kv::f32>{{.tokens = 128}}, sampling::chain<>{}, {.beams = 1}};
    const std::vector<beam> found = search.run("the ships", {.max_tokens = 20, .ignore_end = true});
    REQUIRE(found.size() == 1);
    CHECK(found[0].finish == finish_reason::length);
    CHECK(found[0].tokens.size() == 20);
    pipeline greedy{m, kv::paged<kv::f32>{{.tokens = 128}}};
    CHECK(found[0].text == greedy.complete("the ships", {.max_tokens = 20, .ignore_end = true}).text);
    // The same by the scorer: every token is the most probable one.
    scorer scores{m};
    CHECK(scores.score(m.tokenizer().encode("the ships"), ids(found[0])).greedy);
    CHECK(scores.score(m.tokenizer().encode("the ships"), ids(found[0])).logprob() / 20 == Approx(found[0].score).epsilon(1e-4));
    // An end token is counted, not shown.
    std::vector<token_id> shown = ids(found[0]);
    const token_id third = found[0].tokens[2].token;
    const std::vector<beam> ended = search.run("the ships", {.max_tokens = 20, .end_tokens = {third}, .ignore_end = true});
    CHECK(ended[0].finish == finish_reason::end_token);
    CHECK(ended[0].tokens.back().token == third);
    shown.resize(ended[0].tokens.size() - 1);
    text::stream_decoder decoder;
    std::string text(decoder.push(m.tokenizer().decode(shown)));
    CHECK(ended[0].text == text.append(decoder.flush()));
}

TEST_CASE("a search that was cancelled or ran out of room can be used again", "[pipeline]") {
    const model<cpu<>> m = tiny();
    const std::vector<token_id> prompt{5, 6, 7, 8, 9, 10, 11};
    beam_search search{m, kv::paged<kv::f32>{{.tokens = 40, .sequences = 4, .block = 4}}, sampling::chain<>{}, {.beams = 4, .chunk = 3}};
    const auto expected = facts(search.run(prompt, {.max_tokens = 5, .returned = 4, .ignore_end = true}));
    CHECK(code_of([&] { search.run(prompt, {.max_tokens = 30, .ignore_end = true}); }) == errc::cache_full);
    CHECK(facts(search.run(prompt, {.max_tokens = 5, .returned = 4, .ignore_end = true})) == expected);
    std::stop_source stop;
    stop.request_stop();
    CHECK(code_of([&] { search.run(std::vector<token_id>{5, 6, 1, 2}, {.cancel = stop.get_token()}); }) == errc::cancelled);
    CHECK(facts(search.run(prompt, {.max_tokens = 5, .returned = 4, .ignore_end = true})) == expected);

    // Cancelled in the middle, by a processor that sees the steps.
    std::stop_source middle;
    beam_search watched{m,
                        kv::paged<kv::f32>{{.tokens = 400, .sequences = 4}},
                        sampling::chain{[&](sampling::candidates&, const sampling::context& x) {
                            if (x.step == 3) middle.request_stop();
                        }},
                        {.beams = 4}};
    CHECK(code_of([&] { watched.run(prompt, {.max_tokens = 20, .ignore_end = true, .cancel = middle.get_token()}); }) == errc::cancelled);
    CHECK(facts(watched.run(prompt, {.max_tokens = 5, .returned = 4, .ignore_end = true})) == expected);
}

TEST_CASE("processors shape every beam; where they leave nothing the search says so", "[pipeline]") {
    const model<cpu<>> m = tiny();
    const std::vector<token_id> prompt{50, 60, 50};
    beam_search search{m, kv::paged<kv::f32>{{.tokens = 512, .sequences = 3}}, sampling::chain{sampling::no_repeat_ngram{1}}, {.beams = 3}};
    for (const beam& b : search.run(prompt, {.max_tokens = 40, .returned = 3, .ignore_end = true})) {
        std::vector<token_id> all = ids(b);
        all.push_back(50);
        all.push_back(60);
        CHECK(std::set<token_id>(all.begin(), all.end()).size() == 42);
    }
    std::size_t allowed = 2;
    beam_search narrow{m,
                       kv::paged<kv::f32>{{.tokens = 512, .sequences = 3}},
                       sampling::chain{[&](sampling::candidates& c) {
                           for (sampling::candidate& k : c)
                               if (static_cast<std::size_t>(k.token) >= allowed) k.logit = -INFINITY;
                       }},
                       {.beams = 3}};
    CHECK(narrow.run(prompt, {.max_tokens = 1, .returned = 3, .ignore_end = true}).size() == 2);
    CHECK(narrow.run(prompt, {.max_tokens = 2, .returned = 3, .ignore_end = true}).size() == 3);
    allowed = 0;
    CHECK(code_of([&] { narrow.run(prompt, {.max_tokens = 2}); }) == errc::invalid_argument);
}

TEST_CASE("a beam ends with a stop text, which is not shown", "[pipeline]") {
    const model<cpu<>> m = tiny();
    beam_search search{m, kv::paged<kv::f32>{{.tokens = 400, .sequences = 3}}, sampling::dynamic_chain{}, {.beams = 3}};
    const beam whole = search.run("hello", {.max_tokens = 40, .ignore_end = true}).at(0);
    REQUIRE(whole.text.size() > 16);
    const std::string stop = whole.text.substr(6, 5);
    for (const beam& b : search.run("hello", {.max_tokens = 40, .returned = 3, .stop = {"", stop}, .ignore_end = true})) {
        CHECK(b.text.find(stop) == std::string::npos);
        if (b.finish == finish_reason::length) continue;
        CHECK(b.finish == finish_reason::stop_string);
        std::string all;
        for (const token_id t : ids(b)) all += m.piece(t);
        text::stream_decoder decoder;
        const std::string shown(decoder.push(all.substr(0, all.find(stop))));
        CHECK(b.text == concat(shown, decoder.flush()));
        CHECK(all.find(stop) + stop.size() + m.piece(ids(b).back()).size() > all.size());  // it ended at once
    }

    // A model without a template has turns in plain lines, and its answers end where the next one begins.
    const test::text_folder folder("", "<other>");
    const model<cpu<>> plain = load_model<cpu<>>(folder.path(), {.compute = compute::exact});
    const std::vector<token_id> text = plain.tokenizer().encode("well\nUser: why");
    sampling::dynamic_chain writes;
    writes.add([&](sampling::candidates& c, const sampling::context& x) {
        c.keep_if([&](const sampling::candidate& k) { return k.token == text[x.step]; });
    });
    beam_search answers{plain, kv::paged<kv::f32>{{.tokens = 400, .sequences = 2}}, writes, {.beams = 2}};
    const beam answer = answers.chat(std::vector<text::message>{{"user", "how"}}, {.max_tokens = 12}).at(0);
    CHECK(answer.text == "well");
    CHECK(answer.finish == finish_reason::stop_string);
    CHECK(answer.tokens.size() == 10);

    // Tokens that only pad the model's vocabulary have no text.
    beam_search padded{plain, kv::paged<kv::f32>{{.tokens = 400, .sequences = 4}}, sampling::dynamic_chain{}, {.beams = 4}};
    CHECK(padded.run("abc", {.max_tokens = 20, .stop = {"xyzxyz"}, .ignore_end = true}).size() == 1);
}

TEST_CASE("a beam search takes the memory that was planned", "[pipeline]") {
    counting_resource counter;
    const kv::paged<kv::f16> policy{{.tokens = 256, .sequences = 5}};
    const memory_plan planned = plan<cpu<>>(folder + "tiny-llama.gguf", {.compute = compute::exact}, policy, {.rows = 32, .wanted = 5});
    const model<cpu<>> m = tiny(&counter);
    const std::size_t loaded = counter.bytes();
    beam_search search{m, policy, sampling::chain<>{}, {.beams = 5, .chunk = 32}};
    CHECK(counter.bytes() - loaded == planned.cache + planned.workspace);
    search.run("some text", {.max_tokens = 30, .ignore_end = true});
    CHECK(counter.peak_bytes() == counter.bytes());
    CHECK(search.cache_bytes() == planned.cache);
}

TEST_CASE("a beam search refuses what it can not do", "[pipeline]") {
    const model<cpu<>> m = tiny();
    const kv::paged<kv::f32> policy{{.tokens = 64, .sequences = 2}};
    using search = beam_search<cpu<>, kv::paged<kv::f32>>;
    CHECK(code_of([&] { search(m, policy, {}, {.beams = 0}); }) == errc::invalid_argument);
    CHECK(code_of([&] { search(m, policy, {}, {.beams = 3}); }) == errc::cache_full);
    search s(m, policy, {}, {.beams = 2});
    const std::vector<token_id> prompt{1, 2};
    CHECK(code_of([&] { s.run(std::span<const token_id>{}); }) == errc::invalid_argument);
    CHECK(code_of([&] { s.run(std::vector<token_id>(65, 1)); }) == errc::cache_full);
    CHECK(code_of([&] { s.run(prompt, {.max_tokens = 0}); }) == errc::invalid_argument);
    CHECK(code_of([&] { s.run(prompt, {.returned = 3}); }) == errc::invalid_argument);
    CHECK(code_of([&] { s.run(prompt, {.returned = 0}); }) == errc::invalid_argument);
    CHECK(code_of([&] { s.run(prompt, {.length_penalty = INFINITY}); }) == errc::invalid_argument);
    CHECK(code_of([&] { s.run(std::vector<token_id>{-1}); }) == errc::invalid_argument);
    CHECK(s.run(prompt, {.max_tokens = 3}).size() == 1);
}
