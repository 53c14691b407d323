// SPDX-License-Identifier: MIT
// Well-formed GGUF files: every value kind, the tensor table, and every source of bytes.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/gguf.hpp>

#include "io/refusal.hpp"
#include "io/sample_file.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;
using io::gguf_file;
using io::value_kind;

TEST_CASE("metadata values of every kind are read exactly") {
    const auto bytes = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "sample.gguf");
    const io::metadata& meta = file.meta();
    CHECK(file.version() == 3);
    CHECK(meta.size() == 24);
    CHECK(meta.require<std::string_view>("general.architecture") == "llama");
    CHECK(meta.require<std::string>("k.text") == "grüße, 世界");
    CHECK(meta.require<std::string_view>("k.empty").empty());
    CHECK(meta.require<std::uint8_t>("k.u8") == 200);
    CHECK(meta.require<std::int8_t>("k.i8") == -100);
    CHECK(meta.require<std::uint16_t>("k.u16") == 60000);
    CHECK(meta.require<std::int16_t>("k.i16") == -30000);
    CHECK(meta.require<std::uint32_t>("k.u32") == 4000000000u);
    CHECK(meta.require<std::int32_t>("k.i32") == -2000000000);
    CHECK(meta.require<std::uint64_t>("k.u64") == std::uint64_t{1} << 63);
    CHECK(meta.require<std::int64_t>("k.i64") == -(std::int64_t{1} << 62));
    CHECK(meta.require<float>("k.f32") == 0.1f);
    CHECK(meta.require<double>("k.f32") == double{0.1f});
    CHECK(meta.require<double>("k.f64") == 0.1);
    CHECK(meta.require<bool>("k.true"));
    CHECK_FALSE(meta.require<bool>("k.false"));
    CHECK(meta.find("k.u16")->kind == value_kind::u16);
}

TEST_CASE("an integer is given as any type that it fits") {
    const auto bytes = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "sample.gguf");
    CHECK(file.meta().get<std::int64_t>("k.u8") == 200);
    CHECK(file.meta().get<std::uint64_t>("k.u32") == 4000000000u);
    check_error([&] { file.meta().get<std::int32_t>("k.u32"); }, errc::bad_file, "sample.gguf",
                {"'k.u32'", "u32 4000000000", "an integer from -2147483648 to 2147483647"});
    check_error([&] { file.meta().get<std::uint32_t>("k.i8"); }, errc::bad_file, "sample.gguf", {"'k.i8'", "i8 -100"});
}

TEST_CASE("asking for a value of another sort names file, key and value") {
    const auto bytes = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "sample.gguf");
    const io::metadata& meta = file.meta();
    const auto check = [](auto f, std::initializer_list<std::string_view> parts) { check_error(f, errc::bad_file, "sample.gguf", parts); };
    check([&] { meta.get<float>("k.u8"); }, {"'k.u8'", "u8 200", "a float"});
    check([&] { meta.get<bool>("k.u8"); }, {"'k.u8'", "u8 200", "a bool"});
    check([&] { meta.get<std::uint32_t>("k.true"); }, {"'k.true'", "bool true"});
    check([&] { meta.get<std::string_view>("k.f32"); }, {"'k.f32'", "f32 0.1", "a string"});
    check([&] { meta.get<std::uint32_t>("a.ints"); }, {"'a.ints'", "array of 3 i32"});
    check([&] { meta.array("k.text"); }, {"'k.text'", "string 'grüße, 世界'", "an array"});
    check([&] { meta.require<bool>("no.such"); }, {"'no.such'", "missing"});
    check([&] { meta.floats("no.such"); }, {"'no.such'", "missing"});
    check([&] { meta.ints("a.longs"); }, {"'a.longs'", "element 1", "i64 1099511627776"});
    check([&] { meta.floats("a.doubles"); }, {"'a.doubles'", "element 1", "f64 1e+300"});
    CHECK_FALSE(meta.get<float>("no.such").has_value());
    CHECK(meta.array("no.such") == nullptr);
}

