// SPDX-License-Identifier: MIT
#pragma once
// The matrices of latent attention, head by head, as the backend multiplies them. Files have them in two forms: kv_b, keys above values
// for each head (Hugging Face's kv_b_proj, GGUF's attn_kv_b), or split, the keys' part transposed (GGUF's attn_k_b and attn_v_b).
// Queries are multiplied by the transpose of what latents are, so each head's keys' part is kept in both directions.
#include <cstddef>
#include <cstring>
#include <memory_resource>
#include <utility>
#include <vector>

#include <skald/attention/mla.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/half.hpp>
#include <skald/format/visit.hpp>
#include <skald/format/weight_view.hpp>

namespace skald::attention {

/// One layer's. Move-only.
template <backend Backend>
class mla_weights {
public:
    using matrix = typename Backend::matrix;

    /// From kv_b. // (heads · (nope_dim + value_dim), rank)
    /// Throws errc::invalid_argument for a matrix of another shape; errc::unsupported as the backend's pack().
    static mla_weights split(const Backend& backend, const mla_shape& shape, const weight_view& kv_b, packing how) {
        require(kv_b, shape.heads * (shape.nope_dim + shape.value_dim), shape.rank);
        mla_weights out(shape);
        for (std::size_t h = 0; h < shape.heads; ++h) {
            const std::size_t first = h * (shape.nope_dim + shape.value_dim);
            const weight_view key = rows_of(kv_b, first, shape.nope_dim);
            const turned_matrix query = transposed(key, backend.memory());
            out.add(backend, key, query.view, rows_of(kv_b, first + shape.nope_dim, shape.value_dim), how);
        }
        return out;
    }

    /// From k_b and v_b. // (heads · rank, nope_dim), (heads · value_dim, rank)
    /// Throws as split().
    static mla_weights join(const Backend& backend, const mla_shape& shape, const weight_view& k_b, const weight_view& v_b, packing how) {
        require(k_b, shape.heads * shape.rank, shape.nope_dim);
        require(v_b, shape.heads * shape.value_dim, shape.rank);
        mla_weights out(shape);
        for (std::size_t h = 0; h < shape.heads; ++h) {
            const weight_view query = rows_of(k_b, h * shape.rank, shape.rank);
            const turned_matrix key = transposed(query, backend.memory());
            out.add(backend, key.view, query, rows_of(v_b, h * shape.value_dim, shape.value_dim), how);
        }
        return out;
    }

    /// The format of a transposed matrix: the same where elements stand alone; of blocks f16, whose rounding is finer than theirs.
    static constexpr dtype turned(dtype type) noexcept {
        return info(type).block_size == 1 && info(type).row_header == 0 ? type : dtype::f16;
    }

    /// What split() takes from the backend's memory resource and keeps, for kv_b of that format.
    static std::size_t planned_bytes(const Backend& backend, const mla_shape& shape, dtype kv_b, packing how) {
        return planned_bytes(backend, shape, kv_b, turned(kv_b), kv_b, how);
    }
    /// The same of join().
    static std::size_t planned_bytes(const Backend& backend, const mla_shape& shape, dtype k_b, dtype v_b, packing how) {
        return planned_bytes(backend, shape, turned(k_b), k_b, v_b, how);
    }

    const mla_shape& shape() const noexcept { return shape_; }
    const matrix& key(std::size_t head) const noexcept { return key_[head]; }      ///< latents to keys // (nope_dim, rank)
    const matrix& query(std::size_t head) const noexcept { return query_[head]; }  ///< its transpose // (rank, nope_dim)
    const matrix& value(std::size_t head) const noexcept { return value_[head]; }  ///< latents to values // (value_dim, rank)

private:
    struct turned_matrix {
        buffer<> bytes;
        weight_view view;
    };

    explicit mla_weights(const mla_shape& shape) : shape_(shape) {
        key_.reserve(shape.heads);
        query_.reserve(shape.heads);
        value_.reserve(shape.heads);
    }

    static std::size_t planned_bytes(const Backend& backend, const mla_shape& s, dtype key, dtype query, dtype value, packing how) {
        return s.heads * (backend.packed_bytes(key, s.nope_dim, s.rank, how) + backend.packed_bytes(query, s.rank, s.nope_dim, how) +
                          backend.packed_bytes(value, s.value_dim, s.rank, how));
    }

    void add(const Backend& backend, const weight_view& key, const weight_view& query, const weight_view& value, packing how) {
        key_.push_back(backend.pack(key, how));
        query_.push_back(backend.pack(query, how));
        value_.push_back(backend.pack(value, how));
    }

    static void require(const weight_view& w, std::size_t rows, std::size_t cols) {
        if (w.rows != rows || w.cols != cols)
            fail(errc::invalid_argument, w.name, "is ", w.rows, " × ", w.cols, "; latent attention of this shape has ", rows, " × ", cols);
    }

    static weight_view rows_of(const weight_view& w, std::size_t first, std::size_t count) noexcept {
        return {.name = w.name, .type = w.type, .rows = count, .cols = w.cols, .data = w.row(first)};
    }

    static turned_matrix transposed(const weight_view& w, std::pmr::memory_resource* memory) {
        const dtype type = turned(w.type);
        const std::size_t size = info(type).block_bytes;
        buffer<> bytes(w.rows * w.cols * size, memory);
        if (type == w.type) {
            for (std::size_t r = 0; r < w.rows; ++r)
                for (std::size_t c = 0; c < w.cols; ++c) std::memcpy(bytes.data() + (c * w.rows + r) * size, w.row(r) + c * size, size);
        } else {
            const buffer<float> row(w.cols, memory);
            for (std::size_t r = 0; r < w.rows; ++r) {
                format::decode_row(w, r, row.data());
                for (std::size_t c = 0; c < w.cols; ++c) {
                    const half value = to_half(row[c]);
                    std::memcpy(bytes.data() + (c * w.rows + r) * size, &value, size);
                }
            }
        }
        const std::byte* data = bytes.data();
        return {std::move(bytes), {.name = w.name, .type = type, .rows = w.cols, .cols = w.rows, .data = data}};
    }

    mla_shape shape_;
    std::vector<matrix> key_, query_, value_;  // (heads)
};

}  // namespace skald::attention
