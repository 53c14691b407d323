// SPDX-License-Identifier: MIT
#pragma once
// Text that remembers which of its bytes are to be trusted: those a template's author wrote, or what people said. Control tokens
// are made from the former only, so every string operation of the template engine is built from the few here, which keep marks.
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/tokenizer.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

/// A string and its marks, kept as runs of equal trust.
class marked_text {
public:
    marked_text() = default;
    marked_text(std::string text, bool trusted) : text_(std::move(text)) {
        if (!text_.empty()) runs_.push_back({text_.size(), trusted});
    }

    const std::string& text() const noexcept { return text_; }
    std::size_t size() const noexcept { return text_.size(); }
    bool empty() const noexcept { return text_.empty(); }
    std::size_t bytes() const noexcept { return text_.capacity() + runs_.capacity() * sizeof(run); }  ///< memory held, about

    void append(std::string_view text, bool trusted) {
        if (text.empty()) return;
        text_ += text;
        extend(trusted);
    }

    void append(const marked_text& other) { append(other, 0, other.size()); }

    /// Appends the bytes [from, to) of another text.
    void append(const marked_text& other, std::size_t from, std::size_t to) {
        if (from >= to) return;
        const std::size_t shift = text_.size() - from;  // wraps where from is larger, and back below
        text_.append(other.text_, from, to - from);
        for (auto r = other.run_at(from); r != other.runs_.end(); ++r) {
            extend(r->trusted, std::min(r->end, to) + shift);
            if (r->end >= to) break;
        }
    }

    marked_text slice(std::size_t from, std::size_t to) const {
        marked_text out;
        out.append(*this, from, to);
        return out;
    }

    /// Whether the byte at `at` is trusted; at < size().
    bool trusted(std::size_t at) const noexcept { return run_at(at)->trusted; }

    /// The text in parts of equal trust; views into it.
    std::vector<text_segment> segments() const {
        std::vector<text_segment> out;
        std::size_t from = 0;
        for (const run& r : runs_) {
            out.push_back({std::string_view(text_).substr(from, r.end - from), r.trusted});
            from = r.end;
        }
        return out;
    }

private:
    struct run {
        std::size_t end;
        bool trusted;
    };

    std::vector<run>::const_iterator run_at(std::size_t at) const noexcept {
        return std::upper_bound(runs_.begin(), runs_.end(), at, [](std::size_t a, const run& r) { return a < r.end; });
    }

    void extend(bool trusted) { extend(trusted, text_.size()); }
    void extend(bool trusted, std::size_t end) {
        if (!runs_.empty() && runs_.back().trusted == trusted)
            runs_.back().end = end;
        else
            runs_.push_back({end, trusted});
    }

    std::string text_;
    std::vector<run> runs_;  // by end, ascending
};

}  // namespace skald::text::jinja

SKALD_COLD_END
