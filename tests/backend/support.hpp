// SPDX-License-Identifier: MIT
#pragma once
// What the tests of the cpu backend share: the architectures to run over, random operands, bitwise comparison, one tolerance.
#include <array>
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
#include <skald/format/encode_rows.hpp>

#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/encode_blocks.hpp"

namespace skald::test {

/// Every register width that the flags allow.
using architectures = std::tuple<default_arch
#if defined(__AVX512F__) && defined(__FMA__)
                                 ,
                                 xsimd::fma3<xsimd::avx2>
#endif
#if defined(__AVX2__)
                                 ,
                                 xsimd::sse4_2
#endif
                                 >;

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> out(n);
    for (float& f : out) f = normal(random);
    return out;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// The error that sums of n floats may have in any order, when their magnitudes add up to `norm`: c · eps · norm with c = n + 8;
/// the 8 is for the roundings around the sum.
inline double tolerance(std::size_t n, double norm) {
    return (static_cast<double>(n) + 8) * std::numeric_limits<float>::epsilon() * norm + 1e-30;
}

/// The dtypes of a list of formats.
template <class... Formats>
constexpr std::array<dtype, sizeof...(Formats)> types_of(format::list<Formats...>) {
    return {Formats::id...};
}

/// Unquantized formats in panels, and all formats that matrices can have.
inline constexpr auto panel_types = types_of(kernels::panel_formats<format::all_weights>{});
inline constexpr auto matrix_types = types_of(format::all_weights{});

inline bool has_panels(dtype type) { return format::contains(kernels::panel_formats<format::all_weights>{}, type); }

/// Whether `native` products multiply the format's codes as integers.
inline bool has_integer_products(dtype type) {
    return kernels::quantized_panels_of<default_arch>(format::all_weights{}, type) != nullptr || info(type).row_header != 0;
}

/// The least number of columns that is at least `cols` and whole blocks.
inline std::size_t whole_blocks(dtype type, std::size_t cols) { return round_up(cols, std::size_t{info(type).block_size}); }

/// A random matrix in file layout, at an odd address.
struct file_matrix {
    file_matrix(dtype type, std::size_t rows, std::size_t cols, unsigned seed)
        : bytes(rows * row_bytes(type, cols) + 1), view{"test", type, rows, cols, bytes.data() + 1} {
        if (info(type).row_header != 0) {
            const std::vector<float> values = random_floats(rows * cols, seed);
            for (std::size_t r = 0; r < rows; ++r)
                format::visit(format::list<format::w8_row, format::u8_row, format::w8_mixed>{}, type, "test", [&](auto format) {
                    encode_row(format, values.data() + r * cols, cols, bytes.data() + 1 + r * row_bytes(type, cols));
                });
            return;
        }
        const std::vector<std::byte> blocks = can_encode(type) ? encode_blocks(type, random_floats(rows * cols, seed))
                                                               : random_blocks(type, rows * cols / info(type).block_size, seed);
        std::memcpy(bytes.data() + 1, blocks.data(), blocks.size());
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
