// SPDX-License-Identifier: MIT
#pragma once
// Whether a text follows a grammar.
#include <memory>
#include <string_view>
#include <utility>

#include <skald/grammar/gbnf.hpp>
#include <skald/grammar/matcher.hpp>

namespace skald::test {

enum class verdict { no, begins, yes };  // no text of the grammar begins so; one does; it is one

class follower {
public:
    explicit follower(grammar::rules r) : matcher_(std::make_shared<const grammar::rules>(std::move(r))) {}
    explicit follower(std::string_view gbnf) : follower(grammar::parse_gbnf(gbnf)) {}

    verdict operator()(std::string_view text) {
        const grammar::match_state s = matcher_.next(matcher_.start(), text);
        return s == grammar::matcher::dead ? verdict::no : matcher_.accepts(s) ? verdict::yes : verdict::begins;
    }
    bool accepts(std::string_view text) { return (*this)(text) == verdict::yes; }
    grammar::matcher& matcher() { return matcher_; }

private:
    grammar::matcher matcher_;
};

}  // namespace skald::test
