// SPDX-License-Identifier: MIT
#pragma once
// The forward of every architecture, over a ragged batch, on any backend, with any cache: one function. What differs between
// models is data (model/architecture.hpp).
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <stop_token>
#include <string_view>
#include <utility>

#include <skald/attention/layer.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/model/batch.hpp>
#include <skald/model/model.hpp>
#include <skald/model/rope.hpp>
#include <skald/model/workspace.hpp>

namespace skald {

/// What a forward writes for the wanted rows; what has no rows is not computed.
struct step_outputs {
    matrix_view<float> logits{};  // (wanted, vocabulary)
    matrix_view<float> hidden{};  // (wanted, hidden), after the last norm
};

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
          rotations_(kv::rotations_of(cache)),
          rows_(b.tokens.size()),
          x_(w.stream(rows_, config_.hidden)) {}

    void run(const step_outputs& out) {
        embed();
        for (std::size_t i = 0; i < config_.layers; ++i) {
            if (stop_.stop_requested()) fail(errc::cancelled, "forward", "cancelled before layer ", i, " of ", config_.layers);
            attention(i);
            feed_forward(weights_.layers()[i]);
        }
        head(out);
    }

private:
    using job = matmul_job<typename Backend::matrix>;

    static job product(const linear<Backend>& l, matrix_view<float> out, bool accumulate = false) {
        return {&l.weight, l.bias, out, accumulate};
    }

    void embed() {
        backend_.embed(weights_.token_embedding(), batch_.tokens, x_, false);
        if (config_.embedding_scale != 1.0f) backend_.scale(x_, config_.embedding_scale);
        if (arch_.learned_positions) {
            const std::span<token_id> positions = w_.positions(rows_);
            each_position([&](std::size_t row, position p) { positions[row] = p; });
            backend_.embed(weights_.position_embedding(), positions, x_, true);
        }
        fill_rotations();
        for (std::size_t kind = 0; kind < config_.attention_kinds.size(); ++kind) {
            const rope_config& rope = config_.attention_kinds[kind].rope;
            const std::span<const float> frequencies = weights_.rope_frequencies(kind, rope.list_for(cache_.context()));
            const rope_table table = w_.rope(config_, kind, rows_);
            each_position(
                [&](std::size_t row, position p) { rope_row(frequencies, rope.magnitude, p, table.cosine.row(row), table.sine.row(row)); });
            const rope_table turned = w_.turned_rope(config_, kind);
            if (const position far = kv::farthest(cache_); far != kv::no_turn)
                rope_row(frequencies, 1.0 / rope.magnitude, far, turned.cosine.row(0), turned.sine.row(0));
        }
    }

    /// The rotations of positions that no sequence of the cache had reached before.
    void fill_rotations() {
        if (rotations_ == nullptr) return;
        std::size_t reached = rotations_->filled(), first = 0;
        for (const row_range& range : ranges_) reached = std::max(reached, static_cast<std::size_t>(range.first_position) + range.rows);
        for (std::size_t kind = 0; kind < config_.attention_kinds.size(); ++kind) {
            const rope_config& rope = config_.attention_kinds[kind].rope;
            const std::span<const float> frequencies = weights_.rope_frequencies(kind, rope.list_for(cache_.context()));
            const std::size_t pairs = rope.dims / 2;
            for (std::size_t p = rotations_->filled(); p < reached; ++p)
                rope_row(frequencies, rope.magnitude, static_cast<position>(p), {rotations_->cosine(first) + p * pairs, pairs},
                         {rotations_->sine(first) + p * pairs, pairs});
            first += pairs;
        }
        rotations_->fill(reached);
    }

    /// f(row, its position) for every row.
    template <class F>
    void each_position(F&& f) const {
        for (const row_range& range : ranges_)
            for (std::size_t i = 0; i < range.rows; ++i) f(range.first_row + i, range.at(i));
    }

