// SPDX-License-Identifier: MIT
#pragma once
// A sampling chain put together at run time, for programs whose user chooses the parts.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
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
    using process_function = std::function<void(candidates&, const context&)>;
    using select_function = std::function<token_id(candidates&, const context&)>;

    /// Puts a processor at the end of the list.
    template <processor Part>
    dynamic_chain& add(Part part) {
        processors_.push_back([part = std::move(part)](candidates& c, const context& x) mutable { call_part(part, c, x); });
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
        for (const process_function& part : processors_) {
            part(c, x);
            detail::require_some(c);
        }
    }

private:
    std::vector<process_function> processors_;
    select_function selector_ = sample{};
    candidates candidates_;
};

}  // namespace skald::sampling
