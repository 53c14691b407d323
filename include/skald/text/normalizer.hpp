// SPDX-License-Identifier: MIT
#pragma once
// What happens to a text before it is divided: the steps that a model's normalizer is made of. Bytes that are no UTF-8 stay.
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <skald/text/charsmap.hpp>
#include <skald/text/detail/code_point_set.hpp>
#include <skald/text/letter_steps.hpp>
#include <skald/text/pattern.hpp>
#include <skald/text/unicode_form.hpp>

namespace skald::text {

/// Puts a text before every one that is not empty.
struct prepend_step {
    std::string text = "\u2581";

    std::string normalize(std::string_view in) const { return in.empty() ? std::string() : std::string(text).append(in); }
};

/// Writes `with` for every match.
struct replace_step {
    pattern what;
    std::string with;

    std::string normalize(std::string_view in) const {
        pattern_matcher matcher(what);
        matcher.reset(in);
        std::string out;
        std::size_t at = 0;
        for (text_range m; matcher.next(m); at = m.end) out.append(in, at, m.begin - at).append(with);
        return out.append(in.substr(at));
    }

    /// Whether a match at the start of a text is longer than so many bytes.
    bool takes_more(std::string_view in, std::size_t bytes) const {
        pattern_matcher matcher(what);
        matcher.reset(in);
        text_range m{};
        return matcher.next(m) && m.begin == 0 && m.end > bytes;
    }
};

/// Takes spaces from the ends.
struct strip_step {
    bool left = true, right = true;

    std::string normalize(std::string_view in) const {
        const auto is_space_at = [&](std::size_t at) { return detail::is_space(detail::properties_of(detail::code_unit_at(in, at).code)); };
        while (left && !in.empty() && is_space_at(0)) in.remove_prefix(detail::code_unit_at(in, 0).length);
        while (right && !in.empty() && is_space_at(detail::unit_before(in, in.size())))
            in = in.substr(0, detail::unit_before(in, in.size()));
        return std::string(in);
    }
};

using normalizer_step = std::variant<prepend_step, replace_step, strip_step, unicode_form_step, lowercase_step, strip_accents_step,
                                     bert_step, precompiled_step, sentencepiece_step>;

/// Steps in a row. Const members may be called from several threads.
struct normalizer {
    std::vector<normalizer_step> steps{};

    std::string normalize(std::string_view in) const {
        bool first = true;
        return normalize(in, first);
    }

    /// `first`, if it is true, becomes false where the start of the text is removed: what comes out then does not start as it did.
    std::string normalize(std::string_view in, bool& first) const {
        std::string text(in);
        for (const normalizer_step& s : steps) {
            const auto apply = [&](std::string_view part) { return std::visit([&](const auto& step) { return step.normalize(part); }, s); };
            if (first && !text.empty()) {
                const std::size_t unit = detail::code_unit_at(text, 0).length;
                const auto* replace = std::get_if<replace_step>(&s);
                first = !apply(std::string_view(text).substr(0, unit)).empty() && (replace == nullptr || !replace->takes_more(text, unit));
            }
            text = apply(text);
        }
        return text;
    }
};

}  // namespace skald::text
