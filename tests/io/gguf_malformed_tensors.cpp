// SPDX-License-Identifier: MIT
// Broken tensor tables. The numbers are those of the project's list of bad input.
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
constexpr std::uint32_t f32_id = 0, q8_0_id = 8, q4_k_id = 12, i8_id = 24;

/// A file with one row "t" and 256 bytes of data.
std::vector<std::byte> one_tensor(const std::vector<std::uint64_t>& shape, std::uint32_t type, std::uint64_t offset = 0) {
    return gguf_writer{}.tensor_row("t", shape, type, offset).data(std::vector<std::byte>(256)).bytes();
}

}  // namespace

TEST_CASE("14: an empty, overlong or duplicate tensor name is refused") {
    check_refused(gguf_writer{}.tensor("", {1}, ramp(1)).bytes(), {"tensor name", "empty"});
    check_refused(gguf_writer{}.tensor(std::string(64, 'n'), {1}, ramp(1)).bytes(), {"tensor name", "64 bytes", "63"});
    check_refused(gguf_writer{}.tensor(std::string(5000, 'n'), {1}, ramp(1)).bytes(), {"tensor name", "5000 bytes"});
    check_refused(gguf_writer{}.tensor("twin", {1}, ramp(1)).tensor("b", {1}, ramp(1)).tensor("twin", {1}, ramp(1)).bytes(),
                  {"'twin'", "twice"});
    const auto longest = gguf_writer{}.tensor(std::string(63, 'n'), {1}, ramp(1)).bytes();
    CHECK(io::gguf_file::from_bytes(longest, "ok").tensors()[0].name.size() == 63);
}

TEST_CASE("15: no dimensions, or more than four, are refused") {
    check_refused(one_tensor({}, f32_id), {"'t'", "0 dimensions"});
    check_refused(one_tensor({1, 1, 1, 1, 1}, f32_id), {"'t'", "5 dimensions"});
    byte_writer row;
    row.string("t").put(0xFFFFFFFFu).put(std::uint64_t{1});
    gguf_writer w;
    w.tensor_count = 1;
    w.raw_key(row);  // the bytes stand where the table begins, since no key is claimed
    w.key_count = 0;
    w.data(std::vector<std::byte>(64));
    check_refused(w.bytes(), {"'t'", "4294967295 dimensions"});
}

TEST_CASE("16: a dimension of 0 or below is refused") {
    check_refused(one_tensor({0}, f32_id), {"'t'", "dimension 0 is 0"});
    check_refused(one_tensor({4, 0}, f32_id), {"'t'", "dimension 1 is 0"});
    check_refused(one_tensor({4, 1, all_ones}, f32_id), {"'t'", "dimension 2 is -1"});
    check_refused(one_tensor({std::uint64_t{1} << 63}, i8_id), {"'t'", "dimension 0 is -9223372036854775808"});
}

TEST_CASE("17: a number of elements beyond 64 bits is refused") {
    constexpr std::uint64_t half = std::uint64_t{1} << 32;
    check_refused(one_tensor({half, half}, i8_id), {"'t'", "[4294967296, 4294967296]", "overflows"});
    check_refused(one_tensor({half, half, 1, 1}, i8_id), {"'t'", "overflows"});
    check_refused(one_tensor({1 << 16, 1 << 16, 1 << 16, 1 << 16}, i8_id), {"'t'", "overflows"});
    check_refused(one_tensor({half, half + 1}, i8_id), {"'t'", "overflows"});                // wraps to 2^32
    check_refused(one_tensor({256, half, (half >> 8) + 1}, q4_k_id), {"'t'", "overflows"});  // blocks and bytes of it do not wrap so
    check_refused(one_tensor({all_ones >> 1, all_ones >> 1}, i8_id), {"'t'", "overflows"});
}

TEST_CASE("18: a size in bytes beyond 64 bits is refused") {
    check_refused(one_tensor({std::uint64_t{1} << 62}, f32_id), {"'t'", "overflows"});
    check_refused(one_tensor({(std::uint64_t{1} << 62) + 1}, f32_id), {"'t'", "overflows"});  // wraps to 4
    check_refused(one_tensor({(std::uint64_t{1} << 63) - 32}, q8_0_id), {"'t'", "end"});
    check_refused(one_tensor({1 << 30, 1 << 30, 15}, q8_0_id), {"'t'", "end"});
}

