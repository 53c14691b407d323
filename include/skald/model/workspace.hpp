// SPDX-License-Identifier: MIT
#pragma once
// The memory of a forward: every activation of a step of up to `rows` rows, allocated once. One workspace serves one forward
// at a time; a pipeline or an engine owns one.
#include <algorithm>
#include <cstddef>
#include <optional>

#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/types.hpp>
#include <skald/model/architecture.hpp>
#include <skald/model/config.hpp>
#include <skald/model/experts.hpp>

namespace skald {

/// How much one step can hold.
struct step_limits {
    std::size_t rows = 512;  ///< tokens
    std::size_t wanted = 1;  ///< rows with logits

    /// No more rows than a sequence of `tokens` could ever take in one step, but those with logits.
    step_limits fit(std::size_t tokens) const noexcept { return {std::max({std::size_t{1}, wanted, std::min(rows, tokens)}), wanted}; }
};

/// Cosines and sines of a step. // (rows, dims / 2)
struct rope_table {
    matrix_view<float> cosine, sine;
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
          branch_(has_branch(arch) ? limits.rows * c.hidden : 0, backend.memory()),
          gate_(arch.gated ? limits.rows * c.inner_width() : 0, backend.memory()),
          up_(limits.rows * c.inner_width(), backend.memory()),
          cosine_((limits.rows + 1) * c.rope_pairs(), backend.memory()),
          sine_((limits.rows + 1) * c.rope_pairs(), backend.memory()),
          wanted_(limits.wanted * c.hidden, backend.memory()),
          positions_(arch.learned_positions ? limits.rows : 0, backend.memory()),
          narrow_(backend.make_activations(limits.rows, narrow_cols(c))),
          wide_(backend.make_activations(limits.rows, c.inner_width())),
          scratch_(backend.make_scratch(c.attention())) {
        if (c.experts.count != 0) experts_.emplace(backend, c, limits.rows);
    }

    /// What the constructor takes from the backend's memory resource.
    static std::size_t planned_bytes(const Backend& backend, const architecture& arch, const model_config& c, const step_limits& limits) {
        const auto floats = [](std::size_t n) { return n == 0 ? 0 : buffer<float>::bytes_for(n); };
        return floats(limits.rows * c.hidden) + floats(limits.rows * c.query_width()) + 2 * floats(limits.rows * c.kv_width()) +
               floats(has_branch(arch) ? limits.rows * c.hidden : 0) + (arch.gated ? 2 : 1) * floats(limits.rows * c.inner_width()) +
               2 * floats((limits.rows + 1) * c.rope_pairs()) + floats(limits.wanted * c.hidden) +
               (arch.learned_positions ? buffer<token_id>::bytes_for(limits.rows) : 0) +
               backend.activations_bytes(limits.rows, narrow_cols(c)) + backend.activations_bytes(limits.rows, c.inner_width()) +
               backend.scratch_bytes(c.attention()) +
               (c.experts.count == 0 ? 0 : expert_space<Backend>::planned_bytes(backend, c, limits.rows));
    }

    const step_limits& limits() const noexcept { return limits_; }

    // Views of the first `rows` rows. // (rows, cols)
    matrix_view<float> stream(std::size_t rows, std::size_t cols) const noexcept { return {stream_.data(), {rows, cols}}; }
    matrix_view<float> query(std::size_t rows, std::size_t cols) const noexcept { return {query_.data(), {rows, cols}}; }
    matrix_view<float> key(std::size_t rows, std::size_t cols) const noexcept { return {key_.data(), {rows, cols}}; }
    matrix_view<float> value(std::size_t rows, std::size_t cols) const noexcept { return {value_.data(), {rows, cols}}; }
    matrix_view<float> branch(std::size_t rows, std::size_t cols) const noexcept { return {branch_.data(), {rows, cols}}; }
    matrix_view<float> gate(std::size_t rows, std::size_t cols) const noexcept { return {gate_.data(), {rows, cols}}; }
    matrix_view<float> up(std::size_t rows, std::size_t cols) const noexcept { return {up_.data(), {rows, cols}}; }
    matrix_view<float> wanted(std::size_t rows, std::size_t cols) const noexcept { return {wanted_.data(), {rows, cols}}; }
    /// The rope of the step for one of the config's kinds of attention, to be filled.
    rope_table rope(const model_config& c, std::size_t kind, std::size_t rows) const noexcept { return rope_at(c, kind, 0, rows); }
    /// That of the position which queries are turned to. // (1, dims / 2)
    rope_table turned_rope(const model_config& c, std::size_t kind) const noexcept { return rope_at(c, kind, limits_.rows, 1); }

    std::span<token_id> positions(std::size_t rows) const noexcept { return {positions_.data(), rows}; }

    typename Backend::activations& narrow() noexcept { return narrow_; }  ///< rows of hidden or attention width
    typename Backend::activations& wide() noexcept { return wide_; }      ///< rows of feed-forward width
    typename Backend::scratch& scratch() noexcept { return scratch_; }
    expert_space<Backend>& experts() noexcept { return *experts_; }  ///< of a model with experts

private:
    /// A part of the layer that is normalized before it is added to the stream needs a place of its own.
    static bool has_branch(const architecture& arch) noexcept {
        return std::any_of(arch.tensors.begin(), arch.tensors.end(), [](const tensor_rule& r) {
            return r.role == tensor_role::attention_post_norm || r.role == tensor_role::feed_forward_post_norm;
        });
    }
    rope_table rope_at(const model_config& c, std::size_t kind, std::size_t row, std::size_t rows) const noexcept {
        std::size_t first = 0;
        for (std::size_t k = 0; k < kind; ++k) first += (limits_.rows + 1) * (c.attention_kinds[k].rope.dims / 2);
        const std::size_t pairs = c.attention_kinds[kind].rope.dims / 2;
        first += row * pairs;
        return {{cosine_.data() + first, {rows, pairs}}, {sine_.data() + first, {rows, pairs}}};
    }
    static std::size_t narrow_cols(const model_config& c) noexcept { return std::max(c.hidden, c.query_width()); }

    step_limits limits_;
    buffer<float> stream_, query_, key_, value_, branch_, gate_, up_, cosine_, sine_, wanted_;
    buffer<token_id> positions_;
    typename Backend::activations narrow_, wide_;
    typename Backend::scratch scratch_;
    std::optional<expert_space<Backend>> experts_;
};

}  // namespace skald
