// SPDX-License-Identifier: MIT
#pragma once
// The eviction policies of specs behind one type, so that a cache of a run-time kind compiles one storage for all of them.
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <variant>

#include <skald/kv/eviction.hpp>
#include <skald/kv/eviction_policies.hpp>
#include <skald/kv/spec.hpp>

namespace skald::kv::detail {

class named_eviction {
public:
    named_eviction() = default;
    explicit named_eviction(eviction_kind kind) : policy_(of(kind)) {}

    std::string name() const {
        return std::visit([](const auto& p) { return p.name(); }, policy_);
    }
    std::string settings() const {
        return std::visit([](const auto& p) { return p.settings(); }, policy_);
    }
    std::size_t layer_budget(std::size_t layer, std::size_t layers, std::size_t budget) const {
        return std::visit([&](const auto& p) { return detail::layer_budget(p, layer, layers, budget); }, policy_);
    }
    std::size_t observed(std::size_t rows) const {
        return std::visit([&](const auto& p) { return observed_rows(p, rows); }, policy_);
    }
    bool whole_layer() const {
        return std::visit([](const auto& p) { return detail::whole_layer(p); }, policy_);
    }
    bool whole_steps() const {
        return std::visit([](const auto& p) { return detail::whole_steps(p); }, policy_);
    }
    float fresh_score() const {
        return std::visit([](const auto& p) { return detail::fresh_score(p); }, policy_);
    }
    void observe(const kept_tokens& kept, const observed_row& row) const {
        const auto see = [&](const auto& p) {
            if constexpr (observing_policy<std::remove_cvref_t<decltype(p)>>) p.observe(kept, row);
        };
        std::visit(see, policy_);
    }
    void worth(const kept_tokens& kept, std::span<float> worth) const {
        std::visit([&](const auto& p) { p.worth(kept, worth); }, policy_);
    }

private:
    using kinds = std::variant<recent, h2o, tova, snapkv, pyramid>;

    static kinds of(eviction_kind kind) {
        switch (kind) {
            case eviction_kind::recent: return recent{};
            case eviction_kind::sinks: return recent{.sinks = 4};
            case eviction_kind::tova: return tova{};
            case eviction_kind::snapkv: return snapkv{};
            case eviction_kind::pyramid: return pyramid{};
            case eviction_kind::h2o: break;
        }
        return h2o{};
    }
    kinds policy_;
};

static_assert(observing_policy<named_eviction>);

}  // namespace skald::kv::detail
