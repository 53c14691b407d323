// SPDX-License-Identifier: MIT
#pragma once
// What a rendering may use up, and the time it sees.
#include <cstddef>

#include <skald/core/once.hpp>

namespace skald::text::jinja {

/// What a rendering may use. Exceeding one throws errc::bad_file.
struct limits {
    std::size_t steps = 20'000'000;              ///< parts of the template evaluated, and bytes of text worked on / 16
    std::size_t bytes = std::size_t{256} << 20;  ///< memory of its values at any moment
    int depth = 500;                             ///< nested expressions, statements and macro calls
};

/// A local time, as strftime_now is to see it.
struct calendar_time {
    int year = 1970, month = 1, day = 1;  ///< month and day from 1
    int hour = 0, minute = 0, second = 0;
};

/// The time now in the machine's time zone.
SKALD_FUNCTION calendar_time local_now();

}  // namespace skald::text::jinja
