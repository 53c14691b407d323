// SPDX-License-Identifier: MIT
#pragma once
// The variables of a running template: scopes within scopes, the variables it was given around them all.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/text/jinja/value.hpp>

namespace skald::text::jinja::detail {

/// Names are views into the template, which outlives the rendering.
class scope {
public:
    scope(std::shared_ptr<const scope> parent, const std::vector<std::string>* unset) : parent_(std::move(parent)), unset_(unset) {}

    void set(std::string_view name, value v) {
        for (auto& [known, old] : variables_)
            if (known == name) {
                old = std::move(v);
                return;
            }
        variables_.emplace_back(name, std::move(v));
    }

    /// The variable of that name here or around; null if there is none. `ends` tells that a scope hides what stands outside.
    const value* find(std::string_view name, bool& ends) const {
        for (const scope* s = this; s != nullptr; s = s->parent_.get()) {
            for (const auto& [known, v] : s->variables_)
                if (known == name) return &v;
            if (s->unset_ != nullptr && std::find(s->unset_->begin(), s->unset_->end(), name) != s->unset_->end()) {
                ends = true;
                return nullptr;
            }
        }
        return nullptr;
    }

    std::size_t bytes() const noexcept { return sizeof(scope) + variables_.capacity() * sizeof(variables_[0]); }

private:
    std::shared_ptr<const scope> parent_;
    const std::vector<std::string>* unset_;
    std::vector<std::pair<std::string_view, value>> variables_;
};

using scope_ref = std::shared_ptr<scope>;

}  // namespace skald::text::jinja::detail
