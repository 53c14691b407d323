// SPDX-License-Identifier: MIT
#pragma once
// Numbers that stand for a model: the same for the same weights and hyperparameters in the same kind of file, wherever it lies, and with
// all likelihood another for any other model. For binding to it what was computed or made of it; no protection against forgery.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <skald/core/checksum.hpp>
#include <skald/format/weight_view.hpp>
#include <skald/model/config.hpp>
#include <skald/model/rope.hpp>
#include <skald/model/source.hpp>

namespace skald {

namespace detail {

/// The checksum going on over numbers.
template <class... Numbers>
std::uint64_t add_numbers(std::uint64_t sum, const Numbers&... numbers) noexcept {
    const auto word = [](const auto& n) -> std::uint64_t {
        if constexpr (std::is_floating_point_v<std::remove_cvref_t<decltype(n)>>)
            return std::bit_cast<std::uint64_t>(static_cast<double>(n));
        else
            return static_cast<std::uint64_t>(n);
    };
    const std::array<std::uint64_t, sizeof...(numbers)> all{word(numbers)...};
    return checksum(std::as_bytes(std::span(all)), sum);
}

/// The same over a tensor: role, place, type, shape, name, and 256 bytes each of its beginning, middle and end.
inline std::uint64_t add_tensor(std::uint64_t sum, const model_source& source, tensor_role role, std::size_t layer, std::size_t expert,
                                const weight_view& w) {
    constexpr std::size_t sample_bytes = 256;
    sum = add_numbers(sum, role, layer, expert, w.type, w.rows, w.cols);
    sum = checksum(std::as_bytes(std::span(w.name)), sum);
    std::array<std::byte, sample_bytes> some;
    const std::size_t count = std::min(some.size(), w.bytes());
    const bool fetched = !is_matrix_role(role) && source.converts(role, layer, expert);  // a vector that is not as long in its file
    const std::byte* values = fetched ? source.fetch(role, layer, expert).data : nullptr;
    for (const std::size_t first : {std::size_t{0}, (w.bytes() - count) / 2, w.bytes() - count}) {
        if (fetched)
            std::copy_n(values + first, count, some.begin());
        else
            source.copy(role, layer, expert, first, std::span(some).first(count));
        sum = checksum(std::span(some).first(count), sum);
    }
    return sum;
}

inline std::uint64_t add_rope(std::uint64_t sum, const rope_config& r) noexcept {
    sum = add_numbers(sum, r.dims, r.interleaved, r.base, r.scaling, r.factor, r.low_freq_factor, r.high_freq_factor, r.beta_fast,
                      r.beta_slow, r.extrapolation, r.truncate, r.original_context, r.magnitude);
    sum = checksum(std::as_bytes(std::span(r.factors)), sum);
    return checksum(std::as_bytes(std::span(r.long_factors)), sum);
}

}  // namespace detail

/// What stands for a model: every hyperparameter that its keys and values depend on, and a sample of every tensor. Cost: three small reads
/// a tensor.
inline std::uint64_t identity_of(const model_source& source) {
    const model_config& c = source.config();
    std::uint64_t sum = checksum(std::as_bytes(std::span(c.architecture)));
    sum = detail::add_numbers(sum, c.layers, c.hidden, c.feed_forward, c.heads, c.kv_heads, c.head_dim, c.vocabulary, c.norm_eps,
                              c.embedding_scale, c.attention_scale, c.attention_soft_cap, c.experts.count, c.experts.used,
                              c.experts.feed_forward, c.experts.normalized);
    for (const attention_kind& kind : c.attention_kinds) sum = detail::add_rope(detail::add_numbers(sum, kind.window), kind.rope);
    sum = checksum(std::as_bytes(std::span(c.layer_kinds)), sum);
    source.for_each([&](tensor_role role, std::size_t layer, std::size_t expert, const weight_view& w) {
        sum = detail::add_tensor(sum, source, role, layer, expert, w);
        source.release(role, layer, expert);
    });
    return sum;
}

/// What stands for the keys and values that a model computes into a cache made for `context` tokens: LongRoPE reads one list of factors or
/// the other by it. Equal numbers promise equal values within one build and compute policy.
inline std::uint64_t rows_identity(std::uint64_t model, const model_config& config, std::size_t context) noexcept {
    for (const attention_kind& kind : config.attention_kinds) model = detail::add_numbers(model, kind.rope.list_for(context));
    return model;
}

}  // namespace skald
