// SPDX-License-Identifier: MIT
// Every format's decode against its definition, over every code a block can hold.
#include <cmath>
#include <cstring>
#include <vector>

#include <skald/format/visit.hpp>

#include "support/catch.hpp"

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

TEST_CASE("a format without a decoder is refused by name", "[format]") {
    std::vector<std::byte> bytes(row_bytes(dtype::q4_k, 256));
    std::vector<float> out(256);
    try {
        format::decode_row({.name = "blk.0.x", .type = dtype::q4_k, .rows = 1, .cols = 256, .data = bytes.data()}, 0, out.data());
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::unsupported);
        CHECK(std::string(e.what()).find("blk.0.x") != std::string::npos);
        CHECK(std::string(e.what()).find("q4_k") != std::string::npos);
    }
}
