// SPDX-License-Identifier: MIT
// Every encoder: errors no greater than llama.cpp's on the same numbers, what decodes comes back, hard blocks, importance.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/format/encode.hpp>

#include "support/catch.hpp"
#include "support/covered.hpp"

using namespace skald;

namespace {

using floats = std::vector<float>;

template <class V = format::scalar>
floats coded(dtype type, const floats& x, std::size_t cols, const float* importance = nullptr) {
    std::vector<std::byte> bytes(row_bytes(type, x.size()));
    const auto encode = format::encoder_of<V>(format::written{}, type, "test");
    for (std::size_t i = 0; i < x.size(); i += cols) encode(x.data() + i, cols, importance, bytes.data() + row_bytes(type, i));
    floats out(x.size());
    format::decoder<format::scalar>(format::all{}, type, "test")(bytes.data(), x.size() / info(type).block_size, out.data());
    return out;
}

double relative_error(const floats& x, const floats& y) {
    double error = 0, all = 0;
    for (std::size_t i = 0; i < x.size(); ++i) error += std::pow(x[i] - y[i], 2.0), all += std::pow(x[i], 2.0);
    return std::sqrt(error / all);
}

/// The error that encoders minimize: that of x counts sqrt(σ² + x²), σ² over rows of `cols`.
double weighted_error(const floats& x, const floats& y, std::size_t cols = 4096) {
    double error = 0, all = 0;
    for (std::size_t first = 0; first < x.size(); first += cols) {
        double squares = 0;
        for (std::size_t i = first; i < first + cols; ++i) squares += std::pow(x[i], 2.0);
        for (std::size_t i = first; i < first + cols; ++i) {
            const double w = std::sqrt(squares / static_cast<double>(cols) + std::pow(x[i], 2.0));
            error += w * std::pow(x[i] - y[i], 2.0), all += w * std::pow(x[i], 2.0);
        }
    }
    return std::sqrt(error / all);
}

/// Nearly normal numbers of deviation 0.02, from sums of twelve; of every 64 one, where asked, is eight times that.
floats numbers(std::size_t n, bool outliers) {
    std::mt19937 random(5489);
    floats out(n);
    for (std::size_t i = 0; i < n; ++i) {
        double sum = -6;
        for (int k = 0; k < 12; ++k) sum += static_cast<double>(random()) / 4294967296.0;
        out[i] = static_cast<float>(0.02 * sum * (outliers && i % 64 == 17 ? 8 : 1));
    }
    return out;
}

struct bound {
    dtype type;
    double normal, outliers;
};

}  // namespace

// The bounds are the errors of ggml's own encoders (ggml_quantize_chunk of llama.cpp as llama-cpp-python 0.3.36 has it, all
// importance 1, which weighs errors as here) on these numbers, in rows of 4096, rounded up to four digits. Those of f16 and bf16 are half a
// unit of the last place over √3, 2⁻¹¹/√3 and 2⁻⁸/√3.
TEST_CASE("encoders are at least as near as llama.cpp's", "[format][support]") {
    static constexpr bound bounds[] = {
        {dtype::f16, 2.82e-4, 2.82e-4},    {dtype::bf16, 2.26e-3, 2.26e-3},   {dtype::q8_0, 0.004411, 0.004386},
        {dtype::q4_0, 0.06694, 0.06989},   {dtype::q4_1, 0.05754, 0.04155},   {dtype::q5_0, 0.03304, 0.03448},
        {dtype::q5_1, 0.02772, 0.02019},   {dtype::q2_k, 0.2246, 0.1402},     {dtype::q3_k, 0.1201, 0.09532},
        {dtype::q4_k, 0.05850, 0.04308},   {dtype::q5_k, 0.02922, 0.02212},   {dtype::q6_k, 0.01427, 0.01300},
        {dtype::iq4_nl, 0.06562, 0.05332}, {dtype::iq4_xs, 0.06640, 0.05471}, {dtype::iq3_s, 0.1165, 0.09924},
        {dtype::iq3_xxs, 0.1520, 0.1160},  {dtype::iq2_s, 0.2098, 0.1835},    {dtype::iq2_xxs, 0.2916, 0.2535},
        {dtype::mxfp4, 0.1132, 0.1337},    {dtype::nvfp4, 0.09911, 0.05204},  {dtype::iq2_xs, 0.2491, 0.1980},
        {dtype::tq1_0, 0.7315, 0.4430},    {dtype::tq2_0, 0.7315, 0.4430},    {dtype::iq1_s, 0.4142, 0.3207},
        {dtype::iq1_m, 0.3803, 0.2540},
    };
    const floats ones(4096, 1.0f);
    const floats normal = numbers(65536, false), outliers = numbers(65536, true);
    for (const bound& b : bounds) {
        CAPTURE(to_string(b.type));
        CHECK(weighted_error(normal, coded<cpu<>::vector>(b.type, normal, 4096, ones.data())) <= b.normal);
        CHECK(weighted_error(outliers, coded<cpu<>::vector>(b.type, outliers, 4096, ones.data())) <= b.outliers);
        test::covered("formats", to_string(b.type), "encoded", "no farther than llama.cpp");
    }
    const floats part(normal.begin(), normal.begin() + 2048);
    for (const bound& b : bounds) {
        CAPTURE(to_string(b.type));
        CHECK(weighted_error(part, coded(b.type, part, 2048, ones.data()), 2048) <= 1.1 * b.normal);  // the scalar vector, on a few blocks
    }
}

