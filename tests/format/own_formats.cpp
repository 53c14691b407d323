// SPDX-License-Identifier: MIT
// The library's own formats: their definitions in plain words, and what encode_matrix() makes of a matrix of floats.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <skald/format/encode_matrix.hpp>

#include "support/catch.hpp"
#include "support/covered.hpp"

using namespace skald;

namespace {

constexpr std::size_t rows = 5, cols = 256;

std::vector<float> numbers() {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0.01f, 0.05f);
    std::vector<float> out(rows * cols);
    for (float& f : out) f = normal(random);
    std::fill_n(out.begin() + cols, 128, 0.0f);                                            // groups of zeros
    for (std::size_t i = 0; i < 128; ++i) out[2 * cols + i] = 1 + std::fabs(out[i]);       // of positive numbers
    for (std::size_t i = 0; i < 128; ++i) out[3 * cols + i] = -1e-5f * std::fabs(out[i]);  // of tiny ones
    return out;
}

std::vector<float> decoded(const weight_view& w) {
    std::vector<float> out(w.rows * w.cols);
    for (std::size_t r = 0; r < w.rows; ++r) format::decode_row(w, r, out.data() + r * w.cols);
    return out;
}

}  // namespace

TEST_CASE("groups of four bits are rounded to the nearest of their sixteen values", "[format][support]") {
    const std::vector<float> x = numbers();
    for (const dtype type : {dtype::w4_g32, dtype::w4_g64, dtype::w4_g128, dtype::w4z_g32, dtype::w4z_g64, dtype::w4z_g128, dtype::nf4}) {
        const std::size_t group = info(type).block_size;
        const bool zero_points = type == dtype::w4z_g32 || type == dtype::w4z_g64 || type == dtype::w4z_g128;
        const auto w = format::encode_matrix(type, "test", {x.data(), {rows, cols}});
        const std::vector<float> y = decoded(w.view());
        for (std::size_t g = 0; g < x.size(); g += group) {
            CAPTURE(to_string(type), g / cols, g % cols);
            const auto [low, high] =
                std::minmax_element(x.begin() + static_cast<std::ptrdiff_t>(g), x.begin() + static_cast<std::ptrdiff_t>(g + group));
            const float most = std::max(-*low, *high), span = std::max(*high, 0.0f) - std::min(*low, 0.0f);
            // Half the widest step between values, and what a scale in binary16 (of 11 bits, or 2^-24 at least) may move the outermost.
            const float step = zero_points ? span / 15 : type == dtype::nf4 ? most * 0.304f : most / 7;
            const float scale_error = std::max(span / 15 * 0x1p-11f, 0x1p-25f) * (type == dtype::nf4 ? 127 : 15);
            float worst = 0;
            for (std::size_t i = g; i < g + group; ++i) worst = std::max(worst, std::fabs(y[i] - x[i]));
            CHECK(worst <= step * 0.501f + scale_error);
            for (std::size_t i = g; i < g + group; ++i)
                if (x[i] == 0) CHECK(y[i] == 0);
        }
        test::covered("formats", to_string(type), "encoded", "to the nearest");
    }
}

TEST_CASE("rows of eight bits are rounded to the nearest", "[format][support]") {
    const std::vector<float> x = numbers();
    for (const dtype type : {dtype::w8_row, dtype::w8_mixed, dtype::u8_row}) {
        const std::vector<float> y = decoded(format::encode_matrix(type, "test", {x.data(), {rows, cols}}).view());
        for (std::size_t r = 0; r < rows; ++r) {
            float least = x[r * cols], most = least, worst = 0;
            for (std::size_t i = r * cols; i < (r + 1) * cols; ++i) {
                least = std::min(least, x[i]), most = std::max(most, x[i]);
                worst = std::max(worst, std::fabs(x[i] - y[i]));
            }
            const float step = type == dtype::u8_row ? (most - least) / 255 : std::max(most, -least) / 127;
            CAPTURE(to_string(type), r);
            CHECK(worst <= 0.501f * step);
        }
        test::covered("formats", to_string(type), "encoded", "to the nearest");
    }
}

TEST_CASE("a matrix becomes a weight only in whole blocks and known formats", "[format]") {
    const std::vector<float> x(96);
    const matrix_view<const float> w{x.data(), {1, 96}};
    const auto code_of = [&](dtype type) {
        try {
            format::encode_matrix(type, "blk.0.x", w);
        } catch (const error& e) {
            CHECK(e.place() == "blk.0.x");
            return e.code();
        }
        FAIL("accepted");
        return errc::busy;
    };
    CHECK(code_of(dtype::w4_g64) == errc::invalid_argument);
    CHECK(code_of(dtype::i16) == errc::unsupported);
    CHECK(format::encode_matrix(dtype::w4_g32, "blk.0.x", w).view().bytes() == 54);
}
