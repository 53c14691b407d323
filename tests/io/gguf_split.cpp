// SPDX-License-Identifier: MIT
// Models split over several files; 44 of the project's list of bad input.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <skald/io/gguf.hpp>

#include "io/refusal.hpp"
#include "io/sample_file.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;
using io::gguf_file;

namespace {

std::vector<std::byte> shard(std::uint16_t number, std::uint16_t count, std::int32_t tensors, std::string_view tensor_name) {
    gguf_writer w;
    if (number == 0) w.key("general.architecture", "llama");
    w.key("split.no", number).key("split.count", count).key("split.tensors.count", tensors);
    return w.tensor(tensor_name, {4}, std::vector<float>(4, static_cast<float>(number))).bytes();
}

/// The three files of a well-formed model; the path of the first.
std::filesystem::path write_three(const temporary_folder& folder) {
    for (std::uint16_t n = 0; n < 3; ++n) folder.write(concat("m-0000", n + 1, "-of-00003.gguf"), shard(n, 3, 3, concat("t", n)));
    return folder.path() / "m-00001-of-00003.gguf";
}

void check_open(const std::filesystem::path& path, errc code, const std::filesystem::path& blamed,
                std::initializer_list<std::string_view> parts) {
    check_error([&] { gguf_file::open(path); }, code, blamed.string(), parts);
}

}  // namespace

TEST_CASE("a split model is opened from its first file") {
    const temporary_folder folder;
    const auto path = write_three(folder);
    for (const bool copy : {false, true}) {
        const gguf_file file = gguf_file::open(path, {.copy = copy});
        CHECK(file.shards() == 3);
        CHECK(file.meta().require<std::string_view>("general.architecture") == "llama");
        REQUIRE(file.tensors().size() == 3);
        for (std::uint32_t n = 0; n < 3; ++n) {
            const io::tensor_entry& t = file.require(concat("t", n));
            CHECK(t.shard == n);
            float value;
            std::memcpy(&value, file.bytes(t).data() + 12, 4);
            CHECK(value == static_cast<float>(n));
        }
    }
}

TEST_CASE("a model that says it is not split may have any name") {
    const temporary_folder folder;
    for (const std::uint16_t count : {std::uint16_t{0}, std::uint16_t{1}}) {
        const auto path = folder.write("merged.gguf", shard(0, count, 1, "t"));
        CHECK(gguf_file::open(path).shards() == 1);
    }
}

TEST_CASE("44: a split model is refused unless opened by the path of its first file") {
    const temporary_folder folder;
    const auto path = write_three(folder);
    const auto second = folder.path() / "m-00002-of-00003.gguf";
    check_open(second, errc::bad_file, second, {"file 2 of 3", "-00001-of-00003.gguf"});
    const auto bytes = shard(0, 3, 3, "t0");
    check_refused(bytes, {"one of 3 files", "path"}, errc::unsupported);
}

TEST_CASE("44: a first file with another name is refused") {
    const temporary_folder folder;
    for (const char* name : {"model.gguf", "m-00001-of-00004.gguf", "m-00002-of-00003.gguf", "m-1-of-3.gguf", "-00001-of-00003.gguf"}) {
        const auto path = folder.write(name, shard(0, 3, 3, "t0"));
        check_open(path, errc::bad_file, path, {"first of 3 files", "'-00001-of-00003.gguf'"});
    }
}

TEST_CASE("44: a missing or contradicting file of a split model is refused by name") {
    const temporary_folder folder;
    const auto path = write_three(folder);
    const auto third = folder.path() / "m-00003-of-00003.gguf";
    const auto replace = [&](std::vector<std::byte> bytes) { folder.write("m-00003-of-00003.gguf", bytes); };
    std::filesystem::remove(third);
    check_open(path, errc::io, third, {"cannot be opened"});
    replace(shard(1, 3, 3, "t2"));
    check_open(path, errc::bad_file, third, {"file 2 of 3", "file 3 of 3"});
    replace(shard(2, 4, 3, "t2"));
    check_open(path, errc::bad_file, third, {"file 3 of 4", "file 3 of 3"});
    replace(gguf_writer{}.tensor("t2", {1}, ramp(1)).bytes());
    check_open(path, errc::bad_file, third, {"file 1 of 1", "file 3 of 3"});
    replace(shard(2, 3, 3, "t1"));
    check_open(path, errc::bad_file, folder.path(), {"'t1'", "twice"});
    replace(shard(2, 3, 3, "t2"));
    CHECK(gguf_file::open(path).shards() == 3);
}

TEST_CASE("44: split keys that contradict each other are refused") {
    const temporary_folder folder;
    const auto path = write_three(folder);
    const auto replace = [&](std::vector<std::byte> bytes) { folder.write("m-00001-of-00003.gguf", bytes); };
    replace(shard(0, 3, 4, "t0"));
    check_open(path, errc::bad_file, path, {"'split.tensors.count' is 4", "3 tensors"});
    replace(shard(3, 3, 3, "t0"));
    check_open(path, errc::bad_file, path, {"'split.no' is 3", "'split.count' is 3"});
    replace(gguf_writer{}.key("split.count", std::uint16_t{3}).bytes());
    check_open(path, errc::bad_file, path, {"'split.no'", "missing"});
    replace(gguf_writer{}.key("split.count", -1).key("split.no", 0).bytes());
    check_open(path, errc::bad_file, path, {"'split.count'", "i32 -1"});
    replace(gguf_writer{}.key("split.count", 100000).key("split.no", 0).bytes());
    check_open(path, errc::bad_file, path, {"'split.count'", "i32 100000"});
    replace(gguf_writer{}.key("split.count", "../3").bytes());
    check_open(path, errc::bad_file, path, {"'split.count'", "string '../3'"});
}
