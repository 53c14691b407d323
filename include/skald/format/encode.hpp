// SPDX-License-Identifier: MIT
#pragma once
// Encoding rows of a run-time dtype: which error an encoder minimizes, and the list of formats that can be written.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include <skald/core/dtype.hpp>
#include <skald/format/encode_block.hpp>
#include <skald/format/encode_grids.hpp>
#include <skald/format/encode_groups.hpp>
#include <skald/format/encode_i.hpp>
#include <skald/format/encode_k.hpp>
#include <skald/format/encode_legacy.hpp>
#include <skald/format/encode_microscaling.hpp>
#include <skald/format/encode_numbers.hpp>
#include <skald/format/encode_rows.hpp>
#include <skald/format/encode_ternary.hpp>
#include <skald/format/visit.hpp>

namespace skald::format {

/// The formats that have an encoder.
using written = list<f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, iq3_s, iq3_xxs, iq2_s,
                     iq2_xs, iq2_xxs, iq1_m, iq1_s, tq1_0, tq2_0, mxfp4, nvfp4>;

/// Encodes `cols` values, whole blocks of a row. `importance`, of each column: the mean square of what a product multiplies it by;
/// null: all alike. // x, importance: (cols)
using row_encoder = void (*)(const float* x, std::size_t cols, const float* importance, std::byte* out) noexcept;

namespace detail {

/// The error of value x counts importance · (σ² + x²)^½, σ² the row's mean square: a value's rounding error costs the product
/// importance · error² in the mean, and great weights tend to be those that matter. No column counts less than a thousandth of
/// the mean: the text it was measured on is not all texts. Where nothing is known of the columns, great weights count
/// (σ² + x²)^⅜; of 0, ⅛, ¼, ⅜, ½ and 1 only this left no mixture of SmolLM2 farther from it than llama.cpp's.
class row_weights {
public:
    row_weights(const float* x, std::size_t cols, const float* importance) noexcept : importance_(importance) {
        double squares = 0, sum = 0;
        for (std::size_t i = 0; i < cols; ++i) squares += static_cast<double>(x[i]) * x[i];
        for (std::size_t i = 0; importance != nullptr && i < cols; ++i) sum += importance[i];
        mean_square_ = static_cast<float>(squares / static_cast<double>(cols));
        least_ = static_cast<float>(sum / static_cast<double>(cols) / 1000);
        if (!(least_ > 0)) importance_ = nullptr;
    }

    /// The weights of columns first … first + count.
    void put(const float* x, std::size_t first, std::size_t count, float* w) const noexcept {
        for (std::size_t i = 0; i < count; ++i) {
            const float magnitude = std::sqrt(mean_square_ + x[i] * x[i]);
            w[i] =
                importance_ == nullptr ? std::sqrt(magnitude * std::sqrt(magnitude)) : std::max(importance_[first + i], least_) * magnitude;
        }
    }

private:
    const float* importance_;
    float mean_square_ = 0, least_ = 0;
};

template <class Format, float_vector V>
void encode_row(const float* x, std::size_t cols, const float* importance, std::byte* out) noexcept {
    constexpr dtype_info layout = info(Format::id);
    if constexpr (row_format<Format>) {
        format::encode_row(Format{}, x, cols, out);
    } else if constexpr (layout.block_size == 1) {
        for (std::size_t i = 0; i < cols; ++i) encoder<Format>::template encode<V>(x + i, nullptr, out + i * layout.block_bytes);
    } else {
        const row_weights weights(x, cols, importance);
        float w[layout.block_size];
        for (std::size_t i = 0; i < cols; i += layout.block_size, out += layout.block_bytes) {
            weights.put(x + i, i, layout.block_size, w);
            encoder<Format>::template encode<V>(x + i, w, out);
        }
    }
}

}  // namespace detail

/// The encoder of that dtype. Throws errc::unsupported, naming `place`, for one that cannot be written.
template <float_vector V, class... Formats>
row_encoder encoder_of(list<Formats...> formats, dtype type, std::string_view place) {
    if (!contains(formats, type)) fail(errc::unsupported, place, "no encoder for the format ", to_string(type));
    return visit(formats, type, place, [](auto format) -> row_encoder { return detail::encode_row<decltype(format), V>; });
}

}  // namespace skald::format
