// SPDX-License-Identifier: MIT
#pragma once
// What the tests of the cpu backend share: the architectures to run over, random operands, bitwise comparison, one tolerance.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/encode_blocks.hpp"

namespace skald::test {

/// Every register width that the flags allow.
using architectures = std::tuple<
#if defined(__AVX2__) && defined(__FMA__)
    xsimd::fma3<xsimd::avx2>,
#endif
#if defined(__SSE4_2__)
    xsimd::sse4_2,
#endif
    default_arch>;

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> out(n);
    for (float& f : out) f = normal(random);
    return out;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// The error that sums of n floats may have in any order, when their magnitudes add up to `norm`: c · eps · norm with c = n + 8;
/// the 8 is for the roundings around the sum.
inline double tolerance(std::size_t n, double norm) {
    return (static_cast<double>(n) + 8) * std::numeric_limits<float>::epsilon() * norm + 1e-30;
}

/// A random matrix in file layout, at an odd address.
struct file_matrix {
    file_matrix(dtype type, std::size_t rows, std::size_t cols, unsigned seed)
        : bytes(rows * row_bytes(type, cols) + 1), view{"test", type, rows, cols, bytes.data() + 1} {
        const std::vector<float> values = random_floats(rows * cols, seed);
        const std::vector<std::byte> encoded = encode_blocks(type, values);
        std::memcpy(bytes.data() + 1, encoded.data(), encoded.size());
    }
    std::vector<std::byte> bytes;
    weight_view view;
};

/// The rows of `x` through `backend`'s matmul.
template <class Backend>
std::vector<float> multiply(const Backend& backend, const typename Backend::matrix& w, const std::vector<float>& x, std::size_t rows,
                            const float* bias = nullptr, const std::vector<float>* add_to = nullptr) {
    auto in = backend.make_activations(rows, w.cols());
    in.resize(rows, w.cols());
    std::copy_n(x.begin(), rows * w.cols(), in.values().data());
    std::vector<float> out = add_to == nullptr ? std::vector<float>(rows * w.rows(), 7.0f) : *add_to;
    const matmul_job<typename Backend::matrix> job{&w, bias, {out.data(), {rows, w.rows()}}, add_to != nullptr};
    backend.matmul(in, std::span(&job, 1));
    return out;
}

}  // namespace skald::test
