// SPDX-License-Identifier: MIT
#pragma once
// The memory of a forward: every activation of a step of up to `rows` rows, allocated once. One workspace serves one forward
// at a time; a pipeline or an engine owns one.
#include <algorithm>
#include <cstddef>

#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/types.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/config.hpp>

namespace skald {

/// How much one step can hold.
struct step_limits {
    std::size_t rows = 512;  ///< tokens
    std::size_t wanted = 1;  ///< rows with logits

    /// No more rows than a cache of `tokens` could ever take in one step.
    step_limits fit(std::size_t tokens) const noexcept { return {std::max<std::size_t>(1, std::min(rows, tokens)), wanted}; }
};

template <class Backend>
class workspace {
public:
    workspace(const Backend& backend, const architecture& arch, const model_config& c, const step_limits& limits)
        : limits_(limits),
          stream_(limits.rows * c.hidden, backend.memory()),
          query_(limits.rows * c.query_width(), backend.memory()),
          key_(limits.rows * c.kv_width(), backend.memory()),
          value_(limits.rows * c.kv_width(), backend.memory()),
          gate_(arch.gated ? limits.rows * c.feed_forward : 0, backend.memory()),
          up_(limits.rows * c.feed_forward, backend.memory()),
          cosine_(limits.rows * (c.rope.dims / 2), backend.memory()),
          sine_(limits.rows * (c.rope.dims / 2), backend.memory()),
          wanted_(limits.wanted * c.hidden, backend.memory()),
          positions_(arch.learned_positions ? limits.rows : 0, backend.memory()),
          narrow_(backend.make_activations(limits.rows, narrow_cols(c))),
          wide_(backend.make_activations(limits.rows, c.feed_forward)),
          scratch_(backend.make_scratch(c.attention())) {}

    /// What the constructor takes from the backend's memory resource.
    static std::size_t planned_bytes(const Backend& backend, const architecture& arch, const model_config& c, const step_limits& limits) {
        const auto floats = [](std::size_t n) { return n == 0 ? 0 : buffer<float>::bytes_for(n); };
        return floats(limits.rows * c.hidden) + floats(limits.rows * c.query_width()) + 2 * floats(limits.rows * c.kv_width()) +
               (arch.gated ? 2 : 1) * floats(limits.rows * c.feed_forward) + 2 * floats(limits.rows * (c.rope.dims / 2)) +
               floats(limits.wanted * c.hidden) + (arch.learned_positions ? buffer<token_id>::bytes_for(limits.rows) : 0) +
               backend.activations_bytes(limits.rows, narrow_cols(c)) + backend.activations_bytes(limits.rows, c.feed_forward) +
               backend.scratch_bytes(c.attention());
    }

    const step_limits& limits() const noexcept { return limits_; }

    // Views of the first `rows` rows. // (rows, cols)
    matrix_view<float> stream(std::size_t rows, std::size_t cols) const noexcept { return {stream_.data(), {rows, cols}}; }
    matrix_view<float> query(std::size_t rows, std::size_t cols) const noexcept { return {query_.data(), {rows, cols}}; }
    matrix_view<float> key(std::size_t rows, std::size_t cols) const noexcept { return {key_.data(), {rows, cols}}; }
    matrix_view<float> value(std::size_t rows, std::size_t cols) const noexcept { return {value_.data(), {rows, cols}}; }
    matrix_view<float> gate(std::size_t rows, std::size_t cols) const noexcept { return {gate_.data(), {rows, cols}}; }
    matrix_view<float> up(std::size_t rows, std::size_t cols) const noexcept { return {up_.data(), {rows, cols}}; }
    matrix_view<float> cosine(std::size_t rows, std::size_t cols) const noexcept { return {cosine_.data(), {rows, cols}}; }
    matrix_view<float> sine(std::size_t rows, std::size_t cols) const noexcept { return {sine_.data(), {rows, cols}}; }
    matrix_view<float> wanted(std::size_t rows, std::size_t cols) const noexcept { return {wanted_.data(), {rows, cols}}; }
    std::span<token_id> positions(std::size_t rows) const noexcept { return {positions_.data(), rows}; }

    typename Backend::activations& narrow() noexcept { return narrow_; }  ///< rows of hidden or attention width
    typename Backend::activations& wide() noexcept { return wide_; }      ///< rows of feed-forward width
    typename Backend::scratch& scratch() noexcept { return scratch_; }

private:
    static std::size_t narrow_cols(const model_config& c) noexcept { return std::max(c.hidden, c.query_width()); }

    step_limits limits_;
    buffer<float> stream_, query_, key_, value_, gate_, up_, cosine_, sine_, wanted_;
    buffer<token_id> positions_;
    typename Backend::activations narrow_, wide_;
    typename Backend::scratch scratch_;
};

}  // namespace skald
