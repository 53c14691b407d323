// SPDX-License-Identifier: MIT
#pragma once
// The alphabet that byte-level vocabularies are written in (GPT-2): every byte has a printable code point, so that tokens can be
// stored as text. Bytes that print in Latin-1 stand for themselves, the others for U+0100 and up in order: space is U+0120, Ġ.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <skald/text/detail/utf8.hpp>

namespace skald::text::detail {

constexpr bool stands_for_itself(unsigned byte) noexcept { return (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD); }

/// Byte of code point 0..0x143, or -1.
inline constexpr std::array<std::int16_t, 0x144> byte_of_code = [] {
    std::array<std::int16_t, 0x144> out{};
    for (std::int16_t& b : out) b = -1;
    std::size_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) out[stands_for_itself(byte) ? byte : next++] = static_cast<std::int16_t>(byte);
    return out;
}();
static_assert(byte_of_code[0x120] == ' ' && byte_of_code[0x143] == 0xAD);

/// Appends the code point that a byte is written as.
inline void append_in_byte_alphabet(unsigned char byte, std::string& out) {
    static constexpr auto codes = [] {
        std::array<std::uint16_t, 256> table{};
        for (std::size_t code = 0; code < byte_of_code.size(); ++code)
            if (byte_of_code[code] >= 0) table[static_cast<std::size_t>(byte_of_code[code])] = static_cast<std::uint16_t>(code);
        return table;
    }();
    const unsigned code = codes[byte];
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else {
        out += static_cast<char>(0xC0 | code >> 6);
        out += static_cast<char>(0x80 | (code & 0x3F));
    }
}

/// Appends the bytes that `text` stands for. False, with `out` as before, if a code point of it stands for none.
inline bool append_bytes_of(std::string_view text, std::string& out) {
    const std::size_t before = out.size();
    for (std::size_t at = 0; at < text.size();) {
        const unit u = unit_at(text, at);
        const int byte = u.code < byte_of_code.size() ? byte_of_code[u.code] : -1;
        if (byte < 0) {
            out.resize(before);
            return false;
        }
        out += static_cast<char>(byte);
        at += u.length;
    }
    return true;
}

/// Whether `text` stands for itself: no byte of it is written as another code point.
inline bool is_own_bytes(std::string_view text) noexcept {
    for (const char c : text)
        if (c <= 0x20 || c >= 0x7F) return false;
    return true;
}

}  // namespace skald::text::detail
