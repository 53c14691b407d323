// SPDX-License-Identifier: MIT
#pragma once
// SentencePiece's own normalization, which its models carry as a precompiled map: byte sequences and what they become, found by a
// double-array trie (Aoe 1989; the layout of darts-clone).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/text/detail/clusters.hpp>
#include <skald/text/detail/utf8.hpp>

namespace skald::text {

/// A precompiled map. Every index that the trie gives is checked when it is used; one that leads outside ends the search.
class charsmap {
public:
    /// A key found at the start of a text: its length and what stands for it.
    struct match {
        std::size_t length;
        std::string_view becomes;
    };

    charsmap() noexcept = default;  ///< maps nothing

    /// `data`: the size of the trie in bytes (32 bits, little-endian), the trie, strings that end with NUL. Empty data maps nothing.
    /// Throws errc::bad_file if the parts do not fit in.
    charsmap(std::string data, std::string_view place) : data_(std::move(data)) {
        if (data_.empty()) return;
        const std::size_t trie = data_.size() < 4 ? 0 : word(0);
        if (trie < 4 || trie % 4 != 0 || trie > data_.size() - 4)
            fail(errc::bad_file, place, "the precompiled character map has ", data_.size(), " bytes, but its trie ", trie,
                 "; a multiple of 4 that fits is needed");
        units_ = trie / 4;
        if (strings().empty() || strings().back() != '\0')
            fail(errc::bad_file, place, "the strings of the precompiled character map do not end with a NUL");
    }

    bool empty() const noexcept { return units_ == 0; }

    /// The longest key that the text starts with.
    std::optional<match> longest(std::string_view text) const noexcept {
        std::optional<match> out;
        search(text, [&](const match& m) {
            out = m;
            return true;
        });
        return out;
    }

    /// The shortest key that the text starts with.
    std::optional<match> shortest(std::string_view text) const noexcept {
        std::optional<match> out;
        search(text, [&](const match& m) {
            out = m;
            return false;
        });
        return out;
    }

private:
    std::uint32_t word(std::size_t at) const noexcept {
        std::uint32_t out = 0;
        for (std::size_t i = 4; i-- > 0;) out = out << 8 | static_cast<unsigned char>(data_[at + i]);
        return out;
    }

    std::string_view strings() const noexcept { return std::string_view(data_).substr(4 + 4 * units_); }
    std::uint32_t unit(std::size_t i) const noexcept { return word(4 + 4 * i); }

    /// A unit: bits 10 to 30, shifted by 8 more if bit 9 is set, lead to its children; bit 8: a key ends here.
    static std::size_t offset(std::uint32_t unit) noexcept { return static_cast<std::size_t>(unit >> 10) << ((unit & 0x200) >> 6); }

    /// Calls `found(match)` for each key that the text starts with, shortest first, until it says false.
    template <class Found>
    void search(std::string_view text, Found found) const noexcept {
        if (empty()) return;
        std::size_t at = offset(unit(0));
        for (std::size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
            const auto byte = static_cast<unsigned char>(text[i]);
            at ^= byte;
            if (at >= units_) return;
            const std::uint32_t u = unit(at);
            if ((u & 0x800000FF) != byte) return;
            at ^= offset(u);
            if ((u & 0x100) == 0) continue;
            if (at >= units_) return;
            const std::size_t string = unit(at) & 0x7FFFFFFF;
            if (string >= strings().size()) return;
            const std::string_view rest = strings().substr(string);
            if (!found({i + 1, rest.substr(0, rest.find('\0'))})) return;
        }
    }

    std::string data_;
    std::size_t units_ = 0;
};

/// The map as Hugging Face's tokenizers apply it: to clusters of less than 6 bytes as a whole, by the shortest key they start with, and
/// else to single code points. Bytes that are no UTF-8 stay.
struct precompiled_step {
    charsmap map{};

    std::string normalize(std::string_view text) const {
        std::string out;
        out.reserve(text.size());
        while (!text.empty()) {
            const std::string_view cluster = text.substr(0, detail::cluster_length(text));
            text.remove_prefix(cluster.size());
            if (cluster.size() < 6 && write(cluster, out)) continue;
            for (std::size_t at = 0, length = 0; at < cluster.size(); at += length) {
                length = detail::unit_at(cluster, at).length;
                const std::string_view unit = cluster.substr(at, length);
                if (!write(unit, out)) out += unit;
            }
        }
        return out;
    }

private:
    bool write(std::string_view part, std::string& out) const {
        const std::optional<charsmap::match> m = map.shortest(part);
        if (m) out += m->becomes;
        return m.has_value();
    }
};

/// The map as SentencePiece applies it: always the longest key; and what it does to blanks. Bytes that are no UTF-8 stay.
struct sentencepiece_step {
    charsmap map{};
    bool add_prefix = true;     ///< puts a blank before the text, if there is anything in it
    bool remove_extra = false;  ///< takes blanks from the ends, and leaves one of several
    std::string blank = "\u2581";

    std::string normalize(std::string_view text) const {
        bool prefix = add_prefix && !text.empty();
        std::string mapped;
        mapped.reserve(text.size());
        while (!text.empty()) {
            const charsmap::match m = next(text);
            mapped += m.becomes;
            text.remove_prefix(m.length);
        }
        std::string_view rest = mapped;
        if (remove_extra) {
            rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
            rest = rest.substr(0, rest.find_last_not_of(' ') + 1);
            prefix = prefix && !rest.empty();
        }
        std::string out;
        out.reserve(rest.size() + rest.size() / 4 + blank.size());
        if (prefix) out += blank;
        for (std::size_t i = 0; i < rest.size(); ++i) {
            if (rest[i] != ' ')
                out += rest[i];
            else if (!remove_extra || rest[i - 1] != ' ')
                out += blank;
        }
        return out;
    }

private:
    charsmap::match next(std::string_view text) const noexcept {
        if (const auto m = map.longest(text)) return *m;
        const std::size_t length = detail::unit_at(text, 0).length;
        return {length, text.substr(0, length)};
    }
};

}  // namespace skald::text
