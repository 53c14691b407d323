// SPDX-License-Identifier: MIT
// cache: what inspect says of a kept sequence and refuses; save and load.
#include <array>
#include <memory_resource>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/kv/paged.hpp>
#include <skald/kv/state_file.hpp>
#include <skald/kv/transport_file.hpp>

#include "program/run_program.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

TEST_CASE("cache inspect tells what a saved sequence holds, and refuses damaged ones in one line") {
    const temporary_folder folder;
    const std::filesystem::path path = folder.path() / "talk.kv";
    auto cache = kv::paged<kv::bf16>{{.tokens = 16}}.make({.layers = 3, .kv_heads = 2, .head_dim = 20}, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    const std::array rows{kv::segment{s, 0, 4}};
    cache.plan(rows);
    cache.commit(s);
    const std::vector<token_id> tokens{5, 7, 11, 13};
    kv::save(cache, s, tokens, path, {.model = 99}, "a note");

    const outcome as_json = skald_program(folder, {"cache", "inspect", path.string(), "--json"});
    REQUIRE(as_json.status == 0);
    const nlohmann::json j = nlohmann::json::parse(as_json.out);
    CHECK(j["tokens"] == 4);
    CHECK(j["layers"] == 3);
    CHECK(j["kv_heads"] == 2);
    CHECK(j["head_dim"] == 20);
    CHECK(j["codec"] == "bf16");
    CHECK(j["row_bytes"] == 64);
    CHECK(j["model"] == 99);
    CHECK(j["note_bytes"] == 6);
    CHECK(j["ids"] == tokens);
    CHECK(j["bytes"] == std::filesystem::file_size(path));
    const outcome as_text = skald_program(folder, {"cache", "inspect", path.string()});
    CHECK(as_text.status == 0);
    CHECK(as_text.out.find("codec         bf16, 64 bytes a row\n") != std::string::npos);

    std::string bytes = read_text(path);
    bytes[bytes.size() / 2] ^= 1;
    const auto damaged = folder.write("damaged.kv", std::as_bytes(std::span(bytes.data(), bytes.size())));
    for (const std::string& file :
         {damaged.string(), (folder.path() / "absent.kv").string(), std::string(SKALD_TEST_DATA) + "/tiny-llama.gguf"}) {
        const outcome refused = skald_program(folder, {"cache", "inspect", file});
        CHECK(refused.status == 1);
        CHECK(refused.out.empty());
        CHECK(refused.one_error_line(file));
    }
    CHECK(skald_program(folder, {"cache"}).status == 2);
    CHECK(skald_program(folder, {"cache", "inspect"}).status == 2);
}

TEST_CASE("cache save keeps a text, exactly or encoded, and cache load goes on from it") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf"), text = "the cat sat on the mat and the dog sat on the log";
    const auto kept = [&](const char* name) { return (folder.path() / name).string(); };
    const outcome exact =
        skald_program(folder, {"cache", "save", model, "-p", text, "-o", kept("exact.kv"), "--exact", "--kv", "paged:f32"});
    CHECK(exact.err.find(" tokens read in ") != std::string::npos);
    REQUIRE(exact.status == 0);
    const outcome encoded =
        skald_program(folder, {"cache", "save", model, "-f", folder.write("text", std::as_bytes(std::span(text))).string(), "-o",
                               kept("encoded.kv"), "--quality", "5", "--kv", "paged:f32"});
    REQUIRE(encoded.status == 0);
    const outcome small = skald_program(folder, {"cache", "save", model, "-p", text, "-o", kept("small.kv"), "--quality", "1"});
    REQUIRE(small.status == 0);
    CHECK(std::filesystem::file_size(kept("small.kv")) < std::filesystem::file_size(kept("encoded.kv")));
    CHECK(std::filesystem::file_size(kept("encoded.kv")) < std::filesystem::file_size(kept("exact.kv")));

    const auto described = [&](const char* name) {
        const outcome o = skald_program(folder, {"cache", "inspect", kept(name), "--json"});
        REQUIRE(o.status == 0);
        return nlohmann::json::parse(o.out);
    };
    CHECK(described("exact.kv")["ids"] == described("encoded.kv")["ids"]);
    CHECK(described("exact.kv")["model"] == described("encoded.kv")["model"]);
    CHECK(described("exact.kv")["codec"] == "f32");
    CHECK(described("encoded.kv")["quality"] == 5);
    CHECK(!described("encoded.kv").contains("codec"));
    const outcome as_text = skald_program(folder, {"cache", "inspect", kept("small.kv")});
    CHECK(as_text.out.find("encoded       quality 1, for caches of any codec\n") != std::string::npos);

    // What follows is what follows when the text is read.
    const std::vector<std::string> how{"-n", "12", "--temp", "0", "--ignore-end"};
    const auto with = [&](std::vector<std::string> arguments) {
        arguments.insert(arguments.end(), how.begin(), how.end());
        return skald_program(folder, arguments);
    };
    const outcome read = with({"run", model, "--raw", "-p", text, "--kv", "paged:f32", "-q"});
    REQUIRE(read.status == 0);
    const outcome loaded = with({"cache", "load", model, kept("exact.kv"), "--kv", "contiguous:f32"});
    CHECK(loaded.out == read.out);
    CHECK(loaded.err.find(" tokens loaded in ") != std::string::npos);
    CHECK(loaded.err.find("first text after ") != std::string::npos);
    CHECK(with({"cache", "load", model, kept("encoded.kv"), "--kv", "paged:q8"}).status == 0);
    const outcome more = with({"cache", "load", model, kept("encoded.kv"), "-p", " and more", "-q"});
    CHECK(more.status == 0);
    CHECK(more.err == "");

    CHECK(skald_program(folder, {"cache", "load", model, kept("exact.kv"), "--kv", "paged:q8"}).one_error_line("the codec is f32"));
    auto stranger = kv::paged<kv::f16>{{.tokens = 16}}.make({.layers = 1, .kv_heads = 1, .head_dim = 8}, std::pmr::new_delete_resource());
    kv::encode(stranger, stranger.open(), std::span<const token_id>(), folder.path() / "stranger.kv", {.model = 99});
    CHECK(skald_program(folder, {"cache", "load", model, kept("stranger.kv")}).one_error_line("another model"));
    CHECK(skald_program(folder, {"cache", "load", model, kept("encoded.kv"), "--ctx", "4"}).one_error_line("raise"));
    CHECK(skald_program(folder, {"cache", "load", model, kept("absent.kv")}).one_error_line("absent.kv"));
    std::string bytes = read_text(kept("encoded.kv"));
    bytes[bytes.size() / 2] ^= 1;
    const auto damaged = folder.write("damaged.kv", std::as_bytes(std::span(bytes.data(), bytes.size())));
    CHECK(skald_program(folder, {"cache", "load", model, damaged.string()}).one_error_line("damaged"));
    CHECK(skald_program(folder, {"cache", "inspect", damaged.string()}).one_error_line("damaged"));
    CHECK(skald_program(folder, {"cache", "save", model, "-o", kept("none.kv")}).status == 2);
    CHECK(skald_program(folder, {"cache", "save", model, "-p", text, "-o", kept("none.kv"), "--quality", "6"}).status == 2);
    CHECK(skald_program(folder, {"cache", "save", model, "-p", text, "-o", kept("none.kv"), "--quality", "2", "--exact"}).status == 2);
}

