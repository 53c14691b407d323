// SPDX-License-Identifier: MIT
#pragma once
// Mixtures of experts (Shazeer et al. 2017): which experts a row goes to, and the memory of a step through them. A row's choice
// depends on its own router logits only, and its experts are added up in ascending order, so that results do not depend on the
// rows it is computed with.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory_resource>
#include <span>

#include <skald/core/buffer.hpp>
#include <skald/core/tensor_view.hpp>
#include <skald/model/config.hpp>

namespace skald {

/// The rows of a step by the expert they go to.
class expert_routing {
public:
    expert_routing(std::size_t rows, const expert_config& e, std::pmr::memory_resource* memory)
        : experts_(e),
          order_(e.count, memory),
          chosen_(rows * e.used, memory),
          first_(e.count + 1, memory),
          rows_(rows * e.used, memory),
          weights_(rows * e.used, memory) {}

    static std::size_t bytes(std::size_t rows, const expert_config& e) noexcept {
        return buffer<std::size_t>::bytes_for(e.count) + 2 * buffer<std::size_t>::bytes_for(rows * e.used) +
               buffer<std::size_t>::bytes_for(e.count + 1) + buffer<float>::bytes_for(rows * e.used);
    }

    /// Chooses for each row the `used` experts of the greatest logits, the first of equals; their weights are the softmax over all
    /// experts, divided by their sum if the config says so. Leaves the softmax in `logits`. // (rows, experts)
    void choose(matrix_view<float> logits) noexcept {
        std::fill_n(first_.data(), experts_.count + 1, std::size_t{0});
        for (std::size_t r = 0; r < logits.extent(0); ++r) {
            softmax(logits.row(r));
            for (const std::size_t e : choose_row(logits.row(r), r)) ++first_[e + 1];
        }
        for (std::size_t e = 0; e < experts_.count; ++e) first_[e + 1] += first_[e];
        for (std::size_t e = 0; e < experts_.count; ++e) order_[e] = first_[e];
        for (std::size_t r = 0; r < logits.extent(0); ++r) place_row(logits.row(r), r);
    }

    /// The rows that go to an expert, ascending, and their weights.
    std::span<const std::size_t> rows(std::size_t expert) const noexcept { return {rows_.data() + first_[expert], count(expert)}; }
    std::span<const float> weights(std::size_t expert) const noexcept { return {weights_.data() + first_[expert], count(expert)}; }

private:
    std::size_t count(std::size_t expert) const noexcept { return first_[expert + 1] - first_[expert]; }
    std::span<std::size_t> chosen(std::size_t row) const noexcept { return {chosen_.data() + row * experts_.used, experts_.used}; }

    static void softmax(std::span<float> x) noexcept {
        const float most = *std::max_element(x.begin(), x.end());
        float sum = 0.0f;
        for (float& v : x) sum += v = std::exp(v - most);
        for (float& v : x) v /= sum;
    }

    std::span<const std::size_t> choose_row(std::span<const float> probabilities, std::size_t row) noexcept {
        const std::span<std::size_t> order = order_.span();
        for (std::size_t e = 0; e < order.size(); ++e) order[e] = e;
        const auto rank = [&](std::size_t e) { return std::isnan(probabilities[e]) ? -1.0f : probabilities[e]; };
        std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(experts_.used), order.end(),
                          [&](std::size_t a, std::size_t b) { return rank(a) != rank(b) ? rank(a) > rank(b) : a < b; });
        const std::span<std::size_t> out = chosen(row);
        std::copy_n(order.begin(), out.size(), out.begin());
        std::sort(out.begin(), out.end());
        return out;
    }

    /// Puts a row into its experts' lists; order_[e] is where the next row of expert e goes.
    void place_row(std::span<const float> probabilities, std::size_t row) noexcept {
        float sum = 0.0f;
        for (const std::size_t e : chosen(row)) sum += probabilities[e];
        for (const std::size_t e : chosen(row)) {
            rows_[order_[e]] = row;
            weights_[order_[e]++] = experts_.normalized ? probabilities[e] / sum : probabilities[e];
        }
    }

    expert_config experts_;
    buffer<std::size_t> order_, chosen_, first_, rows_;
    buffer<float> weights_;
};

/// What a step through experts needs besides what a feed-forward block does.
template <class Backend>
class expert_space {
public:
    expert_space(const Backend& backend, const model_config& c, std::size_t rows)
        : routing(rows, c.experts, backend.memory()),
          in(backend.make_activations(rows, c.hidden)),
          logits_(rows * c.experts.count, backend.memory()),
          out_(rows * c.hidden, backend.memory()) {}

    static std::size_t planned_bytes(const Backend& backend, const model_config& c, std::size_t rows) {
        return expert_routing::bytes(rows, c.experts) + backend.activations_bytes(rows, c.hidden) +
               buffer<float>::bytes_for(rows * c.experts.count) + buffer<float>::bytes_for(rows * c.hidden);
    }

    matrix_view<float> logits(std::size_t rows, std::size_t cols) const noexcept { return {logits_.data(), {rows, cols}}; }
    matrix_view<float> out(std::size_t rows, std::size_t cols) const noexcept { return {out_.data(), {rows, cols}}; }

    expert_routing routing;
    typename Backend::activations in;  ///< the rows of one expert, (rows, hidden)

private:
    buffer<float> logits_, out_;
};

}  // namespace skald
