// SPDX-License-Identifier: MIT
// Every allocation of a whole run fails once: the run throws std::bad_alloc, leaks nothing, and the next one works.
#include <new>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/io/gguf.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/sampling.hpp>

#include "memory/failing_allocations.hpp"
#include "support/catch.hpp"

using namespace skald;
using test::fail_each, test::left;

TEST_CASE("each allocation of opening a file, loading and chatting fails cleanly", "[memory]") {
    const std::string path = std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf";
    const long count = fail_each([&] {
        auto m = load_model<cpu<>>(path, {.compute = compute::native});
        pipeline p{
            m, kv::any<cpu<>>{kv::parse_spec("paged/8:f16"), {.tokens = 64}}, sampling::chain{sampling::temperature{0.9f}}, {.chunk = 8}};
        (void)p.run(p.chat("hi", {.max_tokens = 3, .stop = {"zzz"}, .top_logprobs = 2}));
        (void)p.run(p.chat("again", {.max_tokens = 2}));
    });
    INFO("allocations in all: " << count);
    CHECK(count > 50);
}

TEST_CASE("a pipeline whose allocations fail between tokens goes on where it was", "[memory]") {
    const std::string path = std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf";
    const auto m = load_model<cpu<>>(path, {.compute = compute::native});
    const auto answer = [&](pipeline<cpu<>>& p) {
        std::vector<token_id> out;
        for (const generated_token& t : p.complete("some words to begin with", {.max_tokens = 6, .ignore_end = true}).tokens)
            out.push_back(t.token);
        return out;
    };
    pipeline<cpu<>> expected_of(m), p(m);
    const auto expected = answer(expected_of);
    for (long n = 0; n < 40; ++n) {
        left = n;
        try {
            (void)p.complete("some words to begin with", {.max_tokens = 6, .ignore_end = true});
        } catch (const std::bad_alloc&) {
        }
        left = -1;
        CAPTURE(n);
        REQUIRE(answer(p) == expected);
    }
}
