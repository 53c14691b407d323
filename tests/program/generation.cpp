// SPDX-License-Identifier: MIT
// run and chat, piped.
#include <chrono>
#include <filesystem>
#include <thread>

#include <nlohmann/json.hpp>

#include <skald/io/detail/quote.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {
const std::string model = data_file("tiny-llama.gguf");
}

TEST_CASE("run writes text on standard output and the statistics on standard error") {
    const temporary_folder folder;
    const outcome o = skald_program(folder, {"run", model, "-p", "the ship", "-n", "40", "--ignore-end"});
    CHECK(o.status == 0);
    CHECK(o.out.ends_with('\n'));
    CHECK(io::detail::is_utf8(o.out));
    CHECK(o.err.find("tok/s") != std::string::npos);
    CHECK(o.err.find('\n') == o.err.size() - 1);
    CHECK(o.err.find('\x1b') == std::string::npos);
    CHECK(skald_program(folder, {"run", model, "-q", "-p", "the ship", "-n", "4"}).err.empty());
}

TEST_CASE("the same seed gives the same text, whatever the threads and the cache's storage") {
    const temporary_folder folder;
    const auto text = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"run", model, "-p", "about", "-n", "30", "--ignore-end", "--compute", "exact"});
        return skald_program(folder, more).out;
    };
    const std::string first = text({"--seed", "7", "-t", "1"});
    CHECK(text({"--seed", "7", "-t", "2", "--kv", "paged/8:f16"}) == first);
    CHECK(text({"--seed", "7", "--kv", "contiguous:f16"}) == first);
    CHECK(text({"--seed", "8"}) != first);
    CHECK(text({"--temp", "0"}) == text({"--temp", "0", "--seed", "8"}));
    CHECK(text({"--temp", "0"}) == text({"--top-k", "1"}));
}

TEST_CASE("weights kept in a packed file give the same text, and a damaged one is told of and written anew") {
    const temporary_folder folder;
    const std::string quantized = (folder.path() / "q8_0.gguf").string(), packed = (folder.path() / "packed").string();
    REQUIRE(skald_program(folder, {"quantize", model, quantized, "--type", "Q8_0", "-q"}).status == 0);
    const auto run = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"run", quantized, "-q", "-p", "about", "-n", "30", "--ignore-end", "--temp", "0"});
        return skald_program(folder, more);
    };
    const std::string expected = run({}).out;
    REQUIRE(!expected.empty());
    for (int time = 0; time < 2; ++time) {
        const outcome o = run({"--packed-file", packed});
        CHECK(o.out == expected);
        CHECK(o.err.empty());
    }
    const outcome bench = skald_program(folder, {"bench", quantized, "--packed-file", packed, "-p", "8", "-n", "0", "-r", "1"});
    CHECK(bench.status == 0);
    CHECK(bench.err.empty());  // it maps the file that is there
    std::filesystem::resize_file(packed, 5000);
    const outcome o = run({"--packed-file", packed});
    CHECK(o.out == expected);
    CHECK(o.err.find("cut off") != std::string::npos);
    const std::string unpacked = run({"--packing", "none", "-t", "1"}).out;
    CHECK(!unpacked.empty());
    CHECK(run({"--packing", "none", "-t", "2"}).out == unpacked);
    CHECK(run({"--packing", "some"}).status != 0);
}

TEST_CASE("the prompt comes from the option, a file or standard input alike") {
    const temporary_folder folder;
    const std::string file = folder.write("prompt", std::as_bytes(std::span(std::string_view("the ship\n")))).string();
    const auto text = [&](std::vector<std::string> more, std::string_view input = {}) {
        more.insert(more.begin(), {"run", model, "-n", "20", "--ignore-end"});
        return skald_program(folder, more, input).out;
    };
    const std::string expected = text({"-p", "the ship"});
    CHECK(text({"-f", file}) == expected);
    CHECK(text({"-p", "-"}, "the ship\n") == expected);
    CHECK(text({"-p", "the ship", "--raw"}) != expected);
}

