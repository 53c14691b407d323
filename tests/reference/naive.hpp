// SPDX-License-Identifier: MIT
#pragma once
// The naive backend: every op as the plainest loop, sums in double, nothing packed, nothing parallel, always exact. It keeps
// the op set honest and is the oracle of every kernel test; a whole model runs on it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory_resource>
#include <span>
#include <tuple>
#include <vector>

#include <skald/attention/variant.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/buffer.hpp>
#include <skald/format/visit.hpp>

namespace skald::reference {

class naive {
public:
    using vector = format::scalar;

    struct options {
        executor* pool = nullptr;
        std::pmr::memory_resource* memory = std::pmr::get_default_resource();
        skald::compute policy = skald::compute::exact;
    };

    class matrix {
    public:
        matrix() = default;
        matrix(std::size_t rows, std::size_t cols, std::pmr::memory_resource* memory)
            : rows_(rows), cols_(cols), values_(rows * cols, memory) {}
        std::size_t rows() const noexcept { return rows_; }
        std::size_t cols() const noexcept { return cols_; }
        std::size_t bytes() const noexcept { return values_.bytes(); }
        float* row(std::size_t r) const noexcept { return values_.data() + r * cols_; }

    private:
        std::size_t rows_ = 0, cols_ = 0;
        buffer<float> values_;
    };

    class activations {
    public:
        activations(std::size_t rows, std::size_t cols, std::pmr::memory_resource* memory) : values_(rows * cols, memory) {}
        void resize(std::size_t rows, std::size_t cols) noexcept { rows_ = rows, cols_ = cols; }
        matrix_view<float> values() const noexcept { return {values_.data(), {rows_, cols_}}; }

    private:
        std::size_t rows_ = 0, cols_ = 0;
        buffer<float> values_;
    };

    struct scratch {};

    naive() = default;
    explicit naive(options o) : options_(o) {}

    std::pmr::memory_resource* memory() const noexcept { return options_.memory; }
    skald::compute policy() const noexcept { return skald::compute::exact; }

    std::size_t packed_bytes(dtype, std::size_t rows, std::size_t cols, packing = packing::none) const noexcept {
        return buffer<float>::bytes_for(rows * cols);
    }
    matrix pack(const weight_view& w, packing = packing::none) const {
        matrix m(w.rows, w.cols, options_.memory);
        for (std::size_t r = 0; r < w.rows; ++r) format::decode_row(w, r, m.row(r));
        return m;
    }

    std::size_t activations_bytes(std::size_t rows, std::size_t cols) const noexcept { return buffer<float>::bytes_for(rows * cols); }
    activations make_activations(std::size_t rows, std::size_t cols) const { return {rows, cols, options_.memory}; }
    std::size_t scratch_bytes(const attention_shape&) const noexcept { return 0; }
    scratch make_scratch(const attention_shape&) const noexcept { return {}; }

    void embed(const matrix& table, std::span<const token_id> tokens, matrix_view<float> out, bool accumulate) const {
        for (std::size_t r = 0; r < tokens.size(); ++r)
            for (std::size_t c = 0; c < table.cols(); ++c)
                out(r, c) = (accumulate ? out(r, c) : 0.0f) + table.row(static_cast<std::size_t>(tokens[r]))[c];
    }

    void copy_rows(matrix_view<const float> in, std::span<const std::size_t> rows, matrix_view<float> out) const {
        for (std::size_t r = 0; r < rows.size(); ++r)
            for (std::size_t c = 0; c < in.extent(1); ++c) out(r, c) = in(rows[r], c);
    }

    void add_rows(matrix_view<const float> in, std::span<const float> weights, std::span<const std::size_t> rows,
                  matrix_view<float> out) const {
        for (std::size_t i = 0; i < rows.size(); ++i)
            for (std::size_t c = 0; c < in.extent(1); ++c) out(rows[i], c) += weights[i] * in(i, c);
    }

    void scale(matrix_view<float> x, float factor) const {
        for (std::size_t r = 0; r < x.extent(0); ++r)
            for (float& value : x.row(r)) value *= factor;
    }

