// SPDX-License-Identifier: MIT
#pragma once
// Eviction policies from papers (the role is in kv/eviction.hpp). Each says where it must differ from its paper in a cache of bounded room
// that evicts while it is written.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

#include <skald/core/error.hpp>
#include <skald/kv/eviction.hpp>

namespace skald::kv {

inline constexpr float stays = std::numeric_limits<float>::infinity();  ///< worth of what no policy drops before all else

/// The last tokens, and the first ones where `sinks` is not 0 (StreamingLLM, Xiao et al. 2023, but with true positions).
struct recent {
    std::size_t sinks = 0;

    std::string name() const { return sinks == 0 ? "recent" : "sinks"; }
    std::string settings() const { return concat("sinks ", sinks); }

    void worth(const kept_tokens& kept, std::span<float> worth) const noexcept {
        for (std::size_t i = 0; i < worth.size(); ++i)
            worth[i] = static_cast<std::size_t>(kept.positions[i]) < sinks ? stays : static_cast<float>(i);
    }
};

/// Heavy hitters (H2O, Zhang et al. 2023): a token's score is the attention it has had from all rows; the last half of the budget stays
/// whatever its score. `recent_share` of the budget, rounded down, is that half.
struct h2o {
    float recent_share = 0.5f;

    std::string name() const { return "h2o"; }
    std::string settings() const { return concat("recent_share ", recent_share); }

    std::size_t observed(std::size_t rows) const noexcept { return rows; }
    void observe(const kept_tokens& kept, const observed_row& row) const noexcept {
        for (std::size_t i = 0; i < row.weights.size(); ++i) kept.scores[i] += row.weights[i];
    }
    void worth(const kept_tokens& kept, std::span<float> worth) const noexcept {
        const auto last = std::min(worth.size(), static_cast<std::size_t>(recent_share * static_cast<float>(kept.budget)));
        std::copy(kept.scores.begin(), kept.scores.end(), worth.begin());
        std::fill(worth.end() - static_cast<std::ptrdiff_t>(last), worth.end(), stays);
    }
};

/// Token omission via attention (TOVA, Oren et al. 2024): the token that the last row gives least goes, its own included. As in the paper
/// the weights of all heads of a layer are added up, unless `each_head`.
struct tova {
    bool each_head = false;

    std::string name() const { return "tova"; }
    std::string settings() const { return concat("each_head ", each_head); }

    std::size_t observed(std::size_t) const noexcept { return 1; }
    bool whole_layer() const noexcept { return !each_head; }
    void observe(const kept_tokens& kept, const observed_row& row) const noexcept {
        std::copy(row.weights.begin(), row.weights.end(), kept.scores.begin());
    }
    void worth(const kept_tokens& kept, std::span<float> worth) const noexcept {
        std::copy(kept.scores.begin(), kept.scores.end(), worth.begin());
    }
};

/// SnapKV (Li et al. 2024): when a prompt has been read, its last `window` tokens stay, and of those before them what these rows attended
/// to most, pooled over `pool` neighbours by their greatest, so that what stands around a token stays with it.
///
/// The paper reads a prompt at once, compresses once and then keeps all that is generated. A prompt of several steps is compressed after
/// each, by that step's last rows. Steps of fewer rows than the window look at nothing: their tokens are worth more than the prompt's, so
/// that a full cache drops the least of the prompt first, and when nothing of it is left but its window, the oldest.
struct snapkv {
    std::size_t window = 32;
    std::size_t pool = 7;  ///< odd

    std::string name() const { return "snapkv"; }
    std::string settings() const { return concat("window ", window, " pool ", pool); }

    std::size_t observed(std::size_t rows) const noexcept { return rows < window ? 0 : window; }
    bool whole_steps() const noexcept { return true; }
    float fresh_score() const noexcept { return stays; }
    void observe(const kept_tokens& kept, const observed_row& row) const noexcept {
        const std::span<float> scores = kept.scores;
        if (row.index == 0) std::fill(scores.begin(), scores.end(), 0.0f);
        for (std::size_t i = 0; i < row.weights.size(); ++i) scores[i] += row.weights[i];
        if (row.index + 1 < row.count) return;
        const std::size_t before = scores.size() - std::min(scores.size(), row.count);
        pool_greatest(scores.first(before));
        std::fill(scores.begin() + static_cast<std::ptrdiff_t>(before), scores.end(), stays);
    }
    void worth(const kept_tokens& kept, std::span<float> worth) const noexcept {
        std::copy(kept.scores.begin(), kept.scores.end(), worth.begin());
    }

private:
    /// x[i] = the greatest of x[i - pool / 2 … i + pool / 2], in place.
    void pool_greatest(std::span<float> x) const noexcept {
        constexpr std::size_t most = 64;
        const std::size_t half = std::min(pool / 2, most);
        float before[most] = {};  // x[i - half … i - 1] as they were, position p at p % half
        for (std::size_t i = 0; i < x.size() && half != 0; ++i) {
            float greatest = x[i];
            for (std::size_t j = 0; j < std::min(half, i); ++j) greatest = std::max(greatest, before[j]);
            for (std::size_t j = i + 1; j < std::min(i + half + 1, x.size()); ++j) greatest = std::max(greatest, x[j]);
            before[i % half] = x[i];
            x[i] = greatest;
        }
    }
};

/// PyramidKV (Cai et al. 2024): SnapKV with more room in low layers and less in high ones, falling in equal steps, as many tokens in all
/// as if every layer had the budget. Beyond the window the last layer has a `steepness`th of the mean.
struct pyramid : snapkv {
    std::size_t steepness = 20;

    std::string name() const { return "pyramid"; }
    std::string settings() const { return concat(snapkv::settings(), " steepness ", steepness); }

    std::size_t layer_budget(std::size_t layer, std::size_t layers, std::size_t budget) const noexcept {
        if (layers < 2 || budget <= window || steepness == 0) return budget;
        const std::size_t mean = budget - window, least = mean / steepness, most = 2 * mean - least;
        return window + most - ((most - least) * layer + layers - 2) / (layers - 1);
    }
};

static_assert(eviction_policy<recent> && !observing_policy<recent>);
static_assert(observing_policy<h2o> && observing_policy<tova> && observing_policy<snapkv> && observing_policy<pyramid>);

}  // namespace skald::kv
