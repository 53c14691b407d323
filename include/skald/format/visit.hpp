// SPDX-License-Identifier: MIT
#pragma once
// Where a run-time dtype meets static code: `visit` calls a generic callable with the format's type. Which formats a program
// instantiates is the list it passes; `all_weights` is the default.
#include <string_view>
#include <type_traits>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/format/block.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::format {

/// A list of weight formats.
template <weight_format... Formats>
struct list {};

using all_weights = list<f32, f16, bf16, q8_0, q4_0, q4_1>;

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

/// Decodes row r of a matrix into `out` (cols floats), exactly as the format says.
template <float_vector V = scalar, class Formats = all_weights>
void decode_row(const weight_view& w, std::size_t r, float* out, Formats formats = {}) {
    visit(formats, w.type, w.name, [&](auto format) {
        using F = decltype(format);
        constexpr dtype_info layout = info(F::id);
        const std::byte* block = w.row(r);
        for (std::size_t c = 0; c < w.cols; c += layout.block_size, block += layout.block_bytes) F::template decode<V>(block, out + c);
    });
}

}  // namespace skald::format