TEST_CASE("raw generation is the model's own continuation") {
    const temporary_folder folder;
    const std::string all = skald_program(folder, {"run", model, "--raw", "-p", "about", "-n", "30", "--temp", "0", "--ignore-end"}).out;
    const std::string some = skald_program(folder, {"run", model, "--raw", "-p", "about", "-n", "10", "--temp", "0", "--ignore-end"}).out;
    CHECK(some.size() < all.size());
    const std::string stop = all.substr(all.size() / 2, 3);
    const std::string stopped =
        skald_program(folder, {"run", "--stop", stop, model, "--raw", "-p", "about", "-n", "30", "--temp", "0", "--ignore-end"}).out;
    CHECK(stopped == all.substr(0, all.find(stop)) + "\n");
}

TEST_CASE("a prompt that does not fit the context names the option") {
    const temporary_folder folder;
    const outcome o = skald_program(folder, {"run", model, "-p", "the ship is about the as", "--ctx", "4", "--kv", "contiguous:f16"});
    CHECK(o.status == 1);
    CHECK(o.one_error_line("--ctx"));
}

TEST_CASE("chat answers each line, and a reset makes it forget") {
    const temporary_folder folder;
    const outcome o =
        skald_program(folder, {"chat", model, "-n", "12", "--temp", "0"}, "the ship\n\nabout\n/reset\nthe ship\n/exit\nthe ship\n");
    CAPTURE(o.out, o.err);
    CHECK(o.status == 0);
    CHECK(o.err.empty());
    const std::string once = skald_program(folder, {"run", model, "-n", "12", "--temp", "0", "-p", "the ship"}).out;
    CHECK(o.out.starts_with(once));
    CHECK(o.out.ends_with(once));
    CHECK(o.out.size() > 2 * once.size());
}

TEST_CASE("an interrupt ends a generation and keeps what was written") {
    const temporary_folder folder;
    running program(folder, {"run", model, "-p", "the ship", "--ignore-end", "--ctx", "1000000", "-t", "1"});
    const auto start = std::chrono::steady_clock::now();
    while (read_text(program.out()).empty() && std::chrono::steady_clock::now() - start < std::chrono::seconds(60))
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    program.signal(SIGINT);
    const outcome o = program.wait();
    CAPTURE(o.err);
    CHECK(o.status == 0);
    CHECK(o.out.ends_with('\n'));
    CHECK(o.err.find("tok/s") != std::string::npos);
}

TEST_CASE("sampling options change the text, or say which value they can not take") {
    const temporary_folder folder;
    const auto text = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"run", model, "-q", "-p", "about", "-n", "30", "--ignore-end"});
        return skald_program(folder, more);
    };
    const std::string plain = text({}).out;
    const std::vector<std::vector<std::string>> working{
        {"--typical", "0.5"},
        {"--top-nsigma", "1"},
        {"--xtc-probability", "1", "--xtc-threshold", "0.01"},
        {"--dynatemp-range", "0.5"},
        {"--eta-cutoff", "0.2"},
        {"--epsilon-cutoff", "0.2"},
        {"--presence-penalty", "5", "--repeat-last-n", "-1"},
        {"--frequency-penalty", "5"},
        {"--dry-multiplier", "9", "--dry-allowed-length", "0", "--dry-sequence-breaker", "none"},
        {"--no-repeat-ngram-size", "1"},
        {"--logit-bias", "5+100"},
        {"--mirostat", "1"},
        {"--mirostat", "2", "--mirostat-ent", "2", "--mirostat-lr", "0.5"}};
    for (const std::vector<std::string>& options : working) {
        CAPTURE(options.front());
        const outcome o = text(options);
        CHECK(o.status == 0);
        CHECK(o.out != plain);
        CHECK(o.out == text(options).out);
    }
    CHECK(text({"--bad-word", "about", "--bad-word", "ship"}).out.find("about") == std::string::npos);
    const auto refusal = [&](const std::string& option, const std::string& value) {
        const outcome o = text({option, value});
        CHECK(o.status == 2);
        return o.err;
    };
    CHECK(refusal("--mirostat", "3").find("--mirostat: '3' is no whole number from 0 to 2") != std::string::npos);
    CHECK(refusal("--dry-base", "0.5").find("--dry-base: '0.5' is no number from 1 to 1000") != std::string::npos);
    CHECK(refusal("--repeat-last-n", "-2").find("--repeat-last-n: '-2' is no whole number from -1") != std::string::npos);
    CHECK(refusal("--typical", "nan").find("--typical: 'nan' is no number from 0 to 1") != std::string::npos);
    CHECK(refusal("--logit-bias", "5*2").find("--logit-bias: '5*2' is no token id followed by +NUMBER or -NUMBER") != std::string::npos);
}

