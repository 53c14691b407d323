// SPDX-License-Identifier: MIT
#pragma once
// Where a run-time dtype meets static code: `visit` calls a generic callable with the format's type. Which formats a program
// instantiates is the list it passes; `all_weights` is the default of a model, `all` that of plain decoding.
#include <string_view>
#include <type_traits>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/once.hpp>
#include <skald/format/group_quants.hpp>
#include <skald/format/i_quants.hpp>
#include <skald/format/k_quants.hpp>
#include <skald/format/legacy_blocks.hpp>
#include <skald/format/microscaling.hpp>
#include <skald/format/numbers.hpp>
#include <skald/format/row_quants.hpp>
#include <skald/format/ternary.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::format {

/// A list of formats.
template <weight_format... Formats>
struct list {};

/// Two lists after one another.
template <class... As, class... Bs>
constexpr list<As..., Bs...> operator+(list<As...>, list<Bs...>) noexcept {
    return {};
}

/// The formats that matrices have in files.
using file_weights = list<f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, iq2_xxs, iq2_xs,
                          iq2_s, iq3_xxs, iq3_s, iq1_s, iq1_m, tq1_0, tq2_0, mxfp4, nvfp4, f8_e4m3, f8_e5m2>;

/// The library's own.
using own_weights = list<w4_g32, w4_g64, w4_g128, w4z_g32, w4z_g64, w4z_g128, nf4, w8_row, u8_row, w8_mixed>;

/// The formats that matrices have.
using all_weights = decltype(file_weights{} + own_weights{});

/// The formats that vectors and tables have besides.
using all = decltype(all_weights{} + list<f64, i8, i16, i32, i64>{});

/// True when `type` is one of the formats of the list.
template <class... Formats>
constexpr bool contains(list<Formats...>, dtype type) noexcept {
    return ((Formats::id == type) || ...);
}

/// Calls f(Format{}) for the format of that dtype. Throws errc::unsupported, naming `place`, for a dtype outside the list.
template <class... Formats, class F>
auto visit(list<Formats...>, dtype type, std::string_view place, F&& f) {
    using result = std::common_type_t<decltype(f(Formats{}))...>;
    if constexpr (std::is_void_v<result>) {
        if (!((Formats::id == type && (f(Formats{}), true)) || ...))
            fail(errc::unsupported, place, "no decoder for the format ", to_string(type));
    } else {
        result out{};
        if (!((Formats::id == type && ((out = f(Formats{})), true)) || ...))
            fail(errc::unsupported, place, "no decoder for the format ", to_string(type));
        return out;
    }
}

/// Decodes `count` blocks that lie one after another; of a row_format, a row.
using block_decoder = void (*)(const std::byte* blocks, std::size_t count, float* out) noexcept;

template <class Format, float_vector V>
void decode_blocks(const std::byte* blocks, std::size_t count, float* out) noexcept {
    constexpr dtype_info layout = info(Format::id);
    if constexpr (row_format<Format>)
        Format::template decode_row<V>(blocks, count, out);
    else
        for (std::size_t i = 0; i < count; ++i) Format::template decode<V>(blocks + i * layout.block_bytes, out + i * layout.block_size);
}

/// The decoder of that dtype, exact; numbers wider than a float are rounded to nearest. Throws as visit().
template <float_vector V, class Formats>
block_decoder decoder(Formats formats, dtype type, std::string_view place) {
    return visit(formats, type, place, [](auto format) -> block_decoder { return decode_blocks<decltype(format), V>; });
}

/// Decodes row r of a matrix into `out`. // (cols)
template <float_vector V = scalar, class Formats = all>
void decode_row(const weight_view& w, std::size_t r, float* out, Formats formats = {}) {
    decoder<V>(formats, w.type, w.name)(w.row(r), w.cols / info(w.type).block_size, out);
}

SKALD_ONCE(void decode_row<>(const weight_view&, std::size_t, float*, all))

}  // namespace skald::format
