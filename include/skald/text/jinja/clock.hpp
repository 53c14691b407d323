// SPDX-License-Identifier: MIT
#pragma once
// Dates for strftime_now: the conversions of C's strftime in the C locale, from a time that the host gives.
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

namespace detail {

constexpr bool is_leap_year(int y) noexcept { return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0); }
constexpr int days_of_month(int y, int m) noexcept {
    constexpr std::array<int, 12> days{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[static_cast<std::size_t>(m - 1)] + (m == 2 && is_leap_year(y) ? 1 : 0);
}

/// The day of the year from 0.
constexpr int day_of_year(const calendar_time& t) noexcept {
    int day = t.day - 1;
    for (int m = 1; m < t.month; ++m) day += days_of_month(t.year, m);
    return day;
}

/// Days from Sunday (Zeller).
constexpr int weekday(const calendar_time& t) noexcept {
    const int shifted = t.month < 3 ? t.month + 12 : t.month, year = t.month < 3 ? t.year - 1 : t.year;
    return (t.day + 13 * (shifted + 1) / 5 + year + year / 4 - year / 100 + year / 400 + 6) % 7;
}
static_assert(weekday({2024, 2, 29}) == 4 && weekday({2000, 1, 1}) == 6);

/// The year and week of ISO 8601, in which weeks start on Monday and belong where their Thursday lies.
struct iso_week {
    int year, week;
};
constexpr iso_week iso_week_of(const calendar_time& t) noexcept {
    const int from_monday = (weekday(t) + 6) % 7;
    const int thursday = day_of_year(t) - from_monday + 3;
    const int days = is_leap_year(t.year) ? 366 : 365;
    if (thursday >= days) return {t.year + 1, 1};
    if (thursday < 0) return {t.year - 1, (thursday + (is_leap_year(t.year - 1) ? 366 : 365)) / 7 + 1};
    return {t.year, thursday / 7 + 1};
}

inline std::string filled(int n, std::size_t width, char fill = '0') {
    std::string out = std::to_string(n);
    return out.size() < width ? std::string(width - out.size(), fill) + out : out;
}

}  // namespace detail

/// strftime. What it does not know stays as it stands.
inline std::string format_time(const calendar_time& t, std::string_view format) {
    constexpr std::array<std::string_view, 7> days{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    constexpr std::array<std::string_view, 12> months{"January", "February", "March",     "April",   "May",      "June",
                                                      "July",    "August",   "September", "October", "November", "December"};
    const std::string_view day = days[static_cast<std::size_t>(detail::weekday(t))], month = months[static_cast<std::size_t>(t.month - 1)];
    const int hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12, yday = detail::day_of_year(t), wday = detail::weekday(t);
    using detail::filled;
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%' || i + 1 == format.size()) {
            out += format[i];
            continue;
        }
        const std::size_t start = i++;
        const bool bare = format[i] == '-' && i + 1 < format.size();
        if (bare) ++i;
        const auto two = [&](int n, char fill = '0') { return filled(n, bare ? 1 : 2, fill); };
        switch (format[i]) {
            case 'a': out += day.substr(0, 3); break;
            case 'A': out += day; break;
            case 'b':
            case 'h': out += month.substr(0, 3); break;
            case 'B': out += month; break;
            case 'c': out += format_time(t, "%a %b %e %H:%M:%S %Y"); break;
            case 'C': out += two(t.year / 100); break;
            case 'd': out += two(t.day); break;
            case 'D':
            case 'x': out += format_time(t, "%m/%d/%y"); break;
            case 'e': out += two(t.day, ' '); break;
            case 'F': out += format_time(t, "%Y-%m-%d"); break;
            case 'f': out += "000000"; break;
            case 'g': out += two(detail::iso_week_of(t).year % 100); break;
            case 'G': out += std::to_string(detail::iso_week_of(t).year); break;
            case 'H': out += two(t.hour); break;
            case 'I': out += two(hour12); break;
            case 'j': out += filled(yday + 1, bare ? 1 : 3); break;
            case 'k': out += two(t.hour, ' '); break;
            case 'l': out += two(hour12, ' '); break;
            case 'm': out += two(t.month); break;
            case 'M': out += two(t.minute); break;
            case 'n': out += '\n'; break;
            case 'p': out += t.hour < 12 ? "AM" : "PM"; break;
            case 'P': out += t.hour < 12 ? "am" : "pm"; break;
            case 'r': out += format_time(t, "%I:%M:%S %p"); break;
            case 'R': out += format_time(t, "%H:%M"); break;
            case 'S': out += two(t.second); break;
            case 't': out += '\t'; break;
            case 'T':
            case 'X': out += format_time(t, "%H:%M:%S"); break;
            case 'u': out += std::to_string(wday == 0 ? 7 : wday); break;
            case 'U': out += two((yday + 7 - wday) / 7); break;
            case 'V': out += two(detail::iso_week_of(t).week); break;
            case 'w': out += std::to_string(wday); break;
            case 'W': out += two((yday + 7 - (wday + 6) % 7) / 7); break;
            case 'y': out += two(t.year % 100); break;
            case 'Y': out += std::to_string(t.year); break;
            case 'z':
            case 'Z': break;  // a time without zone
            case '%': out += '%'; break;
            default: out += format.substr(start, i + 1 - start);
        }
    }
    return out;
}

}  // namespace skald::text::jinja

SKALD_COLD_END
