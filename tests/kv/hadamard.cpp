// SPDX-License-Identifier: MIT
// The transform that spreads great channels: it is orthonormal, and q4 keeps what it makes of a row with one such channel far better.
#include <bit>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include <skald/format/hadamard.hpp>
#include <skald/kv/word_codec.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

std::vector<float> normal_row(std::size_t n, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> row(n);
    for (float& x : row) x = normal(random);
    return row;
}

/// Squares of what q4 changes in a row.
double error_of(const std::vector<float>& row) {
    std::vector<std::byte> bytes(kv::q4::row_bytes(row.size()));
    kv::q4::encode<format::scalar>(row.data(), row.size(), bytes.data());
    double sum = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
        const double d = static_cast<double>(kv::q4::decode<format::scalar>(bytes.data(), i).value) - static_cast<double>(row[i]);
        sum += d * d;
    }
    return sum;
}

}  // namespace

TEST_CASE("a Hadamard transform is the matrix of signs it stands for, in blocks, and its own inverse", "[kv]") {
    std::mt19937 random(1);
    for (const std::size_t n : {1, 2, 4, 7, 8, 16, 20, 64, 80, 96, 128, 256}) {
        const std::size_t block = format::hadamard_block(n);
        const std::vector<float> row = normal_row(n, random);
        std::vector<float> once = row;
        format::hadamard(once.data(), n);
        for (std::size_t i = 0; i < n; ++i) {
            double sum = 0;
            for (std::size_t j = 0; j < block; ++j) {
                const double x = row[i / block * block + j];
                sum += std::popcount(i % block & j) % 2 == 0 ? x : -x;
            }
            CAPTURE(n, i);
            CHECK(once[i] == Approx(sum / std::sqrt(static_cast<double>(block))).margin(1e-5));
        }
        std::vector<float> twice = once;
        format::hadamard(twice.data(), n);
        for (std::size_t i = 0; i < n; ++i) CHECK(twice[i] == Approx(row[i]).margin(1e-5));
    }
}

TEST_CASE("q4 keeps a row with one great channel better once it is transformed", "[kv]") {
    std::mt19937 random(2);
    double plain = 0, transformed = 0;
    for (int repeat = 0; repeat < 50; ++repeat) {
        std::vector<float> row = normal_row(64, random);
        row[static_cast<std::size_t>(repeat)] = 20;
        plain += error_of(row);
        format::hadamard(row.data(), row.size());
        transformed += error_of(row);
    }
    CAPTURE(plain, transformed);
    CHECK(transformed < plain / 3);
}
