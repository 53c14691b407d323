// SPDX-License-Identifier: MIT
// cache inspect: what it says of a saved sequence, and what it refuses.
#include <array>
#include <memory_resource>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/kv/paged.hpp>
#include <skald/kv/state_file.hpp>

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
