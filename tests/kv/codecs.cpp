// SPDX-License-Identifier: MIT
// Codecs of keys and values: how far what is read is from what was written, and that every way to read it agrees.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/word_codec.hpp>

#include "backend/support.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using vector = cpu<>::vector;

/// The greatest error that a codec's comment allows, for a value x of a row.
template <class Codec>
double bound(const std::vector<float>& row, std::size_t i) {
    double squares = 0, greatest = 0, group = 0;
    for (const float x : row) squares += static_cast<double>(x) * x, greatest = std::max<double>(greatest, std::fabs(x));
    const std::size_t begin = i / kv::word_unit * kv::word_unit;
    for (std::size_t j = begin; j < std::min(begin + kv::word_unit, row.size()); ++j) group = std::max<double>(group, std::fabs(row[j]));
    const double x = std::fabs(row[i]), rounding = 1e-6 * greatest;
    if constexpr (std::is_same_v<Codec, kv::i16>) return std::max(std::sqrt(squares) / 65400, greatest / 16380) + rounding;
    if constexpr (std::is_same_v<Codec, kv::q8>) return greatest / 254 + rounding;
    if constexpr (std::is_same_v<Codec, kv::fp8>) return std::max(x / 15.9, std::ldexp(greatest, -18)) + rounding;
    // A step is at most a multiple, of 15 in the row, above an eighth of the group's greatest value; on its other side code 7 is the last.
    if constexpr (std::is_same_v<Codec, kv::q4>) return group / 8 + greatest / 120 + rounding;
    return 0;
}

template <class Codec, class V>
std::vector<std::byte> encoded(const std::vector<float>& row) {
    std::vector<std::byte> bytes(Codec::row_bytes(row.size()), std::byte{0xff});
    Codec::template encode<V>(row.data(), row.size(), bytes.data());
    return bytes;
}

std::vector<float> row_of(std::size_t width, unsigned seed, float scale) {
    std::vector<float> row = random_floats(width, seed);
    for (float& x : row) x *= scale;
    return row;
}

using small_codecs = std::tuple<kv::i16, kv::q8, kv::q4, kv::fp8>;
using word_codecs = std::tuple<kv::i16, kv::q8, kv::q4>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("a small codec's error is within what it says", "[kv]", small_codecs) {
    unsigned seed = 1;
    for (const std::size_t width : {16, 32, 48, 64, 80, 128, 256})
        for (const float scale : {1.0f, 3e-9f, 2e9f})
            for (int repeat = 0; repeat < 20; ++repeat) {
                std::vector<float> row = row_of(width, ++seed, scale);
                if (repeat % 4 == 0) row[seed % width] *= 40;  // one value far from the others
                if (repeat % 5 == 0) row[(seed + 3) % width] = 0;
                const auto bytes = encoded<TestType, format::scalar>(row);
                for (std::size_t i = 0; i < width; ++i) {
                    CAPTURE(width, scale, seed, i, row[i]);
                    REQUIRE(std::fabs(TestType::template decode<format::scalar>(bytes.data(), i).value - row[i]) <=
                            bound<TestType>(row, i));
                }
            }
}

TEMPLATE_LIST_TEST_CASE("a small codec keeps rows of zeros, and of any single value", "[kv]", small_codecs) {
    const std::vector<float> zeros(64);
    const auto bytes = encoded<TestType, vector>(zeros);
    for (std::size_t i = 0; i < 64; ++i) CHECK(TestType::template decode<format::scalar>(bytes.data(), i).value == 0.0f);
    for (std::size_t at = 0; at < 64; ++at) {
        std::vector<float> row(64);
        row[at] = -3.0f;
        const auto one = encoded<TestType, vector>(row);
        for (std::size_t i = 0; i < 64; ++i) {
            CAPTURE(at, i);
            CHECK(TestType::template decode<format::scalar>(one.data(), i).value == Approx(row[i]).epsilon(1e-3));
        }
    }
}

TEMPLATE_LIST_TEST_CASE("a codec reads the same values one by one and by vectors", "[kv]", small_codecs) {
    for (const std::size_t width : {16, 48, 64, 96}) {
        const std::vector<float> row = row_of(width, static_cast<unsigned>(width), 1.0f);
        const auto bytes = encoded<TestType, vector>(row);
        for (std::size_t i = 0; i < width; i += vector::size) {
            float some[vector::size];
            TestType::template decode<vector>(bytes.data(), i).store(some);
            for (std::size_t j = 0; j < vector::size; ++j) {
                CAPTURE(width, i, j);
                CHECK(some[j] == TestType::template decode<format::scalar>(bytes.data(), i + j).value);
                CHECK(std::fabs(some[j] - row[i + j]) <= bound<TestType>(row, i + j));
            }
        }
    }
}

TEMPLATE_LIST_TEST_CASE("words times the scale are the values, and small enough to be added up", "[kv]", word_codecs) {
    using ints = kernels::simd_int<default_arch>;
    for (const std::size_t width : {16, 48, 64, 128}) {
        const std::vector<float> row = row_of(width, static_cast<unsigned>(width) + 7, 5.0f);
        const auto bytes = encoded<TestType, vector>(row);
        double squares = 0;
        for (std::size_t unit = 0; unit * kv::word_unit < width; ++unit) {
            std::int16_t words[kv::word_unit];
            TestType::template words<ints>(bytes.data(), unit).store(words);
            for (std::size_t w = 0; w < kv::word_unit; ++w) {
                const std::size_t i = unit * kv::word_unit + w / 2 + w % 2 * kv::lane_count;
                CAPTURE(width, i);
                CHECK(std::abs(words[w]) <= attention::most_word);
                squares += static_cast<double>(words[w]) * words[w];
                if (i >= width)
                    CHECK(words[w] == 0);
                else
                    CHECK(TestType::scale(bytes.data()) * words[w] ==
                          Approx(TestType::template decode<format::scalar>(bytes.data(), i).value).epsilon(1e-6));
            }
        }
        CHECK(std::sqrt(squares) <= attention::most_length + std::sqrt(static_cast<double>(width)) / 2);
    }
    const std::vector<std::byte> nothing(TestType::row_bytes(64));
    std::int16_t words[kv::word_unit];
    TestType::template words<ints>(nothing.data(), 1).store(words);
    for (const std::int16_t w : words) CHECK(w == 0);
}
