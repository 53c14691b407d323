// SPDX-License-Identifier: MIT
// Broken headers and metadata. The numbers are those of the project's list of bad input.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/gguf.hpp>

#include "io/refusal.hpp"
#include "io/sample_file.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr std::uint64_t all_ones = std::numeric_limits<std::uint64_t>::max();

gguf_writer with_header(std::uint32_t version, std::string magic = "GGUF") {
    gguf_writer w = sample_file();
    w.version = version;
    w.magic = std::move(magic);
    return w;
}

/// A file whose only key "k" has that type number and value.
std::vector<std::byte> one_key(std::uint32_t kind, const byte_writer& value) { return gguf_writer{}.raw_key("k", kind, value).bytes(); }

byte_writer array_head(std::uint32_t kind, std::uint64_t count) { return byte_writer{}.put(kind).put(count); }

}  // namespace

TEST_CASE("1: a bad magic number is refused and shown") {
    check_refused(with_header(3, "GGML").bytes(), {"'GGML'", "'GGUF'"});
    check_refused(with_header(3, "FUGG").bytes(), {"'FUGG'"});
    check_refused(with_header(3, std::string("\x7f"
                                             "EL\0",
                                             4))
                      .bytes(),
                  {"'\\x7fEL\\x00'"});
    check_refused({}, {"magic", "0 are left"});
}

TEST_CASE("2: versions 0, 1 and of the future are refused") {
    check_refused(with_header(0).bytes(), {"version 0"});
    check_refused(with_header(1).bytes(), {"version 1", "convert"});
    check_refused(with_header(4).bytes(), {"version 4"});
    check_refused(with_header(0xFFFFFFFF).bytes(), {"version 4294967295"});
}

TEST_CASE("3: a byte-swapped file is refused as such") {
    check_refused(with_header(0x03000000).bytes(), {"byte-swapped", "version 3", "little endian"});
    check_refused(with_header(0x02000000).bytes(), {"byte-swapped", "version 2"});
}

TEST_CASE("4: a tensor count of -1, or more than the file can hold, is refused") {
    for (const std::uint64_t count : {all_ones, std::uint64_t{1} << 63, std::uint64_t{1} << 32, std::uint64_t{1000}}) {
        gguf_writer w = sample_file();
        w.tensor_count = count;
        check_refused(w.bytes(), {concat(count), "tensors"});
    }
    gguf_writer w = sample_file();
    w.tensor_count = all_ones;
    check_refused(w.bytes(), {"(-1 as a signed number)"});
    w.tensor_count = 7;  // one too many: the data section is read as a row
    check_refused(w.bytes(), {});
}

TEST_CASE("5: a key count of -1, or more than the file can hold, is refused") {
    for (const std::uint64_t count : {all_ones, std::uint64_t{1} << 63, std::uint64_t{1} << 32, std::uint64_t{5000}}) {
        gguf_writer w = sample_file();
        w.key_count = count;
        check_refused(w.bytes(), {concat(count), "metadata keys"});
    }
    gguf_writer w = sample_file();
    w.key_count = 25;  // one too many: the first row of the tensor table is read as a key
    check_refused(w.bytes(), {});
}

TEST_CASE("7: a string longer than the file is refused") {
    for (const std::uint64_t length : {all_ones, all_ones - 7, std::uint64_t{1} << 63, std::uint64_t{9}}) {
        CAPTURE(length);
        check_refused(one_key(8, byte_writer{}.put(length).text("8 bytes.")), {"'k'", concat(length), "8 more"});
        check_refused(gguf_writer{}.raw_key(byte_writer{}.put(length).text("eight...")).bytes(), {"metadata key", concat(length)});
        check_refused(one_key(9, array_head(8, 1).put(length).text("8 bytes.")), {"'k'", concat(length)});
    }
}

TEST_CASE("8: an empty, overlong or duplicate key is refused") {
    check_refused(gguf_writer{}.key("", 1u).bytes(), {"metadata key", "offset 24", "empty"});
    check_refused(gguf_writer{}.key(std::string(65536, 'k'), 1u).bytes(), {"65536", "65535"});
    check_refused(gguf_writer{}.key("twin", 1u).key("other", 2u).key("twin", "x").bytes(), {"'twin'", "twice"});
    const auto longest = gguf_writer{}.key(std::string(65535, 'k'), 1u).bytes();
    CHECK(io::gguf_file::from_bytes(longest, "ok").meta().size() == 1);
}

