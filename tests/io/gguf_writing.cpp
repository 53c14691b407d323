// SPDX-License-Identifier: MIT
// Writing GGUF: what is read comes back byte for byte, keys change one at a time, models split, and failures leave files alone.
#include <string>
#include <vector>

#include <skald/io/gguf_writer.hpp>

#include "io/refusal.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"
#include "support/gguf_writer.hpp"

using namespace skald;
using namespace skald::test;

namespace {

std::vector<std::byte> contents(const std::filesystem::path& path) {
    const auto source = io::open_file(path);
    const auto bytes = source->view(0, source->size());
    return {bytes.begin(), bytes.end()};
}

std::size_t files_in(const temporary_folder& folder) {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) n += entry.is_regular_file();
    return n;
}

std::vector<io::gguf_tensor> tensors_of(const io::gguf_file& file) {
    std::vector<io::gguf_tensor> out;
    for (const io::tensor_entry& t : file.tensors()) out.push_back({t.name, t.type, t.shape});
    return out;
}

void copy(const io::gguf_file& file, const io::gguf_keys& keys, const std::filesystem::path& out, std::uint64_t most = 0) {
    io::gguf_writer writer(out, keys, tensors_of(file), {.max_file_bytes = most});
    for (const io::tensor_entry& t : file.tensors()) {
        const auto bytes = file.bytes(t);
        writer.write(bytes.first(bytes.size() / 3));
        writer.write(bytes.subspan(bytes.size() / 3));
    }
    writer.finish();
}

/// A file with a key of every kind, and tensors of several.
test::gguf_writer sample(std::size_t alignment = 32) {
    byte_writer nested;
    nested.put(io::value_kind::array).put(std::uint64_t{2});
    nested.put(io::value_kind::u8).put(std::uint64_t{1}).put(std::uint8_t{7});
    nested.put(io::value_kind::string).put(std::uint64_t{2}).string("a").string("");
    test::gguf_writer out;
    out.alignment = alignment;
    out.key("general.architecture", "llama")
        .key("u8", std::uint8_t{255})
        .key("i8", std::int8_t{-128})
        .key("u16", std::uint16_t{65535})
        .key("i16", std::int16_t{-32768})
        .key("u32", std::uint32_t{4294967295u})
        .key("i32", std::int32_t{-2147483647})
        .key("u64", std::uint64_t{18446744073709551615ull})
        .key("i64", std::int64_t{-9223372036854775807ll})
        .key("f32", -1.5e-45f)
        .key("f64", 1e-320)
        .key("yes", true)
        .key("no", false)
        .array("floats", {0.5f, -0.0f, 1e30f})
        .array("flags", {true, false, true})
        .array("words", std::vector<std::string>{"α", "", std::string("\xff\0x", 3)})
        .array("none", std::vector<std::int32_t>{})
        .raw_key("nested", static_cast<std::uint32_t>(io::value_kind::array), nested);
    for (int i = 0; i < 5; ++i) {
        std::vector<float> values(64, static_cast<float>(i) + 0.25f);
        out.tensor("blk." + std::to_string(i) + ".w", i % 2 == 0 ? dtype::q8_0 : dtype::f32, {32, 2}, values);
    }
    return out.tensor("vector", {3}, std::vector<float>{1, 2, 3});
}

}  // namespace

TEST_CASE("a file that is read and written again is the same, byte for byte") {
    const temporary_folder folder;
    for (const std::size_t alignment : {32u, 8u, 4096u}) {
        CAPTURE(alignment);
        test::gguf_writer made = sample(alignment);
        if (alignment != 32) made.key("general.alignment", static_cast<std::uint32_t>(alignment));
        const auto bytes = made.bytes();
        const auto in = folder.write("in.gguf", bytes), out = folder.path() / "out.gguf";
        const auto file = io::gguf_file::open(in);
        copy(file, io::gguf_keys(file.meta()), out);
        CHECK((contents(out) == bytes));             // in parentheses: no message of all bytes
        copy(file, io::gguf_keys(file.meta()), in);  // onto itself
        CHECK((contents(in) == bytes));
        CHECK(files_in(folder) == 2);
    }
}

