// SPDX-License-Identifier: MIT
// logits and tensor: the .npy files they write, and that logits do not depend on how they were computed.
#include <cstring>

#include "program/run_program.hpp"
#include "support/catch.hpp"
#include "support/npy.hpp"

using namespace skald;
using namespace skald::test;

namespace {

const std::string ids = [] {
    std::string json = "[";
    for (int s = 0; s < 3; ++s) {
        json += s == 0 ? "[" : ", [";
        for (int i = 0; i < 70; ++i) json += (i == 0 ? "" : ", ") + std::to_string((i * 37 + s * 101) % 80);
        json += "]";
    }
    return json + "]";
}();

struct files {
    temporary_folder folder;
    std::string tokens = folder.write("ids.json", std::as_bytes(std::span(ids))).string();
    std::string out = (folder.path() / "out.npy").string();

    /// The bytes of the file that the command writes with these further arguments.
    std::string logits(const std::string& model, std::vector<std::string> more) {
        more.insert(more.begin(), {"logits", data_file(model), "--tokens", tokens, "--out", out});
        const outcome o = skald_program(folder, more);
        CAPTURE(more, o.err);
        REQUIRE(o.status == 0);
        CHECK(o.out.empty());
        CHECK(o.err.empty());
        return read_text(out);
    }
};

}  // namespace

TEST_CASE("logits are bitwise the same for every number of threads, chunk, cache and batch") {
    files f;
    for (const char* model : {"tiny-llama.gguf", "tiny-llama-quant.gguf", "tiny-gpt2-bf16.gguf"})
        for (const char* compute : {"exact", "native"}) {
            CAPTURE(model, compute);
            const std::string expected = f.logits(model, {"--compute", compute, "-t", "1", "--chunk", "70"});
            const npy array = read_npy(f.out);
            REQUIRE(array.shape.size() == 3);
            CHECK(array.shape[0] == 3);
            CHECK(array.shape[1] == 70);
            const std::vector<std::vector<std::string>> ways{
                {"-t", "2"},      {"-t", "3", "--chunk", "1"},
                {"--chunk", "7"}, {"--chunk", "64", "--kv", "paged/8:f32"},
                {"--batch"},      {"--batch", "--chunk", "13", "--kv", "paged/3:f32", "-t", "2"}};
            for (std::vector<std::string> way : ways) {
                way.insert(way.end(), {"--compute", compute});
                CAPTURE(way);
                CHECK(f.logits(model, way) == expected);
            }
        }
}

TEST_CASE("a cache's codec changes the logits, its storage does not") {
    files f;
    const std::string f16 = f.logits("tiny-llama.gguf", {"--kv", "contiguous:f16"});
    CHECK(f.logits("tiny-llama.gguf", {"--kv", "paged:f16"}) == f16);
    CHECK(f.logits("tiny-llama.gguf", {}) != f16);
}

TEST_CASE("logits refuses token files it cannot use, and leaves the old result alone") {
    files f;
    const std::string before = f.logits("tiny-llama.gguf", {});
    for (const std::string_view bad :
         {"", "{}", "[]", "[[]]", "[1, 2]", "[[1, 2], [3]]", "[[1, 320]]", "[[-1]]", "[[1.5]]", "[[\"a\"]]", "[[1, 2"}) {
        f.folder.write("ids.json", std::as_bytes(std::span(bad)));
        const outcome o = skald_program(f.folder, {"logits", data_file("tiny-llama.gguf"), "--tokens", f.tokens, "--out", f.out});
        CAPTURE(bad, o.err);
        CHECK(o.status == 1);
        CHECK(o.one_error_line("ids.json"));
        CHECK(read_text(f.out) == before);
    }
    std::size_t entries = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(f.folder.path())) ++entries;
    CHECK(entries == 5);  // ids.json, out.npy, the three standard streams: no temporary file
}

TEST_CASE("tensor writes any tensor as float32, slowest dimension first") {
    const temporary_folder folder;
    const std::string out = (folder.path() / "t.npy").string();
    const outcome o = skald_program(folder, {"tensor", data_file("tiny-llama.gguf"), "blk.0.ffn_down.weight", "--out", out});
    CHECK(o.status == 0);
    CHECK(o.out + o.err == "");
    const npy down = read_npy(out);
    CHECK(down.shape == std::vector<std::size_t>{48, 80});
    const std::string header = read_text(out).substr(0, 128);
    CHECK(header.substr(0, 8) == std::string("\x93NUMPY\x01\x00", 8));
    CHECK(header.find("{'descr': '<f4', 'fortran_order': False, 'shape': (48, 80), }") == 10);
    CHECK(header.back() == '\n');

    // The file holds the same floats, in the same order.
    const std::string file = read_text(data_file("tiny-llama.gguf"));
    CHECK(file.find(std::string_view(reinterpret_cast<const char*>(down.values.data()), 4 * down.values.size())) != std::string::npos);

    CHECK(skald_program(folder, {"tensor", data_file("tiny-llama.gguf"), "output_norm.weight", "--out", out}).status == 0);
    CHECK(read_npy(out).shape == std::vector<std::size_t>{48});
    CHECK(skald_program(folder, {"tensor", data_file("tiny-llama.gguf"), "nobody", "--out", out}).one_error_line("nobody"));
    CHECK(skald_program(folder, {"tensor", data_file("tiny-llama.gguf"), "output_norm.weight", "--out", "/nowhere/t.npy"})
              .one_error_line("/nowhere"));
}
