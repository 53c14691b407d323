// SPDX-License-Identifier: MIT
#pragma once
// The ops that treat rows one by one: normalization, activation functions, embedding, gathering.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

#include <skald/backend/cpu/activations.hpp>
#include <skald/backend/cpu/math.hpp>
#include <skald/backend/cpu/matmul.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Values that a thread should have to do before another one is woken for an elementwise op: about 5 µs of work.
inline constexpr std::size_t values_a_thread = 16384;

namespace detail {

/// Rows of `cols` values that make a thread's worth.
inline std::size_t rows_a_thread(std::size_t cols) noexcept { return 1 + values_a_thread / (cols + 1); }

/// Σ f(x) over a row, in one order: lanes first, then by halves. f of a missing element must be taken off by `f` itself: it
/// gets the vector and how many of its lanes count.
template <class Arch, class F>
SKALD_INLINE float sum_over(const float* x, std::size_t n, F f) noexcept {
    using V = simd<Arch>;
    V sum = V::zero();
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) sum = f(V::load(x + i), lanes, sum);
    if (i < n) sum = f(V::load_first(x + i, n - i), n - i, sum);
    return reduce_add(sum);
}

template <class Arch>
void norm_row(const float* x, std::size_t n, const norm_params& p, float* y) noexcept {
    using V = simd<Arch>;
    const auto count = static_cast<float>(n);
    float mean = 0.0f;
    if (p.kind == norm_kind::layer) mean = sum_over<Arch>(x, n, [](V v, std::size_t, V sum) { return sum + v; }) / count;
    const V center = V::broadcast(mean);
    const float squares = sum_over<Arch>(x, n, [&](V v, std::size_t valid, V sum) {
        const V d = valid < lanes ? choose_first(valid, v - center, V::zero()) : v - center;
        return fma(d, d, sum);
    });
    const V scale = V::broadcast(1.0f / std::sqrt(squares / count + p.eps));
    for (std::size_t i = 0; i < n; i += lanes) {
        const std::size_t left = n - i;
        const V d = (V::load_first(x + i, left) - center) * scale;
        const V gain = V::load_first(p.gain + i, left);
        if (p.bias == nullptr)
            (d * gain).store_first(y + i, left);
        else
            fma(d, gain, V::load_first(p.bias + i, left)).store_first(y + i, left);
    }
}

/// x = f(x), vector after vector.
template <class Arch, class F>
void transform(matrix_view<float> x, const workers& w, F f) {
    const std::size_t cols = x.extent(1);
    w.split(x.extent(0), rows_a_thread(cols), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            float* row = x.data() + r * x.strides()[0];
            for (std::size_t i = 0; i < cols; i += lanes) f(simd<Arch>::load_first(row + i, cols - i)).store_first(row + i, cols - i);
        }
    });
}

/// f over the row, or f(x) · up where there is an `up`.
template <class Arch, activation_kind Kind>
void activate_row(const float* x, const float* up, std::size_t n, float* y) noexcept {
    using V = simd<Arch>;
    for (std::size_t i = 0; i < n; i += lanes) {
        V v = activation<Kind>(V::load_first(x + i, n - i));
        if (up != nullptr) v = v * V::load_first(up + i, n - i);
        v.store_first(y + i, n - i);
    }
}

}  // namespace detail

template <class Arch>
void norm(matrix_view<const float> in, const norm_params& p, activations<Arch>& out, const workers& w) {
    const std::size_t cols = in.extent(1);
    float* y = out.begin();
    w.split(in.extent(0), detail::rows_a_thread(cols), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            const float* x = in.data() + r * in.strides()[0];
            if (p.kind == norm_kind::none)
                std::memcpy(y + r * cols, x, cols * sizeof(float));
            else
                detail::norm_row<Arch>(x, cols, p, y + r * cols);
            out.finish(r);
        }
    });
    out.end();
}

template <class Arch>
void norm_parts(matrix_view<float> x, std::size_t width, const norm_params& p, const workers& w) {
    const std::size_t cols = x.extent(1);
    w.split(x.extent(0), detail::rows_a_thread(cols), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            float* row = x.data() + r * x.strides()[0];
            for (std::size_t c = 0; c < cols; c += width) detail::norm_row<Arch>(row + c, width, p, row + c);
        }
    });
}

/// Leaves the normalized rows in `in`.
template <class Arch>
void add_norm(matrix_view<float> in, const norm_params& p, matrix_view<float> out, const workers& w) {
    using V = simd<Arch>;
    const std::size_t cols = in.extent(1);
    w.split(in.extent(0), detail::rows_a_thread(cols), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            float* x = in.data() + r * in.strides()[0];
            float* y = out.data() + r * out.strides()[0];
            detail::norm_row<Arch>(x, cols, p, x);
            for (std::size_t i = 0; i < cols; i += lanes)
                (V::load_first(y + i, cols - i) + V::load_first(x + i, cols - i)).store_first(y + i, cols - i);
        }
    });
}

template <class Arch>
void scale(matrix_view<float> x, float factor, const workers& w) {
    using V = simd<Arch>;
    detail::transform<Arch>(x, w, [=](V v) { return v * V::broadcast(factor); });
}

template <class Arch>
void soft_cap(matrix_view<float> x, float cap, const workers& w) {
    using V = simd<Arch>;
    detail::transform<Arch>(x, w, [=](V v) { return V::broadcast(cap) * tanh(v * V::broadcast(1.0f / cap)); });
}