TEST_CASE("a key is set in its place, appended, or erased; the others keep their bytes") {
    const temporary_folder folder;
    const auto bytes = sample().bytes();
    const auto file = io::gguf_file::from_bytes(bytes, "in.gguf");
    io::gguf_keys keys(file.meta());
    keys.set("u8", {io::value_kind::string, std::string_view("eight")});
    keys.set("general.file_type", {io::value_kind::u32, std::uint64_t{7}});
    keys.erase("nested");
    keys.erase("no such key");
    copy(file, keys, folder.path() / "out.gguf");
    const auto back = io::gguf_file::open(folder.path() / "out.gguf");
    REQUIRE(back.meta().size() == file.meta().size());
    for (std::size_t i = 0; i + 1 < back.meta().size(); ++i) {
        const io::metadata_entry &a = file.meta().entries()[i], &b = back.meta().entries()[i];
        CHECK(a.key == b.key);
        CHECK(io::describe(b.value) == (a.key == "u8" ? "string 'eight'" : io::describe(a.value)));
    }
    CHECK(back.meta().require<int>("general.file_type") == 7);
}

TEST_CASE("tensors that exceed a file's limit are split over files, which read as one model") {
    const temporary_folder folder;
    const auto bytes = sample().bytes();
    const auto file = io::gguf_file::from_bytes(bytes, "in.gguf");
    for (const std::uint64_t most : {1u, 300u, 400u, 100000u}) {
        CAPTURE(most);
        const temporary_folder parts;
        copy(file, io::gguf_keys(file.meta()), parts.path() / "model.gguf", most);
        const std::size_t files = files_in(parts);
        CHECK(files == (most == 1 ? 6u : most == 100000 ? 1u : most == 300 ? 5u : 3u));
        const auto back = io::gguf_file::open(
            parts.path() / (files == 1 ? "model.gguf" : "model" + io::detail::split_suffix(0, static_cast<std::uint16_t>(files))));
        CHECK(back.shards() == files);
        REQUIRE(back.tensors().size() == file.tensors().size());
        for (std::size_t i = 0; i < back.tensors().size(); ++i) {
            const io::tensor_entry &a = file.tensors()[i], &b = back.tensors()[i];
            CHECK(a.name == b.name);
            CHECK(a.shape == b.shape);
            CHECK(std::ranges::equal(file.bytes(a), back.bytes(b)));
        }
        CHECK(back.meta().size() == file.meta().size() + (files == 1 ? 0 : 3));
    }
}

TEST_CASE("a write that fails or is given up leaves the old file and nothing else") {
    const temporary_folder folder;
    const auto bytes = sample().bytes();
    const auto file = io::gguf_file::from_bytes(bytes, "in.gguf");
    const std::string old = "an older file";
    const auto target = folder.write("out.gguf", std::as_bytes(std::span(old)));
    const io::gguf_keys keys(file.meta());
    const std::string name = target.string();

    {
        io::gguf_writer abandoned(target, keys, tensors_of(file));
    }
    {
        io::gguf_writer writer(target, keys, tensors_of(file));
        const auto first = file.bytes(file.tensors()[0]);
        writer.write(first.first(10));
        check_error([&] { writer.write(first); }, errc::invalid_argument, name, {"tensor 'blk.0.w'", "it lacks 58"});
        check_error([&] { writer.finish(); }, errc::invalid_argument, name, {"tensor 'blk.0.w' lacks 58 bytes"});
    }
    const auto refused = [&](io::gguf_tensor t, std::initializer_list<std::string_view> parts) {
        check_error([&] { io::gguf_writer(target, keys, {{"fine", dtype::f32, {1}}, std::move(t)}); }, errc::invalid_argument, name, parts);
    };
    refused({"fine", dtype::f32, {1}}, {"tensor 'fine'", "twice"});
    refused({"", dtype::f32, {1}}, {"0 bytes"});
    refused({std::string(64, 'n'), dtype::f32, {1}}, {"64 bytes", "1 to 63"});
    refused({"w", dtype::f8_e4m3, {1}}, {"no number for the type f8_e4m3"});
    refused({"w", dtype::f32, {}}, {"0 dimensions"});
    refused({"w", dtype::f32, {1, 1, 1, 1, 1}}, {"5 dimensions"});
    refused({"w", dtype::f32, {4, 0}}, {"is 0"});
    refused({"w", dtype::q4_0, {48}}, {"rows of 48 values", "block of 32"});
    CHECK_THROWS_AS(io::gguf_writer(target, keys, {{"w", dtype::f32, {1ull << 40, 1ull << 40}}}), error);
    io::gguf_keys odd;
    odd.set("general.alignment", {io::value_kind::u32, std::uint64_t{24}});
    CHECK_THROWS_AS(io::gguf_writer(target, odd, {}), error);
    CHECK_THROWS_AS(io::gguf_writer(folder.path() / "no folder" / "out.gguf", keys, {}), error);
    CHECK_THROWS_AS(io::gguf_writer(folder.path(), keys, {}), error);

    const auto left = contents(target);
    CHECK(std::ranges::equal(left, std::as_bytes(std::span(old))));
    CHECK(files_in(folder) == 1);
}

