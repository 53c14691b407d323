// SPDX-License-Identifier: MIT
#pragma once
// Where the end of a sequence stood before. The Z-function (Gusfield, "Algorithms on strings, trees and sequences", 1997), read
// from the end of the sequence.
#include <algorithm>
#include <cstddef>
#include <span>

#include <skald/core/types.hpp>

namespace skald::sampling::detail {

/// matches[i] becomes the number of tokens, ending with tokens[i], that equal as many at the end of `tokens`, at most `limit`; 0 for the
/// last one. // matches: (tokens.size()), no more than 2^31 - 1
/// Linear in the tokens, whatever they are.
inline void suffix_matches(std::span<const token_id> tokens, std::size_t limit, std::span<token_id> matches) noexcept {
    const std::size_t n = tokens.size();
    if (n == 0) return;
    const auto at = [&](std::size_t back) { return tokens[n - 1 - back]; };
    const auto match = [&](std::size_t back) -> token_id& { return matches[n - 1 - back]; };
    match(0) = 0;
    std::size_t left = 0, end = 0;  // [left, end), counted from the back, equals as many tokens at the end: the furthest end known
    for (std::size_t k = 1; k < n; ++k) {
        std::size_t length = 0;
        if (k < end) length = std::min(static_cast<std::size_t>(match(k - left)), end - k);
        if (k + length >= end)
            while (length < limit && k + length < n && at(length) == at(k + length)) ++length;
        if (k + length > end) {
            left = k;
            end = k + length;
        }
        match(k) = static_cast<token_id>(length);
    }
}

}  // namespace skald::sampling::detail