TEST_CASE("arrays are given typed, element by element and nested") {
    const auto bytes = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "sample.gguf");
    const io::metadata& meta = file.meta();
    CHECK(meta.strings("a.strings") == std::vector<std::string_view>{"a", "", std::string_view("\0\xFF", 2), "Ġthe"});
    CHECK(meta.floats("a.floats") == std::vector<float>{0.5f, -1.0f, 1e30f});
    CHECK(meta.ints("a.ints") == std::vector<std::int32_t>{1, -2, 3});
    CHECK(meta.ints("a.bytes") == std::vector<std::int32_t>{1, 2, 255});
    CHECK(meta.values<bool>("a.bools") == std::vector<bool>{true, false, true});
    CHECK(meta.values<std::int64_t>("a.longs").at(1) == std::int64_t{1} << 40);
    CHECK(meta.values<double>("a.doubles") == std::vector<double>{0.25, 1e300});
    CHECK(meta.floats("a.none").empty());
    CHECK(meta.array("a.strings")->strings().size() == 4);
    const io::metadata_array& nested = *meta.array("a.nested");
    REQUIRE(nested.size() == 3);
    const auto inner = [&](std::size_t i) -> const io::metadata_array& { return *std::get<const io::metadata_array*>(nested[i].value); };
    CHECK(inner(0).size() == 2);
    CHECK(io::value_as<int>(inner(0)[1]) == 2);
    CHECK(inner(1).empty());
    CHECK(inner(1).kind() == value_kind::f32);
    CHECK(inner(2).strings()[0] == "x");
}

TEST_CASE("strings point into the file's bytes") {
    const auto bytes = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "sample.gguf");
    const auto* text = reinterpret_cast<const std::byte*>(file.meta().strings("a.strings")[3].data());
    CHECK((text > bytes.data() && text < bytes.data() + bytes.size()));
}

TEST_CASE("entries come in the order of the file") {
    const auto bytes = gguf_writer{}.key("z", 1u).key("a", 2u).key("m", "x").bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "order.gguf");
    std::string all;
    for (const io::metadata_entry& e : file.meta().entries()) all += concat(e.key, "=", describe(e.value), ";");
    CHECK(all == "z=u32 1;a=u32 2;m=string 'x';");
}

TEST_CASE("the tensor table gives type, shape, place and bytes") {
    const auto bytes = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "sample.gguf");
    REQUIRE(file.tensors().size() == 6);
    CHECK(file.tensors()[0].name == "t.f32");
    const io::tensor_entry& t = file.require("t.q4_1");
    CHECK(t.type == dtype::q4_1);
    CHECK(t.file_type == 3);
    CHECK(t.shape == std::vector<std::uint64_t>{32, 2, 1, 2});
    CHECK(t.cols() == 32);
    CHECK(t.rows() == 4);
    CHECK(t.bytes == 4 * 20);
    CHECK(t.offset % 32 == 0);
    CHECK(file.bytes(t).data() == bytes.data() + t.offset);
    CHECK(file.bytes(t).size() == t.bytes);
    const auto values = ramp(6);
    CHECK(std::memcmp(file.bytes(file.require("t.f32")).data(), values.data(), 24) == 0);
    std::vector<std::byte> part(8);
    file.read(file.require("t.f32"), part, 16);
    CHECK(std::memcmp(part.data(), &values[4], 8) == 0);
    CHECK(file.find("t") == nullptr);
    CHECK(file.find("t.q4_1.x") == nullptr);
    check_error([&] { file.require("output.weight"); }, errc::bad_file, "sample.gguf", {"'output.weight'", "missing"});
    check_error([&] { file.read(t, part, 76); }, errc::invalid_argument, "sample.gguf", {"'t.q4_1'", "76", "80"});
}

TEST_CASE("every tensor type that GGUF numbers is known") {
    for (std::uint32_t id = 0; id < 43; ++id) {
        const io::gguf_tensor_type* type = io::find_gguf_tensor_type(id);
        REQUIRE(type != nullptr);
        CHECK_FALSE(type->name.empty());
        if (!type->type) continue;
        CAPTURE(std::string(type->name));
        const dtype_info& format = info(*type->type);
        const std::vector<std::byte> data(format.block_bytes * 2);
        const auto bytes = gguf_writer{}.tensor("t", *type->type, {format.block_size, 2}, data).bytes();
        const gguf_file file = gguf_file::from_bytes(bytes, "type.gguf");
        CHECK(file.tensors()[0].type == *type->type);
        CHECK(file.tensors()[0].file_type == id);
        CHECK(file.tensors()[0].bytes == data.size());
    }
}