    void attention(std::size_t i) {
        const layer_weights<Backend>& layer = weights_.layers()[i];
        typename Backend::activations& in = w_.narrow();
        const matrix_view<float> q = w_.query(rows_, config_.query_width());
        const matrix_view<float> k = w_.key(rows_, config_.kv_width()), v = w_.value(rows_, config_.kv_width());
        const rope_config& rope = config_.attention_kinds[config_.kind_of(i)].rope;
        const rope_table table = w_.rope(config_, config_.kind_of(i), rows_), turned = w_.turned_rope(config_, config_.kind_of(i));

        std::size_t pairs = 0;
        for (std::size_t kind = 0; kind < config_.kind_of(i); ++kind) pairs += config_.attention_kinds[kind].rope.dims / 2;

        in.resize(rows_, config_.hidden);
        backend_.norm(x_, layer.attention_norm, in);
        backend_.matmul(in, std::array{product(layer.query, q), product(layer.key, k), product(layer.value, v)});
        norm_heads(q, layer.query_norm);
        norm_heads(k, layer.key_norm);
        in.resize(rows_, config_.query_width());
        attention::run_layer(backend_, cache_, i,
                             attention::layer_call<Backend>{
                                 .q = q,
                                 .k = k,
                                 .v = v,
                                 .shape = config_.attention(),
                                 .rope = {.dims = rope.dims,
                                          .interleaved = rope.interleaved,
                                          .cosine = table.cosine,
                                          .sine = table.sine,
                                          .turned_cosine = turned.cosine.data(),
                                          .turned_sine = turned.sine.data(),
                                          .key_cosine = rotations_ == nullptr ? nullptr : rotations_->cosine(pairs),
                                          .key_sine = rotations_ == nullptr ? nullptr : rotations_->sine(pairs)},
                                 .variant = config_.variant(i),
                                 .soft_cap = config_.attention_soft_cap,
                                 .ranges = ranges_,
                                 .out = &in,
                                 .scratch = &w_.scratch(),
                             });
        add(layer.attention_post_norm, [&](matrix_view<float> out, bool accumulate) {
            backend_.matmul(in, std::array{product(layer.attention_output, out, accumulate)});
        });
    }

    /// Each head by itself, or all together where the norm spans them.
    void norm_heads(matrix_view<float> heads, const norm_params& norm) {
        if (norm.kind != norm_kind::none) backend_.norm_parts(heads, arch_.whole_query_norm ? heads.extent(1) : config_.head_dim, norm);
    }

    /// Adds what f(out, accumulate) computes to the stream, normalized first where there is a norm for it.
    template <class F>
    void add(const norm_params& norm, F&& f) {
        if (norm.kind == norm_kind::none) {
            f(x_, true);
            return;
        }
        const matrix_view<float> branch = w_.branch(rows_, config_.hidden);
        f(branch, false);
        backend_.add_norm(branch, norm, x_);
    }

    void feed_forward(const layer_weights<Backend>& layer) {
        typename Backend::activations& in = w_.narrow();
        in.resize(rows_, config_.hidden);
        backend_.norm(x_, layer.feed_forward_norm, in);
        add(layer.feed_forward_post_norm, [&](matrix_view<float> out, bool accumulate) {
            if (layer.experts.empty())
                inner_product(layer.feed_forward, config_.feed_forward, in, out, accumulate);
            else
                experts(layer, in, out, accumulate);
        });
    }

    /// Each row through the experts its router chooses, expert after expert, all rows of one together. // in, out: (rows, hidden)
    void experts(const layer_weights<Backend>& layer, typename Backend::activations& in, matrix_view<float> out, bool accumulate) {
        expert_space<Backend>& space = w_.experts();
        const matrix_view<float> logits = space.logits(rows_, config_.experts.count);
        backend_.matmul(in, std::array{product(layer.router, logits)});
        space.routing.choose(logits);
        for (std::size_t r = 0; !accumulate && r < rows_; ++r) std::ranges::fill(out.row(r), 0.0f);
        for (std::size_t e = 0; e < layer.experts.size(); ++e) {
            const std::span<const std::size_t> rows = space.routing.rows(e);
            if (rows.empty()) continue;
            const matrix_view<float> result = space.out(rows.size(), config_.hidden);
            space.in.resize(rows.size(), config_.hidden);
            backend_.copy_rows(std::as_const(in).values(), rows, space.in.values());
            inner_product(layer.experts[e], config_.experts.feed_forward, space.in, result, false);
            backend_.add_rows(result, space.routing.weights(e), rows, out);
        }
    }

    /// down(f(gate) · up) or down(f(up)) of rows. // in: (rows, hidden)
    void inner_product(const feed_forward_weights<Backend>& f, std::size_t width, typename Backend::activations& in, matrix_view<float> out,
                       bool accumulate) {
        typename Backend::activations& inner = w_.wide();
        const std::size_t rows = out.extent(0);
        const matrix_view<float> up = w_.up(rows, width);
        inner.resize(rows, width);
        if (arch_.gated) {
            const matrix_view<float> gate = w_.gate(rows, width);
            backend_.matmul(in, std::array{product(f.gate, gate), product(f.up, up)});
            backend_.gate(gate, up, arch_.activation, inner);
        } else {
            backend_.matmul(in, std::array{product(f.up, up)});
            backend_.activate(up, arch_.activation, inner);
        }
        backend_.matmul(inner, std::array{product(f.down, out, accumulate)});
    }