TEST_CASE("19: tensors whose padded sum wraps are refused") {
    constexpr std::uint64_t huge = 0x7FFFFFFFFFFFFFC0;
    gguf_writer w;
    w.tensor_row("a", {huge}, i8_id, 0).tensor_row("b", {huge}, i8_id, huge).tensor_row("c", {256}, i8_id, 2 * huge);
    check_refused(w.data(std::vector<std::byte>(512)).bytes(), {"'a'", concat(huge), "past the end"});
}

TEST_CASE("20: rows that are no whole number of blocks are refused") {
    check_refused(one_tensor({33}, q8_0_id), {"'t'", "33", "32", "q8_0"});
    check_refused(one_tensor({16, 2}, q8_0_id), {"'t'", "16", "32"});  // 32 values in all, but no whole row
    check_refused(one_tensor({32, 8}, q4_k_id), {"'t'", "32", "256", "q4_k"});
}

TEST_CASE("21: a negative, removed or unknown type is refused by number and name") {
    check_refused(one_tensor({32}, 0xFFFFFFFF), {"'t'", "4294967295", "-1"});
    check_refused(one_tensor({32}, 0x80000000), {"'t'", "-2147483648"});
    for (const std::uint32_t id : {43u, 100u, 1000000u}) check_refused(one_tensor({32}, id), {"'t'", concat(id), "not known"});
    for (const auto& [id, name] : std::vector<std::pair<std::uint32_t, std::string>>{
             {4, "Q4_2"}, {5, "Q4_3"}, {31, "Q4_0_4_4"}, {32, "Q4_0_4_8"}, {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {38, "IQ4_NL_8_8"}})
        check_refused(one_tensor({32}, id), {"'t'", concat(id), name, "removed"}, errc::unsupported);
    check_refused(one_tensor({128}, 41), {"'t'", "41", "Q1_0"}, errc::unsupported);
}

TEST_CASE("22: a misaligned offset is refused") {
    for (const std::uint64_t offset : {1u, 16u, 33u})
        check_refused(one_tensor({1}, f32_id, offset), {"'t'", concat(offset), "alignment 32"});
    check_refused(one_tensor({1}, f32_id, all_ones), {"'t'", concat(all_ones), "alignment 32"});
}

TEST_CASE("23: an offset that wraps or lies past the end is refused") {
    check_refused(one_tensor({1}, f32_id, 256), {"'t'", "past the end"});
    check_refused(one_tensor({1}, f32_id, std::uint64_t{1} << 62), {"'t'", "past the end"});
    check_refused(one_tensor({64}, f32_id, 32), {"'t'", "256 bytes", "past the end"});
    check_refused(one_tensor({1}, f32_id, all_ones - 31), {"'t'", "overflows"});
    check_refused(one_tensor({64}, f32_id, all_ones - 127), {"'t'", "overflows"});
}

TEST_CASE("24: tensors that overlap are refused") {
    const std::vector<std::byte> data(256);
    check_refused(gguf_writer{}.tensor_row("a", {16}, f32_id, 0).tensor_row("b", {1}, f32_id, 32).data(data).bytes(),
                  {"'a'", "'b'", "overlaps"});
    check_refused(gguf_writer{}.tensor_row("a", {1}, f32_id, 64).tensor_row("b", {1}, f32_id, 64).data(data).bytes(),
                  {"'a'", "'b'", "overlaps"});
    check_refused(
        gguf_writer{}.tensor_row("b", {1}, f32_id, 96).tensor_row("c", {1}, f32_id, 0).tensor_row("a", {17}, f32_id, 32).data(data).bytes(),
        {"'a'", "'b'", "68 bytes", "overlaps"});
}

TEST_CASE("25: a data section that is too short is refused") {
    auto bytes = sample_file().bytes();
    const io::gguf_file whole = io::gguf_file::from_bytes(bytes, "whole");
    const io::tensor_entry last = whole.tensors().back();
    bytes.resize(static_cast<std::size_t>(last.offset + last.bytes));
    CHECK(io::gguf_file::from_bytes(bytes, "unpadded").tensors().size() == 6);
    bytes.pop_back();
    check_refused(bytes, {"'t.q4_1'", concat(last.offset), "partial download"});
    gguf_writer w;
    check_refused(w.tensor_row("t", {1}, f32_id, 0).bytes(), {"'t'", "past the end"});
}
