// SPDX-License-Identifier: MIT
// Texts that outgrow a pipeline's cache, from which old tokens are dropped.
#include <algorithm>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/unroped.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"

using namespace skald;
using test::tokens;

namespace {

using policy = kv::paged<kv::unroped<kv::f16>>;

model<cpu<>> tiny() { return load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf", {.compute = compute::exact}); }

std::vector<token_id> ids(const completion& c) {
    std::vector<token_id> out;
    for (const generated_token& t : c.tokens) out.push_back(t.token);
    return out;
}

/// The most probable tokens that follow a text, one after another, dropping by hand.
std::vector<token_id> by_hand(const model<cpu<>>& m, const policy& p, tokens text, std::size_t room, std::size_t keep, std::size_t count) {
    test::runner run(m, p, 32);
    const kv::sequence_id s = run.cache().open();
    std::vector<token_id> out;
    std::size_t held = 0;
    while (true) {
        std::vector<float> logits;
        for (std::span<const token_id> left = text; !left.empty();) {
            const std::size_t rows = std::min(left.size(), room / 4);
            if (held + rows > room) {
                const std::size_t n = std::max((held - keep) / 2, held + rows - room);
                run.cache().remove(s, static_cast<position>(keep), static_cast<position>(keep + n));
                held -= n;
            }
            logits = run.run(s, left.first(rows), rows);
            held += rows;
            left = left.subspan(rows);
        }
        const auto last = logits.end() - static_cast<std::ptrdiff_t>(m.config().vocabulary);
        out.push_back(static_cast<token_id>(std::max_element(last, logits.end()) - last));
        if (out.size() == count) return out;
        text = {out.back()};
    }
}

}  // namespace

TEST_CASE("a generation goes on past the cache's room when old tokens are dropped", "[pipeline]") {
    const auto m = tiny();
    const policy p{{.tokens = 64, .block = 8}};
    pipeline writer{m, p, sampling::chain{sampling::greedy{}}, {.chunk = 16, .overflow = context_overflow::drop_oldest, .keep = 5}};
    for (const std::size_t length : {20, 63, 150}) {
        const tokens text = test::random_tokens(length, m.config().vocabulary, static_cast<unsigned>(length));
        const completion c = writer.run(writer.generate(text, {.max_tokens = 200, .ignore_end = true}));
        CAPTURE(length);
        CHECK(ids(c) == by_hand(m, p, text, 64, 5, 200));
        CHECK(c.finish == finish_reason::length);
        CHECK(c.stats.dropped_tokens >= length + 199 - 64);
        CHECK(writer.tokens().size() <= 64);
        CHECK(std::equal(text.begin(), text.begin() + 5, writer.tokens().begin()));
    }
    pipeline stopping{m, p, sampling::chain{sampling::greedy{}}};
    const tokens text = test::random_tokens(150, m.config().vocabulary, 5);
    CHECK(test::code_of([&] { stopping.generate(text); }) == errc::cache_full);
}

TEST_CASE("a text goes on when it has outgrown the cache, and what is left of it is not read again", "[pipeline]") {
    const auto m = tiny();
    const policy p{{.tokens = 128, .block = 8}};
    pipeline writer{m, p, sampling::chain{sampling::greedy{}}, {.system = "be brief", .overflow = context_overflow::drop_oldest}};
    tokens text;
    std::size_t dropped = 0;
    for (unsigned turn = 0; turn < 12; ++turn) {
        const tokens more = test::random_tokens(10, m.config().vocabulary, turn);
        text.insert(text.end(), more.begin(), more.end());
        const completion c = writer.run(writer.generate(text, {.max_tokens = 20, .ignore_end = true}));
        CAPTURE(turn);
        CHECK(c.tokens.size() == 20);
        if (turn > 0) CHECK(c.stats.prompt_tokens - c.stats.reused_tokens == 11);  // the last token of the answer had not been read
        for (const token_id t : ids(c)) text.push_back(t);
        dropped += c.stats.dropped_tokens;
        CHECK(writer.tokens().size() <= 128);
        CHECK(writer.tokens().size() + dropped + 1 == text.size());
    }
    CHECK(dropped > 128);
    for (int turn = 0; turn < 8; ++turn)
        CHECK(writer.run(writer.chat("tell me more", {.max_tokens = 20, .ignore_end = true})).tokens.size() == 20);
    CHECK(writer.conversation().size() == 17);

    // Another text is not continued from rows of the old one.
    pipeline fresh{m, p, sampling::chain{sampling::greedy{}}};
    const tokens held = writer.tokens();
    CHECK(ids(writer.run(writer.generate(held, {.max_tokens = 5, .ignore_end = true}))) ==
          ids(fresh.run(fresh.generate(held, {.max_tokens = 5, .ignore_end = true}))));
}

TEST_CASE("a cache chosen at run time drops old tokens as one of its type, or says that it cannot", "[pipeline]") {
    const auto m = tiny();
    const tokens text = test::random_tokens(90, m.config().vocabulary, 7);
    const pipeline_options options{.chunk = 16, .overflow = context_overflow::drop_oldest, .keep = 5};
    const auto named = [&](std::string_view words) {
        return pipeline{m, kv::any<cpu<>>{kv::parse_spec(words), {.tokens = 64}}, sampling::chain{sampling::greedy{}}, options};
    };
    pipeline writer = named("paged/8:unroped-f16");
    const completion c = writer.run(writer.generate(text, {.max_tokens = 100, .ignore_end = true}));
    CHECK(ids(c) == by_hand(m, policy{{.tokens = 64, .block = 8}}, text, 64, 5, 100));
    CHECK(c.stats.dropped_tokens >= 90 + 99 - 64);
    CHECK(test::code_of([&] { named("paged/8:f16"); }) == errc::unsupported);
}

TEST_CASE("old tokens are not dropped from caches of rotated keys", "[pipeline]") {
    const auto m = tiny();
    const auto make = [&](const auto& p) { pipeline{m, p, sampling::chain<>{}, {.overflow = context_overflow::drop_oldest}}; };
    CHECK(test::code_of([&] { make(kv::paged<kv::f16>{}); }) == errc::unsupported);
}
