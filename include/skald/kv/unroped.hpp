// SPDX-License-Identifier: MIT
#pragma once
// Keys kept as they are before rope. A codec of storages that can remove tokens from the middle of a sequence or move them: attention
// rotates keys while it reads them, by the positions they stand at now. Values are kept as always: what a token's value took from those
// before it stays in it when these are removed.
#include <string_view>

#include <skald/backend/ops.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

namespace detail {

inline constexpr std::string_view unroped_prefix = "unroped-";

}  // namespace detail

/// Rows as `Codec` keeps them, keys unrotated. Costs a table of cosines and sines for all positions in the cache, and a rotation of each
/// key a kv head and step.
template <codec Codec>
struct unroped : Codec {
    static_assert(!unrotated_codec<Codec> && !hadamard_codec<Codec>, "skald: kv::unroped takes a plain codec, as kv::unroped<kv::f16>");
    static constexpr bool before_rope = true;
    using row_codec = Codec;
    static constexpr std::string_view name = detail::prefixed_name<detail::unroped_prefix, Codec>::value;
};

static_assert(codec<unroped<f16>> && unroped<q8>::name == "unroped-q8");

}  // namespace skald::kv
