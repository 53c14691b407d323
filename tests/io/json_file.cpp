// SPDX-License-Identifier: MIT
// JSON files: limits, messages that say where, values by key.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/json_file.hpp>

#include "io/refusal.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

nlohmann::json read(std::string_view text, const io::json_limits& limits = {}) { return io::read_json(text, "a.json", limits); }

void check_json_refused(std::string_view text, std::initializer_list<std::string_view> parts, const io::json_limits& limits = {}) {
    check_error([&] { read(text, limits); }, errc::bad_file, "a.json", parts);
}

}  // namespace

TEST_CASE("JSON is read as nlohmann's own parser reads it", "[json]") {
    for (const char* text : {"null", "[]", "{}", " [1, -2, 3.5, true, null, \"a\\u00e9\\n\"] ", R"({"a":{"b":[{}, [[]], {"c":1}]},"d":[]})",
                             "18446744073709551615", "[1e300, -9223372036854775808]", "\xEF\xBB\xBF{}", R"({"":{"":0}})"})
        CHECK(read(text) == nlohmann::json::parse(text));
    CHECK(read(R"({"a":1,"a":2})") == nlohmann::json{{"a", 2}});
}

TEST_CASE("Broken JSON is refused with its line and column", "[json]") {
    check_json_refused("", {"line 1, column 1", "ends"});
    check_json_refused("{\n  \"a\": 1,\n  b}", {"line 3, column 3", "'b}'"});
    check_json_refused("[1, 2", {"line 1, column 6", "partial download"});
    check_json_refused("[1] 2", {"line 1, column 5"});
    check_json_refused("[\"\xFF\"]", {"line 1, column 3", "\\xff"});
    check_json_refused("[\"a\x01\"]", {"line 1, column 4"});
    check_json_refused("[NaN]", {"line 1"});
    check_json_refused("[1e999]", {"line 1"});
    check_json_refused(std::string_view("[1\0]", 4), {"line 1, column 3"});
    const std::string whole = R"({"a":[1,2.5,{"b":"cé"}],"d":null,"e":true})";
    for (std::size_t n = 0; n < whole.size(); ++n) check_json_refused(std::string_view(whole).substr(0, n), {"line 1"});
}

TEST_CASE("JSON past a limit is refused", "[json]") {
    CHECK(read("[[[[]]]]", {.depth = 4}).size() == 1);
    check_json_refused("[[[[]]]]", {"more than 3 deep"}, {.depth = 3});
    check_json_refused(std::string(1000000, '['), {"more than 64 deep"});
    std::string objects;
    for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
    check_json_refused(objects, {"more than 64 deep"});
    check_json_refused("[1,2,3]", {"has 7 bytes", "6 are the most"}, {.bytes = 6});
}

TEST_CASE("Values are asked for by key", "[json]") {
    const nlohmann::json file = read(R"({"n":3,"big":4294967296,"neg":-1,"x":2.5,"whole":8192.0,"huge":1e300,"s":"text","b":true,
                                         "null":null,"in":{"deep":{"n":"no"}},"list":[1,2],"mixed":[1,"2"]})");
    const io::json_object o(file, "a.json");
    CHECK(o.get<int>("n") == 3);
    CHECK(o.require<double>("n") == 3.0);
    CHECK(o.get<std::uint32_t>("whole") == 8192u);
    CHECK(o.get<std::string>("s") == "text");
    CHECK(o.get<bool>("b") == true);
    CHECK_FALSE(o.get<int>("null").has_value());
    CHECK_FALSE(o.get<int>("absent").has_value());
    CHECK(o.values<int>("list") == std::vector<int>{1, 2});
    CHECK(o.values<int>("absent").empty());
    const auto refused = [](auto&& f, std::initializer_list<std::string_view> parts) { check_error(f, errc::bad_file, "a.json", parts); };
    refused([&] { o.get<std::uint32_t>("big"); }, {"'big'", "4294967296", "0 to 4294967295"});
    refused([&] { o.get<std::size_t>("neg"); }, {"'neg'", "-1"});
    refused([&] { o.get<int>("x"); }, {"'x'", "2.5", "integer"});
    refused([&] { o.get<float>("huge"); }, {"'huge'", "f32"});
    refused([&] { o.get<bool>("n"); }, {"'n'", "3", "true or false"});
    refused([&] { o.get<std::string>("list"); }, {"'list'", "an array of 2"});
    refused([&] { o.require<int>("absent"); }, {"'absent'", "missing"});
    refused([&] { o.require<int>("null"); }, {"'null'", "missing"});
    refused([&] { o.values<int>("mixed"); }, {"'mixed'", "element 1", "'2'"});
    refused([&] { o.array("n"); }, {"'n'", "an array"});
    refused([&] { o.object("n"); }, {"'n'", "an object"});
    refused([&] { o.object("in")->object("deep")->get<int>("n"); }, {"'in.deep.n'", "'no'"});
    refused([&] { io::json_object(file.at("list"), "a.json"); }, {"the file", "an array of 2"});
}

TEST_CASE("A JSON file is read by its path", "[json]") {
    const temporary_folder folder;
    const std::string text = "{\"a\": 1}";
    const auto path = folder.write("x.json", std::as_bytes(std::span(text)));
    CHECK(io::read_json(path) == nlohmann::json{{"a", 1}});
    CHECK(io::read_json(path, {}, {.copy = true}) == nlohmann::json{{"a", 1}});
    check_error([&] { io::read_json(folder.path() / "absent.json"); }, errc::io, (folder.path() / "absent.json").string(),
                {"cannot be opened"});
}
