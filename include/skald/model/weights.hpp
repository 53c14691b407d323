// SPDX-License-Identifier: MIT
#pragma once
// A model's weights as a backend computes with them: matrices packed, vectors decoded to f32.
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/format/visit.hpp>
#include <skald/model/load_options.hpp>
#include <skald/model/packed_weights.hpp>
#include <skald/model/rope.hpp>
#include <skald/model/source.hpp>

namespace skald {

/// A matrix and what is added after it.
template <class Backend>
struct linear {
    typename Backend::matrix weight;
    const float* bias = nullptr;
};

/// The matrices of a feed-forward block, or of one expert.
template <class Backend>
struct feed_forward_weights {
    linear<Backend> gate, up, down;
};

/// What a layer lacks is empty: a norm of kind `none`, a matrix without rows.
template <class Backend>
struct layer_weights {
    norm_params attention_norm, query_norm, key_norm, attention_post_norm;
    linear<Backend> query, key, value, attention_output;
    norm_params feed_forward_norm, feed_forward_post_norm;
    feed_forward_weights<Backend> feed_forward;
    linear<Backend> router;
    std::vector<feed_forward_weights<Backend>> experts;  // none: the block above
};

/// All weights of a model. Memory: planned_bytes() from the resource, no more.
template <class Backend>
class model_weights {
public:
    using matrix = typename Backend::matrix;

    /// Packs everything; with packing::none matrices stay in the file, which must outlive them. Throws errc::cancelled when the stop
    /// token asks, and what the backend and the resource throw.
    model_weights(const Backend& backend, const model_source& source, const load_options& options)
        : reader_(source.reader()), vectors_(vector_floats(source), backend.memory()), layers_(source.config().layers) {
        loader load{backend, source, options, packed_, vectors_.span(), 0, 0};
        source.for_each([&](tensor_role, std::size_t, std::size_t, const weight_view& w) { load.total += w.bytes(); });
        if constexpr (viewing_backend<Backend>) {
            if (!options.packed_file.empty()) {
                packed_.emplace(packed_weights<Backend>::open(backend, source, options));
                load.done = packed_->bytes_read();
            }
        } else if (!options.packed_file.empty()) {
            fail(errc::unsupported, "packed_file", "this backend's matrices cannot lie in a file; leave the option empty");
        }

        using enum tensor_role;
        token_embedding_ = load.pack(token_embedding);
        position_embedding_ = load.pack(position_embedding);
        output_ = load.pack(output);
        output_norm_ = load.norm(output_norm, output_norm_bias, 0);
        for (const attention_kind& kind : source.config().attention_kinds) frequencies_.push_back(load.frequencies(kind.rope));
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            layer_weights<Backend>& layer = layers_[i];
            layer.attention_norm = load.norm(attention_norm, attention_norm_bias, i);
            layer.query = load.linear_of(query, query_bias, i);
            layer.query_norm = load.norm(query_norm, i);
            layer.key = load.linear_of(key, key_bias, i);
            layer.key_norm = load.norm(key_norm, i);
            layer.value = load.linear_of(value, value_bias, i);
            layer.attention_output = load.linear_of(attention_output, attention_output_bias, i);
            layer.attention_post_norm = load.norm(attention_post_norm, i);
            layer.feed_forward_norm = load.norm(feed_forward_norm, feed_forward_norm_bias, i);
            layer.feed_forward_post_norm = load.norm(feed_forward_post_norm, i);
            layer.feed_forward = {load.linear_of(gate, gate_bias, i), load.linear_of(up, up_bias, i), load.linear_of(down, down_bias, i)};
            if (!source.has_experts(i)) continue;
            layer.router = {load.pack(router, i)};
            layer.experts.reserve(source.config().experts.count);
            for (std::size_t e = 0; e < source.config().experts.count; ++e)
                layer.experts.push_back({{load.pack(expert_gate, i, e)}, {load.pack(expert_up, i, e)}, {load.pack(expert_down, i, e)}});
        }
    }

    /// What the constructor will take from the memory resource, and what it leaves in the file.
    struct planned {
        std::size_t allocated = 0, mapped = 0;
    };
    static planned planned_bytes(const Backend& backend, const model_source& source, const load_options& options) {
        planned out{.allocated = buffer<float>::bytes_for(vector_floats(source))};
        if constexpr (viewing_backend<Backend>)
            if (!options.packed_file.empty()) {
                const std::size_t bytes = packed_weights<Backend>::file_bytes(backend, source, options.packing);
                if (options.copy) return {out.allocated + buffer<>::bytes_for(bytes), 0};
                return {out.allocated, bytes};
            }
        source.for_each([&](tensor_role role, std::size_t layer, std::size_t expert, const weight_view& w) {
            if (!is_matrix_role(role)) return;
            const bool in_file = stays(role, layer, expert, source, options);
            const std::size_t bytes = backend.packed_bytes(w.type, w.rows, w.cols, packing_of(role, source, options.packing));
            (in_file ? out.mapped : out.allocated) += in_file ? w.bytes() : bytes;
        });
        return out;
    }

    const matrix& token_embedding() const noexcept { return token_embedding_; }
    const matrix& position_embedding() const noexcept { return position_embedding_; }
    /// The output head: its own matrix, or the token embedding when tied.
    const matrix& output() const noexcept { return output_.rows() == 0 ? token_embedding_ : output_; }
    const norm_params& output_norm() const noexcept { return output_norm_; }
    /// A list of rope frequencies of one of the config's kinds of attention. // (dims / 2)
    std::span<const float> rope_frequencies(std::size_t kind, std::size_t list) const noexcept { return frequencies_[kind][list]; }
    std::span<const layer_weights<Backend>> layers() const noexcept { return layers_; }

