// SPDX-License-Identifier: MIT
#pragma once
// From bytes that arrive in any portions to text that is always whole: a token may end in the middle of a code point.
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/text/detail/utf8.hpp>

namespace skald::text {

/// Turns bytes into valid UTF-8 as they come. The start of a code point (at most 3 bytes) is held back until the rest arrives;
/// bytes that are no UTF-8 become U+FFFD, one for each longest start of a code point (Unicode 15, section 3.9, as in browsers).
/// The pieces together do not depend on how the bytes were divided.
class stream_decoder {
public:
    /// Takes bytes; returns the text that is complete now, valid until the next call.
    std::string_view push(std::string_view bytes) {
        held_ += bytes;
        text_.clear();
        const std::size_t used = decode(false);
        held_.erase(0, used);
        return text_;
    }

    /// The bytes have ended: returns U+FFFD if one is left unfinished, else nothing. Valid until the next call.
    std::string_view flush() {
        text_.clear();
        decode(true);
        held_.clear();
        return text_;
    }

    /// Bytes held back, 0 to 3.
    std::size_t pending() const noexcept { return held_.size(); }

    void reset() noexcept {
        held_.clear();
        text_.clear();
    }

private:
    /// Appends the text of held_ to text_ and returns the bytes read: all, or all but an unfinished code point.
    std::size_t decode(bool ended) {
        std::size_t at = 0;
        while (at < held_.size()) {
            const detail::utf8_prefix found = detail::utf8_at(held_, at);
            if (found.present == found.length) {
                text_.append(held_, at, found.length);
                at += found.length;
                continue;
            }
            if (!ended && found.present > 0 && at + found.present == held_.size()) break;
            text_ += "\xEF\xBF\xBD";
            at += found.present == 0 ? 1 : found.present;
        }
        return at;
    }

    std::string held_, text_;
};

}  // namespace skald::text
