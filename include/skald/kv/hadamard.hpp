// SPDX-License-Identifier: MIT
#pragma once
// Rows transformed before they are encoded, so that what is great in a few channels is spread over all and few bits lose less (QuaRot,
// Ashkboos et al. 2024). Attention transforms queries, which keep their products with keys, and transforms back what it has read of values:
// rows are read as they lie.
#include <string_view>

#include <skald/backend/ops.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

namespace detail {

inline constexpr std::string_view hadamard_prefix = "hadamard-";

}  // namespace detail

/// Rows as `Codec` keeps them, of what format::hadamard makes of keys, after rope, and of values; as many bytes. Channels are transformed
/// in blocks of the greatest power of two that divides head_dim. Cost: the transform of each head of a step, of queries and results too.
template <codec Codec>
struct hadamard : Codec {
    static_assert(!unrotated_codec<Codec> && !hadamard_codec<Codec>, "skald: kv::hadamard takes a plain codec, as kv::hadamard<kv::q4>");
    static constexpr bool transformed = true;
    using row_codec = Codec;
    static constexpr std::string_view name = detail::prefixed_name<detail::hadamard_prefix, Codec>::value;
};

static_assert(codec<hadamard<q4>> && hadamard<q4>::name == "hadamard-q4");

}  // namespace skald::kv