    void soft_cap(matrix_view<float> x, float cap) const {
        for (std::size_t r = 0; r < x.extent(0); ++r)
            for (float& value : x.row(r)) value = static_cast<float>(cap * std::tanh(static_cast<double>(value) / cap));
    }

    void norm(matrix_view<const float> x, const norm_params& p, activations& out) const {
        for (std::size_t r = 0; r < x.extent(0); ++r) norm_row(x.row(r), p, out.values().row(r));
    }

    void norm_parts(matrix_view<float> x, std::size_t width, const norm_params& p) const {
        for (std::size_t r = 0; r < x.extent(0); ++r)
            for (std::size_t c = 0; c < x.extent(1); c += width) norm_row(x.row(r).subspan(c, width), p, x.row(r).subspan(c, width));
    }

    void add_norm(matrix_view<float> x, const norm_params& p, matrix_view<float> out) const {
        std::vector<float> row(x.extent(1));
        for (std::size_t r = 0; r < x.extent(0); ++r) {
            norm_row(x.row(r), p, row);
            for (std::size_t c = 0; c < row.size(); ++c) out(r, c) += row[c];
        }
    }

    void matmul(const activations& in, std::span<const matmul_job<matrix>> jobs) const {
        const matrix_view<float> x = in.values();
        for (const matmul_job<matrix>& job : jobs)
            for (std::size_t r = 0; r < x.extent(0); ++r)
                for (std::size_t n = 0; n < job.weight->rows(); ++n) {
                    double sum = job.bias == nullptr ? 0.0 : job.bias[n];
                    for (std::size_t k = 0; k < job.weight->cols(); ++k) sum += static_cast<double>(x(r, k)) * job.weight->row(n)[k];
                    job.out(r, n) = static_cast<float>(sum + (job.accumulate ? job.out(r, n) : 0.0f));
                }
    }

    template <kv_run... Runs>
    void rope_append(matrix_view<float> q, matrix_view<float> k, matrix_view<const float> v, const attention_shape& shape,
                     const rope_rows& rope, std::span<const row_range> ranges, const std::tuple<Runs...>& runs, scratch&) const {
        for (std::size_t r = 0; r < q.extent(0); ++r) {
            for (std::size_t h = 0; h < shape.heads; ++h) rotate(&q(r, h * shape.head_dim), rope, r);
            for (std::size_t h = 0; !(unrotated_run<Runs> || ...) && h < shape.kv_heads; ++h) rotate(&k(r, h * shape.head_dim), rope, r);
        }
        const auto put = [&]<class Run>([[maybe_unused]] const Run& run, [[maybe_unused]] std::size_t s, [[maybe_unused]] std::size_t row,
                                        [[maybe_unused]] position p) {
            if constexpr (!sealing_run<Run, vector>) {
                if (p < run.begin(s) || p >= run.end(s)) return;
                const auto keep = [&](const float* head, std::byte* out) {
                    std::vector<float> row(head, head + shape.head_dim);
                    if constexpr (hadamard_run<Run>) transform(row);
                    row.resize(round_up(shape.head_dim, 16));
                    Run::codec::template encode<vector>(row.data(), row.size(), out);
                };
                for (std::size_t h = 0; h < shape.kv_heads; ++h) {
                    keep(&k(row, h * shape.head_dim), run.key(s, h, p));
                    if (run.value(s, h, p) != run.key(s, h, p)) keep(&v(row, h * shape.head_dim), run.value(s, h, p));
                }
            }
        };
        for (std::size_t s = 0; s < ranges.size(); ++s)
            for (std::size_t i = 0; i < ranges[s].rows; ++i)
                std::apply(
                    [&](const auto&... run) {
                        (put(run, s, ranges[s].first_row + i, ranges[s].first_position + static_cast<position>(i)), ...);
                    },
                    runs);
        const auto seal = [&]<class Run>(const Run& run, std::size_t s) {
            if constexpr (sealing_run<Run, vector>)
                for (std::size_t h = 0; h < shape.kv_heads; ++h)
                    run.template seal<vector>(s, h, ranges[s].first_position,
                                              ranges[s].first_position + static_cast<position>(ranges[s].rows));
        };
        for (std::size_t s = 0; s < ranges.size(); ++s) std::apply([&](const auto&... run) { (seal(run, s), ...); }, runs);
    }

