// SPDX-License-Identifier: MIT
#pragma once
// Reading UTF-8 one unit at a time: a well-formed code point (Unicode 15, table 3-7), or one byte that belongs to none.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <skald/text/detail/char_class.hpp>

namespace skald::text::detail {

inline constexpr char32_t replacement = 0xFFFD;

/// What a lead byte promises: how many bytes follow, and the range of the first of them. A lead of none has tail 0xFF.
struct utf8_lead {
    std::uint8_t tail, lowest, highest;
};

constexpr utf8_lead lead_of(unsigned char byte) noexcept {
    if (byte < 0x80) return {0, 0, 0};
    if (byte < 0xC2 || byte > 0xF4) return {0xFF, 0, 0};
    if (byte < 0xE0) return {1, 0x80, 0xBF};
    if (byte < 0xF0)
        return {2, static_cast<std::uint8_t>(byte == 0xE0 ? 0xA0 : 0x80), static_cast<std::uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
    return {3, static_cast<std::uint8_t>(byte == 0xF0 ? 0x90 : 0x80), static_cast<std::uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
}

/// The start of a text: a code point and its length in bytes. `present` counts the bytes that are there and well-formed; it is
/// below `length` for a code point that is cut short or broken.
struct utf8_prefix {
    std::uint8_t present, length;
};

/// How far the sequence at `text[at]` is well-formed; {0, 1} for a byte that can start none.
constexpr utf8_prefix utf8_at(std::string_view text, std::size_t at) noexcept {
    const utf8_lead lead = lead_of(static_cast<unsigned char>(text[at]));
    if (lead.tail == 0xFF) return {0, 1};
    const auto length = static_cast<std::uint8_t>(lead.tail + 1);
    std::uint8_t present = 1;
    for (unsigned low = lead.lowest, high = lead.highest; present < length && at + present < text.size();
         ++present, low = 0x80, high = 0xBF)
        if (const auto byte = static_cast<unsigned char>(text[at + present]); byte < low || byte > high) break;
    return {present, length};
}

/// One unit of a text: its class, its length in bytes and the code point (`replacement` for a stray byte, whose class is 0).
struct unit {
    char32_t code;
    std::uint8_t length;
    std::uint8_t is;  // bits of char_class

    constexpr bool any(unsigned classes) const noexcept { return (is & classes) != 0; }
    constexpr bool newline() const noexcept { return code == '\r' || code == '\n'; }
    /// [^\s\p{L}\p{N}]
    constexpr bool other() const noexcept { return !any(letter | number | space); }
};

inline constexpr std::array<std::uint8_t, 128> ascii_classes = [] {
    std::array<std::uint8_t, 128> out{};
    for (char32_t c = 0; c < 128; ++c) out[c] = class_of(c);
    return out;
}();

/// The unit at `text[at]`; at < text.size().
constexpr unit unit_at(std::string_view text, std::size_t at) noexcept {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) return {lead, 1, ascii_classes[lead]};
    const utf8_prefix found = utf8_at(text, at);
    if (found.present < found.length) return {replacement, 1, 0};
    char32_t code = lead & (0xFFu >> (found.length + 1));
    for (std::size_t i = 1; i < found.length; ++i) code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
    return {code, found.length, class_of(code)};
}

/// Appends a code point as UTF-8.
inline void append_utf8(char32_t code, std::string& out) {
    const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3F)); };
    if (code < 0x80) {
        out += static_cast<char>(code);
        return;
    }
    if (code < 0x800)
        out += static_cast<char>(0xC0 | code >> 6);
    else if (code < 0x10000)
        out += static_cast<char>(0xE0 | code >> 12);
    else
        out += static_cast<char>(0xF0 | code >> 18);
    if (code >= 0x10000) tail(12);
    if (code >= 0x800) tail(6);
    tail(0);
}

static_assert(unit_at("é", 0).code == 0xE9 && unit_at("é", 0).any(lower));
static_assert(unit_at("\xC3", 0).length == 1 && unit_at("\xED\xA0\x80", 0).other(), "stray bytes are units of their own");

}  // namespace skald::text::detail
