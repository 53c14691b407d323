// SPDX-License-Identifier: MIT
// Products against sums in double, over formats, shapes and what is done with the result.
#include "backend/support.hpp"
#include "support/covered.hpp"

using namespace skald;
using namespace skald::test;

namespace {

/// Rounding of the activations that the policy allows, relative to the row's greatest value of a block or to the value.
double activation_error(dtype type, compute policy) {
    if (policy == compute::exact) return 0;
    if (has_integer_products(type)) return 0.5 / 127;
    if (type != dtype::bf16) return 0;
    if (kernels::may_use_amx()) return 1.0 / (1 << 16);  // two bf16 of 8 bits, each rounded by 2^-8 of its value
    return kernels::has_bf16_dot ? 1.0 / 256 : 0;
}

template <class Arch>
void check_product(dtype type, std::size_t rows, std::size_t n, std::size_t k, compute policy) {
    CAPTURE(to_string(type), rows, n, k, static_cast<int>(policy));
    const file_matrix file(type, n, k, static_cast<unsigned>(n * 31 + k));
    const std::vector<float> x = random_floats(rows * k, 5), bias = random_floats(n, 6), start = random_floats(rows * n, 7);
    const cpu<Arch> backend({.policy = policy});
    const auto w = backend.pack(file.view);
    CHECK(w.bytes() == backend.packed_bytes(type, n, k));
    const std::vector<float> plain = multiply(backend, w, x, rows), added = multiply(backend, w, x, rows, bias.data(), &start);
    std::vector<float> row(k);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
        format::decode_row<cpu<>::vector>(file.view, i, row.data());
        for (std::size_t r = 0; r < rows; ++r) {
            double sum = 0, norm = 0, rounding = 0, greatest = 0;
            for (std::size_t j = 0; j < k; ++j) greatest = std::max(greatest, std::fabs(static_cast<double>(x[r * k + j])));
            for (std::size_t j = 0; j < k; ++j) {
                const double term = static_cast<double>(x[r * k + j]) * row[j];
                sum += term;
                norm += std::fabs(term);
                rounding += std::fabs(row[j]) * greatest;
            }
            const double allowed = tolerance(k, norm) + activation_error(type, policy) * rounding;
            wrong += !(std::fabs(plain[r * n + i] - sum) <= allowed);
            const double whole = sum + bias[i] + start[r * n + i];
            wrong += !(std::fabs(added[r * n + i] - whole) <=
                       allowed + tolerance(1, std::fabs(sum) + std::fabs(bias[i]) + std::fabs(start[r * n + i])));
        }
    }
    CHECK(wrong == 0);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("products are sums in double, up to the rounding the policy allows", "[backend][support]", architectures) {
    for (const compute policy : {compute::exact, compute::native})
        for (const dtype type : matrix_types) {
            for (const std::size_t rows : {1, 2, 13})
                for (const std::size_t n : {1, 15, 16, 17, 67}) check_product<TestType>(type, rows, n, whole_blocks(type, 96), policy);
            covered("formats", to_string(type), "product", "against sums in double");
        }
}

TEMPLATE_LIST_TEST_CASE("unquantized products take any number of columns", "[backend]", architectures) {
    for (const dtype type :
         {dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2, dtype::w8_row, dtype::u8_row, dtype::w8_mixed})
        for (const std::size_t k : {1, 2, 3, 15, 16, 17, 31, 33})
            for (const std::size_t rows : {1, 7})
                check_product<TestType>(type, rows, 33, k, compute::native), check_product<TestType>(type, rows, 33, k, compute::exact);
}

TEMPLATE_LIST_TEST_CASE("products take long rows and many of them", "[backend]", architectures) {
    for (const compute policy : {compute::exact, compute::native})
        for (const dtype type : {dtype::q6_k, dtype::q4_k, dtype::q5_0, dtype::iq3_s, dtype::f8_e4m3, dtype::bf16})
            for (const std::size_t rows : {1, 71, 97, 130}) check_product<TestType>(type, rows, 18, whole_blocks(type, 1060), policy);
}

TEMPLATE_LIST_TEST_CASE("rows lie in tiles that take no more room than tall ones, and fewer where low ones leave less over", "[backend]",
                        architectures) {
    constexpr std::size_t tall = kernels::rows_of_tile<TestType>, low = kernels::rows_of_low_tile<TestType>;
    for (std::size_t n = 1; n <= 600; ++n) {
        CAPTURE(n);
        const std::size_t whole = kernels::rows_of_whole_tiles<TestType>(n);
        REQUIRE(whole <= n);
        CHECK((whole % tall == 0 || whole == n));
        CHECK(n - whole <= (n <= kernels::rows_together ? 2 : 1) * low);
        const std::size_t taken = round_up(whole, tall) + round_up(n - whole, low);
        CHECK(taken <= round_up(n, tall));
        if (tall > low && n > low && n <= kernels::rows_together) CHECK(taken - n <= 1);
    }
}

TEST_CASE("several products of one input, of different formats, in one call", "[backend]") {
    const std::size_t rows = 9, k = 64;
    const file_matrix files[] = {
        {dtype::q8_0, 20, k, 1}, {dtype::f32, 5, k, 2}, {dtype::q4_1, 49, k, 3}, {dtype::bf16, 16, k, 4}, {dtype::q5_0, 35, k, 5}};
    thread_pool pool(3);
    const cpu<> backend({.pool = &pool});
    const std::vector<float> x = random_floats(rows * k, 5);
    auto in = backend.make_activations(rows, k);
    in.resize(rows, k);
    std::copy(x.begin(), x.end(), in.values().data());
    std::vector<cpu<>::matrix> weights;
    std::vector<std::vector<float>> out;
    for (const file_matrix& f : files) {
        weights.push_back(backend.pack(f.view));
        out.emplace_back(rows * f.view.rows);
    }
    std::vector<matmul_job<cpu<>::matrix>> jobs;
    for (std::size_t i = 0; i < std::size(files); ++i)
        jobs.push_back({&weights[i], nullptr, {out[i].data(), {rows, weights[i].rows()}}, false});
    backend.matmul(in, jobs);
    for (std::size_t i = 0; i < std::size(files); ++i) CHECK(same_bits(out[i], multiply(cpu<>(), weights[i], x, rows)));
}

TEST_CASE("activations under different scales do not disturb each other, in one call and by turns", "[backend]") {
    const std::size_t rows = 9, k = 512;
    const file_matrix files[] = {{dtype::q8_0, 20, k, 1}, {dtype::q6_k, 20, k, 2}, {dtype::w8_row, 20, k, 3}};
    const cpu<> backend;
    const std::vector<float> x = random_floats(rows * k, 5);
    auto in = backend.make_activations(rows, k);
    in.resize(rows, k);
    std::copy(x.begin(), x.end(), in.values().data());
    std::vector<cpu<>::matrix> weights;
    for (const file_matrix& f : files) weights.push_back(backend.pack(f.view));
    const std::vector<std::vector<std::size_t>> calls = {{0}, {1}, {0}, {0, 1}, {1}, {2, 0}, {1, 2}, {0, 1, 2}, {0}, {1}};
    for (const auto& call : calls) {
        std::vector<std::vector<float>> out(call.size(), std::vector<float>(rows * 20));
        std::vector<matmul_job<cpu<>::matrix>> jobs;
        for (std::size_t i = 0; i < call.size(); ++i) jobs.push_back({&weights[call[i]], nullptr, {out[i].data(), {rows, 20}}, false});
        backend.matmul(in, jobs);
        for (std::size_t i = 0; i < call.size(); ++i) CHECK(same_bits(out[i], multiply(cpu<>(), weights[call[i]], x, rows)));
    }
}

TEST_CASE("rows written anew are encoded anew", "[backend]") {
    const file_matrix file(dtype::q8_0, 16, 32, 1);
    const cpu<> backend;
    const auto w = backend.pack(file.view);
    auto in = backend.make_activations(1, 32);
    in.resize(1, 32);
    std::vector<float> out(16);
    const matmul_job<cpu<>::matrix> job{&w, nullptr, {out.data(), {1, 16}}, false};
    for (const unsigned seed : {1u, 2u}) {
        const std::vector<float> x = random_floats(32, seed);
        std::copy(x.begin(), x.end(), in.values().data());
        backend.matmul(in, std::span(&job, 1));
        CHECK(same_bits(out, multiply(backend, w, x, 1)));
    }
}

TEST_CASE("outliers of activations cost the other columns of mixed products nothing", "[backend]") {
    const std::size_t rows = 7, n = 20, k = 200;
    std::vector<float> x = random_floats(rows * k, 1);
    for (std::size_t i = 0; i < x.size(); i += 37) x[i] = i % 2 == 0 ? 300.0f : -500.0f;
    const file_matrix file(dtype::w8_mixed, n, k, 2);
    const cpu<> backend;
    const std::vector<float> out = multiply(backend, backend.pack(file.view), x, rows);
    std::vector<float> row(k);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
        format::decode_row(file.view, i, row.data());
        for (std::size_t r = 0; r < rows; ++r) {
            double sum = 0, norm = 0, rounding = 0;
            for (std::size_t j = 0; j < k; ++j) {
                sum += static_cast<double>(x[r * k + j]) * row[j];
                norm += std::fabs(static_cast<double>(x[r * k + j]) * row[j]);
                rounding += std::fabs(x[r * k + j]) > 6 ? 0 : std::fabs(row[j]) * 6 * 0.5 / 127;
            }
            wrong += !(std::fabs(out[r * n + i] - sum) <= rounding + tolerance(k, norm));
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("what does not fit is refused", "[backend]") {
    const cpu<> backend;
    const file_matrix file(dtype::f32, 4, 8, 1);
    const auto w = backend.pack(file.view);
    auto in = backend.make_activations(2, 8);
    in.resize(2, 7);
    std::vector<float> out(8);
    const matmul_job<cpu<>::matrix> job{&w, nullptr, {out.data(), {2, 4}}, false};
    CHECK_THROWS_AS(backend.matmul(in, std::span(&job, 1)), error);
    CHECK_THROWS_AS(in.resize(3, 8), error);
    CHECK_THROWS_AS(in.resize(2, 9), error);
    const std::vector<std::byte> bytes(65541);
    for (const auto& [type, cols] : {std::pair{dtype::i32, 64}, std::pair{dtype::w8_row, 65537}}) try {
            backend.pack({"blk.0.ffn_up.weight", type, 1, static_cast<std::size_t>(cols), bytes.data()});
            FAIL("a matrix without kernels was packed");
        } catch (const error& e) {
            CHECK(e.code() == errc::unsupported);
            CHECK(e.place() == "blk.0.ffn_up.weight");
        }
}

TEST_CASE("a backend takes exactly the bytes it says", "[backend]") {
    counting_resource memory;
    for (const compute policy : {compute::exact, compute::native}) {
        const cpu<> backend({.memory = &memory, .policy = policy});
        const attention_shape shape{6, 2, 40};
        const auto a = backend.make_activations(7, 33);
        const auto s = backend.make_scratch(shape);
        CHECK(memory.bytes() == backend.activations_bytes(7, 33) + backend.scratch_bytes(shape));
    }
    for (const dtype type : matrix_types) {
        const cpu<> backend({.memory = &memory});
        const std::size_t cols = whole_blocks(type, 64);
        const auto w = backend.pack(file_matrix(type, 33, cols, 1).view);
        CHECK(memory.bytes() == backend.packed_bytes(type, 33, cols));
    }
    CHECK(memory.bytes() == 0);
}
