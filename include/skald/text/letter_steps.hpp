// SPDX-License-Identifier: MIT
#pragma once
// Normalizers that change or remove single letters and marks, as Hugging Face's tokenizers have them: Lowercase, StripAccents,
// BertNormalizer. Bytes that are no UTF-8 stay as they are.
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/text/detail/normalization.hpp>
#include <skald/text/detail/utf8.hpp>
#include <skald/text/unicode_form.hpp>

namespace skald::text {

namespace detail {

/// A text with every code point replaced by what `write(code, out)` appends for it.
template <class Write>
std::string rewritten(std::string_view text, Write write) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const unit u = unit_at(text, at);
        if (u.code == replacement && u.length == 1)
            out += text[at];
        else
            write(u.code, out);
        at += u.length;
    }
    return out;
}

}  // namespace detail

/// Lower case, letter by letter: without regard to words or languages.
struct lowercase_step {
    std::string normalize(std::string_view text) const {
        return detail::rewritten(text, [](char32_t code, std::string& out) {
            if (code == 0x130)
                out += "i\u0307";
            else
                detail::append_utf8(detail::lower_of(code), out);
        });
    }
};

/// Removes combining marks; accents that are part of a letter's code point stay.
struct strip_accents_step {
    std::string normalize(std::string_view text) const {
        return detail::rewritten(text, [](char32_t code, std::string& out) {
            if ((detail::normal_flags(code) & detail::accent) == 0) detail::append_utf8(code, out);
        });
    }
};

/// What BERT does to a text before words are looked for: four steps in this order.
struct bert_step {
    bool clean_text = true;     ///< removes controls and U+FFFD, makes every white space a blank
    bool chinese_chars = true;  ///< puts blanks around ideographs
    bool strip_accents = true;  ///< accents that are part of a letter's code point too
    bool lowercase = true;

    std::string normalize(std::string_view text) const {
        std::string out = detail::rewritten(text, [this](char32_t code, std::string& to) { write(code, to); });
        if (strip_accents)
            out = detail::rewritten(unicode_form_step{normal_form::nfd}.normalize(out), [](char32_t code, std::string& to) {
                if ((detail::normal_flags(code) & detail::nonspacing) == 0) detail::append_utf8(code, to);
            });
        return lowercase ? lowercase_step{}.normalize(out) : out;
    }

private:
    /// The blocks that BERT calls Chinese; the one from U+2B920 starts where Hugging Face's does.
    static constexpr bool is_ideograph(char32_t code) noexcept {
        return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) || (code >= 0x20000 && code <= 0x2A6DF) ||
               (code >= 0x2A700 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) || (code >= 0xF900 && code <= 0xFAFF) ||
               (code >= 0x2F800 && code <= 0x2FA1F);
    }

    void write(char32_t code, std::string& out) const {
        if (clean_text && detail::is_bert_control(code)) return;
        if (clean_text && (detail::class_of(code) & detail::space) != 0) code = ' ';
        const bool alone = chinese_chars && is_ideograph(code);
        if (alone) out += ' ';
        detail::append_utf8(code, out);
        if (alone) out += ' ';
    }
};

}  // namespace skald::text
