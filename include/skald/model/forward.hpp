// SPDX-License-Identifier: MIT
#pragma once
// The forward of every architecture, over a ragged batch, on any backend, with any cache: one function. What differs between
// models is data (model/architecture.hpp).
#include <array>
#include <cstddef>
#include <span>
#include <stop_token>

#include <skald/attention/layer.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/model/batch.hpp>
#include <skald/model/model.hpp>
#include <skald/model/rope.hpp>
#include <skald/model/workspace.hpp>

namespace skald {

namespace detail {

/// One step in the making: the batch, where its rows stand, and the workspace's views for it.
template <class Backend, kv::kv_cache Cache>
class step {
public:
    step(const model<Backend>& m, workspace<Backend>& w, Cache& cache, const batch& b, std::span<const row_range> ranges,
         const std::stop_token& stop)
        : backend_(m.backend()),
          arch_(m.architecture()),
          config_(m.config()),
          weights_(m.weights()),
          w_(w),
          cache_(cache),
          batch_(b),
          ranges_(ranges),
          stop_(stop),
          rows_(b.tokens.size()),
          x_(w.stream(rows_, config_.hidden)) {}

    void run(matrix_view<float> logits) {
        embed();
        for (std::size_t i = 0; i < config_.layers; ++i) {
            if (stop_.stop_requested()) fail(errc::cancelled, "forward", "cancelled before layer ", i, " of ", config_.layers);
            attention(i);
            feed_forward(weights_.layers()[i]);
        }
        head(logits);
    }

private:
    using job = matmul_job<typename Backend::matrix>;

    static job product(const linear<Backend>& l, matrix_view<float> out, bool accumulate = false) {
        return {&l.weight, l.bias, out, accumulate};
    }

    void embed() {
        backend_.embed(weights_.token_embedding(), batch_.tokens, x_, false);
        const std::span<token_id> positions = w_.positions(arch_.learned_positions ? rows_ : 0);
        const std::size_t pairs = config_.rope.dims / 2;
        const matrix_view<float> cosine = w_.cosine(rows_, pairs), sine = w_.sine(rows_, pairs);
        for (const row_range& range : ranges_)
            for (std::size_t i = 0; i < range.rows; ++i) {
                const std::size_t row = range.first_row + i;
                const position p = range.first_position + static_cast<position>(i);
                if (arch_.learned_positions)
                    positions[row] = p;
                else
                    rope_row(weights_.rope_frequencies(), p, cosine.row(row), sine.row(row));
            }
        if (arch_.learned_positions) backend_.embed(weights_.position_embedding(), positions, x_, true);
    }

    void attention(std::size_t i) {
        const layer_weights<Backend>& layer = weights_.layers()[i];
        typename Backend::activations& in = w_.narrow();
        const matrix_view<float> q = w_.query(rows_, config_.query_width());
        const matrix_view<float> k = w_.key(rows_, config_.kv_width()), v = w_.value(rows_, config_.kv_width());
        const std::size_t pairs = config_.rope.dims / 2;

        in.resize(rows_, config_.hidden);
        backend_.norm(x_, layer.attention_norm, in);
        backend_.matmul(in, std::array{product(layer.query, q), product(layer.key, k), product(layer.value, v)});
        in.resize(rows_, config_.query_width());
        attention::run_layer(backend_, cache_, i,
                             attention::layer_call<Backend>{
                                 .q = q,
                                 .k = k,
                                 .v = v,
                                 .shape = config_.attention(),
                                 .rope = {.dims = config_.rope.dims,
                                          .interleaved = arch_.rope_interleaved,
                                          .cosine = w_.cosine(rows_, pairs),
                                          .sine = w_.sine(rows_, pairs)},
                                 .variant = config_.variant(),
                                 .ranges = ranges_,
                                 .out = &in,
                                 .scratch = &w_.scratch(),
                             });
        backend_.matmul(in, std::array{product(layer.attention_output, x_, true)});
    }

