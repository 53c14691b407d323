// SPDX-License-Identifier: MIT
#pragma once
// A sampling chain put together at run time, for programs whose user chooses the parts.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/sampling/chain.hpp>

namespace skald::sampling {

/// A list of processors and a selector, `sample` where none is set. choose() is that of `chain`, and gives the same tokens for
/// the same parts.
class dynamic_chain {
public:
    using select_function = std::function<token_id(candidates&, const context&)>;

    /// Puts a processor at the end of the list.
    template <processor Part>
    dynamic_chain& add(Part part) {
        processors_.push_back([part = std::move(part)](const context& x, const work& w) mutable {
            if (w.process != nullptr) return call_part(part, *w.process, x);
            if constexpr (requires { part.forced(x, w.encode); }) *w.forced = part.forced(x, w.encode);
        });
        return *this;
    }

    /// Sets the selector.
    template <selector Part>
    dynamic_chain& select(Part part) {
        selector_ = [part = std::move(part)](candidates& c, const context& x) mutable { return call_part(part, c, x); };
        return *this;
    }

    std::size_t size() const noexcept { return processors_.size(); }  ///< number of processors

    /// As chain::choose().
    choice choose(std::span<const float> logits, std::span<const token_id> history, std::uint64_t seed, std::uint64_t step) {
        const float max = detail::highest(logits);
        const context x{history, step, seed};
        candidates_.assign(logits);
        process(candidates_, x);
        return detail::make_choice(logits, max, selector_(candidates_, x));
    }

    /// As chain::process().
    void process(candidates& c, const context& x) const {
        for (const part_function& part : processors_) {
            part(x, {.process = &c});
            detail::require_some(c);
        }
    }

    /// As chain::forced().
    template <class Encode>
    std::vector<token_id> forced(const context& x, Encode encode) const {
        std::vector<token_id> out;
        for (std::size_t i = 0; i < processors_.size() && out.empty(); ++i) processors_[i](x, {.encode = encode, .forced = &out});
        return out;
    }

private:
    /// What a part is called for: to process candidates, or to tell the tokens that come next in any case.
    struct work {
        candidates* process = nullptr;
        std::function<std::vector<token_id>(std::string_view)> encode{};
        std::vector<token_id>* forced = nullptr;
    };
    using part_function = std::function<void(const context&, const work&)>;

    std::vector<part_function> processors_;
    select_function selector_ = sample{};
    candidates candidates_;
};

}  // namespace skald::sampling
