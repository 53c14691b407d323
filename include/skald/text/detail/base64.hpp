// SPDX-License-Identifier: MIT
#pragma once
// Base64 (RFC 4648, section 4), as JSON files hold bytes.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skald::text::detail {

/// The bytes that a text stands for, with or without padding; nothing if it is no base64.
inline std::optional<std::string> from_base64(std::string_view text) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
    std::string out;
    out.reserve(text.size() / 4 * 3 + 2);
    std::uint32_t bits = 0;
    unsigned count = 0;
    for (const char c : text) {
        const std::size_t digit = digits.find(c);
        if (digit == digits.npos) return std::nullopt;
        bits = bits << 6 | static_cast<std::uint32_t>(digit);
        count += 6;
        if (count < 8) continue;
        count -= 8;
        out += static_cast<char>(bits >> count & 0xFF);
    }
    if (count == 6) return std::nullopt;
    return out;
}

}  // namespace skald::text::detail