TEST_CASE("with keys before rope a text goes on when the context is full, without its oldest half") {
    const temporary_folder folder;
    const auto run = [&](std::string_view kv, std::string_view prompt) {
        return skald_program(folder, {"run", model, "--raw", "-p", std::string(prompt), "-n", "120", "--temp", "0", "--ignore-end", "--ctx",
                                      "40", "--kv", std::string(kv)});
    };
    for (const char* kv : {"paged:unroped-f16", "contiguous:unroped-q8"}) {
        const outcome o = run(kv, "about");
        CAPTURE(kv, o.err);
        CHECK(o.status == 0);
        CHECK(o.err.find("answer 120 tokens") != std::string::npos);
        CHECK(o.err.find(" dropped for room") != std::string::npos);
        CHECK(o.out.starts_with(run("contiguous:f32", "about").out.substr(0, 20)));
    }
    const outcome full = run("paged:f16", "about");
    CHECK(full.status == 0);
    CHECK(full.err.find("dropped") == std::string::npos);
    CHECK(full.err.find("answer 120 tokens") == std::string::npos);
    std::string text;
    for (int i = 0; i < 60; ++i) text += "the ship ";
    CHECK(run("paged:unroped-f16", text).status == 0);
    CHECK(run("paged:f16", text).one_error_line("(here: --ctx)"));
    CHECK(skald_program(folder, {"cache", "save", model, "-p", text, "--ctx", "40", "--kv", "paged:unroped-f16", "-o",
                                 (folder.path() / "text.kv").string()})
              .one_error_line("the cache holds"));
    CHECK(skald_program(folder, {"run", model, "--kv", "radix:unroped-f16", "-p", "about"}).status == 2);

    const auto talk = [&](std::string_view kv) {
        return skald_program(folder, {"chat", model, "-n", "30", "--temp", "0", "--ctx", "64", "--kv", std::string(kv)},
                             "about the ship\nabout the sea\nabout the ship\nabout the sea\n");
    };
    CHECK(talk("paged:unroped-f16").status == 0);
    CHECK(talk("paged:f16").one_error_line("(here: --ctx)"));
}

TEST_CASE("older tokens of tiers lie on a disk where it is asked for, to the same text") {
    const temporary_folder folder;
    const std::string disk = folder.path().string();
    std::string prompt;
    for (int i = 0; i < 40; ++i) prompt += "about the ship ";
    const auto run = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"run", model, "-q", "--raw", "-p", prompt, "-n", "80", "--temp", "0", "--ignore-end", "--ctx", "600"});
        return skald_program(folder, more);
    };
    const std::string expected = run({"--kv", "paged:kivi4"}).out;
    REQUIRE(expected.size() > 80);
    CHECK(run({"--kv", "paged:kivi4", "--kv-disk", disk}).out == expected);
    CHECK(run({"--kv", "paged:kivi4", "--kv-disk", disk, "--kv-resident", "512K"}).out == expected);
    CHECK(run({"--kv", "paged:kivi4", "--kv-disk", disk, "--beams", "1"}).out == run({"--kv", "paged:kivi4", "--beams", "1"}).out);

    const auto refused = [&](std::vector<std::string> more, int status, std::string_view part) {
        const outcome o = run(std::move(more));
        CAPTURE(o.err, o.out, part);
        CHECK(o.status == status);
        CHECK(o.out.empty());
        CHECK(o.one_error_line(part));
    };
    refused({"--kv", "paged:kivi4", "--kv-disk", disk + "/none"}, 2, "--kv-disk");
    refused({"--kv", "paged:f16", "--kv-disk", disk}, 1, "has no cold tier");
    refused({"--kv", "paged:kivi4", "--kv-resident", "1M"}, 2, "--kv-disk");
    refused({"--kv", "paged:kivi4", "--kv-disk", disk, "--kv-resident", "1000"}, 1, "(here: --kv-resident)");

    const auto planned = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"plan", model, "--ctx", "2048", "--kv", "paged:kivi4", "--json"});
        return nlohmann::json::parse(skald_program(folder, more).out).at("cache").get<std::size_t>();
    };
    CHECK(planned({"--kv-disk", disk}) < planned({}));
}

