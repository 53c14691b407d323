// SPDX-License-Identifier: MIT
// How the program fails: exit status 1 or 2, one line, no signal, nothing left behind.
#include <chrono>
#include <random>
#include <thread>

#include "program/run_program.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Every command on a model, with all that it needs otherwise.
std::vector<std::vector<std::string>> every_command(const temporary_folder& folder, const std::string& model) {
    const std::string ids = folder.write("ids.json", std::as_bytes(std::span(std::string_view("[[1, 2, 3], [4, 5, 6]]")))).string();
    const std::string text = folder.write("text", std::as_bytes(std::span(std::string_view("the ship about the as")))).string();
    const std::string out = (folder.path() / "out.npy").string();
    return {{"run", model, "-p", "hi", "-n", "2"},
            {"chat", model},
            {"inspect", model},
            {"plan", model, "--ctx", "64"},
            {"tokenize", model},
            {"detokenize", model},
            {"logits", model, "--tokens", ids, "--out", out},
            {"tensor", model, "output_norm.weight", "--out", out},
            {"perplexity", model, "-f", text},
            {"bench", model, "-p", "4", "-n", "2", "-r", "1", "-t", "1"}};
}

}  // namespace

TEST_CASE("a command line that cannot be read exits with 2 and says why in one line") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf");
    const std::vector<std::vector<std::string>> lines{
        {},
        {"sing"},
        {"run"},
        {"run", model},
        {"run", model, "-p"},
        {"run", model, "-p", "x", "--temp", "hot"},
        {"run", model, "-p", "x", "--temp", "nan"},
        {"run", model, "-p", "x", "--top-p", "1.5"},
        {"run", model, "-p", "x", "-t", "0"},
        {"run", model, "-p", "x", "-t", "-1"},
        {"run", model, "-p", "x", "-n", "99999999999999999999"},
        {"run", model, "-p", "x", "-f", "y"},
        {"run", model, "-p", "x", "--kv", "paged:f17"},
        {"run", model, "-p", "x", "--kv", "paged/0:f16"},
        {"run", model, "-p", "x", "--compute", "fast"},
        {"run", model, "-p", "x", "--unknown"},
        {"plan", model},
        {"plan", model, "--ctx", "0"},
        {"logits", model, "--out", "x"},
        {"tensor", model},
        {"bench", model, "-t", "1,x"},
    };
    for (const auto& line : lines) {
        const outcome o = skald_program(folder, line);
        CAPTURE(line, o.err);
        CHECK(o.status == 2);
        CHECK(o.out.empty());
        CHECK(o.one_error_line());
    }
    CHECK(skald_program(folder, {"run", model, "-p", "x", "--kv", "paged:f17"}).one_error_line("--kv"));
    CHECK(skald_program(folder, {"run", model, "-p", "x", "-t", "0"}).one_error_line("--threads"));
}

TEST_CASE("help and version exit with 0 and speak on standard output") {
    const temporary_folder folder;
    for (const std::vector<std::string>& line : {std::vector<std::string>{"--help"}, {"run", "--help"}, {"bench", "-h"}, {"--version"}}) {
        const outcome o = skald_program(folder, line);
        CHECK(o.status == 0);
        CHECK(o.out.size() > 4);
        CHECK(o.err.empty());
    }
}

TEST_CASE("every command refuses what is no model with exit status 1 and one line") {
    const temporary_folder folder;
    std::string cut = read_text(data_file("tiny-llama.gguf"));
    cut.resize(cut.size() / 2);
    const std::string missing = (folder.path() / "missing.gguf").string();
    const std::vector<std::string> files{missing, folder.path().string(), folder.write("empty.gguf", {}).string(),
                                         folder.write("text.gguf", std::as_bytes(std::span(std::string_view("once upon a time")))).string(),
                                         folder.write("cut.gguf", std::as_bytes(std::span(cut))).string()};
    for (const std::string& file : files)
        for (const auto& line : every_command(folder, file)) {
            const outcome o = skald_program(folder, line, "1 2 3");
            CAPTURE(line, o.status, o.err);
            CHECK(o.status == 1);
            CHECK(o.out.empty());
            CHECK(o.one_error_line(file));
            CHECK_FALSE(std::filesystem::exists(folder.path() / "out.npy"));
        }
}