    void feed_forward(const layer_weights<Backend>& layer) {
        typename Backend::activations& in = w_.narrow();
        typename Backend::activations& inner = w_.wide();
        const matrix_view<float> up = w_.up(rows_, config_.feed_forward);

        in.resize(rows_, config_.hidden);
        inner.resize(rows_, config_.feed_forward);
        backend_.norm(x_, layer.feed_forward_norm, in);
        if (arch_.gated) {
            const matrix_view<float> gate = w_.gate(rows_, config_.feed_forward);
            backend_.matmul(in, std::array{product(layer.gate, gate), product(layer.up, up)});
            backend_.gate(gate, up, arch_.activation, inner);
        } else {
            backend_.matmul(in, std::array{product(layer.up, up)});
            backend_.activate(up, arch_.activation, inner);
        }
        backend_.matmul(inner, std::array{product(layer.down, x_, true)});
    }

    void head(matrix_view<float> logits) {
        if (batch_.wanted.empty()) return;
        typename Backend::activations& in = w_.narrow();
        const matrix_view<float> rows = w_.wanted(batch_.wanted.size(), config_.hidden);
        backend_.copy_rows(x_, batch_.wanted, rows);
        in.resize(batch_.wanted.size(), config_.hidden);
        backend_.norm(rows, weights_.output_norm(), in);
        backend_.matmul(in, std::array{job{&weights_.output(), nullptr, logits, false}});
    }

    const Backend& backend_;
    const skald::architecture& arch_;
    const model_config& config_;
    const model_weights<Backend>& weights_;
    workspace<Backend>& w_;
    Cache& cache_;
    const batch& batch_;
    std::span<const row_range> ranges_;
    const std::stop_token& stop_;
    std::size_t rows_;
    matrix_view<float> x_;
};

}  // namespace detail

/// Runs the batch: appends its rows' keys and values to the cache as pending tokens (the caller commits them) and writes the
/// wanted rows' logits. // logits: (wanted, vocabulary)
/// On an exception the cache is as before. Throws errc::invalid_argument for a malformed batch or one beyond the workspace's
/// limits or the model's learned positions, errc::cache_full, and errc::cancelled within one layer of `stop` asking.
template <class Backend, kv::kv_cache Cache>
void forward(const model<Backend>& m, workspace<Backend>& w, Cache& cache, const batch& b, matrix_view<float> logits,
             const std::stop_token& stop = {}) {
    validate(b, m.config().vocabulary);
    if (b.tokens.size() > w.limits().rows || b.wanted.size() > w.limits().wanted)
        fail(errc::invalid_argument, "batch", b.tokens.size(), " rows, ", b.wanted.size(), " of them wanted, in a workspace for ",
             w.limits().rows, " and ", w.limits().wanted);
    if (!b.wanted.empty() && (logits.extent(0) < b.wanted.size() || logits.extent(1) != m.config().vocabulary))
        fail(errc::invalid_argument, "logits", "room for ", logits.extent(0), " × ", logits.extent(1), " values; the step gives ",
             b.wanted.size(), " × ", m.config().vocabulary);
    if (b.tokens.empty()) return;
    if (m.architecture().learned_positions)
        for (const kv::segment& s : b.segments)
            if (const auto length = static_cast<std::size_t>(cache.length(s.sequence));
                s.rows > m.config().context || length > m.config().context - s.rows)
                fail(errc::invalid_argument, "batch", "a sequence would reach ", length + s.rows,
                     " tokens; the model's learned positions end at ", m.config().context);

    const std::span<const row_range> ranges = cache.plan(b.segments);
    try {
        detail::step(m, w, cache, b, ranges, stop).run(logits.slice(0, b.wanted.size()));
    } catch (...) {
        for (std::size_t i = 0; i < b.segments.size(); ++i) cache.rollback(b.segments[i].sequence, {ranges[i].first_position});
        throw;
    }
}

}  // namespace skald