    /// Bytes of weights that one decoded token reads, using that many experts: every matrix but the embeddings, and the output head.
    std::size_t bytes_read_per_token(std::size_t experts_used) const noexcept {
        const auto bytes = [](const feed_forward_weights<Backend>& f) {
            return f.gate.weight.bytes() + f.up.weight.bytes() + f.down.weight.bytes();
        };
        std::size_t total = output().bytes();
        for (const layer_weights<Backend>& l : layers_) {
            for (const linear<Backend>* m : {&l.query, &l.key, &l.value, &l.attention_output, &l.router}) total += m->weight.bytes();
            total += bytes(l.feed_forward) + (l.experts.empty() ? 0 : experts_used * bytes(l.experts.front()));
        }
        return total;
    }

private:
    using rope_lists = std::array<std::span<const float>, 2>;
    static constexpr std::size_t lane = 16;  // vectors start at multiples of 16 floats, a cache line

    /// True for what the loader has read into the config.
    static bool is_in_config(tensor_role role) noexcept {
        return role == tensor_role::rope_factors || role == tensor_role::rope_short_factors || role == tensor_role::rope_long_factors;
    }

    static std::size_t vector_floats(const model_source& source) {
        std::size_t total = 0;
        for (const attention_kind& kind : source.config().attention_kinds) total += kind.rope.lists() * round_up(kind.rope.dims / 2, lane);
        source.for_each([&](tensor_role role, std::size_t, std::size_t, const weight_view& w) {
            if (!is_matrix_role(role) && !is_in_config(role)) total += round_up(w.cols, lane);
        });
        return total;
    }

    /// Whether a matrix stays where the file is mapped.
    static bool stays(tensor_role role, std::size_t layer, std::size_t expert, const model_source& source, const load_options& options) {
        return viewing_backend<Backend> && options.packed_file.empty() && options.packing == packing::none && !options.copy &&
               !source.converts(role, layer, expert);
    }

    struct nothing {};
    template <class B>
    struct file_of {
        using type = nothing;
    };
    template <viewing_backend B>
    struct file_of<B> {
        using type = packed_weights<B>;
    };
    using packed_matrices = std::optional<typename file_of<Backend>::type>;

    /// Takes tensors one by one, counting them.
    struct loader {
        const Backend& backend;
        const model_source& source;
        const load_options& options;
        const packed_matrices& packed;
        std::span<float> room;  // what is left of the vectors' buffer
        std::size_t done, total;

        void count(const weight_view& w) {
            if (options.stop.stop_requested()) fail(errc::cancelled, source.file(), "loading was cancelled");
            done += w.bytes();
            if (options.progress) options.progress(done, total);
        }

        std::span<float> take(std::size_t n) {
            const std::span<float> out = room.first(n);
            room = room.subspan(round_up(n, lane));
            return out;
        }

        matrix pack(tensor_role role, std::size_t layer = 0, std::size_t expert = 0) {
            if (!source.has(role, layer, expert)) return {};
            const packing how = packing_of(role, source, options.packing);
            if constexpr (viewing_backend<Backend>) {
                if (packed) {
                    weight_view w = source(role, layer, expert);
                    w.data = packed->at(role, layer, expert);
                    if (packed->bytes_read() == 0) count(w);
                    return backend.view(w, how);
                }
                if (stays(role, layer, expert, source, options)) return backend.view(source.fetch(role, layer, expert), how);
            }
            const weight_view w = source.fetch(role, layer, expert);
            matrix m = backend.pack(w, how);
            count(w);
            source.release(role, layer, expert);
            return m;
        }

        const float* vector(tensor_role role, std::size_t layer) {
            if (!source.has(role, layer)) return nullptr;
            const weight_view w = source.fetch(role, layer);
            const std::span<float> out = take(w.cols);
            format::decode_row(w, 0, out.data());
            source.release(role, layer);
            count(w);
            return out.data();
        }

        linear<Backend> linear_of(tensor_role weight, tensor_role bias, std::size_t layer) {
            return {pack(weight, layer), vector(bias, layer)};
        }

        norm_params norm(tensor_role gain, tensor_role bias, std::size_t layer) {
            const norm_params without_bias = norm(gain, layer);
            return {without_bias.kind, without_bias.eps, without_bias.gain, vector(bias, layer)};
        }
        norm_params norm(tensor_role gain, std::size_t layer) {
            const float* values = vector(gain, layer);
            return {values == nullptr ? norm_kind::none : source.architecture().norm, source.config().norm_eps, values, nullptr};
        }

        rope_lists frequencies(const rope_config& rope) {
            rope_lists out;
            for (std::size_t list = 0; list < rope.lists(); ++list) {
                const std::span<float> room = take(rope.dims / 2);
                skald::rope_frequencies(rope, list, room);
                out[list] = room;
            }
            return out;
        }
    };

    packed_matrices packed_;
    std::shared_ptr<const tensor_reader> reader_;  // may own the files that matrices stay in
    buffer<float> vectors_;
    matrix token_embedding_, position_embedding_, output_;
    norm_params output_norm_;
    std::vector<rope_lists> frequencies_;  // of each kind of attention
    std::vector<layer_weights<Backend>> layers_;
};

}  // namespace skald
