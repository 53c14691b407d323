// SPDX-License-Identifier: MIT
#pragma once
// Random numbers as a pure function of (seed, stream, index): no state to share, save or seed twice. Philox4x32-10 of Salmon et
// al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
#include <array>
#include <cstdint>

namespace skald {

/// The ten rounds of Philox4x32 on a counter under a key.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) noexcept {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0], b = std::uint64_t{0xCD9E8D57} * counter[2];
        counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
        key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
    }
    return counter;
}

/// Independent random numbers by stream and index.
class counter_rng {
public:
    explicit constexpr counter_rng(std::uint64_t seed) noexcept : seed_(seed) {}

    constexpr std::uint64_t bits(std::uint64_t stream, std::uint64_t index) const noexcept {
        const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
        const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
        const auto out = philox4x32({low(index), high(index), low(stream), high(stream)}, {low(seed_), high(seed_)});
        return std::uint64_t{out[0]} << 32 | out[1];
    }

    /// Uniform on [0, 1), a multiple of 2^-24.
    constexpr float uniform(std::uint64_t stream, std::uint64_t index) const noexcept {
        return static_cast<float>(bits(stream, index) >> 40) * 0x1p-24f;
    }
    /// Uniform on [0, 1), a multiple of 2^-53.
    constexpr double uniform_double(std::uint64_t stream, std::uint64_t index) const noexcept {
        return static_cast<double>(bits(stream, index) >> 11) * 0x1p-53;
    }

private:
    std::uint64_t seed_;
};

}  // namespace skald
