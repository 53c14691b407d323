// SPDX-License-Identifier: MIT
#pragma once
// How the states of a text's tokens become one vector.
#include <cstdint>
#include <optional>
#include <string_view>

namespace skald {

/// Which rows a text's vector is made of.
enum class pooling : std::uint8_t {
    mean,  ///< the mean of all rows
    last,  ///< the last row: in a causal model the one that has read everything
    cls,   ///< the first row
};

/// The pooling of that name, if there is one.
constexpr std::optional<pooling> pooling_of(std::string_view name) noexcept {
    if (name == "mean") return pooling::mean;
    if (name == "last") return pooling::last;
    if (name == "cls") return pooling::cls;
    return std::nullopt;
}

}  // namespace skald
