// SPDX-License-Identifier: MIT
// Products bit for bit: the same for any number of rows and threads and any register width, and what the formats' definitions
// say, spelled out in plain loops.
#include <cstdint>
#include <span>
#include <vector>

#include "backend/support.hpp"
#include "support/covered.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// As simd's fma: fused where the target fuses.
float plain_fma(float a, float b, float c) { return kernels::has_fma ? std::fma(a, b, c) : a * b + c; }

/// The int8 encoding of 32 activations, under the scale of those that it shares it with.
struct plain_block {
    plain_block(const float* x, std::span<const float> together) {
        float greatest = 0;
        for (const float value : together) greatest = std::max(greatest, std::fabs(value));
        scale = greatest / 127.0f;
        const float inverse = greatest > 0 ? 127.0f / greatest : 0.0f;
        for (int i = 0; i < 32; ++i) sum += q[i] = static_cast<int>(std::nearbyint(x[i] * inverse));
    }
    int q[32];
    int sum = 0;
    float scale;
};

/// 32 values of a row: codes, and a scale and a minimum for each half of them.
struct plain_weights {
    plain_weights(dtype type, const std::byte* row, std::size_t first) : halves(type == dtype::q6_k), minima(false) {
        const auto* p = reinterpret_cast<const std::uint8_t*>(row) + first / info(type).block_size * info(type).block_bytes;
        const auto half_at = [&](std::size_t at) { return format::detail::half_at(p + at); };
        const std::size_t group = first % 256 / 32;
        if (type == dtype::q8_0) {
            for (int i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(p[2 + i]);
            scale[0] = half_at(0);
        } else if (type == dtype::q4_0 || type == dtype::q4_1) {
            minima = type == dtype::q4_1;
            for (int i = 0; i < 32; ++i)
                q[i] = (i < 16 ? p[(minima ? 4 : 2) + i] & 15 : p[(minima ? 4 : 2) + i - 16] >> 4) - (minima ? 0 : 8);
            scale[0] = half_at(0);
            if (minima) minimum = half_at(2);
        } else if (type == dtype::q4_k) {
            minima = true;
            for (std::size_t i = 0; i < 32; ++i) q[i] = p[16 + group / 2 * 32 + i] >> (group % 2 * 4) & 15;
            const std::uint8_t* s = p + 4;
            const int d = group < 4 ? s[group] & 63 : (s[group + 4] & 15) | s[group - 4] >> 6 << 4;
            const int m = group < 4 ? s[group + 4] & 63 : s[group + 4] >> 4 | s[group] >> 6 << 4;
            scale[0] = half_at(0) * static_cast<float>(d);
            minimum = -half_at(2) * static_cast<float>(m);
        } else if (type == dtype::nvfp4) {
            halves = true;
            const std::uint8_t* scales = p + first % 64 / 16;
            p += 4 + first % 64 / 2;
            for (int h = 0; h < 2; ++h, p += 8) {
                for (int i = 0; i < 16; ++i) q[h * 16 + i] = format::detail::e2m1_doubled[i < 8 ? p[i] & 15 : p[i - 8] >> 4];
                scale[h] = format::detail::half_of_ue4m3(scales[h]);
            }
        } else if (type == dtype::w4z_g64) {
            minima = true;
            for (std::size_t i = 0; i < 32; ++i) q[i] = p[3 + first % 64 / 2 + i % 16] >> (i / 16 * 4) & 15;
            scale[0] = half_at(0);
            minimum = -(scale[0] * static_cast<float>(p[2] & 15));
        } else if (type == dtype::w4_g128) {
            for (std::size_t i = 0; i < 32; ++i) q[i] = (p[2 + first % 128 / 2 + i % 16] >> (i / 16 * 4) & 15) - 8;
            scale[0] = half_at(0);
        } else if (type == dtype::nf4) {
            for (std::size_t i = 0; i < 32; ++i) q[i] = format::detail::normal_levels[p[2 + first % 64 / 2 + i % 16] >> (i / 16 * 4) & 15];
            scale[0] = half_at(0);
        } else if (type == dtype::iq2_xs) {
            unpack<format::iq2_xs>(p, first);
        } else if (type == dtype::iq3_xxs) {
            unpack<format::iq3_xxs>(p, first);
        } else if (type == dtype::iq1_m) {
            unpack<format::iq1_m>(p, first);
        } else if (type == dtype::tq1_0) {
            unpack<format::tq1_0>(p, first);
        } else {  // q6_k
            const std::size_t half = group / 4, quarter = group % 4;
            for (std::size_t i = 0; i < 32; ++i) {
                const int low = p[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
                q[i] = (low | (p[128 + half * 32 + i] >> (quarter * 2) & 3) << 4) - 32;
            }
            for (std::size_t h = 0; h < 2; ++h)
                scale[h] = half_at(208) * static_cast<float>(static_cast<std::int8_t>(p[192 + group * 2 + h]));
        }
    }

    template <class Format>
    void unpack(const std::uint8_t* p, std::size_t first) {
        format::detail::coded_block block;
        Format::unpack(reinterpret_cast<const std::byte*>(p), block);
        halves = Format::group == 16;
        for (std::size_t i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(block.code[first % 256 + i]);
        for (std::size_t h = 0; h < (halves ? 2 : 1); ++h) scale[h] = block.scale[first % 256 / Format::group + h];
    }

    /// acc and the products with 32 activations, group by group.
    float add(float acc, const plain_block& a) const {
        for (int g = 0; g < (halves ? 2 : 1); ++g) acc = plain_fma(add_group(0, g, a), a.scale, acc);
        return acc;
    }

    /// t and these products, not scaled as the activations are.
    float add_unscaled(float t, const plain_block& a) const {
        for (int g = 0; g < (halves ? 2 : 1); ++g) t = add_group(t, g, a);
        return t;
    }

    float add_group(float t, int g, const plain_block& a) const {
        int sum = 0;
        for (int i = halves ? g * 16 : 0; i < (halves ? g * 16 + 16 : 32); ++i) sum += q[i] * a.q[i];
        t = plain_fma(static_cast<float>(sum), scale[g], t);
        return minima ? plain_fma(minimum, static_cast<float>(a.sum), t) : t;
    }

    bool halves, minima;
    float scale[2], minimum = 0;
    int q[32];
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("a row's result does not depend on the rows beside it", "[backend][support]", architectures) {
    const std::size_t most = 80, n = 50;
    for (const compute policy : {compute::exact, compute::native})
        for (const dtype type : matrix_types) {
            const std::size_t k = whole_blocks(type, 64);
            const std::vector<float> x = random_floats(most * k, 1);
            const cpu<TestType> backend({.policy = policy});
            const auto w = backend.pack(file_matrix(type, n, k, 2).view);
            std::vector<float> one_by_one;
            for (std::size_t r = 0; r < most; ++r) {
                const std::vector<float> row = multiply(backend, w, {x.begin() + static_cast<std::ptrdiff_t>(r * k), x.end()}, 1);
                one_by_one.insert(one_by_one.end(), row.begin(), row.end());
            }
            for (std::size_t rows = 1; rows <= most; rows += rows < 14 ? 1 : 11) {
                CAPTURE(to_string(type), rows);
                CHECK(same_bits(multiply(backend, w, x, rows), std::span(one_by_one).first(rows * n)));
            }
            covered("formats", to_string(type), "bitwise", "whatever the rows beside, threads and registers");
        }
}

TEST_CASE("unpacked rows give the products of exact under either policy, copied or where they are", "[backend]") {
    const std::size_t n = 50, rows = 7;
    for (const dtype type : matrix_types) {
        if (info(type).row_header != 0) continue;  // in panels only
        const std::size_t k = whole_blocks(type, 96);
        const std::vector<float> x = random_floats(rows * k, 1);
        const file_matrix file(type, n, k, 2);
        const cpu<> exact({.policy = compute::exact}), native({.policy = compute::native});
        const std::vector<float> expected = multiply(exact, exact.pack(file.view, packing::none), x, rows);
        CAPTURE(to_string(type));
        CHECK(same_bits(multiply(native, native.pack(file.view, packing::none), x, rows), expected));
        CHECK(same_bits(multiply(native, native.view(file.view, packing::none), x, rows), expected));
        if (info(type).block_size > 1) CHECK(same_bits(multiply(exact, exact.pack(file.view), x, rows), expected));
    }
}

TEST_CASE("results do not depend on the number of threads", "[backend]") {
    const std::size_t n = 1000;
    for (const dtype type : matrix_types) {
        const std::size_t k = whole_blocks(type, 96);
        const std::vector<float> x = random_floats(150 * k, 1);
        const file_matrix file(type, n, k, 2);
        for (const std::size_t rows : {1, 5, 150}) {
            const std::vector<float> alone = multiply(cpu<>(), cpu<>().pack(file.view), x, rows);
            for (const std::size_t threads : {1, 2, 3}) {
                CAPTURE(to_string(type), rows, threads);
                thread_pool pool(threads);
                const cpu<> backend({.pool = &pool});
                CHECK(same_bits(multiply(backend, backend.pack(file.view), x, rows), alone));
            }
        }
    }
}

TEMPLATE_LIST_TEST_CASE("results do not depend on the width of the registers", "[backend]", architectures) {
    const std::size_t rows = 15, n = 40;
    for (const compute policy : {compute::exact, compute::native})
        for (const dtype type : matrix_types) {
            CAPTURE(to_string(type));
            const std::size_t k = whole_blocks(type, 96);
            const std::vector<float> x = random_floats(rows * k, 1);
            const file_matrix file(type, n, k, 2);
            const cpu<> widest({.policy = policy});
            const cpu<TestType> backend({.policy = policy});
            CHECK(same_bits(multiply(backend, backend.pack(file.view), x, rows), multiply(widest, widest.pack(file.view), x, rows)));
        }
}

TEMPLATE_LIST_TEST_CASE("exact products are one chain of fma over the decoded weights", "[backend]", architectures) {
    const std::size_t rows = 8, n = 35, k = 64;
    const std::vector<float> x = random_floats(rows * k, 1);
    for (const dtype type : panel_types) {
        const file_matrix file(type, n, k, 2);
        std::vector<float> want(rows * n), w(k);
        for (std::size_t i = 0; i < n; ++i) {
            format::decode_row(file.view, i, w.data());
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t j = 0; j < k; ++j) want[r * n + i] = plain_fma(w[j], x[r * k + j], want[r * n + i]);
        }
        CAPTURE(to_string(type));
        const cpu<TestType> backend({.policy = compute::exact});
        CHECK(same_bits(multiply(backend, backend.pack(file.view), x, rows), want));
    }
}

TEMPLATE_LIST_TEST_CASE("products with weights in file layout are sixteen chains of fma, added by halves", "[backend]", architectures) {
    const std::size_t rows = 3, n = 19;
    for (const dtype type : matrix_types) {
        if (has_panels(type)) continue;
        const std::size_t k = whole_blocks(type, 100);
        const std::vector<float> x = random_floats(rows * k, 1);
        const file_matrix file(type, n, k, 2);
        std::vector<float> want(rows * n), w(k);
        for (std::size_t i = 0; i < n; ++i) {
            format::decode_row(file.view, i, w.data());
            for (std::size_t r = 0; r < rows; ++r) {
                float sum[16] = {};
                for (std::size_t j = 0; j < k; ++j) sum[j % 16] = plain_fma(w[j], x[r * k + j], sum[j % 16]);
                for (std::size_t half = 8; half > 0; half /= 2)
                    for (std::size_t j = 0; j < half; ++j) sum[j] += sum[j + half];
                want[r * n + i] = sum[0];
            }
        }
        CAPTURE(to_string(type));
        for (const compute policy : {compute::exact, compute::native}) {
            if (policy == compute::native && has_integer_products(type)) continue;
            const cpu<TestType> backend({.policy = policy});
            CHECK(same_bits(multiply(backend, backend.pack(file.view), x, rows), want));
        }
    }
}

TEMPLATE_LIST_TEST_CASE("quantized products are integer sums a group, scaled by weights, then by activations", "[backend]", architectures) {
    const std::size_t rows = 8, n = 35, k = 768;
    std::vector<float> x = random_floats(rows * k, 1);
    std::fill_n(x.begin() + 32, 32, 0.0f);                                 // a block of zeros
    std::fill_n(x.begin() + 256, 128, 0.0f);                               // as many as have one scale
    for (std::size_t i = 0; i < 32; ++i) x[k + i] = i % 2 ? 1.0f : -1.0f;  // one of extremes
    for (const dtype type : {dtype::q8_0, dtype::q4_0, dtype::q4_1, dtype::q4_k, dtype::q6_k, dtype::nvfp4, dtype::iq2_xs, dtype::iq3_xxs,
                             dtype::iq1_m, dtype::tq1_0, dtype::w4_g128, dtype::w4z_g64, dtype::nf4}) {
        const file_matrix file(type, n, k, 2);
        std::vector<float> want(rows * n);
        const std::size_t together = info(type).block_size == 256 ? 128 : 32;  // activations under one scale
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t j = 0; j < k; j += together) {
                const std::span some = std::span(x).subspan(r * k + j, together);
                std::vector<plain_block> a;
                for (std::size_t m = 0; m < together; m += 32) a.emplace_back(some.data() + m, some);
                for (std::size_t i = 0; i < n; ++i) {
                    float &acc = want[r * n + i], t = 0;
                    if (together == 32) {
                        acc = plain_weights(type, file.view.row(i), j).add(acc, a[0]);
                        continue;
                    }
                    for (std::size_t m = 0; m < a.size(); ++m) t = plain_weights(type, file.view.row(i), j + m * 32).add_unscaled(t, a[m]);
                    acc = plain_fma(t, a[0].scale, acc);
                }
            }
        CAPTURE(to_string(type));
        const cpu<TestType> backend;
        CHECK(same_bits(multiply(backend, backend.pack(file.view), x, rows), want));
    }
}

TEMPLATE_LIST_TEST_CASE("products with scales of rows are integer sums of whole rows", "[backend]", architectures) {
    const std::size_t rows = 8, n = 35;
    for (const dtype type : {dtype::w8_row, dtype::u8_row, dtype::w8_mixed})
        for (const std::size_t k : {63, 64, 300}) {
            std::vector<float> x = random_floats(rows * k, 1);
            std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(k), k, 0.0f);
            for (std::size_t i = 2 * k; i < x.size(); i += 50) x[i] = 40;
            const file_matrix file(type, n, k, 2);
            std::vector<float> want(rows * n), decoded(k);
            for (std::size_t r = 0; r < rows; ++r) {
                const float* a = x.data() + r * k;
                const auto apart = [&](std::size_t j) { return type == dtype::w8_mixed && std::fabs(a[j]) > 6; };
                float greatest = 0;
                for (std::size_t j = 0; j < k; ++j)
                    if (!apart(j)) greatest = std::max(greatest, std::fabs(a[j]));
                const float inverse = greatest > 0 ? 127 / greatest : 0;
                for (std::size_t i = 0; i < n; ++i) {
                    const std::byte* row = file.view.row(i);
                    const auto* codes = reinterpret_cast<const std::uint8_t*>(row) + info(type).row_header;
                    format::decode_row(file.view, i, decoded.data());
                    int products = 0, sum = 0;
                    for (std::size_t j = 0; j < k; ++j) {
                        const int q = apart(j) ? 0 : static_cast<int>(std::nearbyint(a[j] * inverse));
                        products += q * (type == dtype::u8_row ? codes[j] : static_cast<std::int8_t>(codes[j]));
                        sum += q;
                    }
                    float t = static_cast<float>(products) * format::detail::read_at<float>(row);
                    if (type == dtype::u8_row) t = plain_fma(format::detail::read_at<float>(row + 4), static_cast<float>(sum), t);
                    float& out = want[r * n + i];
                    out = t * (greatest / 127);
                    for (std::size_t j = 0; j < k; ++j)
                        if (apart(j)) out = plain_fma(decoded[j], a[j], out);
                }
            }
            CAPTURE(to_string(type), k);
            const cpu<TestType> backend;
            CHECK(same_bits(multiply(backend, backend.pack(file.view), x, rows), want));
        }
}
