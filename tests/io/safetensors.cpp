// SPDX-License-Identifier: MIT
// safetensors files and their indices: what is read, and what is refused and how (MALFORMED 44 and 45).
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/safetensors.hpp>

#include "io/refusal.hpp"
#include "io/safetensors_file.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;
using io::safetensors_file;

namespace {

const std::string two_tensors = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
                                R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )";

void check_bytes(const std::vector<std::byte>& bytes, std::initializer_list<std::string_view> parts) {
    check_error([&] { safetensors_file::from_bytes(bytes, "bad.safetensors"); }, errc::bad_file, "bad.safetensors", parts);
}
void check_header(std::string_view header, std::size_t data, std::initializer_list<std::string_view> parts) {
    check_bytes(safetensors_bytes(header, data), parts);
}
/// A header of one tensor `t` with those fields.
std::string tensor(std::string_view fields) { return concat("{\"t\":{", fields, "}}"); }

}  // namespace

TEST_CASE("A safetensors file gives its tensors and their bytes", "[safetensors]") {
    const auto bytes = safetensors_bytes(two_tensors, 16);
    const auto file = safetensors_file::from_bytes(bytes, "x.safetensors");
    REQUIRE(file.tensors().size() == 2);
    CHECK(file.metadata().at("format") == "pt");
    CHECK(file.find("c") == nullptr);
    const io::safetensors_tensor* b = file.find("b");
    REQUIRE(b != nullptr);
    CHECK(b->type->name == "F16");
    CHECK(b->shape == std::vector<std::uint64_t>{2, 3});
    CHECK(file.bytes(*b).size() == 12);
    CHECK(file.bytes(*b)[0] == std::byte{4});
    CHECK(file.bytes(*file.find("a"))[3] == std::byte{3});
    CHECK(safetensors_file::from_bytes(safetensors_bytes("{}", 0), "e").tensors().empty());
    const auto empty = safetensors_bytes(tensor(R"("dtype":"F4","shape":[0,5],"data_offsets":[0,0])"), 0);
    CHECK(safetensors_file::from_bytes(empty, "e").tensors()[0].bytes == 0);
}

TEST_CASE("A safetensors header that contradicts itself is refused by name", "[safetensors]") {
    check_bytes({}, {"has 0 bytes"});
    check_bytes(safetensors_bytes("{}", 0, 3), {"header of 3 bytes", "longer than the file of 10"});
    check_bytes(safetensors_bytes("{}", 0, 100'000'001), {"100000001", "100000000"});
    check_bytes(safetensors_bytes("{}", 0, ~0ull), {"18446744073709551615"});
    check_bytes(safetensors_bytes("{}", 0, 0), {"starts with"});
    check_header("[]", 0, {"starts with '[]'"});
    check_header("{", 0, {"line 1, column 2"});
    check_header("{} {}", 0, {"line 1, column 4"});
    check_header("{\"a\":\"\xC3\"}", 0, {"line 1"});
    check_header(R"({"a":1})", 0, {"1 stands where an object must"});
    check_header(R"({"a":[]})", 0, {"an array stands where an object must"});
    check_header(R"({"":{}})", 0, {"the name is empty"});
    check_header(R"({"a\u0000b":{}})", 0, {"'a\\x00b'", "NUL"});
    check_header(R"({"__metadata__":{"a":1}})", 0, {"__metadata__ 'a' is 1, not a string"});
    check_header(R"({"__metadata__":{"a":{}}})", 0, {"__metadata__ 'a' is an object"});
    check_header(R"({"__metadata__":{"a":"","a":""}})", 0, {"__metadata__ 'a' stands twice"});
    check_header(R"({"__metadata__":{},"__metadata__":{}})", 0, {"__metadata__ stands twice"});
    check_header(R"({"__metadata__":[]})", 0, {"an array stands where an object must"});
    const std::string one = R"({"dtype":"I8","shape":[1],"data_offsets":[0,1]})",
                      next = R"({"dtype":"I8","shape":[1],"data_offsets":[1,2]})";
    check_header(concat("{\"a\":", one, ",\"a\":", next, "}"), 2, {"'a'", "twice"});
}

