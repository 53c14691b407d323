// SPDX-License-Identifier: MIT
#pragma once
// A checksum against damage on disks and in transit, as fast as memory is read; it does not withstand forgery.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace skald {

/// 64 bits of checksum: eight chains of words, w after w: h = rotate(h ^ w) · odd number. Each step is one to one in h and in w, so a
/// change within one aligned word is always found, any other but for one case in 2⁶⁴. The same on every little-endian machine.
inline std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept {
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;  // 2⁶⁴ / golden ratio
    constexpr std::size_t chains = 8, line = chains * sizeof(std::uint64_t);
    const auto step = [](std::uint64_t h, std::uint64_t w) { return std::rotl(h ^ w, 29) * odd; };
    std::array<std::uint64_t, chains> h, words;
    for (std::size_t i = 0; i < chains; ++i) h[i] = step(seed, i + 1);
    const auto add = [&](const std::byte* from, std::size_t count) {
        std::memcpy(words.data(), from, count);
        for (std::size_t i = 0; i < chains; ++i) h[i] = step(h[i], words[i]);
    };
    std::size_t at = 0;
    for (; at + line <= bytes.size(); at += line) add(bytes.data() + at, line);
    words = {};
    if (at < bytes.size()) add(bytes.data() + at, bytes.size() - at);
    std::uint64_t out = step(seed, bytes.size());
    for (const std::uint64_t chain : h) out = step(out, chain);
    return out ^ out >> 32;
}

}  // namespace skald
