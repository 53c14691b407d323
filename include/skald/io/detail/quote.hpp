// SPDX-License-Identifier: MIT
#pragma once
// Text from a stranger's file on its way into a message: escaped and shortened, so that an error stays one readable line.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>

namespace skald::io::detail {

/// Whether the bytes are well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms, surrogates or values past U+10FFFF).
inline bool is_utf8(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    for (std::size_t i = 0; i < text.size();) {
        const unsigned lead = byte(i);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        const std::size_t tail = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || text.size() - i <= tail) return false;
        const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (byte(i + 1) < lowest || byte(i + 1) > highest) return false;
        for (std::size_t t = 2; t <= tail; ++t)
            if ((byte(i + t) & 0xC0) != 0x80) return false;
        i += tail + 1;
    }
    return true;
}

/// `text` between single quotes, at most 64 bytes of it, with control characters (and all bytes above 0x7F, if it is no
/// UTF-8) written as \xNN.
inline std::string in_quotes(std::string_view text) {
    constexpr std::size_t limit = 64;
    constexpr std::string_view hex = "0123456789abcdef";
    std::size_t shown = text.size();
    if (shown > limit)
        for (shown = limit; shown > limit - 4 && (static_cast<unsigned char>(text[shown]) & 0xC0) == 0x80;) --shown;
    const std::string_view head = text.substr(0, shown);
    const bool plain = is_utf8(head);
    std::string out = "'";
    for (const char c : head) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !plain))
            out.append("\\x").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
        else
            out += c;
    }
    return out += shown < text.size() ? "…'" : "'";
}

/// "[2, 3]"
inline std::string shape_text(const std::vector<std::uint64_t>& shape) {
    std::string out = "[";
    for (const std::uint64_t extent : shape) out.append(out.size() > 1 ? ", " : "").append(concat(extent));
    return out += "]";
}

}  // namespace skald::io::detail
