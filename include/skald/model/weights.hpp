// SPDX-License-Identifier: MIT
#pragma once
// A model's weights as a backend computes with them: matrices packed, vectors decoded to f32.
#include <cstddef>
#include <functional>
#include <memory_resource>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/model/rope.hpp>
#include <skald/model/source.hpp>

namespace skald {

/// Called while a model loads, with the bytes of the file read so far and in all.
using progress_callback = std::function<void(std::size_t done, std::size_t total)>;

/// A matrix and what is added after it.
template <class Backend>
struct linear {
    typename Backend::matrix weight;
    const float* bias = nullptr;
};

template <class Backend>
struct layer_weights {
    norm_params attention_norm, feed_forward_norm;
    linear<Backend> query, key, value, attention_output;
    linear<Backend> gate, up, down;
};

/// All weights of a model. Memory: planned_bytes() from the resource, no more.
template <class Backend>
class model_weights {
public:
    using matrix = typename Backend::matrix;

    /// Packs everything. Throws errc::cancelled when `stop` asks, and what the backend and the resource throw.
    model_weights(const Backend& backend, const model_source& source, const progress_callback& progress, std::stop_token stop)
        : vectors_(vector_floats(source), backend.memory()), layers_(source.config().layers) {
        loader load{backend, source, vectors_.span(), progress, stop, 0, 0};
        for_each_tensor(source, [&](const weight_view& w) { load.total += w.bytes(); });

        using enum tensor_role;
        token_embedding_ = load.pack(token_embedding);
        position_embedding_ = load.pack(position_embedding);
        output_ = load.pack(output);
        output_norm_ = load.norm(output_norm, output_norm_bias, 0);
        frequencies_ = load.frequencies();
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            layer_weights<Backend>& layer = layers_[i];
            layer.attention_norm = load.norm(attention_norm, attention_norm_bias, i);
            layer.feed_forward_norm = load.norm(feed_forward_norm, feed_forward_norm_bias, i);
            load.attention(layer, i);
            layer.attention_output = load.linear_of(attention_output, attention_output_bias, i);
            layer.gate = load.linear_of(gate, gate_bias, i);
            layer.up = load.linear_of(up, up_bias, i);
            layer.down = load.linear_of(down, down_bias, i);
        }
    }

    /// What the constructor will take from the memory resource.
    static std::size_t planned_bytes(const Backend& backend, const model_source& source) {
        std::size_t total = buffer<float>::bytes_for(vector_floats(source));
        for_each_tensor(source, [&](tensor_role role, const weight_view& w) {
            if (is_vector(role)) return;
            if (role != tensor_role::qkv) {
                total += backend.packed_bytes(w.type, w.rows, w.cols);
                return;
            }
            total += backend.packed_bytes(w.type, source.config().query_width(), w.cols);
            total += 2 * backend.packed_bytes(w.type, source.config().kv_width(), w.cols);
        });
        return total;
    }

    const matrix& token_embedding() const noexcept { return token_embedding_; }
    const matrix& position_embedding() const noexcept { return position_embedding_; }
    /// The output head: its own matrix, or the token embedding when tied.
    const matrix& output() const noexcept { return output_.rows() == 0 ? token_embedding_ : output_; }
    const norm_params& output_norm() const noexcept { return output_norm_; }
    std::span<const float> rope_frequencies() const noexcept { return frequencies_; }
    std::span<const layer_weights<Backend>> layers() const noexcept { return layers_; }

    /// Bytes of weights that one decoded token reads: every matrix but the embeddings, and the output head.
    std::size_t bytes_read_per_token() const noexcept {
        std::size_t total = output().bytes();
        for (const layer_weights<Backend>& l : layers_)
            for (const linear<Backend>* m : {&l.query, &l.key, &l.value, &l.attention_output, &l.gate, &l.up, &l.down})
                total += m->weight.bytes();
        return total;
    }

private:
    static constexpr std::size_t lane = 16;  // vectors start at multiples of 16 floats, a cache line

    static bool is_vector(tensor_role role) noexcept {
        using enum tensor_role;
        switch (role) {
            case token_embedding:
            case position_embedding:
            case output:
            case query:
            case key:
            case value:
            case qkv:
            case attention_output:
            case gate:
            case up:
            case down: return false;
            default: return true;
        }
    }