/// out[rows[i]] += weights[i] · in[i].
template <class Arch>
void add_rows(matrix_view<const float> in, std::span<const float> weights, std::span<const std::size_t> rows, matrix_view<float> out,
              const workers& w) {
    using V = simd<Arch>;
    const std::size_t cols = in.extent(1);
    w.split(rows.size(), detail::rows_a_thread(cols), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            const V weight = V::broadcast(weights[r]);
            const float* x = in.data() + r * in.strides()[0];
            float* y = out.data() + rows[r] * out.strides()[0];
            for (std::size_t i = 0; i < cols; i += lanes)
                fma(weight, V::load_first(x + i, cols - i), V::load_first(y + i, cols - i)).store_first(y + i, cols - i);
        }
    });
}

/// out = f(x), or f(x) · up where `up` has rows.
template <class Arch>
void activate(matrix_view<const float> x, matrix_view<const float> up, activation_kind kind, activations<Arch>& out, const workers& w) {
    const std::size_t cols = x.extent(1);
    float* y = out.begin();
    w.split(x.extent(0), detail::rows_a_thread(4 * cols), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            const float* a = x.data() + r * x.strides()[0];
            const float* b = up.data() == nullptr ? nullptr : up.data() + r * up.strides()[0];
            if (kind == activation_kind::silu)
                detail::activate_row<Arch, activation_kind::silu>(a, b, cols, y + r * cols);
            else
                detail::activate_row<Arch, activation_kind::gelu_tanh>(a, b, cols, y + r * cols);
            out.finish(r);
        }
    });
    out.end();
}

namespace detail {

/// y = row, or y += row, of a matrix in file layout.
inline void embed_row(const packed_matrix& table, std::size_t row, float* y, bool accumulate) noexcept {
    constexpr std::size_t chunk = 256;
    const dtype_info& layout = info(table.type());
    const std::byte* from = table.panel(row / lanes) + row % lanes * row_bytes(table.type(), table.cols());
    if (!accumulate) return table.decode()(from, table.cols() / layout.block_size, y);
    float values[chunk];
    for (std::size_t k = 0; k < table.cols(); k += chunk) {
        const std::size_t n = std::min(chunk, table.cols() - k);
        table.decode()(from + row_bytes(table.type(), k), n / layout.block_size, values);
        for (std::size_t i = 0; i < n; ++i) y[k + i] += values[i];
    }
}

/// y = row, or y += row, of a matrix in panels of quantized.hpp.
template <class Arch>
void embed_quantized_row(const packed_matrix& table, std::size_t row, float* y, bool accumulate) noexcept {
    const quantized_panels& format = *table.quantized();
    const std::size_t lane = row % lanes, group = format.halves ? 16 : 32;
    const int zero = format.narrow ? byte_sums<Arch, true>::zero : byte_sums<Arch, false>::zero;
    unpacked_panel some;
    for (std::size_t k = 0; k < table.cols(); k += unpacked_panel::columns) {
        const std::size_t n = std::min(unpacked_panel::columns, table.cols() - k);
        format.unpack(table.panel(row / lanes), table.cols(), k, n, true, some);
        for (std::size_t i = 0; i < n; ++i) {
            const auto code = static_cast<float>(static_cast<std::int8_t>(some.code[i / 4][lane][i % 4] - zero));
            float value = some.scale[i / group][lane] * code;  // exact, so that the sum is rounded once, fused or not
            if (format.minima) value += some.minimum[i / group][lane];
            y[k + i] = accumulate ? y[k + i] + value : value;
        }
    }
}

/// y = row, or y += row, of a matrix in panels.
template <class Layout>
void embed_row(const packed_matrix& table, std::size_t row, float* y, bool accumulate) noexcept {
    const std::byte* panel = table.panel(row / lanes);
    for (std::size_t k = 0; k < table.cols(); ++k) {
        const float value = Layout::at(panel, table.cols(), row % lanes, k);
        y[k] = accumulate ? y[k] + value : value;
    }
}

}  // namespace detail

/// Rows of a packed matrix, decoded exactly: out = row, or out += row.
template <class Arch, class Formats>
void embed(const packed_matrix& table, std::span<const token_id> tokens, matrix_view<float> out, bool accumulate, const workers& w) {
    using copy = void (*)(const packed_matrix&, std::size_t, float*, bool) noexcept;
    const auto choose = [&]() -> copy {
        if (table.decode() != nullptr) return detail::embed_row;
        if (table.quantized() != nullptr) return detail::embed_quantized_row<Arch>;
        return format::visit(panel_formats<Formats>{}, table.type(), "embed",
                             [](auto format) -> copy { return detail::embed_row<panel_layout<decltype(format)>>; });
    };
    const copy embed_row = choose();
    w.split(tokens.size(), detail::rows_a_thread(table.cols()), [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r)
            embed_row(table, static_cast<std::size_t>(tokens[r]), out.data() + r * out.strides()[0], accumulate);
    });
}

inline void copy_rows(matrix_view<const float> in, std::span<const std::size_t> rows, matrix_view<float> out) noexcept {
    for (std::size_t r = 0; r < rows.size(); ++r)
        std::memcpy(out.data() + r * out.strides()[0], in.data() + rows[r] * in.strides()[0], in.extent(1) * sizeof(float));
}

}  // namespace skald::inline SKALD_ISA::kernels
