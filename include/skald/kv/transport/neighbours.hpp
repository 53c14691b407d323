// SPDX-License-Identifier: MIT
#pragma once
// What the channels of a head that were coded before tell of the next one: up to three of them, each by a weight in sixteenths, chosen one
// after the other by what they leave unexplained. Channels of keys before rope are correlated: 0.15 bits a value. The encoder chooses in
// floats; what is expected of a token is in whole numbers, the same on every machine.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/transport/trellis.hpp>

namespace skald::kv::detail {

inline constexpr std::size_t most_neighbours = 3;
inline constexpr std::int32_t most_weight = 31;        // sixteenths
inline constexpr std::int32_t most_decoded = 1 << 22;  // magnitude of a decoded value less its channel's mean, in units

struct neighbour {
    std::size_t channel = 0;
    std::int32_t weight = 0;  // sixteenths
};

struct neighbours {
    std::array<neighbour, most_neighbours> all{};
    std::size_t count = 0;
};

/// The channels of a head as far as they are decoded, less their means. // (head_dim, tokens)
class decoded_channels {
public:
    decoded_channels(std::size_t head_dim, std::size_t tokens, std::string_view place, std::pmr::memory_resource* memory)
        : tokens_(tokens), values_((checked_size(head_dim, place) * tokens).size(), memory) {}

    std::span<std::int32_t> channel(std::size_t c) noexcept { return values_.span().subspan(c * tokens_, tokens_); }

    /// What they tell of every token.
    void expect(const neighbours& of, std::span<std::int32_t> out) noexcept {
        std::fill(out.begin(), out.end(), of.count == 0 ? 0 : 8);
        for (std::size_t k = 0; k < of.count; ++k) {
            const std::int32_t* values = channel(of.all[k].channel).data();
            for (std::size_t i = 0; i < out.size(); ++i) out[i] += of.all[k].weight * values[i];
        }
        if (of.count != 0)
            for (std::int32_t& x : out) x >>= 4;
    }

    static std::int32_t clamp(std::int32_t value) noexcept { return std::clamp(value, -most_decoded, most_decoded); }

private:
    std::size_t tokens_;
    buffer<std::int32_t> values_;
};

/// Chooses them: by what they save of the values' differences from their shares of the token before, since what two channels seem to have
/// in common where both only drift saves nothing. Cost: three products of two channels with each channel that was coded before.
class neighbour_search {
public:
    neighbour_search(std::size_t head_dim, std::size_t tokens, std::string_view place, std::pmr::memory_resource* memory)
        : tokens_(round_up(tokens, lanes)),
          known_((checked_size(head_dim, place) * tokens_).size(), memory),
          squares_(head_dim, memory),
          products_(head_dim, memory),
          deltas_(tokens_, memory),
          twice_(tokens_, memory) {}

    /// `values` are those of channel c less its mean, of which a share in sixteenths is expected of the next; anchors do not count.
    neighbours find(std::size_t c, std::span<const std::int32_t> values, std::span<const std::uint8_t> anchor,
                    std::int32_t share) noexcept {
        neighbours out;
        const float r = static_cast<float>(share) / 16;
        const auto counts = [&](std::size_t i) { return anchor[i] == 0 && anchor[i - 1] == 0; };
        const auto delta = [&](const auto& x, std::size_t i) { return static_cast<float>(x[i]) - r * static_cast<float>(x[i - 1]); };
        std::fill(deltas_.span().begin(), deltas_.span().end(), 0.0f);
        float plain = 0;
        for (std::size_t i = 1; i < values.size(); ++i)
            if (counts(i)) deltas_[i] = delta(values, i), ++plain;
        // What a bin leaves of values in any case, and the bits that a neighbour must save: 11 to tell it, 3 for what is found by chance.
        const float noise = plain * units_a_bin * units_a_bin / 12;
        constexpr float least_bits = 14;
        float square = product(deltas_.data(), deltas_.data());
        while (out.count < most_neighbours && square > 0) {
            // The product of deltas of a channel and of these is that of the channel and of deltas of deltas, taken backwards.
            for (std::size_t i = 0; i < tokens_; ++i) twice_[i] = deltas_[i] - (i + 1 < tokens_ ? r * deltas_[i + 1] : 0.0f);
            float best = 0, weight = 0;
            std::size_t channel = 0;
            for (std::size_t k = 0; k < c; ++k) {
                const float own = (1 + r * r) * squares_[k] - 2 * r * products_[k], p = product(known_.data() + k * tokens_, twice_.data());
                if (own > 0 && p * p > best * own) best = p * p / own, weight = p / own, channel = k;
            }
            const auto w = static_cast<std::int32_t>(std::nearbyint(std::clamp(16 * weight, -1.0f * most_weight, 1.0f * most_weight)));
            const float left = std::max(square - best, 0.0f);
            if (w == 0 || plain * std::log2((square + noise) / (left + noise)) < 2 * least_bits) break;
            out.all[out.count++] = {channel, w};
            const std::span<const float> known = known_.span().subspan(channel * tokens_, tokens_);
            for (std::size_t i = 1; i < values.size(); ++i)
                if (counts(i)) deltas_[i] -= static_cast<float>(w) / 16 * delta(known, i);
            square = product(deltas_.data(), deltas_.data());
        }
        return out;
    }

    /// Channel c as it is decoded.
    void learn(std::size_t c, std::span<const std::int32_t> decoded, std::span<const std::uint8_t> anchor) noexcept {
        const std::span<float> known = known_.span().subspan(c * tokens_, tokens_);
        std::fill(known.begin(), known.end(), 0.0f);
        for (std::size_t i = 0; i < decoded.size(); ++i) known[i] = anchor[i] != 0 ? 0.0f : static_cast<float>(decoded[i]);
        squares_[c] = product(known.data(), known.data());
        products_[c] = 0;
        for (std::size_t i = 1; i < decoded.size(); ++i) products_[c] += known[i] * known[i - 1];
    }

private:
    static constexpr std::size_t lanes = 16;

    float product(const float* a, const float* b) const noexcept {
        std::array<float, lanes> sums{};
        for (std::size_t i = 0; i < tokens_; i += lanes)
            for (std::size_t k = 0; k < lanes; ++k) sums[k] += a[i + k] * b[i + k];
        for (std::size_t half = lanes / 2; half != 0; half /= 2)
            for (std::size_t k = 0; k < half; ++k) sums[k] += sums[k + half];
        return sums[0];
    }

    std::size_t tokens_;
    buffer<float> known_;               // (head_dim, tokens), anchors as 0
    buffer<float> squares_, products_;  // of each with itself, and with the token before
    buffer<float> deltas_, twice_;      // (tokens)
};

}  // namespace skald::kv::detail
