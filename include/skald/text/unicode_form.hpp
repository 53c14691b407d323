// SPDX-License-Identifier: MIT
#pragma once
// Unicode's normal forms (UAX #15), with the tables of Hugging Face's tokenizers. Bytes that are no UTF-8 stay as they are, and
// nothing is composed or reordered across them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <skald/text/detail/normalization.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::text {

/// C: composed; D: decomposed; K: also what only looks alike is made the same.
enum class normal_form : std::uint8_t { nfc, nfd, nfkc, nfkd };

/// Brings texts into a normal form. Trivially copyable.
struct unicode_form_step {
    normal_form form = normal_form::nfc;

    /// Cost: linear, but n log n in the longest run of combining marks. A text already in the form is found so by one look-up for
    /// each code point above U+009F.
    std::string normalize(std::string_view text) const {
        std::string out;
        out.reserve(text.size());
        std::vector<mark> marks;
        std::size_t copied = 0, starter = 0;  // [copied, starter) may be copied; the code point at `starter` may yet change
        for (std::size_t at = 0; at < text.size();) {
            if (static_cast<unsigned char>(text[at]) < 0x80) {
                starter = at++;
                continue;
            }
            const detail::unit u = detail::unit_at(text, at);
            if (!may_change(u)) {
                starter = is_stray(u) ? at + 1 : at;
                at += u.length;
                continue;
            }
            while (at < text.size()) {
                const detail::unit next = detail::unit_at(text, at);
                if (!may_change(next)) break;
                at += next.length;
            }
            out += text.substr(copied, starter - copied);
            change(text.substr(starter, at - starter), marks, out);
            copied = starter = at;
        }
        return out.append(text.substr(copied));
    }

private:
    /// Class (0: a starter), place and code point in one number, so that sorting numbers keeps the order of equal classes.
    struct mark {
        std::uint64_t key;

        mark(char32_t code, std::size_t place) noexcept
            : key(static_cast<std::uint64_t>(detail::combining_class(code)) << 56 | static_cast<std::uint64_t>(place) << 21 | code) {}
        char32_t code() const noexcept { return static_cast<char32_t>(key & 0x1FFFFF); }
        std::uint64_t combining() const noexcept { return key >> 56; }
        void become(char32_t code) noexcept { key = (key & ~std::uint64_t{0x1FFFFF}) | code; }
    };

    bool composes() const noexcept { return form == normal_form::nfc || form == normal_form::nfkc; }
    bool compatible() const noexcept { return form == normal_form::nfkc || form == normal_form::nfkd; }
    static bool is_stray(const detail::unit& u) noexcept { return u.code == detail::replacement && u.length == 1; }

    /// False for code points that stay, and before which nothing that came earlier matters.
    bool may_change(const detail::unit& u) const noexcept {
        static constexpr std::uint8_t bits[] = {
            detail::not_composed | detail::joins | detail::nonstarter, detail::decomposes | detail::nonstarter,
            detail::not_compat_composed | detail::joins | detail::nonstarter, detail::compat_decomposes | detail::nonstarter};
        return (detail::normal_flags(u.code) & bits[static_cast<std::size_t>(form)]) != 0;
    }

    /// Appends the normal form of a text of code points.
    void change(std::string_view text, std::vector<mark>& marks, std::string& out) const {
        marks.clear();
        for (std::size_t at = 0; at < text.size();) {
            const detail::unit u = detail::unit_at(text, at);
            detail::decompose(u.code, compatible(), [&](char32_t code) { marks.emplace_back(code, marks.size()); });
            at += u.length;
        }
        order(marks);
        if (composes()) compose(marks);
        for (const mark& m : marks) detail::append_utf8(m.code(), out);
    }

    static void order(std::vector<mark>& marks) {
        const auto is_starter = [](const mark& m) { return m.combining() == 0; };
        for (auto first = marks.begin(); first != marks.end();) {
            first = std::find_if_not(first, marks.end(), is_starter);
            const auto last = std::find_if(first, marks.end(), is_starter);
            std::sort(first, last, [](const mark& a, const mark& b) { return a.key < b.key; });
            first = last;
        }
    }

    static void compose(std::vector<mark>& marks) noexcept {
        std::size_t kept = 0, starter = marks.size();  // none yet
        for (const mark m : marks) {
            if (starter < kept && (kept == starter + 1 || marks[kept - 1].combining() < m.combining()))
                if (const char32_t both = detail::composed(marks[starter].code(), m.code()); both != 0) {
                    marks[starter].become(both);
                    continue;
                }
            if (m.combining() == 0) starter = kept;
            marks[kept++] = m;
        }
        marks.erase(marks.begin() + static_cast<std::ptrdiff_t>(kept), marks.end());
    }
};

}  // namespace skald::text