TEST_CASE("run searches with beams and shows the best answers with their scores") {
    const temporary_folder folder;
    const auto search = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"run", model, "-p", "about", "-n", "12", "--ignore-end", "--compute", "exact"});
        return skald_program(folder, more);
    };
    const outcome three = search({"--beams", "3", "--beams-shown", "3"});
    CHECK(three.status == 0);
    CHECK(three.out.starts_with("# 1 score -"));
    CHECK(three.out.find("\n# 3 score -") != std::string::npos);
    CHECK(io::detail::is_utf8(three.out));
    CHECK(search({"--beams", "1"}).out == search({"--temp", "0", "-q"}).out);
    CHECK(search({"--beams", "3", "--kv", "contiguous:f16"}).out == search({"--beams", "3", "--kv", "paged/1:f16"}).out);
    CHECK(search({"--beams", "3", "--length-penalty", "2", "--early-stopping", "never", "--no-repeat-ngram-size", "2"}).status == 0);
    CHECK(search({"--beams", "2", "--early-stopping", "maybe"}).err.find("'maybe' is none of on, off, never") != std::string::npos);
    const std::string one = search({"--beams", "1"}).out, stop = one.substr(one.size() / 2, 2);
    CHECK(search({"--beams", "1", "--stop", stop}).out == one.substr(0, one.find(stop)) + "\n");
}

TEST_CASE("an answer follows a grammar or satisfies a JSON schema, drawn or searched") {
    const temporary_folder folder;
    const auto write = [&](const char* name, std::string_view text) { return folder.write(name, std::as_bytes(std::span(text))).string(); };
    const auto run = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"run", model, "-q", "-p", "about", "--temp", "2"});
        return skald_program(folder, more);
    };
    const std::string yes_no = write("answer.gbnf", "root ::= (\"yes\" | \"no\") \", it is so\"");
    const std::string schema_text = R"({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 42},
        "what": {"enum": ["ship", "sea"]}}, "required": ["n", "what"]})";
    const std::string schema = write("schema.json", schema_text);
    for (const std::string seed : {"1", "2", "3", "4", "5"}) {
        const std::string answer = run({"--grammar", yes_no, "--seed", seed}).out;
        CHECK((answer == "yes, it is so\n" || answer == "no, it is so\n"));
        CHECK(run({"--grammar", yes_no, "--seed", seed, "--fast-forward"}).out.ends_with(", it is so\n"));
        for (const std::string& given : {schema, schema_text}) {
            const nlohmann::json value = nlohmann::json::parse(run({"--json-schema", given, "--seed", seed}).out);
            CHECK(value.size() == 2);
            CHECK((value.at("n") >= 3 && value.at("n") <= 42));
            CHECK((value.at("what") == "ship" || value.at("what") == "sea"));
        }
    }
    CHECK(run({"--grammar", yes_no, "--beams", "2"}).out.ends_with(", it is so\n"));
    const auto refused = [&](std::vector<std::string> more, int status, std::string_view part) {
        const outcome o = run(std::move(more));
        CAPTURE(o.err, o.out, part);
        CHECK(o.status == status);
        CHECK(o.out.empty());
        CHECK(o.one_error_line(part));
    };
    refused({"--grammar", write("bad.gbnf", "root ::= \"a")}, 1, "bad.gbnf");
    refused({"--grammar", write("left.gbnf", "root ::= root \"a\"")}, 1, "left.gbnf");
    refused({"--grammar", folder.path().string() + "/none.gbnf"}, 1, "none.gbnf");
    refused({"--json-schema", write("bad.json", "{\"type\": \"objekt\"}")}, 1, "bad.json");
    refused({"--json-schema", "{\"type\": "}, 1, "--json-schema");
    refused({"--grammar", yes_no, "--json-schema", schema}, 2, "--json-schema");
}
