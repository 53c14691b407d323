// SPDX-License-Identifier: MIT
#pragma once
// Bytes of safetensors files for tests, well-formed or not.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace skald::test {

/// A file with that header text and `data` bytes 0, 1, 2, … after it; `length` stands before the header instead of its own.
inline std::vector<std::byte> safetensors_bytes(std::string_view header, std::size_t data, std::uint64_t length) {
    std::vector<std::byte> out(8 + header.size() + data);
    for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<std::byte>(length >> (8 * i) & 0xFF);
    std::memcpy(out.data() + 8, header.data(), header.size());
    for (std::size_t i = 0; i < data; ++i) out[8 + header.size() + i] = static_cast<std::byte>(i & 0xFF);
    return out;
}

inline std::vector<std::byte> safetensors_bytes(std::string_view header, std::size_t data) {
    return safetensors_bytes(header, data, header.size());
}

}  // namespace skald::test
