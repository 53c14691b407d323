// SPDX-License-Identifier: MIT
// tokenize and detokenize, from outside.
#include <skald/model/load.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEST_CASE("detokenize gives back the bytes that tokenize took") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf");
    std::string all_bytes;
    for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
    for (const std::string& text :
         {std::string("the ship is about the as\n\n  two\tlines\r\n"), std::string("größe 你好 🚀"), std::string(),
          std::string("\xF0\x9F cut \xFF"), all_bytes, std::string("<|im_start|>user<|im_end|>")}) {
        const outcome ids = skald_program(folder, {"tokenize", model}, text);
        CAPTURE(text, ids.out, ids.err);
        CHECK(ids.status == 0);
        CHECK(ids.err.empty());
        CHECK(ids.out.find('\n') == ids.out.size() - 1);
        CHECK(ids.out.find_first_not_of("0123456789 \n") == std::string::npos);
        const outcome back = skald_program(folder, {"detokenize", model}, ids.out);
        CHECK(back.status == 0);
        CHECK(back.out == text);
    }
}

TEST_CASE("a tokenizer.json is enough to tokenize, whatever its name") {
    const temporary_folder folder;
    const std::string text = "the quick brown fox\n";
    for (const char* name : {"qwen2", "llama-2", "bert", "t5"}) {
        const std::string file = data_file(concat("tokenizer/json/", name, ".json"));
        const text::tokenizer t = load_tokenizer(file);
        std::string expected;
        for (const token_id id : t.encode(text)) expected += concat(expected.empty() ? "" : " ", id);
        CHECK(skald_program(folder, {"tokenize", file}, text).out == expected + "\n");
    }
    const outcome o = skald_program(folder, {"tokenize", folder.write("none.json", std::as_bytes(std::span("{}", 2))).string()}, text);
    CHECK(o.status == 1);
    CHECK(o.one_error_line("none.json: key 'model' is missing"));
}

TEST_CASE("special tokens are parsed only when asked for") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf");
    CHECK(skald_program(folder, {"tokenize", "--special", model}, "<|im_start|>").out == "1\n");
    const outcome plain = skald_program(folder, {"tokenize", model}, "<|im_start|>");
    CHECK(plain.out.find(' ') != std::string::npos);
}

TEST_CASE("detokenize takes a JSON list too and refuses what is no id") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf");
    CHECK(skald_program(folder, {"detokenize", model}, "[1, 1]").out == "<|im_start|><|im_start|>");
    for (const char* bad : {"1 two 3", "1.5", "-1", "320", "99999999999"}) {
        const outcome o = skald_program(folder, {"detokenize", model}, bad);
        CAPTURE(bad, o.err);
        CHECK(o.status == 1);
        CHECK(o.out.empty());
        CHECK(o.one_error_line());
    }
}
