// SPDX-License-Identifier: MIT
// Beginnings that several prompts have in common are read once, and nothing else changes.
#include <cstring>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/radix.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/sampling.hpp>

#include "support/catch.hpp"
#include "support/counted_rows.hpp"
#include "support/run_model.hpp"

using namespace skald;
using test::tokens;

namespace {

model<cpu<>> tiny(compute policy, executor* pool = nullptr) {
    return load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf", {.pool = pool, .compute = policy});
}

/// Tokens, and the log-probabilities of the whole vocabulary at each step.
struct answer {
    tokens ids;
    std::vector<float> logprobs;
    statistics stats;

    bool same_as(const answer& other) const {
        return ids == other.ids && logprobs.size() == other.logprobs.size() &&
               std::memcmp(logprobs.data(), other.logprobs.data(), logprobs.size() * sizeof(float)) == 0;
    }
};

template <class Pipeline>
answer ask(Pipeline& p, const tokens& prompt, std::size_t n) {
    const completion c = p.run(p.generate(prompt, {.max_tokens = n, .seed = 3, .top_logprobs = 1000000, .ignore_end = true}));
    answer out{{}, {}, c.stats};
    for (const generated_token& t : c.tokens) {
        out.ids.push_back(t.token);
        for (const scored_token& s : t.top) out.logprobs.push_back(s.logprob);
    }
    return out;
}

tokens operator+(tokens a, const tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

}  // namespace

TEST_CASE("rows that follow a shared prefix have the logits of contiguous storage, bit for bit", "[pipeline]") {
    thread_pool pool(2);
    for (const compute policy : {compute::exact, compute::native}) {
        const model<cpu<>> m = tiny(policy, &pool);
        const std::size_t vocabulary = m.config().vocabulary;
        const tokens system = test::random_tokens(83, vocabulary, 1);
        test::runner run(m, kv::radix<kv::f32>{{.tokens = 400, .sequences = 2, .block = 8}}, 160);
        for (const unsigned seed : {2, 3, 4}) {
            const tokens text = system + test::random_tokens(70, vocabulary, seed);
            const std::vector<float> expected = test::plain_logits(m, text);
            const kv::opened_sequence o = run.cache().open_with(text);
            CHECK(o.reused == (seed == 2 ? 0 : 80));
            const std::vector<float> logits = run.run(o.sequence, std::span(text).subspan(o.reused), 33);
            REQUIRE(logits.size() == expected.size() - o.reused * vocabulary);
            CHECK(std::memcmp(logits.data(), expected.data() + o.reused * vocabulary, logits.size() * sizeof(float)) == 0);
            run.cache().remember(o.sequence, text);
            run.cache().close(o.sequence);
        }
    }
}

TEST_CASE("another conversation with the same beginning, and the way back, read only what is new", "[pipeline]") {
    constexpr std::size_t block = 8, n = 6;
    const model<cpu<>> m = tiny(compute::native);
    const std::size_t vocabulary = m.config().vocabulary;
    const sampling::chain sampler{sampling::temperature{1.1f}};
    std::size_t rows = 0;
    const test::counted_rows policy{kv::radix<kv::f16>{{.tokens = 400, .block = block}}, &rows};
    pipeline p{m, policy, sampler, {.chunk = 16}};

    const tokens system = test::random_tokens(43, vocabulary, 5);
    const tokens a = system + test::random_tokens(20, vocabulary, 6), b = system + test::random_tokens(31, vocabulary, 7);
    const auto whole = [](std::size_t tokens) { return tokens / block * block; };
    /// Asks this pipeline and one that knows nothing; tells how many prompt tokens were not read.
    const auto reused = [&](const tokens& prompt, tokens* reply = nullptr) {
        rows = 0;
        const answer got = ask(p, prompt, n);
        pipeline fresh{m, kv::contiguous<kv::f16>{{.tokens = 400}}, sampler};
        CHECK(got.same_as(ask(fresh, prompt, n)));
        CHECK(rows == prompt.size() - got.stats.reused_tokens + n - 1);  // the last token is not read
        if (reply != nullptr) *reply = got.ids;
        return got.stats.reused_tokens;
    };

    tokens said;
    CHECK(reused(a, &said) == 0);
    CHECK(reused(b) == system.size());  // by truncation, to the token
    tokens a2 = a + said;
    a2.pop_back();
    const std::size_t read = a2.size();
    a2 = a2 + test::random_tokens(9, vocabulary, 8);
    CHECK(reused(a2) == whole(read));         // back to the first conversation, its answer included
    CHECK(reused(b) == whole(b.size() - 1));  // and to the second
    CHECK(reused(b) == b.size() - 1);         // once more, where it stands
    CHECK(reused(system) == system.size() - 1);
    CHECK(reused(a2) == whole(a2.size() - 1));
    CHECK(reused(test::random_tokens(50, vocabulary, 9)) == 0);
    CHECK(reused(a2) == whole(a2.size() - 1));
}

TEST_CASE("a pool no larger than one conversation serves any number of them", "[pipeline]") {
    const model<cpu<>> m = tiny(compute::exact);
    const std::size_t vocabulary = m.config().vocabulary;
    pipeline p{m, kv::any<cpu<>>{kv::parse_spec("radix/8:f32"), {.tokens = 64}}};
    pipeline paged{m, kv::any<cpu<>>{kv::parse_spec("paged/8:f32"), {.tokens = 64}}};
    const tokens system = test::random_tokens(21, vocabulary, 10);
    std::size_t more = 0;
    for (unsigned i = 0; i < 24; ++i) {
        const tokens prompt = system + test::random_tokens(20 + i % 7, vocabulary, 20 + i % 5);
        const answer got = ask(p, prompt, 64), expected = ask(paged, prompt, 64);
        CHECK(got.same_as(expected));
        CHECK(got.ids.size() == 64 - prompt.size() + 1);
        CHECK(got.stats.reused_tokens >= expected.stats.reused_tokens);
        more += got.stats.reused_tokens > expected.stats.reused_tokens;
    }
    CHECK(more == 0);  // each fills the pool, so nothing but the own beginning is left
}