TEST_CASE("version 2 and a file without keys or tensors are read") {
    gguf_writer w = sample_file();
    w.version = 2;
    const auto bytes = w.bytes();
    CHECK(gguf_file::from_bytes(bytes, "two.gguf").version() == 2);
    const auto empty = gguf_writer{}.bytes();
    const gguf_file file = gguf_file::from_bytes(empty, "empty.gguf");
    CHECK(file.meta().size() == 0);
    CHECK(file.tensors().empty());
    CHECK(file.size() == 24);
}

TEST_CASE("the alignment key moves the data") {
    for (const std::uint32_t alignment : {8u, 64u, 4096u}) {
        CAPTURE(alignment);
        gguf_writer w;
        w.alignment = alignment;
        w.key("general.alignment", alignment).tensor("a", dtype::f32, {3}, ramp(3)).tensor("b", dtype::f32, {5}, ramp(5));
        const auto bytes = w.bytes();
        const gguf_file file = gguf_file::from_bytes(bytes, "aligned.gguf");
        CHECK(file.alignment() == alignment);
        CHECK(file.require("b").offset % alignment == 0);
        const auto values = ramp(5);
        CHECK(std::memcmp(file.bytes(file.require("b")).data(), values.data(), 20) == 0);
    }
}

TEST_CASE("tensors may lie in any order, with gaps, and without padding at the end") {
    const std::vector<std::byte> data(96 + 4);
    gguf_writer w;
    w.tensor_row("late", {1}, 0, 96).tensor_row("early", {1}, 0, 0).data(data);
    const auto bytes = w.bytes();
    const gguf_file file = gguf_file::from_bytes(bytes, "gaps.gguf");
    CHECK(file.require("late").offset == file.require("early").offset + 96);
}

TEST_CASE("a path is mapped or copied, with the same contents") {
    const temporary_folder folder;
    const auto bytes = sample_file().bytes();
    const auto path = folder.write("model.gguf", bytes);
    for (const bool copy : {false, true}) {
        CAPTURE(copy);
        const gguf_file file = gguf_file::open(path, {.copy = copy});
        CHECK(file.name() == path.string());
        CHECK(file.meta().file() == path.string());
        CHECK(file.size() == bytes.size());
        CHECK(file.shards() == 1);
        CHECK(file.meta().strings("a.strings")[3] == "Ġthe");
        for (const io::tensor_entry& t : file.tensors())
            CHECK(std::memcmp(file.bytes(t).data(), bytes.data() + t.offset, static_cast<std::size_t>(t.bytes)) == 0);
    }
}

TEST_CASE("views survive a move of the file") {
    const temporary_folder folder;
    const auto path = folder.write("model.gguf", sample_file().bytes());
    gguf_file first = gguf_file::open(path, {.copy = true});
    const io::metadata_value* nested = first.meta().find("a.nested");
    const io::tensor_entry* entry = first.find("t.q8_0");
    const auto view = first.bytes(*entry);
    const gguf_file second = std::move(first);
    CHECK(second.find("t.q8_0") == entry);
    CHECK(second.meta().find("a.nested") == nested);
    CHECK(std::get<const io::metadata_array*>(nested->value)->size() == 3);
    CHECK(second.bytes(*entry).data() == view.data());
}

TEST_CASE("a copy takes its memory from the given resource and gives it back") {
    struct counter : std::pmr::memory_resource {
        std::size_t live = 0;
        void* do_allocate(std::size_t n, std::size_t a) override {
            live += n;
            return std::pmr::new_delete_resource()->allocate(n, a);
        }
        void do_deallocate(void* p, std::size_t n, std::size_t a) override {
            live -= n;
            std::pmr::new_delete_resource()->deallocate(p, n, a);
        }
        bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    } memory;
    const temporary_folder folder;
    const auto bytes = sample_file().bytes();
    {
        const gguf_file file = gguf_file::open(folder.write("model.gguf", bytes), {.copy = true, .memory = &memory});
        CHECK(memory.live >= bytes.size());
    }
    CHECK(memory.live == 0);
    {
        const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
            std::memcpy(out.data(), bytes.data() + offset, out.size());
        };
        const gguf_file file = gguf_file::from_reader(read, bytes.size(), "callback", &memory);
        const std::size_t head = memory.live;
        CHECK(head > 0);
        const io::tensor_entry& t = file.require("t.q4_0");
        const auto first = file.bytes(t);
        CHECK(memory.live > head);
        CHECK(std::memcmp(first.data(), bytes.data() + t.offset, first.size()) == 0);
        CHECK(file.bytes(t).data() == first.data());
        const std::size_t kept = memory.live;
        std::vector<std::byte> out(8);
        file.read(file.require("t.f16"), out);
        CHECK(memory.live == kept);
        CHECK(std::memcmp(out.data(), bytes.data() + file.require("t.f16").offset, 8) == 0);
    }
    CHECK(memory.live == 0);
}