TEST_CASE("9: an unknown value type is refused") {
    for (const std::uint32_t kind : {13u, 255u, 0xFFFFFFFFu}) {
        check_refused(one_key(kind, byte_writer{}.put(all_ones)), {"'k'", concat(kind), "0 to 12"});
        check_refused(one_key(9, array_head(kind, 1).put(all_ones)), {"'k'", "element type", concat(kind)});
    }
    for (const std::uint8_t value : {std::uint8_t{2}, std::uint8_t{255}}) {
        check_refused(one_key(7, byte_writer{}.put(value)), {"'k'", "bool", concat(value)});
        check_refused(one_key(9, array_head(7, 2).put(true).put(value)), {"'k'", "bool", concat(value)});
    }
}

TEST_CASE("10: an array whose bytes wrap 64 bits or pass the end is refused") {
    for (std::uint32_t kind = 0; kind <= 12; ++kind) {
        for (const std::uint64_t count :
             {all_ones, std::uint64_t{1} << 63, (std::uint64_t{1} << 61) + 1, (std::uint64_t{1} << 62) + 1, std::uint64_t{17}}) {
            CAPTURE(kind, count);
            check_refused(one_key(9, array_head(kind, count).put(std::uint64_t{0}).put(std::uint64_t{0})),
                          {"'k'", concat(count), "16 more bytes"});
        }
    }
}

TEST_CASE("11: arrays nested too deep, or that claim more than the file holds, are refused") {
    const auto nested = [](int depth, std::uint64_t count) {
        byte_writer value;
        for (int i = 1; i < depth; ++i) value.put(std::uint32_t{9}).put(count);
        return one_key(9, value.put(std::uint32_t{0}).put(std::uint64_t{0}));
    };
    const auto deepest = nested(8, 1);
    CHECK(io::gguf_file::from_bytes(deepest, "ok").meta().size() == 1);
    check_refused(nested(9, 1), {"'k'", "nested more than 8 deep"});
    check_refused(nested(100000, 1), {"'k'", "nested more than 8 deep"});
    check_refused(nested(8, 2), {"'k'"});
    check_refused(nested(8, all_ones), {"'k'", concat(all_ones)});
}

TEST_CASE("12: an alignment of 0, 13, 2^31 or of another type is refused") {
    for (const std::uint32_t alignment : {0u, 1u, 4u, 13u, 24u, 1u << 22, 1u << 31, 0xFFFFFFFFu})
        check_refused(gguf_writer{}.key("general.alignment", alignment).bytes(),
                      {"'general.alignment'", concat("u32 ", alignment), "power of two"});
    check_refused(gguf_writer{}.key("general.alignment", std::uint64_t{32}).bytes(), {"'general.alignment'", "u64 32"});
    check_refused(gguf_writer{}.key("general.alignment", -32).bytes(), {"'general.alignment'", "i32 -32"});
    check_refused(gguf_writer{}.key("general.alignment", "32").bytes(), {"'general.alignment'", "string '32'"});
    check_refused(gguf_writer{}.array("general.alignment", {32u}).bytes(), {"'general.alignment'", "array of 1 u32"});
}

TEST_CASE("13: a NUL or invalid UTF-8 in a key, a name or a text is refused, and shown escaped") {
    using namespace std::string_view_literals;
    for (const auto bad : {"\xFF"sv, "\xC0\x80"sv, "\xED\xA0\x80"sv, "\xF4\x90\x80\x80"sv, "\xE4\xB8"sv, "\x80"sv, "\xF0\x8F\xBF\xBF"sv}) {
        const std::string text = concat("a", bad);
        check_refused(gguf_writer{}.key(text, 1u).bytes(), {"metadata key", "'a\\x", "not valid UTF-8"});
        check_refused(gguf_writer{}.key("k", text).bytes(), {"'k'", "'a\\x", "not valid UTF-8"});
        check_refused(gguf_writer{}.tensor(text, {1}, ramp(1)).bytes(), {"tensor name", "'a\\x", "not valid UTF-8"});
    }
    check_refused(gguf_writer{}.key("a\0b"sv, 1u).bytes(), {"metadata key", "'a\\x00b'", "NUL"});
    check_refused(gguf_writer{}.key("k", "a\0b"sv).bytes(), {"'k'", "'a\\x00b'", "NUL"});
    check_refused(gguf_writer{}.tensor("a\0b"sv, {1}, ramp(1)).bytes(), {"tensor name", "'a\\x00b'", "NUL"});
    const auto longest = gguf_writer{}.key("k", "\x7F \xC2\x80 \xED\x9F\xBF \xEE\x80\x80 \xF4\x8F\xBF\xBF").bytes();
    CHECK(io::gguf_file::from_bytes(longest, "ok").meta().size() == 1);
}
