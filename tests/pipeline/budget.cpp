// SPDX-License-Identifier: MIT
// Pipelines and steps of several sequences on caches under a number of bytes.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/budget.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"
#include "support/run_model.hpp"

using namespace skald;
using test::tokens;

namespace {

using any = kv::any<cpu<>>;

model<cpu<>> tiny() { return load_model<cpu<>>(std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf", {.compute = compute::exact}); }

}  // namespace

TEST_CASE("a pipeline whose bytes are too few for a prompt refuses it, and goes on", "[pipeline]") {
    const auto m = tiny();
    const kv::cache_shape shape = m.config().cache();
    const any storage{kv::parse_spec("paged/8:f16"), {.tokens = 64}};
    const std::size_t tables = kv::budget_cache<any, kv::refuse>::table_bytes(1);
    const kv::budget<any> policy{.limit = tables + storage.bytes(shape), .storage = {storage.spec, {.tokens = 4096}}};
    CHECK(policy.max_length(shape) == 64);
    CHECK(plan<cpu<>>(std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf", {}, policy).cache == policy.bytes(shape));
    CHECK(policy.bytes(shape) <= policy.limit);

    pipeline small{m, policy};
    pipeline plain{m, storage};
    CHECK(small.cache_bytes() == policy.bytes(shape));
    const tokens text = test::random_tokens(60, m.config().vocabulary, 5), long_text = test::random_tokens(65, m.config().vocabulary, 6);
    const auto ask = [&](auto& p) {
        std::vector<token_id> out;
        const completion c = p.run(p.generate(text, {.max_tokens = 20, .ignore_end = true}));
        for (const generated_token& t : c.tokens) out.push_back(t.token);
        CHECK(c.finish == finish_reason::length);
        return out;
    };
    const std::vector<token_id> expected = ask(plain);
    CHECK(expected.size() == 5);  // then the cache is full
    CHECK(test::code_of([&] { small.generate(long_text); }) == errc::cache_full);
    CHECK(ask(small) == expected);
    CHECK(test::code_of([&] { small.generate(long_text); }) == errc::cache_full);
    CHECK(ask(small) == expected);
}

TEST_CASE("sequences that went to other memory give the same logits when they come back", "[pipeline]") {
    const auto m = tiny();
    counting_resource elsewhere;
    const any storage{kv::parse_spec("radix/8:f16"), {.tokens = 40, .sequences = 4}};
    const kv::budget<any, kv::spill_sequences<>> policy{
        .limit = 8192 + storage.bytes(m.config().cache()), .storage = storage, .when_full = {&elsewhere}};
    test::runner run(m, policy, 32);
    std::vector<tokens> texts;
    std::vector<kv::sequence_id> sequences;
    std::vector<std::vector<float>> logits(4);
    for (unsigned i = 0; i < 4; ++i) {
        texts.push_back(test::random_tokens(36, m.config().vocabulary, i));
        sequences.push_back(run.cache().open());
    }
    for (std::size_t at = 0; at < 36; at += 9)
        for (std::size_t i = 0; i < 4; ++i) {
            const auto more = run.run(sequences[i], std::span(texts[i]).subspan(at, 9), 4);
            logits[i].insert(logits[i].end(), more.begin(), more.end());
        }
    CHECK(run.cache().counts().restored > 6);
    for (std::size_t i = 0; i < 4; ++i) CHECK(test::same_bits(logits[i], test::plain_logits(m, texts[i])) == false);  // f16 and f32
    const kv::contiguous<kv::f16> plain{{.tokens = 36}};
    for (std::size_t i = 0; i < 4; ++i) {
        test::runner alone(m, plain, 36);
        CHECK(test::same_bits(logits[i], alone.run(alone.cache().open(), texts[i], 36)));
    }
}