// A fit to given codes finds the scale they were made with; where a scale and a minimum are sought, a neighbour may do as well.
TEST_CASE("encoding a second time loses next to nothing", "[format]") {
    const floats x = numbers(4096, true);
    for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16, dtype::q8_0, dtype::q4_0, dtype::q4_1, dtype::q5_0, dtype::q5_1,
                             dtype::iq4_nl, dtype::mxfp4}) {
        CAPTURE(to_string(type));
        const floats once = coded<cpu<>::vector>(type, x, 4096);
        CHECK(relative_error(once, coded<cpu<>::vector>(type, once, 4096)) <= 0.01 * relative_error(x, once));
    }
}

TEST_CASE("hard blocks encode to finite values near them", "[format]") {
    std::vector<floats> rows;
    rows.push_back(floats(256, 0.0f));
    rows.push_back(floats(256, 3.25f));
    rows.push_back(floats(256, -65504.0f));
    rows.push_back(floats(256, 1e-38f));
    rows.push_back(floats(256, 3e-8f));
    floats spike(256, 0.0f), ramp(256), mixed(256);
    spike[77] = -65504.0f;
    for (std::size_t i = 0; i < 256; ++i) ramp[i] = static_cast<float>(i) * 256 - 32768, mixed[i] = i % 2 == 0 ? 1e-6f : 60000.0f;
    rows.insert(rows.end(), {spike, ramp, mixed});
    const floats none(256, 0.0f), some = [] {
        floats w(256, 0.0f);
        w[3] = 1e20f;
        return w;
    }();
    for (const dtype type :
         {dtype::f32,     dtype::f16,   dtype::bf16,   dtype::q8_0,    dtype::q4_0,  dtype::q4_1,   dtype::q5_0,   dtype::q5_1,
          dtype::q2_k,    dtype::q3_k,  dtype::q4_k,   dtype::q5_k,    dtype::q6_k,  dtype::iq4_nl, dtype::iq4_xs, dtype::iq3_s,
          dtype::iq3_xxs, dtype::iq2_s, dtype::iq2_xs, dtype::iq2_xxs, dtype::iq1_s, dtype::iq1_m,  dtype::mxfp4})
        for (std::size_t r = 0; r < rows.size(); ++r)
            for (const float* importance : {static_cast<const float*>(nullptr), none.data(), some.data()}) {
                CAPTURE(to_string(type), r, importance == some.data());
                const floats y = coded<cpu<>::vector>(type, rows[r], 256, importance);
                float greatest = 0;
                for (const float v : rows[r]) greatest = std::max(greatest, std::abs(v));
                bool good = true;
                for (std::size_t i = 0; i < 256; ++i) good = good && std::abs(y[i]) <= 1.6f * greatest + 1e-7f;  // NaN is not
                CHECK(good);
                // Grids have no zero: what lies beside a spike costs nearly as much as the spike.
                const bool grid =
                    type == dtype::iq2_s || type == dtype::iq2_xs || type == dtype::iq2_xxs || type == dtype::iq1_s || type == dtype::iq1_m;
                if (importance != some.data() && greatest > 1e-6f) CHECK(relative_error(rows[r], y) < (grid ? 1 : 0.6));
            }
}

