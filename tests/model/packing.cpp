// SPDX-License-Identifier: MIT
// packing::none: matrices stay in the file, and products are those of `exact`, bitwise where the file's rows are multiplied there too.
#include <cstring>
#include <filesystem>
#include <string>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/load.hpp>

#include "support/catch.hpp"
#include "support/run_model.hpp"

using namespace skald;
using namespace skald::test;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const std::string folder = std::string(SKALD_TEST_DATA) + "/";

/// The logits of a text read in chunks.
std::vector<float> logits(const std::string& file, const load_options& options, std::size_t chunk) {
    const auto m = load_model<cpu<>>(folder + file, options);
    const tokens text = random_tokens(70, 75, 5);
    runner run(m, kv::contiguous<kv::f32>{{.tokens = text.size(), .sequences = 1}}, chunk);
    return run.run(run.cache().open(), text, chunk);
}

}  // namespace

TEST_CASE("without packing every policy computes with the rows of the file, one way", "[model][packing]") {
    thread_pool pool(3);
    for (const char* file : {"tiny-llama-quant.gguf", "tiny-llama-f16.gguf", "tiny-gpt2-bf16.gguf", "tiny-mixtral.gguf",
                             "tiny-phi3-long.gguf", "tiny-qwen3moe.gguf", "tiny-gemma3.gguf", "hf-gpt2", "hf-phi3"}) {
        CAPTURE(file);
        const auto expected = logits(file, {.compute = compute::exact, .packing = packing::none}, 70);
        CHECK(same_bits(logits(file, {.pool = &pool, .compute = compute::native, .packing = packing::none}, 1), expected));
        CHECK(same_bits(logits(file, {.pool = &pool, .copy = true, .packing = packing::none}, 33), expected));
    }
}

TEST_CASE("without packing no matrix is allocated, unless its values are not those of the file", "[model][packing]") {
    const auto loaded = [](const std::string& file) {
        counting_resource memory;
        const load_options options{.memory = &memory, .packing = packing::none};
        const memory_plan planned = plan<cpu<>>(folder + file, options, kv::contiguous<kv::f32>{{.tokens = 10}});
        const auto m = load_model<cpu<>>(folder + file, options);
        CHECK(memory.bytes() == planned.weights + planned.tokenizer);
        CHECK(planned.mapped < std::filesystem::file_size(
                                   std::filesystem::is_directory(folder + file) ? folder + file + "/model.safetensors" : folder + file));
        return planned;
    };
    CHECK(loaded("tiny-llama-quant.gguf").weights < 4096);
    CHECK(loaded("tiny-llama-quant.gguf").mapped > 30000);
    CHECK(loaded("hf-llama").mapped > 30000);
    const memory_plan transposed = loaded("hf-gpt2");
    CHECK(transposed.weights > 30000);
    CHECK(transposed.mapped > 0);
}
