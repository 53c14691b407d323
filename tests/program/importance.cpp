// SPDX-License-Identifier: MIT
// imatrix: the sums it writes, and that quantize reads them.
#include <cmath>
#include <fstream>

#include <skald/quantize/importance.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"
#include "support/gguf_writer.hpp"

using namespace skald;
using namespace skald::test;

namespace {

struct made {
    temporary_folder folder;
    std::string text_file, out = (folder.path() / "sums.gguf").string(), quantized = (folder.path() / "q.gguf").string();

    made() {
        std::string text;
        for (int i = 0; i < 60; ++i) text += "the hen and the other hen, " + std::to_string(i * i) + "\n";
        text_file = folder.write("text", std::as_bytes(std::span(text))).string();
    }
};

}  // namespace

TEST_CASE("imatrix writes a sum for every matrix, the same for any number of threads, and quantize takes them") {
    const made f;
    const std::string model = data_file("tiny-llama.gguf");
    const outcome o =
        skald_program(f.folder, {"imatrix", model, "-f", f.text_file, "-o", f.out, "--ctx", "64", "--chunks", "3", "-t", "1"});
    CAPTURE(o.err);
    REQUIRE(o.status == 0);
    CHECK(o.out.find("over 192 tokens") != std::string::npos);
    const auto file = io::gguf_file::open(f.out);
    CHECK(file.meta().require<std::string>("general.type") == "imatrix");
    CHECK(file.meta().require<int>("imatrix.chunk_count") == 3);
    CHECK(file.meta().require<int>("imatrix.chunk_size") == 64);
    const auto importance = quantize::importance_matrix::read(file);
    const auto source = io::gguf_file::open(model);
    for (const io::tensor_entry& t : source.tensors()) {
        if (t.shape.size() < 2 || t.name == "token_embd.weight") continue;
        CAPTURE(t.name);
        const auto mean = importance.of(t.name);
        REQUIRE(mean.size() == t.cols());
        for (const float m : mean) CHECK(m > 0);
    }
    const auto counts = file.require("blk.0.attn_q.weight.counts");
    float rows = 0;
    file.read(counts, std::as_writable_bytes(std::span(&rows, 1)));
    CHECK(rows == 192);

    const std::string bytes = read_text(f.out);
    REQUIRE(skald_program(f.folder, {"imatrix", model, "-f", f.text_file, "-o", f.out, "--ctx", "64", "--chunks", "3", "-t", "3"}).status ==
            0);
    CHECK(read_text(f.out) == bytes);

    // Rows of 48 columns fall back to f16; those of another model do not fit.
    REQUIRE(skald_program(f.folder, {"quantize", model, f.quantized, "--type", "F16", "--imatrix", f.out}).status == 0);
    CHECK(skald_program(f.folder, {"quantize", data_file("tiny-llama-quant.gguf"), f.quantized, "--type", "Q5_0", "--imatrix", f.out})
              .one_error_line("columns, but its importance"));
}

TEST_CASE("a file that is no importance matrix is refused") {
    const made f;
    const auto refused = [&](const test::gguf_writer& w, std::string_view why) {
        const auto bytes = w.bytes();
        const std::string path = f.folder.write("bad.gguf", bytes).string();
        CAPTURE(std::string(why));
        CHECK(skald_program(f.folder, {"quantize", data_file("tiny-llama.gguf"), f.quantized, "--type", "F16", "--imatrix", path})
                  .one_error_line(why));
    };
    refused(test::gguf_writer{}.key("general.type", "model"), "not 'imatrix'");
    refused(test::gguf_writer{}.key("general.type", "imatrix"), "no importance matrix");
    const auto sums = [](std::vector<float> values) { return test::gguf_writer{}.tensor("w.in_sum2", {2, 1}, values); };
    refused(sums({1, 2}), "tensor 'w.counts' is missing");
    refused(sums({1, -2}).tensor("w.counts", {1}, std::vector<float>{1}), "has the value -2 at 1");
    refused(sums({1, NAN}).tensor("w.counts", {1}, std::vector<float>{1}), "has the value");
    refused(sums({1, 2}).tensor("w.counts", {2}, std::vector<float>{1, 1}), "2 sums of 2 columns for 2 counts");
    CHECK(skald_program(f.folder, {"imatrix", data_file("tiny-llama.gguf"), "-f", "no.txt", "-o", f.out}).one_error_line("no.txt"));
    CHECK(skald_program(f.folder, {"imatrix", data_file("tiny-mixtral.gguf"), "-f", f.text_file, "-o", f.out}).status == 1);
}