    /// f(role, view) or f(view) for every tensor that is there.
    template <class F>
    static void for_each_tensor(const model_source& source, F&& f) {
        for (std::size_t r = 0; r < tensor_role_count; ++r) {
            const auto role = static_cast<tensor_role>(r);
            const std::size_t copies = is_layer_role(role) ? source.config().layers : 1;
            for (std::size_t i = 0; i < copies; ++i) {
                if (!source.has(role, i)) continue;
                if constexpr (std::is_invocable_v<F, tensor_role, const weight_view&>)
                    f(role, source(role, i));
                else
                    f(source(role, i));
            }
        }
    }

    static std::size_t vector_floats(const model_source& source) {
        std::size_t total = round_up(source.config().rope.dims / 2, lane);
        for_each_tensor(source, [&](tensor_role role, const weight_view& w) {
            if (is_vector(role)) total += round_up(w.cols, lane);
        });
        return total;
    }

    /// Takes tensors one by one, counting them.
    struct loader {
        const Backend& backend;
        const model_source& source;
        std::span<float> room;  // what is left of the vectors' buffer
        const progress_callback& progress;
        std::stop_token stop;
        std::size_t done, total;

        void count(const weight_view& w) {
            if (stop.stop_requested()) fail(errc::cancelled, source.file(), "loading was cancelled");
            done += w.bytes();
            if (progress) progress(done, total);
        }

        std::span<float> take(std::size_t n) {
            const std::span<float> out = room.first(n);
            room = room.subspan(round_up(n, lane));
            return out;
        }

        matrix pack(tensor_role role, std::size_t layer = 0) {
            if (!source.has(role, layer)) return {};
            matrix m = backend.pack(source.fetch(role, layer));
            count(source(role, layer));
            return m;
        }

        const float* vector(tensor_role role, std::size_t layer) {
            if (!source.has(role, layer)) return nullptr;
            const weight_view w = source.fetch(role, layer);
            const std::span<float> out = take(w.cols);
            format::decode_row(w, 0, out.data());
            count(w);
            return out.data();
        }

        linear<Backend> linear_of(tensor_role weight, tensor_role bias, std::size_t layer) {
            return {pack(weight, layer), vector(bias, layer)};
        }

        norm_params norm(tensor_role gain, tensor_role bias, std::size_t layer) {
            return {source.architecture().norm, source.config().norm_eps, vector(gain, layer), vector(bias, layer)};
        }

        /// Query, key and value from three matrices, or from the rows of one.
        void attention(layer_weights<Backend>& layer, std::size_t i) {
            using enum tensor_role;
            if (!source.has(qkv, i)) {
                layer.query = linear_of(query, query_bias, i);
                layer.key = linear_of(key, key_bias, i);
                layer.value = linear_of(value, value_bias, i);
                return;
            }
            const weight_view all = source.fetch(qkv, i);
            const float* bias = vector(qkv_bias, i);
            std::size_t first = 0;
            const std::size_t widths[] = {source.config().query_width(), source.config().kv_width(), source.config().kv_width()};
            linear<Backend>* const parts[] = {&layer.query, &layer.key, &layer.value};
            for (std::size_t p = 0; p < 3; ++p) {
                weight_view w = all;
                w.rows = widths[p];
                w.data = all.row(first);
                *parts[p] = {backend.pack(w), bias == nullptr ? nullptr : bias + first};
                first += widths[p];
            }
            count(all);
        }

        std::span<const float> frequencies() {
            const rope_config& rope = source.config().rope;
            const float* factors = vector(tensor_role::rope_factors, 0);
            const std::span<float> out = take(rope.dims / 2);
            for (std::size_t i = 0; factors != nullptr && i < out.size(); ++i)
                if (!(factors[i] > 0.0f) || !std::isfinite(factors[i]))
                    fail(errc::bad_file, source.file(), "value ", i, " of the rope factors is ", factors[i], "; it must be positive");
            skald::rope_frequencies(rope, factors == nullptr ? std::span<const float>{} : std::span(factors, out.size()), out);
            return out;
        }
    };

    buffer<float> vectors_;
    matrix token_embedding_, position_embedding_, output_;
    norm_params output_norm_;
    std::span<const float> frequencies_;
    std::vector<layer_weights<Backend>> layers_;
};

}  // namespace skald
