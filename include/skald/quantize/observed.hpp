// SPDX-License-Identifier: MIT
#pragma once
// A backend that watches what its matrices are multiplied by. A model loaded on it computes the same as on the backend it stands
// for, and keeps for each matrix the sums of its inputs' squares: what an importance matrix is made of.
#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <skald/backend/ops.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/model.hpp>
#include <skald/quantize/importance.hpp>

namespace skald::quantize {

/// `Backend` with sums; one forward at a time, since the sums belong to the model.
template <class Backend>
class observed : public Backend {
public:
    using options = typename Backend::options;
    using activations = typename Backend::activations;

    /// What a matrix was multiplied by.
    struct inputs {
        std::string tensor;        // that the matrix is, or a part of
        std::vector<double> sums;  // (cols)
        double rows = 0;
    };

    struct matrix : Backend::matrix {
        matrix() = default;
        matrix(typename Backend::matrix m, std::unique_ptr<inputs> i) : Backend::matrix(std::move(m)), seen(std::move(i)) {}
        std::unique_ptr<inputs> seen;
    };

    using Backend::Backend;

    matrix pack(const weight_view& w, packing how = packing::panels) const {
        return {Backend::pack(w, how), std::make_unique<inputs>(inputs{std::string(w.name), std::vector<double>(w.cols), 0})};
    }

    void matmul(activations& in, std::span<const matmul_job<matrix>> jobs) const {
        const matrix_view<const float> x = std::as_const(in).values();
        std::vector<double> squares(x.extent(1));
        for (std::size_t r = 0; r < x.extent(0); ++r) {
            const std::span<const float> row = x.row(r);
            for (std::size_t c = 0; c < row.size(); ++c) squares[c] += static_cast<double>(row[c]) * row[c];
        }
        std::vector<matmul_job<typename Backend::matrix>> plain;
        for (const matmul_job<matrix>& j : jobs) {
            inputs& seen = *j.weight->seen;
            for (std::size_t c = 0; c < std::min(squares.size(), seen.sums.size()); ++c) seen.sums[c] += squares[c];
            seen.rows += static_cast<double>(x.extent(0));
            plain.push_back({j.weight, j.bias, j.out, j.accumulate});
        }
        Backend::matmul(in, plain);
    }
};

/// The importance matrix of a model that has computed with `observed`, loaded from `file`.
template <class Backend>
importance_matrix importance_of_model(const model<observed<Backend>>& m, const io::gguf_file& file) {
    using inputs = typename observed<Backend>::inputs;
    std::map<std::string, std::vector<const inputs*>> tensors;
    const auto visit = [&](const typename observed<Backend>::matrix& one) {
        if (one.seen != nullptr) tensors[one.seen->tensor].push_back(one.seen.get());
    };
    const auto visit_block = [&](const feed_forward_weights<observed<Backend>>& f) {
        visit(f.gate.weight), visit(f.up.weight), visit(f.down.weight);
    };
    visit(m.weights().output());
    for (const layer_weights<observed<Backend>>& l : m.weights().layers()) {
        for (const auto* one : {&l.query, &l.key, &l.value, &l.attention_output, &l.router}) visit(one->weight);
        visit_block(l.feed_forward);
        for (const feed_forward_weights<observed<Backend>>& f : l.experts) visit_block(f);
    }

    importance_matrix out;
    for (const auto& [name, parts] : tensors) {
        // Experts' matrices lie in one tensor, as do parts that read the same inputs: those of one matrix are added up.
        const io::tensor_entry* entry = file.find(name);
        const std::size_t matrices = entry == nullptr || entry->shape.size() < 3 ? 1 : static_cast<std::size_t>(entry->shape[2]);
        const std::size_t cols = parts.front()->sums.size();
        input_squares all{cols, std::vector<float>(matrices * cols), std::vector<float>(matrices)};
        std::vector<double> sums(matrices * cols);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const std::size_t at = i * matrices / parts.size();
            for (std::size_t c = 0; c < cols; ++c) sums[at * cols + c] += parts[i]->sums[c];
            all.counts[at] += static_cast<float>(parts[i]->rows);
        }
        for (std::size_t i = 0; i < sums.size(); ++i) all.sums[i] = static_cast<float>(sums[i]);
        if (std::ranges::any_of(all.counts, [](float n) { return n > 0; })) out.put(name, std::move(all));
    }
    return out;
}

}  // namespace skald::quantize
