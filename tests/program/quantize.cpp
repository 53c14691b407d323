// SPDX-License-Identifier: MIT
// quantize: the files it writes, its table, and what it refuses.
#include <nlohmann/json.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

struct made {
    temporary_folder folder;
    std::string out = (folder.path() / "out.gguf").string();

    outcome quantize(const std::string& in, std::vector<std::string> more) const {
        more.insert(more.begin(), {"quantize", in, out});
        return skald_program(folder, more);
    }
    nlohmann::json inspect() const { return nlohmann::json::parse(skald_program(folder, {"inspect", out, "--json"}).out); }
    bool empty() const {
        for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
            if (entry.path().string().find(".gguf") != std::string::npos) return false;
        return true;
    }
};

std::map<std::string, std::string> types(const nlohmann::json& report) {
    std::map<std::string, std::string> out;
    for (const auto& t : report["tensors"]) out[t["name"].get<std::string>()] = t["type"].get<std::string>();
    return out;
}

}  // namespace

TEST_CASE("quantize changes the matrices' format and the keys that tell it, and nothing else") {
    const made f;
    const std::string in = data_file("tiny-llama-quant.gguf");
    const outcome o = f.quantize(in, {"--type", "q8_0"});
    CAPTURE(o.err);
    REQUIRE(o.status == 0);
    CHECK(o.err.empty());
    CHECK(o.out.find("q8_0") != std::string::npos);
    CHECK(o.out.find("bits a weight") != std::string::npos);
    const nlohmann::json after = f.inspect();
    nlohmann::json before = nlohmann::json::parse(skald_program(f.folder, {"inspect", in, "--json"}).out);
    CHECK(after["metadata"]["general.file_type"] == 7);
    CHECK(after["metadata"]["general.quantization_version"] == 2);
    for (const auto& [key, value] : before["metadata"].items())
        if (!key.starts_with("general.")) CHECK(after["metadata"][key] == value);
    for (const auto& [name, type] : types(after)) CHECK(type == (name.find("norm") != std::string::npos ? "F32" : "Q8_0"));
    const std::string ids = "[[1, 2, 3]]", npy = (f.folder.path() / "logits.npy").string();
    const std::string tokens = f.folder.write("ids.json", std::as_bytes(std::span(ids))).string();
    CHECK(skald_program(f.folder, {"logits", f.out, "--tokens", tokens, "--out", npy}).status == 0);

    // The same bytes from any number of threads, onto itself too, and silence when asked for.
    const std::string bytes = read_text(f.out);
    CHECK(f.quantize(in, {"--type", "Q8_0", "-t", "3", "-q"}).out.empty());
    CHECK(read_text(f.out) == bytes);
    CHECK(f.quantize(f.out, {"--type", "Q8_0", "-q"}).status == 0);
    CHECK(read_text(f.out) == bytes);
}

TEST_CASE("mixtures fall back where rows are no whole blocks, and tensors can be chosen by name") {
    const made f;
    const std::string in = data_file("tiny-llama-quant.gguf");
    REQUIRE(f.quantize(in, {"--type", "Q4_K_M", "--tensor-type", "attn_k=bf16", "--tensor-type", "ffn_(up|gate)=Q4_1"}).status == 0);
    const auto found = types(f.inspect());
    CHECK(found.at("blk.0.attn_q.weight") == "Q5_0");  // 256 does not divide its rows
    CHECK(found.at("blk.0.attn_k.weight") == "BF16");
    CHECK(found.at("blk.0.ffn_up.weight") == "Q4_1");
    CHECK(found.at("token_embd.weight") == "Q5_0");
    CHECK(found.at("output.weight") == "Q8_0");
}

TEST_CASE("split output reads as one model") {
    const made f;
    REQUIRE(f.quantize(data_file("tiny-llama-quant.gguf"), {"--type", "F16", "--split", "1"}).status == 0);
    CHECK(f.inspect()["files"] == 1);  // smaller than a megabyte
}

TEST_CASE("what cannot be done leaves no file and says why in one line") {
    const made f;
    const std::string in = data_file("tiny-llama.gguf");
    CHECK(f.quantize(in, {"--type", "Q9"}).one_error_line("'Q9' is none of F32, F16"));
    CHECK(f.quantize(in, {"--type", "Q8_0", "--tensor-type", "w"}).one_error_line("'w' is no REGEX=TYPE"));
    CHECK(f.quantize(in, {"--type", "Q8_0", "--tensor-type", "(=f16"}).one_error_line("regular expression"));
    CHECK(f.quantize(in, {"--type", "Q8_0", "--tensor-type", "w=q8_k"}).one_error_line("cannot be written"));
    CHECK(f.quantize("no.gguf", {"--type", "Q8_0"}).one_error_line("no.gguf"));
    CHECK(f.quantize(data_file("README.md"), {"--type", "Q8_0"}).one_error_line("is no GGUF file"));
    CHECK(f.quantize(in, {}).status == 2);
    CHECK(f.empty());
}