    void head(const step_outputs& out) {
        if (batch_.wanted.empty()) return;
        typename Backend::activations& in = w_.narrow();
        const matrix_view<float> rows = w_.wanted(batch_.wanted.size(), config_.hidden);
        backend_.copy_rows(x_, batch_.wanted, rows);
        in.resize(batch_.wanted.size(), config_.hidden);
        backend_.norm(rows, weights_.output_norm(), in);
        const matrix_view<const float> states = std::as_const(in).values();
        for (std::size_t r = 0; r < out.hidden.extent(0); ++r)
            std::copy_n(states.row(r).data(), out.hidden.extent(1), out.hidden.row(r).data());
        if (out.logits.extent(0) == 0) return;
        backend_.matmul(in, std::array{job{&weights_.output(), nullptr, out.logits, false}});
        if (config_.logit_soft_cap != 0.0f) backend_.soft_cap(out.logits, config_.logit_soft_cap);
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
    kv::rotation_table* rotations_;
    std::size_t rows_;
    matrix_view<float> x_;
};

/// Refuses a step in which a layer could see more than the cache keeps: in it, or within the model's context.
template <kv::kv_cache Cache>
void check_windows(const model_config& config, const Cache& cache, std::span<const kv::segment> segments) {
    const std::size_t kept = cache.window();
    if (kept == kv::all_tokens) return;
    std::size_t longest = config.context;
    for (const kv::segment& s : segments) longest = std::max(longest, static_cast<std::size_t>(cache.length(s.sequence)) + s.rows);
    for (std::size_t i = 0; i < config.layers; ++i) {
        const std::size_t window = config.attention_kinds[config.kind_of(i)].window;
        if (std::min(window == 0 ? longest : window, longest) <= kept) continue;
        fail(errc::unsupported, "kv cache", "layer ", i, " sees ",
             window == 0 ? "every position" : concat("the last ", window, " positions"), ", the cache keeps the last ", kept,
             " of a sequence; ", window == 0 ? "use contiguous or paged storage" : "raise .window");
    }
}

}  // namespace detail

/// Runs the batch: appends its rows' keys and values to the cache as pending tokens (the caller commits them) and writes what
/// `out` has room for: each of its views has as many rows as the batch wants, or none.
/// On an exception the cache is as before. Throws errc::invalid_argument for a malformed batch or one beyond the workspace's
/// limits or the model's learned positions, errc::unsupported for a layer that sees more than the cache keeps
/// and for learned positions in a cache that counts its own, errc::cache_full, and
/// errc::cancelled within one layer of `stop` asking.
template <class Backend, kv::kv_cache Cache>
void forward(const model<Backend>& m, workspace<Backend>& w, Cache& cache, const batch& b, const step_outputs& out,
             const std::stop_token& stop = {}) {
    validate(b, m.config().vocabulary);
    if (b.tokens.size() > w.limits().rows || b.wanted.size() > w.limits().wanted)
        fail(errc::invalid_argument, "batch", b.tokens.size(), " rows, ", b.wanted.size(), " of them wanted, in a workspace for ",
             w.limits().rows, " and ", w.limits().wanted);
    const auto check = [&](std::string_view what, const matrix_view<float>& view, std::size_t cols) {
        if (view.extent(0) != 0 && (view.extent(0) != b.wanted.size() || view.extent(1) != cols))
            fail(errc::invalid_argument, what, "room for ", view.extent(0), " × ", view.extent(1), " values; the step gives ",
                 b.wanted.size(), " × ", cols);
    };
    check("logits", out.logits, m.config().vocabulary);
    check("hidden states", out.hidden, m.config().hidden);
    if (b.tokens.empty()) return;
    if (m.architecture().learned_positions && kv::farthest(cache) != kv::no_turn)
        fail(errc::unsupported, "kv cache", "queries are to be turned to position ", kv::farthest(cache),
             ", but the model adds learned positions to its embeddings; use contiguous, paged or radix storage");
    if (m.architecture().learned_positions)
        for (const kv::segment& s : b.segments)
            if (const auto length = static_cast<std::size_t>(cache.length(s.sequence));
                s.rows > m.config().context || length > m.config().context - s.rows)
                fail(errc::invalid_argument, "batch", "a sequence would reach ", length + s.rows,
                     " tokens; the model's learned positions end at ", m.config().context);
    detail::check_windows(m.config(), cache, b.segments);

    const std::span<const row_range> ranges = cache.plan(b.segments);
    try {
        detail::step(m, w, cache, b, ranges, stop).run(out);
    } catch (...) {
        for (std::size_t i = 0; i < b.segments.size(); ++i) cache.rollback(b.segments[i].sequence, {ranges[i].first_position});
        throw;
    }
}

/// The same for logits alone; there may be room for more rows than are wanted. // logits: (at least wanted, vocabulary)
template <class Backend, kv::kv_cache Cache>
void forward(const model<Backend>& m, workspace<Backend>& w, Cache& cache, const batch& b, matrix_view<float> logits,
             const std::stop_token& stop = {}) {
    if (logits.extent(0) < b.wanted.size())
        fail(errc::invalid_argument, "logits", "room for ", logits.extent(0), " rows; the batch wants ", b.wanted.size());
    forward(m, w, cache, b, step_outputs{.logits = logits.slice(0, b.wanted.size())}, stop);
}

}  // namespace skald