TEST_CASE("a callback reads a head much longer than its read-ahead") {
    gguf_writer w;
    std::vector<std::string> words;
    for (int i = 0; i < 20000; ++i) words.push_back(concat("word", i));
    w.array("tokenizer.ggml.tokens", words).array("tokenizer.ggml.scores", ramp(40000)).key("long", std::string(100000, 'x'));
    w.key("last", 7u).tensor("t", dtype::f32, {8}, ramp(8));
    const auto bytes = w.bytes();
    std::uint64_t total = 0;
    const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
        REQUIRE(offset + out.size() <= bytes.size());
        total += out.size();
        std::memcpy(out.data(), bytes.data() + offset, out.size());
    };
    const gguf_file file = gguf_file::from_reader(read, bytes.size(), "callback");
    CHECK(total < 2 * bytes.size());
    const auto tokens = file.meta().strings("tokenizer.ggml.tokens");
    REQUIRE(tokens.size() == words.size());
    for (std::size_t i = 0; i < words.size(); ++i) REQUIRE(tokens[i] == words[i]);
    CHECK(file.meta().floats("tokenizer.ggml.scores") == ramp(40000));
    CHECK(file.meta().require<int>("last") == 7);
}

TEST_CASE("an exception of the callback passes through, and reading goes on after it") {
    struct network_down {};
    const auto bytes = sample_file().bytes();
    bool down = false;
    const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
        if (down) throw network_down{};
        std::memcpy(out.data(), bytes.data() + offset, out.size());
    };
    const gguf_file file = gguf_file::from_reader(read, bytes.size(), "callback");
    const io::tensor_entry& t = file.require("t.q8_0");
    down = true;
    CHECK_THROWS_AS(file.bytes(t), network_down);
    CHECK_THROWS_AS(gguf_file::from_reader(read, bytes.size(), "callback"), network_down);
    down = false;
    CHECK(std::memcmp(file.bytes(t).data(), bytes.data() + t.offset, static_cast<std::size_t>(t.bytes)) == 0);
    check_error([&] { gguf_file::from_reader({}, 100, "callback"); }, errc::invalid_argument, "callback", {"empty"});
}

TEST_CASE("a path that is no readable file is refused by name") {
    const temporary_folder folder;
    for (const bool copy : {false, true}) {
        CAPTURE(copy);
        const auto open = [&](const std::filesystem::path& path) { return [=] { gguf_file::open(path, {.copy = copy}); }; };
        const auto missing = folder.path() / "missing.gguf";
        check_error(open(missing), errc::io, missing.string(), {"cannot be opened"});
        check_error(open(folder.path()), errc::io, folder.path().string(), {"no regular file"});
        const auto empty = folder.write("empty.gguf", {});
        check_error(open(empty), errc::bad_file, empty.string(), {"magic", "0 are left"});
    }
}

TEST_CASE("43: a copy is immune to the file shrinking") {
    const temporary_folder folder;
    const auto bytes = sample_file().bytes();
    const auto path = folder.write("model.gguf", bytes);
    const gguf_file file = gguf_file::open(path, {.copy = true});
    std::filesystem::resize_file(path, 10);
    for (const io::tensor_entry& t : file.tensors())
        CHECK(std::memcmp(file.bytes(t).data(), bytes.data() + t.offset, static_cast<std::size_t>(t.bytes)) == 0);
    CHECK(file.meta().require<std::string_view>("general.architecture") == "llama");
}
