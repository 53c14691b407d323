// SPDX-License-Identifier: MIT
#pragma once
// The messages of a conversation as the note of a saved sequence: for each, role and content, each a 32-bit length and its bytes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/text/chat_format.hpp>

namespace skald::detail {

inline std::string write_conversation(std::span<const text::message> messages) {
    std::string out;
    const auto put = [&](const std::string& text) {
        if (text.size() > std::numeric_limits<std::uint32_t>::max())
            fail(errc::invalid_argument, "conversation", "a message of ", text.size(), " bytes cannot be saved");
        const auto size = static_cast<std::uint32_t>(text.size());
        char bytes[sizeof size];
        std::memcpy(bytes, &size, sizeof size);
        out.append(bytes, sizeof size).append(text);
    };
    for (const text::message& m : messages) {
        put(m.role);
        put(m.content);
    }
    return out;
}

/// Throws errc::bad_file for what write_conversation() did not write.
inline std::vector<text::message> read_conversation(std::string_view note, std::string_view place) {
    const auto take = [&] {
        std::uint32_t size = 0;
        if (note.size() < sizeof size) fail(errc::bad_file, place, "its note holds no conversation: ", note.size(), " bytes are left over");
        std::memcpy(&size, note.data(), sizeof size);
        note.remove_prefix(sizeof size);
        if (note.size() < size)
            fail(errc::bad_file, place, "its note holds no conversation: ", note.size(), " bytes are left of a text of ", size);
        const std::string_view text = note.substr(0, size);
        note.remove_prefix(size);
        return std::string(text);
    };
    std::vector<text::message> out;
    while (!note.empty()) {
        std::string role = take();
        out.push_back({std::move(role), take()});
    }
    return out;
}

}  // namespace skald::detail