TEST_CASE("A safetensors tensor with wrong fields is refused by name and value", "[safetensors]") {
    const auto refused = [](std::string_view fields, std::initializer_list<std::string_view> parts) {
        check_header(tensor(fields), 8, parts);
    };
    refused("", {"'t'", "dtype is missing"});
    refused(R"("dtype":"F32","shape":[2])", {"'t'", "data_offsets is missing"});
    refused(R"("dtype":"F32","data_offsets":[0,8])", {"'t'", "shape is missing"});
    refused(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", {"'t'", "'F33'"});
    refused(R"("dtype":32,"shape":[2],"data_offsets":[0,8])", {"dtype is 32, not a string"});
    refused(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])", {"dtype stands twice"});
    refused(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1)", {"'more'"});
    refused(R"("dtype":"F32","shape":2,"data_offsets":[0,8])", {"shape is 2, not an array"});
    refused(R"("dtype":"F32","shape":{"a":[]},"data_offsets":[0,8])", {"shape is an object"});
    refused(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])", {"dimension 0 of its shape is an array"});
    refused(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", {"dimension 0", "-2"});
    refused(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", {"dimension 0", "2.0"});
    refused(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8])", {"18446744073709551616"});
    refused(R"("dtype":"F32","shape":[2,null],"data_offsets":[0,8])", {"dimension 1", "null"});
    refused(R"("dtype":"F32","shape":[2],"data_offsets":[8])", {"are 1 numbers"});
    refused(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", {"data_offsets hold 8"});
    refused(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", {"from 8 back to 0"});
    refused(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", {"hold 8 bytes", "F32 of shape [3] takes 12"});
    refused(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", {"hold 1 bytes", "F4 of shape [3]"});
    refused(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])", {"overflows"});
    refused(R"("dtype":"I8","shape":[18446744073709551615],"data_offsets":[1,0])", {"from 1 back to 0"});
    refused(R"("dtype":"I8","shape":[7],"data_offsets":[1,8])", {"starts at offset 1", "hole"});
    refused(R"("dtype":"I8","shape":[7],"data_offsets":[0,7])", {"end at 7", "8 bytes"});
    refused(R"("dtype":"I8","shape":[9],"data_offsets":[0,9])", {"end at 9 of 8 bytes", "partial download"});
    check_header(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[5],"data_offsets":[3,8]}})", 8,
                 {"'b'", "overlap"});
    check_header(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[3],"data_offsets":[5,8]}})", 8,
                 {"'b'", "hole"});
    std::string deep = "{\"t\":{\"shape\":";
    deep.append(2'000'000, '[');
    check_header(deep, 0, {"dimension 0"});
}

TEST_CASE("A damaged safetensors file is read or refused, never worse", "[safetensors]") {
    const std::vector<std::byte> good = safetensors_bytes(two_tensors, 16);
    for (std::size_t n = 0; n < good.size(); ++n)
        check_bytes(std::vector<std::byte>(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)), {});
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::size_t refused = 0;
    for (int round = 0; round < 20000; ++round) {
        std::vector<std::byte> bytes = good;
        for (auto edits = random() % 3 + 1; edits > 0; --edits) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        refused += error_of([&] {
                       const auto file = safetensors_file::from_bytes(bytes, "bad.safetensors");
                       for (const auto& t : file.tensors()) REQUIRE(file.bytes(t).size() == t.bytes);
                   }).has_value();
    }
    CHECK(refused > 10000);
    CHECK(refused < 20000);
}

TEST_CASE("Files of an index are one file, and must agree with it", "[safetensors]") {
    const temporary_folder folder;
    const auto shard = [&](std::string_view name, std::string_view tensor_name) {
        folder.write(name, safetensors_bytes(concat("{\"", tensor_name, R"(":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})"), 2));
    };
    const auto index = [&](const std::string& map) {
        const std::string text = concat("{\"metadata\":{\"total_size\":4},\"weight_map\":", map, "}");
        return folder.write("model.safetensors.index.json", std::as_bytes(std::span(text)));
    };
    shard("m-00001-of-00002.safetensors", "a");
    shard("m-00002-of-00002.safetensors", "b");
    shard("c.safetensors", "c");
    shard("b2.safetensors", "b");
    const auto file = safetensors_file::open_index(index(R"({"b":"m-00002-of-00002.safetensors","a":"m-00001-of-00002.safetensors"})"));
    CHECK(file.shards() == 2);
    REQUIRE(file.find("b") != nullptr);
    CHECK(file.find("b")->shard == 1);
    CHECK(file.bytes(*file.find("b")).size() == 2);
    CHECK(safetensors_file::open_index(index(R"({"c":"c.safetensors"})")).tensors().size() == 1);

    const auto refused = [&](const std::string& map, std::initializer_list<std::string_view> parts, errc code = errc::bad_file) {
        check_error([&] { safetensors_file::open_index(index(map)); }, code, folder.path().string(), parts);
    };
    refused("[]", {"weight_map", "an array of 0, not an object"});
    refused("{}", {"lists no tensors"});
    refused("null", {"'weight_map' is missing"});
    refused(R"({"a":1})", {"'weight_map.a'", "1, not the name of a file"});
    for (const char* name :
         {"", ".", "..", "../c.safetensors", "/c.safetensors", "x/c.safetensors", "..\\\\c.safetensors", "c.safetensors\\u0000"})
        refused(concat("{\"c\":\"", name, "\"}"), {"'weight_map.c'", "not the name of a file in the same folder"});
    refused(R"({"c":"d.safetensors"})", {"d.safetensors", "cannot be opened"}, errc::io);
    refused(R"({"c":"c.safetensors","d":"c.safetensors"})", {"'d' is not in the file 'c.safetensors'"});
    refused(R"({"d":"c.safetensors"})", {"'c' is not in the index"});
    refused(R"({"a":"m-00001-of-00002.safetensors"})", {"lists 1 files", "'m-00001-of-00002.safetensors' says that there are 2"});
    refused(R"({"a":"m-00001-of-00002.safetensors","b":"c.safetensors","c":"c.safetensors"})", {"'b' is not in the file 'c.safetensors'"});
    refused(R"({"a":"m-00001-of-00002.safetensors","b":"m-1-of-2.safetensors"})", {"each once"});
    refused(R"({"b":"m-00002-of-00002.safetensors","c":"b2.safetensors"})", {"'b' belongs into 'm-00002-of-00002.safetensors'"});
}
