// SPDX-License-Identifier: MIT
#pragma once
// Stop strings across token borders: text is held back while it could be the start of a stop string, and released once it
// can not.
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skald {

/// Feeds text in pieces, gives text that is safe to show. Cost a byte: the total length of the stop strings.
class stop_strings {
public:
    stop_strings() = default;
    /// Empty strings are ignored.
    explicit stop_strings(std::vector<std::string> strings) : strings_(std::move(strings)) {
        std::erase_if(strings_, [](const std::string& s) { return s.empty(); });
    }

    /// Appends to `out` what can be shown after `piece`. The stop string that ends first stops (of two, the longer one); its text
    /// and all after it is dropped. However a text is cut into pieces, the same is shown.
    void push(std::string_view piece, std::string& out) {
        if (stopped_) return;
        for (const char c : piece) {
            held_ += c;
            const std::size_t stop = complete_length();
            if (stop == 0) continue;
            stopped_ = true;
            out.append(held_, 0, held_.size() - stop);
            held_.clear();
            return;
        }
        const std::size_t keep = possible_start();
        out.append(held_, 0, held_.size() - keep);
        held_.erase(0, held_.size() - keep);
    }

    /// Appends what is still held: the text ended otherwise.
    void flush(std::string& out) {
        out += held_;
        held_.clear();
    }

    bool stopped() const noexcept { return stopped_; }

private:
    /// The length of the longest stop string that the held text ends with; 0: none.
    std::size_t complete_length() const noexcept {
        std::size_t longest = 0;
        for (const std::string& s : strings_)
            if (s.size() > longest && std::string_view(held_).ends_with(s)) longest = s.size();
        return longest;
    }

    /// The length of the longest suffix of the held text that begins a stop string.
    std::size_t possible_start() const {
        std::size_t longest = 0;
        for (const std::string& s : strings_)
            for (std::size_t n = std::min(s.size() - 1, held_.size()); n > longest; --n)
                if (std::string_view(held_).substr(held_.size() - n) == std::string_view(s).substr(0, n)) longest = n;
        return longest;
    }

    std::vector<std::string> strings_;
    std::string held_;
    bool stopped_ = false;
};

}  // namespace skald
