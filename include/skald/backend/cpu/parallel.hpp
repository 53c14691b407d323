// SPDX-License-Identifier: MIT
#pragma once
// How ops hand their parts to the executor.
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <skald/backend/cpu/isa.hpp>
#include <skald/core/executor.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// An executor or none; none is the calling thread alone.
struct workers {
    executor* pool = nullptr;

    std::size_t count() const noexcept { return pool == nullptr ? 1 : pool->concurrency(); }

    /// body(0) … body(parts - 1).
    template <class F>
    void run(std::size_t parts, F&& body) const {
        if (pool == nullptr || parts <= 1)
            for (std::size_t i = 0; i < parts; ++i) body(i);
        else
            pool->run(parts, body);
    }

    /// body(begin, end) or body(begin, end, piece) over [0, n) in pieces of at least `least`, a piece a worker at most.
    template <class F>
    void split(std::size_t n, std::size_t least, F&& body) const {
        const std::size_t parts = std::clamp<std::size_t>(n / std::max<std::size_t>(least, 1), 1, count());
        run(parts, [&](std::size_t i) {
            const std::size_t begin = n * i / parts, end = n * (i + 1) / parts;
            if constexpr (std::is_invocable_v<F&, std::size_t, std::size_t, std::size_t>)
                body(begin, end, i);
            else
                body(begin, end);
        });
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