#if defined(__linux__)
TEST_CASE("a full disk is an error") {
    const auto bytes = sample().bytes();
    const auto file = io::gguf_file::from_bytes(bytes, "in.gguf");
    check_error([&] { copy(file, io::gguf_keys(file.meta()), "/dev/full"); }, errc::io, "/dev/full", {"cannot be written"});
}

TEST_CASE("a link stays a link, and what it names is replaced") {
    const temporary_folder folder;
    const auto bytes = sample().bytes();
    const auto file = io::gguf_file::from_bytes(bytes, "in.gguf");
    const auto target = folder.write("model.gguf", {}), link = folder.path() / "link.gguf";
    std::filesystem::create_symlink(target, link);
    copy(file, io::gguf_keys(file.meta()), link);
    CHECK(std::filesystem::is_symlink(link));
    CHECK((contents(target) == bytes));
}
#endif

TEST_CASE("a split model whose files cannot all be put in place leaves the one that was there") {
    const temporary_folder folder, aside;
    const auto bytes = sample().bytes();
    const auto file = io::gguf_file::from_bytes(bytes, "in.gguf");
    const auto shard = [&](std::uint16_t n) { return folder.path() / ("model" + io::detail::split_suffix(n, 3)); };
    copy(file, io::gguf_keys(file.meta()), folder.path() / "model.gguf", 400);
    const std::vector<std::vector<std::byte>> old{contents(shard(0)), contents(shard(1)), contents(shard(2))};

    io::gguf_keys keys(file.meta());
    keys.set("u8", {io::value_kind::string, std::string_view("newer")});
    {
        io::gguf_writer writer(folder.path() / "model.gguf", keys, tensors_of(file), {.max_file_bytes = 400});
        for (const io::tensor_entry& t : file.tensors()) writer.write(file.bytes(t));
        // A folder with something in it stands where the second file goes.
        std::filesystem::rename(shard(1), aside.path() / "second");
        std::filesystem::create_directories(shard(1) / "something");
        check_error([&] { writer.finish(); }, errc::io, shard(1).string(), {"cannot be put in place"});
    }
    CHECK((contents(shard(0)) == old[0]));
    CHECK((contents(shard(2)) == old[2]));

    std::filesystem::remove_all(shard(1));
    std::filesystem::rename(aside.path() / "second", shard(1));
    CHECK(io::gguf_file::open(shard(0)).shards() == 3);
    copy(file, keys, folder.path() / "model.gguf", 400);  // over the old one, and nothing of that is left
    CHECK(files_in(folder) == 3);
    CHECK(io::gguf_file::open(shard(0)).meta().require<std::string>("u8") == "newer");
}