    template <attention::variant Variant, kv_run... Runs>
    void attend(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::span<const row_range> ranges,
                const std::tuple<Runs...>& runs, activations& out, scratch&, const rope_rows& rope = {}) const {
        std::vector<double> weight;
        for (std::size_t s = 0; s < ranges.size(); ++s)
            for (std::size_t i = 0; i < ranges[s].rows; ++i)
                for (std::size_t h = 0; h < shape.heads; ++h) {
                    const position p = ranges[s].at(i);
                    const std::size_t row = ranges[s].first_row + i, kv_head = h / (shape.heads / shape.kv_heads);
                    std::vector<float> query = head_of(q, row, h, shape.head_dim), turned = turned_from(query, rope, row, runs);
                    if ((hadamard_run<Runs> || ...))
                        for (std::vector<float>* x : {&query, &turned}) transform(*x);
                    weight.assign(static_cast<std::size_t>(p) + 1, 0.0);
                    double most = -std::numeric_limits<double>::infinity(), sum = 0;
                    std::vector<position> seen;
                    for (position j = variant.begin(p); j <= p; ++j)
                        if (is_shown(variant, p, j) && is_seen(runs, s, p, stored(ranges[s], i, j)) && is_chosen(runs, s, kv_head, p, j))
                            seen.push_back(j);
                    for (const position j : seen) {
                        double dot = 0;
                        const position at = standing_for(runs, s, p, stored(ranges[s], i, j));
                        const std::vector<float>& x = at == p ? query : turned;
                        for (std::size_t d = 0; d < shape.head_dim; ++d)
                            dot += x[d] * key_at(runs, s, kv_head, p, stored(ranges[s], i, j), d, rope, j);
                        weight[static_cast<std::size_t>(j)] =
                            variant.score(vector{static_cast<float>(dot * variant.scale)}, {h, at, j}).value;
                        most = std::max(most, weight[static_cast<std::size_t>(j)]);
                    }
                    if constexpr (attention::sinking<Variant>) {
                        most = std::max<double>(most, variant.sink(h));
                        sum += std::exp(variant.sink(h) - most);
                    }
                    for (const position j : seen)
                        sum += weight[static_cast<std::size_t>(j)] = std::exp(weight[static_cast<std::size_t>(j)] - most);
                    std::vector<float> head(shape.head_dim);
                    for (std::size_t d = 0; d < shape.head_dim; ++d) {
                        double acc = 0;
                        for (const position j : seen)
                            acc += weight[static_cast<std::size_t>(j)] * value_at<false>(runs, s, kv_head, p, stored(ranges[s], i, j), d);
                        head[d] = static_cast<float>(acc / sum);
                    }
                    if ((hadamard_run<Runs> || ...)) transform(head);
                    std::ranges::copy(head, &out.values()(row, h * shape.head_dim));
                }
    }

    template <attention::variant Variant, kv_run... Runs>
    void attention_weights(matrix_view<const float> q, const attention_shape& shape, const Variant& variant, std::size_t s,
                           const row_range& rows, const std::tuple<Runs...>& runs, tensor_view<float, 3> out, scratch&) const {
        for (std::size_t i = 0; i < rows.rows; ++i)
            for (std::size_t h = 0; h < shape.heads; ++h) {
                const position p = rows.first_position + static_cast<position>(i);
                std::vector<double> weight(static_cast<std::size_t>(p) + 1, -std::numeric_limits<double>::infinity());
                double most = -std::numeric_limits<double>::infinity(), sum = 0;
                for (position j = variant.begin(p); j <= p; ++j) {
                    if (!is_seen(runs, s, p, j)) continue;
                    double dot = 0;
                    for (std::size_t d = 0; d < shape.head_dim; ++d)
                        dot += q(rows.first_row + i, h * shape.head_dim + d) *
                               value_at<true>(runs, s, h / (shape.heads / shape.kv_heads), p, j, d);
                    double& score = weight[static_cast<std::size_t>(j)];
                    score = variant.score(vector{static_cast<float>(dot * variant.scale)}, {.head = h, .row = p, .key = j}).value;
                    most = std::max(most, score);
                }
                for (double& x : weight) sum += x = std::exp(x - most);
                for (std::size_t j = 0; j < weight.size(); ++j) out(h, i, j) = static_cast<float>(weight[j] / sum);
            }
    }

