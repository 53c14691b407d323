// SPDX-License-Identifier: MIT
// Promise 3: the plan is what is allocated, and a cap holds.
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/any_cpu.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/ring.hpp>
#include <skald/kv/word_codec.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/pipeline.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"

using namespace skald;

namespace {

const std::string folder = std::string(SKALD_TEST_DATA) + "/";
constexpr const char* files[] = {"tiny-llama.gguf",       "tiny-gpt2.gguf",   "tiny-gpt2-bf16.gguf", "tiny-llama-f16.gguf",
                                 "tiny-llama-quant.gguf", "tiny-llama3.gguf", "tiny-mixtral.gguf",   "tiny-qwen3moe.gguf",
                                 "tiny-phi3-long.gguf",   "tiny-gemma2.gguf", "tiny-gemma3.gguf",    "tiny-olmo2.gguf",
                                 "hf-llama-old",          "hf-gpt2",          "hf-qwen3moe",         "hf-gemma3/model.safetensors"};

template <class Backend, class Policy>
void check(const std::string& file, const Policy& policy, executor* pool) {
    constexpr std::size_t chunk = 24;
    counting_resource memory;
    const memory_plan planned = plan<Backend>(folder + file, {.pool = pool}, policy, {.rows = chunk});
    CAPTURE(file, policy.name());
    {
        const auto m = load_model<Backend>(folder + file, {.pool = pool, .memory = &memory});
        CHECK(memory.bytes() == planned.weights + planned.tokenizer);
        pipeline p{m, policy, sampling::chain{sampling::greedy{}}, {.chunk = chunk}};
        CHECK(memory.bytes() == planned.total());
        CHECK(p.cache_bytes() == planned.cache);
        (void)p.run(p.generate(std::vector<token_id>(30, 3), {.max_tokens = 5, .ignore_end = true}));
        CHECK(memory.bytes() == planned.total());
        CHECK(memory.peak_bytes() <= planned.total() + planned.total() / 10);
    }
    CHECK(memory.bytes() == 0);
}

}  // namespace

TEST_CASE("a plan equals what is allocated", "[memory]") {
    thread_pool pool(2);
    for (const char* file : files)
        for (executor* executor : {static_cast<skald::executor*>(nullptr), static_cast<skald::executor*>(&pool)}) {
            check<cpu<>>(file, kv::paged<kv::f16>{{.tokens = 100, .block = 7}}, executor);
            check<cpu<>>(file, kv::contiguous<kv::f32>{{.tokens = 100}}, executor);
            check<cpu<>>(file, kv::any<cpu<>>{kv::parse_spec("paged/8:bf16"), {.tokens = 100}}, executor);
            check<cpu<>>(file, kv::radix<kv::q8>{{.tokens = 100, .block = 7}}, executor);
            check<reference::naive>(file, kv::paged<kv::f32>{{.tokens = 100}}, executor);
        }
    // A ring that keeps a model's whole context serves every layer; its step is less than a chunk.
    check<cpu<>>("tiny-llama.gguf", kv::ring<kv::q8>{{.window = 4096, .step = 9}}, &pool);
    check<cpu<>>("tiny-llama.gguf", kv::any<cpu<>>{kv::parse_spec("ring/4096:i16"), {.tokens = 100, .step = 9}}, &pool);
    check<cpu<>>("tiny-llama.gguf", kv::any<cpu<>>{kv::parse_spec("radix/7:q4"), {.tokens = 100}}, &pool);
}

TEST_CASE("a cap holds: the planned bytes suffice, one less does not", "[memory]") {
    const kv::paged<kv::f16> policy{{.tokens = 100}};
    const memory_plan planned = plan<cpu<>>(folder + "tiny-llama.gguf", {}, policy);
    const auto run = [&](std::size_t cap) {
        capped_resource memory(cap);
        const auto m = load_model<cpu<>>(folder + "tiny-llama.gguf", {.memory = &memory});
        pipeline p{m, policy};
        return p.complete("abc", {.max_tokens = 3, .ignore_end = true}).tokens.size();
    };
    CHECK(run(planned.total()) == 3);
    try {
        (void)run(planned.total() - 64);
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::memory_limit);
        CHECK(std::string(e.what()).find(std::to_string(planned.total() - 64)) != std::string::npos);
    }
}