TEST_CASE("cache save and load keep tiers and what an eviction policy left") {
    const temporary_folder folder;
    const std::string model = data_file("tiny-llama.gguf"), text = "the cat sat on the mat and the dog sat on the log";
    const std::string kept = (folder.path() / "kept.kv").string();
    const auto with = [&](std::vector<std::string> arguments) {
        for (const char* more : {"-n", "12", "--temp", "0", "--ignore-end", "-q"}) arguments.emplace_back(more);
        return skald_program(folder, arguments);
    };
    for (const std::string cache : {"tiered:f16/8,q4", "radix:kivi2", "h2o:16:q8"}) {
        CAPTURE(cache);
        REQUIRE(skald_program(folder, {"cache", "save", model, "-p", text, "-o", kept, "--exact", "--kv", cache}).status == 0);
        const outcome read = with({"run", model, "--raw", "-p", text, "--kv", cache});
        const outcome loaded = with({"cache", "load", model, kept, "--kv", cache});
        REQUIRE(read.status == 0);
        CHECK(loaded.out == read.out);
        CHECK(skald_program(folder, {"cache", "load", model, kept, "--kv", "paged:f16"}).one_error_line("is of a cache whose kind is"));
        CHECK(skald_program(folder, {"cache", "save", model, "-p", text, "-o", kept, "--kv", cache}).one_error_line("cannot be encoded"));
    }
    const outcome as_json = skald_program(folder, {"cache", "inspect", kept, "--json"});
    REQUIRE(as_json.status == 0);
    const nlohmann::json j = nlohmann::json::parse(as_json.out);
    CHECK(j["codec"] == "q8");
    CHECK(j["cache"]["kind"] == "evicting");
    CHECK(j["cache"]["budget"] == "16 tokens");
    const outcome as_text = skald_program(folder, {"cache", "inspect", kept});
    CHECK(as_text.out.find("policy        h2o (recent_share 0.5)\n") != std::string::npos);
}