TEST_CASE("a file with flipped bytes never ends the program by a signal") {
    const temporary_folder folder;
    const std::string whole = read_text(data_file("tiny-llama-quant.gguf"));
    const auto seed = GENERATE(range(1u, 13u));
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::string damaged = whole;
    for (int i = 0; i < 4; ++i) damaged[random() % 6000] = static_cast<char>(random());
    const std::string file = folder.write("damaged.gguf", std::as_bytes(std::span(damaged))).string();
    for (const auto& line : every_command(folder, file)) {
        if (line[0] == "bench") continue;  // takes its time
        const outcome o = skald_program(folder, line, "1 2 3");
        CAPTURE(line, o.status, o.err);
        CHECK(o.status <= 1);
        if (o.status == 1) CHECK(o.one_error_line());
    }
}

TEST_CASE("43: a file that becomes shorter while it is mapped is an error in one line, no signal's death") {
    // What the system says then; a file shortened at the right moment would be a matter of luck.
    const temporary_folder folder;
    running program(folder, {"run", data_file("tiny-llama.gguf"), "-p", "the ship", "--ignore-end", "--ctx", "1000000", "-t", "1", "-q"});
    for (int tries = 0; tries < 10000 && read_text(program.out()).empty(); ++tries)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    program.signal(SIGBUS);
    const outcome o = program.wait();
    CAPTURE(o.err);
    CHECK(o.status == 1);
    CHECK(o.one_error_line("became shorter"));
}

TEST_CASE("a name with a line break stays one line") {
    const temporary_folder folder;
    const outcome o = skald_program(folder, {"inspect", "no\nsuch\nfile"});
    CHECK(o.status == 1);
    CHECK(o.one_error_line("no such file"));
}

TEST_CASE("a model without tokenizer says so where text is needed") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-gpt2.gguf");
    CHECK(skald_program(folder, {"run", model, "-p", "hi"}).one_error_line("tokenizer"));
    CHECK(skald_program(folder, {"chat", model}, "hi\n").one_error_line("tokenizer"));
    CHECK(skald_program(folder, {"tokenize", model}, "hi").one_error_line("tokenizer"));
    CHECK(skald_program(folder, {"inspect", model}).status == 0);
    CHECK(skald_program(folder, {"plan", model, "--ctx", "32"}).status == 0);
}

TEST_CASE("more memory than there is fails with one line") {
    if (sanitized) return;  // sanitizers need all addresses there are
    const temporary_folder folder;
    const std::string err = (folder.path() / "err").string();
    const std::string command = "ulimit -v 1000000; " SKALD_PROGRAM " run '" + data_file("tiny-llama.gguf") +
                                "' -p hi --ctx 2147483647 --kv contiguous:f32 2>'" + err + "'";
    CHECK(WEXITSTATUS(std::system(command.c_str())) == 1);
    CHECK(outcome{1, {}, read_text(err)}.one_error_line("memory"));
}

TEST_CASE("a full disk is an error, a reader that left is none") {
    if (!std::filesystem::exists("/dev/full")) return;
    const temporary_folder folder;
    const outcome full = running(folder, {"inspect", data_file("tiny-llama.gguf")}, {}, "/dev/full").wait();
    CHECK(full.status == 1);
    CHECK(full.one_error_line("standard output"));

    const std::string pipe = (folder.path() / "pipe").string();
    const std::string command = SKALD_PROGRAM " run '" + data_file("tiny-llama.gguf") + "' -p hi --ignore-end 2>'" +
                                (folder.path() / "err").string() + "'; echo $? >'" + (folder.path() / "status").string() + "'";
    CHECK(std::system(("(" + command + ") | head -c 1 >/dev/null").c_str()) == 0);
    CHECK(read_text(folder.path() / "status") == "0\n");
    CHECK(read_text(folder.path() / "err").empty());
}