TEST_CASE("columns of great importance come nearer", "[format]") {
    const floats x = numbers(16384, false);
    floats importance(512, 1.0f);
    for (std::size_t i = 0; i < 512; i += 5) importance[i] = 400;
    for (const dtype type :
         {dtype::q8_0,    dtype::q4_0,  dtype::q4_1,   dtype::q5_0,   dtype::q5_1,  dtype::q2_k,    dtype::q3_k,  dtype::q4_k,
          dtype::q5_k,    dtype::q6_k,  dtype::iq4_nl, dtype::iq4_xs, dtype::iq3_s, dtype::iq3_xxs, dtype::iq2_s, dtype::iq2_xs,
          dtype::iq2_xxs, dtype::iq1_s, dtype::iq1_m,  dtype::tq1_0,  dtype::mxfp4, dtype::nvfp4}) {
        CAPTURE(to_string(type));
        const auto error_of_great = [&](const floats& y) {
            double sum = 0;
            for (std::size_t i = 0; i < x.size(); ++i)
                if (i % 512 % 5 == 0) sum += std::pow(x[i] - y[i], 2.0);
            return sum;
        };
        CHECK(error_of_great(coded<cpu<>::vector>(type, x, 512, importance.data())) < error_of_great(coded<cpu<>::vector>(type, x, 512)));
    }
}

// A search over all scales, shifts and entries under each of many factors, in double; the encoder, which looks about the scales that groups
// have by themselves, comes within 1% of it.
TEST_CASE("iq1 encoders find nearly what a search over everything finds", "[format]") {
    using grid = format::detail::iq1_grid;
    const floats all = numbers(1024, true), ones(256, 1.0f);
    for (const dtype type : {dtype::iq1_s, dtype::iq1_m})
        for (std::size_t b = 0; b < 2; ++b) {
            const floats x(all.begin() + static_cast<std::ptrdiff_t>(b * 256), all.begin() + static_cast<std::ptrdiff_t>(b * 256 + 256));
            double squares = 0, extreme = 0;
            for (const float v : x) squares += std::pow(v, 2.0) / 256, extreme = std::max<double>(extreme, std::abs(v));
            const std::size_t group = type == dtype::iq1_s ? 32 : 16, shared = type == dtype::iq1_s ? 32 : 8;
            double least = 1e9, norm = 0;
            for (const float v : x) norm += std::sqrt(squares + v * v) * v * v;
            for (int k = 1; k <= 20; ++k) {
                const double factor = to_float(to_half(static_cast<float>(extreme / 15 * 0.05 * k)));
                double sum = 0;
                for (std::size_t g = 0; g < 256; g += group) {
                    double of_group = 1e9;
                    for (int s = 0; s < 8; ++s) {
                        double of_scale = 0;
                        for (std::size_t at = g; at < g + group; at += shared) {
                            double of_shift[2] = {0, 0};
                            for (int minus = 0; minus < 2; ++minus)
                                for (std::size_t v = at; v < at + shared; v += 8) {
                                    double nearest = 1e9;
                                    for (const std::uint16_t entry : grid::entries) {
                                        double error = 0;
                                        for (std::size_t i = 0; i < 8 && error < nearest; ++i) {
                                            const double q = grid::levels[entry >> (2 * i) & 3] + (minus != 0 ? -0.125 : 0.125);
                                            const double xi = x[v + i];
                                            error += std::sqrt(squares + xi * xi) * std::pow(xi - factor * (2 * s + 1) * q, 2.0);
                                        }
                                        nearest = std::min(nearest, error);
                                    }
                                    of_shift[minus] += nearest;
                                }
                            of_scale += std::min(of_shift[0], of_shift[1]);
                        }
                        of_group = std::min(of_group, of_scale);
                    }
                    sum += of_group;
                }
                least = std::min(least, sum);
            }
            const double ours = weighted_error(x, coded<cpu<>::vector>(type, x, 256, ones.data()), 256);
            CAPTURE(to_string(type), b, ours, std::sqrt(least / norm));
            CHECK(ours <= 1.01 * std::sqrt(least / norm));
        }
}

TEST_CASE("a format without an encoder is refused by name", "[format]") {
    try {
        format::encoder_of<format::scalar>(format::written{}, dtype::q8_k, "blk.0.x");
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::unsupported);
        CHECK(std::string(e.what()) == "blk.0.x: no encoder for the format q8_k");
    }
}
