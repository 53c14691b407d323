// SPDX-License-Identifier: MIT
// Every format's decode: against gguf's values, and some against their definition over every code a block can hold.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/format/visit.hpp>
#include <skald/io/gguf.hpp>

#include "support/catch.hpp"
#include "support/covered.hpp"

using namespace skald;

namespace {

std::vector<std::byte> block_of(std::initializer_list<float> scales, const std::vector<int>& bytes) {
    std::vector<std::byte> out;
    for (const float s : scales) {
        const half h = to_half(s);
        out.push_back(static_cast<std::byte>(h.bits & 255));
        out.push_back(static_cast<std::byte>(h.bits >> 8));
    }
    for (const int b : bytes) out.push_back(static_cast<std::byte>(b));
    return out;
}

std::vector<float> decode(dtype type, const std::vector<std::byte>& bytes, std::size_t cols) {
    REQUIRE(bytes.size() == row_bytes(type, cols));
    std::vector<float> out(cols);
    format::decode_row({.name = "w", .type = type, .rows = 1, .cols = cols, .data = bytes.data()}, 0, out.data());
    return out;
}

/// The same bits, or NaN both.
bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

}  // namespace

TEST_CASE("q8_0 is scale times signed byte, for all bytes", "[format]") {
    for (int first = 0; first < 256; first += 32) {
        std::vector<int> bytes;
        for (int i = 0; i < 32; ++i) bytes.push_back(first + i);
        const auto out = decode(dtype::q8_0, block_of({0.0123f}, bytes), 32);
        for (int i = 0; i < 32; ++i)
            CHECK(out[static_cast<std::size_t>(i)] == to_float(to_half(0.0123f)) * static_cast<float>(static_cast<std::int8_t>(first + i)));
    }
}

TEST_CASE("q4_0 and q4_1 keep the first half in low nibbles, for all bytes", "[format]") {
    for (int first = 0; first < 256; first += 16) {
        std::vector<int> bytes;
        for (int i = 0; i < 16; ++i) bytes.push_back(first + i);
        const auto a = decode(dtype::q4_0, block_of({-0.7f}, bytes), 32);
        const auto b = decode(dtype::q4_1, block_of({0.031f, -0.4f}, bytes), 32);
        const float d0 = to_float(to_half(-0.7f)), d1 = to_float(to_half(0.031f)), m1 = to_float(to_half(-0.4f));
        for (std::size_t i = 0; i < 16; ++i) {
            const int byte = bytes[i];
            CHECK(a[i] == d0 * static_cast<float>((byte & 15) - 8));
            CHECK(a[i + 16] == d0 * static_cast<float>((byte >> 4) - 8));
            CHECK(b[i] == static_cast<float>(static_cast<double>(d1) * (byte & 15) + m1));
            CHECK(b[i + 16] == static_cast<float>(static_cast<double>(d1) * (byte >> 4) + m1));
        }
    }
}

TEST_CASE("plain formats decode at any alignment", "[format]") {
    std::vector<std::byte> storage(64);
    const float values[] = {1.5f, -0.25f, 65504.0f};
    for (std::size_t shift = 0; shift < 4; ++shift) {
        std::byte* at = storage.data() + shift;
        std::memcpy(at, values, sizeof values);
        float out[3];
        format::decode_row({.name = "w", .type = dtype::f32, .rows = 1, .cols = 3, .data = at}, 0, out);
        CHECK(std::memcmp(out, values, sizeof values) == 0);
        for (std::size_t i = 0; i < 3; ++i) {
            const half h = to_half(values[i]);
            std::memcpy(at + 2 * i, &h, 2);
        }
        format::decode_row({.name = "w", .type = dtype::f16, .rows = 1, .cols = 3, .data = at}, 0, out);
        CHECK(std::memcmp(out, values, sizeof values) == 0);
    }
}

TEST_CASE("all 256 codes of the 8-bit floats decode as their type does", "[format][support]") {
    std::vector<std::byte> codes(256);
    for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
    const auto e4m3 = decode(dtype::f8_e4m3, codes, 256), e5m2 = decode(dtype::f8_e5m2, codes, 256);
    for (std::size_t i = 0; i < 256; ++i) {
        CHECK(same(e4m3[i], to_float(fp8_e4m3{static_cast<std::uint8_t>(i)})));
        CHECK(same(e5m2[i], to_float(fp8_e5m2{static_cast<std::uint8_t>(i)})));
    }
    for (const dtype type : {dtype::f8_e4m3, dtype::f8_e5m2}) test::covered("formats", to_string(type), "decoded", "every code");
}

// The file holds blocks of every format and what gguf's Python package makes of them (tests/scripts/make_formats.py).
TEST_CASE("every format of GGUF decodes to gguf's values, bit for bit", "[format][support]") {
    const auto file = io::gguf_file::open(std::string(SKALD_TEST_DATA) + "/formats.gguf");
    std::size_t formats = 0;
    for (const io::tensor_entry& t : file.tensors()) {
        if (t.name.ends_with(".f32")) continue;
        CAPTURE(t.name);
        ++formats;
        const io::tensor_entry& twin = *file.find(t.name + ".f32");
        REQUIRE(twin.shape == t.shape);
        std::vector<float> want(t.cols()), plain(t.cols()), wide(t.cols());
        std::memcpy(want.data(), file.bytes(twin).data(), want.size() * sizeof(float));
        const weight_view w{.name = t.name, .type = t.type, .rows = 1, .cols = t.cols(), .data = file.bytes(t).data()};
        format::decode_row(w, 0, plain.data());
        format::decode_row<cpu<>::vector>(w, 0, wide.data());
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < want.size(); ++i) wrong += !same(plain[i], want[i]) || !same(wide[i], want[i]);
        CHECK(wrong == 0);
        test::covered("formats", to_string(t.type), "decoded", "bit for bit as gguf");
    }
    CHECK(formats == 31);
}

TEST_CASE("a format without a decoder is refused by name", "[format]") {
    std::vector<std::byte> bytes(row_bytes(dtype::q8_k, 256));
    std::vector<float> out(256);
    try {
        format::decode_row({.name = "blk.0.x", .type = dtype::q8_k, .rows = 1, .cols = 256, .data = bytes.data()}, 0, out.data());
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::unsupported);
        CHECK(std::string(e.what()).find("blk.0.x") != std::string::npos);
        CHECK(std::string(e.what()).find("q8_k") != std::string::npos);
    }
}
