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
        std::string text(in);
        for (const normalizer_step& s : steps) text = std::visit([&](const auto& step) { return step.normalize(text); }, s);
        return text;
    }
};

}  // namespace skald::text