    void activate(matrix_view<const float> x, activation_kind kind, activations& out) const {
        for (std::size_t r = 0; r < x.extent(0); ++r)
            for (std::size_t c = 0; c < x.extent(1); ++c) out.values()(r, c) = static_cast<float>(function(kind, x(r, c)));
    }

    void gate(matrix_view<const float> g, matrix_view<const float> up, activation_kind kind, activations& out) const {
        for (std::size_t r = 0; r < g.extent(0); ++r)
            for (std::size_t c = 0; c < g.extent(1); ++c) out.values()(r, c) = static_cast<float>(function(kind, g(r, c)) * up(r, c));
    }

private:
    static void norm_row(std::span<const float> x, const norm_params& p, std::span<float> y) {
        const auto n = static_cast<double>(x.size());
        double mean = 0, square = 0;
        if (p.kind == norm_kind::layer)
            for (const float v : x) mean += v / n;
        for (const float v : x) square += (v - mean) * (v - mean) / n;
        const double scale = 1.0 / std::sqrt(square + p.eps);
        for (std::size_t c = 0; c < x.size(); ++c)
            y[c] = p.kind == norm_kind::none
                       ? x[c]
                       : static_cast<float>((x[c] - mean) * scale * p.gain[c] + (p.bias == nullptr ? 0.0f : p.bias[c]));
    }

    static double function(activation_kind kind, double x) {
        if (kind == activation_kind::silu) return x / (1.0 + std::exp(-x));
        return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    }

    static void rotate(float* head, const rope_rows& rope, std::size_t row) {
        for (std::size_t i = 0; i < rope.dims / 2; ++i) {
            float& a = head[rope.interleaved ? 2 * i : i];
            float& b = head[rope.interleaved ? 2 * i + 1 : i + rope.dims / 2];
            const double c = rope.cosine(row, i), s = rope.sine(row, i), x = a, y = b;
            a = static_cast<float>(x * c - y * s);
            b = static_cast<float>(x * s + y * c);
        }
    }

    /// Where the key lies that row i reads at position j.
    static position stored(const row_range& range, std::size_t i, position j) {
        if (range.parents == nullptr || j < range.first_position) return j;
        position out = j;
        range.each_ancestor(i, [&](position p, position where) {
            if (p == j) out = where;
        });
        return out;
    }

    static std::vector<float> head_of(matrix_view<const float> q, std::size_t row, std::size_t h, std::size_t head_dim) {
        return {&q(row, h * head_dim), &q(row, h * head_dim) + head_dim};
    }
    /// A rotated head, as it would be at the position that turning runs are read from.
    template <kv_run... Runs>
    static std::vector<float> turned_from(std::vector<float> head, const rope_rows& rope, std::size_t row, const std::tuple<Runs...>&) {
        if constexpr ((turning_run<Runs> || ...)) {
            std::vector<float> cosine(rope.dims / 2), sine(rope.dims / 2);
            for (std::size_t i = 0; i < rope.dims / 2; ++i) {
                const double c = rope.cosine(row, i), s = rope.sine(row, i), to_c = rope.turned_cosine[i], to_s = rope.turned_sine[i];
                cosine[i] = static_cast<float>(to_c * c + to_s * s);
                sine[i] = static_cast<float>(to_s * c - to_c * s);
            }
            rope_rows one = rope;
            one.cosine = {cosine.data(), {1, rope.dims / 2}};
            one.sine = {sine.data(), {1, rope.dims / 2}};
            rotate(head.data(), one, 0);
        }
        return head;
    }
    /// Where a row at p stands when it reads position j.
    template <kv_run... Runs>
    static position standing_for(const std::tuple<Runs...>& runs, std::size_t s, position p, position j) {
        position at = p;
        const auto look = [&](const auto& run) {
            if (holds(run, s, p, j)) at = standing(run, p);
        };
        std::apply([&](const auto&... run) { (look(run), ...); }, runs);
        return at;
    }

