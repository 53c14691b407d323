// SPDX-License-Identifier: MIT
// Where packed weights lie: in the file of the model, or in one of their own, never another model's.
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/load.hpp>

#include "io/temporary_folder.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"
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

TEST_CASE("without packing logits do not depend on threads, chunks and where the file is", "[model][packing]") {
    thread_pool pool(3);
    for (const char* file : {"tiny-llama-quant.gguf", "tiny-llama-f16.gguf", "tiny-gpt2-bf16.gguf", "tiny-mixtral.gguf",
                             "tiny-phi3-long.gguf", "tiny-qwen3moe.gguf", "tiny-gemma3.gguf", "hf-gpt2", "hf-phi3"}) {
        CAPTURE(file);
        for (const compute c : {compute::exact, compute::native}) {
            const auto expected = logits(file, {.compute = c, .packing = packing::none}, 70);
            CHECK(same_bits(logits(file, {.pool = &pool, .compute = c, .packing = packing::none}, 1), expected));
            CHECK(same_bits(logits(file, {.pool = &pool, .compute = c, .copy = true, .packing = packing::none}, 33), expected));
        }
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

namespace {

/// A model beside a file of packed weights, and what loading it says of that file.
struct packed_model {
    temporary_folder folder;
    std::filesystem::path model = folder.path() / "model.gguf", packed = folder.path() / "model.packed";
    std::vector<std::string> said;

    explicit packed_model(const std::string& file) { std::filesystem::copy_file(::folder + file, model); }

    load_options options(compute c = compute::native) {
        return {.compute = c,
                .logger =
                    [this](log_level, std::string_view line) {
                        if (line.find("model.packed") != line.npos) said.emplace_back(line);
                    },
                .packed_file = packed};
    }
    skald::model<cpu<>> load(compute c = compute::native) {
        said.clear();
        return load_model<cpu<>>(model, options(c));
    }
    bool wrote(std::string_view why) const { return said.size() == 1 && said[0].find(why) != std::string::npos; }
};

tokens some_tokens() { return random_tokens(40, 75, 3); }

}  // namespace

TEST_CASE("weights in a packed file compute as those in memory, the first time and the next", "[model][packing]") {
    for (const char* file : {"tiny-llama-quant.gguf", "tiny-gpt2-bf16.gguf", "tiny-mixtral.gguf", "tiny-gemma.gguf", "tiny-phi3-long.gguf"})
        for (const compute c : {compute::exact, compute::native}) {
            CAPTURE(file, c == compute::exact);
            packed_model m(file);
            const auto expected = plain_logits(load_model<cpu<>>(m.model, {.compute = c}), some_tokens());
            const auto first = m.load(c);
            CHECK(m.wrote("cannot be opened"));
            CHECK(same_bits(plain_logits(first, some_tokens()), expected));
            const auto written = std::filesystem::last_write_time(m.packed);
            const auto second = m.load(c);
            CHECK(m.said.empty());
            CHECK(same_bits(plain_logits(second, some_tokens()), expected));
            CHECK(std::filesystem::last_write_time(m.packed) == written);
        }
}

TEST_CASE("a plan knows what a packed file holds", "[model][packing]") {
    packed_model m("tiny-llama-quant.gguf");
    for (const bool copy : {false, true})
        for (int time = 0; time < 2; ++time) {
            counting_resource memory;
            load_options options = m.options();
            options.memory = &memory;
            options.copy = copy;
            const memory_plan planned = plan<cpu<>>(m.model, options, kv::contiguous<kv::f32>{{.tokens = 10}});
            const auto loaded = load_model<cpu<>>(m.model, options);
            CHECK(memory.bytes() == planned.weights + planned.tokenizer);
            CHECK((copy ? 0 : std::filesystem::file_size(m.packed)) == planned.mapped);
            CHECK(memory.peak_bytes() < planned.weights + planned.tokenizer + 65536);
        }
}

TEST_CASE("a packed file that is damaged, older or another model's is written anew", "[model][packing]") {
    packed_model m("tiny-llama-quant.gguf");
    const auto expected = plain_logits(m.load(), some_tokens());
    const auto size = std::filesystem::file_size(m.packed);
    const auto anew = [&](std::string_view why) {
        CAPTURE(why);
        CHECK(same_bits(plain_logits(m.load(), some_tokens()), expected));
        CHECK(m.wrote(why));
        CHECK(std::filesystem::file_size(m.packed) == size);
        CHECK(same_bits(plain_logits(m.load(), some_tokens()), expected));
        CHECK(m.said.empty());
    };
    std::filesystem::resize_file(m.packed, size - 64);
    anew("cut off");
    {
        std::fstream file(m.packed, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(size / 2));
        file.write("damaged", 7);
    }
    anew("checksum of its weights");
    m.folder.write("model.packed", std::as_bytes(std::span("something else")));
    anew("no file of packed weights");
    {
        packed_model other("tiny-llama-f16.gguf");
        (void)other.load();
        std::filesystem::copy_file(other.packed, m.packed, std::filesystem::copy_options::overwrite_existing);
    }
    anew("another model file");
    (void)m.load(compute::exact);
    anew("another way");
    std::filesystem::last_write_time(m.model, std::filesystem::last_write_time(m.model) + std::chrono::seconds(1));
    anew("has changed since");
}

TEST_CASE("a packed file that cannot be written fails the load", "[model][packing]") {
    packed_model m("tiny-llama-f16.gguf");
    m.packed = m.folder.path() / "no folder" / "model.packed";
    CHECK(code_of([&] { (void)m.load(); }) == errc::io);
    m.packed = m.folder.path();
    CHECK(code_of([&] { (void)m.load(); }) == errc::io);
}
