// SPDX-License-Identifier: MIT
#pragma once
// Arithmetic on sizes that come from outside (files, options). A `checked_size` never wraps: overflow throws, naming the
// place it was built for. Sizes that are known to fit stay plain std::size_t.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include <skald/core/error.hpp>

namespace skald {

/// A std::uint64_t whose sums, products and round-ups throw errc::bad_file instead of wrapping. `place` must outlive it.
class checked_size {
public:
    constexpr checked_size(std::uint64_t value, std::string_view place) noexcept : value_(value), place_(place) {}

    constexpr std::uint64_t value() const noexcept { return value_; }

    /// The value as std::size_t; throws where std::size_t is narrower and the value does not fit.
    std::size_t size() const {
        if (value_ > std::numeric_limits<std::size_t>::max()) fail(errc::bad_file, place_, "size ", value_, " does not fit this machine");
        return static_cast<std::size_t>(value_);
    }

    friend checked_size operator+(checked_size a, std::uint64_t b) {
        if (b > max() - a.value_) fail(errc::bad_file, a.place_, "the sum of sizes ", a.value_, " + ", b, " overflows 64 bits");
        return {a.value_ + b, a.place_};
    }

    friend checked_size operator*(checked_size a, std::uint64_t b) {
        if (b != 0 && a.value_ > max() / b)
            fail(errc::bad_file, a.place_, "the product of sizes ", a.value_, " × ", b, " overflows 64 bits");
        return {a.value_ * b, a.place_};
    }

    /// The least multiple of `unit` (a positive number) that is not below the value.
    friend checked_size round_up(checked_size a, std::uint64_t unit) {
        const std::uint64_t rest = a.value_ % unit;
        return rest == 0 ? a : a + (unit - rest);
    }

private:
    static constexpr std::uint64_t max() noexcept { return std::numeric_limits<std::uint64_t>::max(); }

    std::uint64_t value_;
    std::string_view place_;
};

/// The least multiple of `unit` that is not below `n`; for sizes known not to wrap.
constexpr std::size_t round_up(std::size_t n, std::size_t unit) noexcept { return (n + unit - 1) / unit * unit; }

/// n / unit, rounded up; for sizes known not to wrap.
constexpr std::size_t ceil_div(std::size_t n, std::size_t unit) noexcept { return (n + unit - 1) / unit; }

}  // namespace skald