    template <attention::variant Variant>
    static bool is_shown(const Variant& variant, position p, position j) {
        constexpr auto tile = static_cast<position>(attention::tile_size);
        if constexpr (attention::masking<Variant>)
            return variant.shown(p, j / tile * tile) >> (j % tile) & 1;
        else
            return true;
    }
    /// Whether some run shows position j to a row at p.
    template <kv_run... Runs>
    static bool is_seen(const std::tuple<Runs...>& runs, std::size_t s, position p, position j) {
        return std::apply([&](const auto&... run) { return (holds(run, s, p, j) || ...); }, runs);
    }
    /// Whether no run that has it hides it from the row.
    template <kv_run... Runs>
    static bool is_chosen(const std::tuple<Runs...>& runs, std::size_t s, std::size_t kv_head, position p, position j) {
        constexpr auto tile = static_cast<position>(attention::tile_size);
        const auto shows = [&]<class Run>(const Run& run) {
            if constexpr (choosing_run<Run>)
                return !holds(run, s, p, j) || (run.shown(s, kv_head, p, j / tile * tile) >> (j % tile) & 1) != 0;
            else
                return true;
        };
        return std::apply([&](const auto&... run) { return (shows(run) && ...); }, runs);
    }
    /// The Walsh-Hadamard transform, in blocks of the greatest power of two that divides the size.
    static void transform(std::vector<float>& x) {
        const std::size_t block = x.size() & (~x.size() + 1);
        const std::vector<float> from = x;
        for (std::size_t i = 0; i < x.size(); ++i) {
            double sum = 0;
            for (std::size_t j = 0; j < block; ++j)
                sum += std::popcount(i % block & j) % 2 == 0 ? from[i / block * block + j] : -from[i / block * block + j];
            x[i] = static_cast<float>(sum / std::sqrt(static_cast<double>(block)));
        }
    }

    template <kv_run Run>
    static bool holds(const Run& run, std::size_t s, position p, position j) {
        const position_range part = seen(run, s, p);
        return j >= part.from && j < part.to;
    }

    /// Value d of the key or value that a row at p reads at position j.
    template <bool Key, kv_run... Runs>
    static double value_at(const std::tuple<Runs...>& runs, std::size_t s, std::size_t kv_head, position p, position j, std::size_t d) {
        double out = 0;
        const auto read = [&]<class Run>(const Run& run) {
            if (!holds(run, s, p, j)) return;
            const std::byte* bytes = Key ? run.key(s, kv_head, j) : run.value(s, kv_head, j);
            out = codec_of<Run, Key>::template decode<vector>(bytes, d).value;
        };
        std::apply([&](const auto&... run) { (read(run), ...); }, runs);
        return out;
    }

    /// Value d of the key that a row at p reads at position j, which stands at `place`; rotated by j, where it is kept before rope.
    template <kv_run... Runs>
    static double key_at(const std::tuple<Runs...>& runs, std::size_t s, std::size_t kv_head, position p, position place, std::size_t d,
                         const rope_rows& rope, position j) {
        const double x = value_at<true>(runs, s, kv_head, p, place, d);
        if (!(unrotated_run<Runs> || ...) || d >= rope.dims) return x;
        const std::size_t half = rope.dims / 2, pair = rope.interleaved ? d / 2 : d % half;
        const bool first = rope.interleaved ? d % 2 == 0 : d < half;
        const std::size_t other = rope.interleaved ? d ^ 1 : first ? d + half : d - half, at = static_cast<std::size_t>(j) * half + pair;
        const double y = value_at<true>(runs, s, kv_head, p, place, other);
        return x * rope.key_cosine[at] + (first ? -y : y) * rope.key_sine[at];
    }

    options options_;
};

static_assert(backend<naive>);

}  // namespace skald::reference
