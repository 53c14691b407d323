// SPDX-License-Identifier: MIT
#pragma once
// Numbers between bounds as grammars over their digits.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/grammar/builder.hpp>

namespace skald::grammar::detail {

/// A decimal number, exact: digits without leading zeros before the point (at least one), without trailing zeros behind it.
struct decimal {
    bool negative = false;
    std::string whole = "0", fraction{};

    bool zero() const noexcept { return whole == "0" && fraction.empty(); }

    /// Of a text as std::to_chars writes numbers.
    static decimal parse(std::string_view text) {
        decimal out;
        if (text.starts_with('-')) {
            out.negative = true;
            text.remove_prefix(1);
        }
        std::string digits;
        std::int64_t point = 0;
        bool behind = false;
        for (; !text.empty() && text[0] != 'e'; text.remove_prefix(1)) {
            if (text[0] == '.') {
                behind = true;
                continue;
            }
            digits += text[0];
            point += behind ? 0 : 1;
        }
        if (!text.empty()) {
            int exponent = 0;
            text.remove_prefix(text[1] == '+' ? 2 : 1);
            std::from_chars(text.data(), text.data() + text.size(), exponent);
            point += exponent;
        }
        if (point < 0) digits.insert(0, static_cast<std::size_t>(-point), '0'), point = 0;
        if (digits.size() < static_cast<std::size_t>(point)) digits.append(static_cast<std::size_t>(point) - digits.size(), '0');
        out.whole = digits.substr(0, static_cast<std::size_t>(point));
        out.fraction = digits.substr(static_cast<std::size_t>(point));
        out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size()));
        if (out.whole.empty()) out.whole = "0";
        while (out.fraction.ends_with('0')) out.fraction.pop_back();
        if (out.zero()) out.negative = false;
        return out;
    }

    /// Order of the absolute values.
    static int compare_magnitude(const decimal& a, const decimal& b) noexcept {
        if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
        const int way = a.whole.compare(b.whole);
        return way != 0 ? way : a.fraction.compare(b.fraction);
    }
    friend bool operator<(const decimal& a, const decimal& b) noexcept {
        if (a.negative != b.negative) return a.negative;
        return a.negative ? compare_magnitude(b, a) < 0 : compare_magnitude(a, b) < 0;
    }
};

struct bound {
    decimal at;
    bool exclusive = false;
};

/// Adds numbers to a builder.
class number_rules {
public:
    static constexpr std::int64_t largest = 999'999'999'999'999'999;  // 18 digits: every program's integers hold them
    static constexpr std::size_t exact_digits = 15;                   // decimals of so many digits are different doubles

    explicit number_rules(builder& out) : out_(out), digit_(out.chars({{'0', '9'}})) {}

    /// Integers of at most 18 digits.
    expression integer() {
        return out_.sequence({minus(), out_.choice({out_.literal("0"), out_.sequence({nonzero(), out_.repeat(digit_, 0, 17)})})});
    }

    /// Numbers of every form, none of which overflows a double.
    expression number() {
        const expression e = out_.chars({{'E', 'E'}, {'e', 'e'}}), sign = out_.optional(out_.chars({{'+', '+'}, {'-', '-'}}));
        const expression size = out_.choice({out_.repeat(digit_, 1, 2), out_.sequence({out_.literal("1"), out_.repeat(digit_, 2, 2)}),
                                             out_.sequence({out_.literal("2"), out_.chars({{'0', '8'}}), digit_})});
        return out_.sequence({integer(), out_.optional(fraction_of(20)), out_.optional(out_.sequence({e, sign, size}))});
    }

    /// Multiples of `step` >= 1 between the bounds, as integers of at most 18 digits.
    expression integers(const std::optional<bound>& low, const std::optional<bound>& high, std::int64_t step) {
        const std::int64_t lo = low ? whole_above(*low) : -largest,
                           hi = high ? -whole_above({negated(high->at), high->exclusive}) : largest;
        if (lo > hi) return out_.never();
        if (lo == -largest && hi == largest && step == 1) return integer();
        std::vector<expression> ways;
        if (lo < 0) ways.push_back(out_.sequence({out_.literal("-"), multiples(std::max<std::int64_t>(1, -hi), -lo, step)}));
        if (hi >= 0) ways.push_back(multiples(std::max<std::int64_t>(0, lo), hi, step));
        return out_.choice(ways);
    }

    /// Decimals without an exponent between bounds, of as many digits as keep them on the right side of the bounds in doubles.
    expression decimals(std::optional<bound> low, std::optional<bound> high) {
        std::size_t wide = 1;
        for (std::optional<bound>* b : {&low, &high}) {
            if (!*b) continue;
            const bool outward = b == &low ? (*b)->at.negative : !(*b)->at.negative;
            if ((*b)->at.whole.size() <= exact_digits)
                wide = std::max(wide, (*b)->at.whole.size());
            else if (outward)
                *b = std::nullopt;  // farther out than any number written here
            else
                fail(errc::unsupported, "", "a bound of a number has more than ", exact_digits, " digits");
        }
        places_ = exact_digits - wide;
        for (const std::optional<bound>& b : {low, high})
            if (b && b->at.fraction.size() > places_)
                fail(errc::unsupported, "", "a bound of a number has more than ", exact_digits, " digits");
        const bound farthest{{false, std::string(exact_digits, '9'), {}}, false};
        const bound zero{};
        std::vector<expression> ways;
        if (!low || low->at.negative) {
            const bool below_zero = high && (high->at.negative || high->at.zero());
            const bound from = below_zero ? bound{negated(high->at), high->exclusive} : zero;
            const bound to = low ? bound{negated(low->at), low->exclusive} : farthest;
            ways.push_back(out_.sequence({out_.literal("-"), magnitudes(from, to)}));
        }
        if (!high || !high->at.negative) {
            const bound from = low && !low->at.negative ? *low : zero;
            ways.push_back(magnitudes(from, high ? *high : farthest));
        }
        return out_.choice(ways);
    }

private:
    static decimal negated(decimal d) {
        d.negative = !d.negative && !d.zero();
        return d;
    }

    /// The least integer that a lower bound admits, within ±largest (one more than `largest` if there is none).
    static std::int64_t whole_above(const bound& b) {
        if (b.at.whole.size() > 18) return b.at.negative ? -largest : largest + 1;
        std::int64_t n = 0;
        std::from_chars(b.at.whole.data(), b.at.whole.data() + b.at.whole.size(), n);
        if (b.at.negative) n = -n;
        const bool between = !b.at.fraction.empty();
        if (between) return b.at.negative ? n : n + 1;
        return std::max(-largest, b.exclusive ? n + 1 : n);
    }

    expression minus() { return out_.optional(out_.literal("-")); }
    expression nonzero() { return out_.chars({{'1', '9'}}); }
    expression fraction_of(std::size_t digits) { return out_.sequence({out_.literal("."), out_.repeat(digit_, 1, digits)}); }

    /// The multiples of `step` in lo … hi, lo >= 0. Trailing zeros of the step are written as they are.
    expression multiples(std::int64_t lo, std::int64_t hi, std::int64_t step) {
        std::string zeros;
        for (; step % 10 == 0; step /= 10) {
            zeros += '0';
            lo = lo / 10 + (lo % 10 != 0);
            hi /= 10;
        }
        std::vector<expression> ways;
        if (!zeros.empty() && lo == 0) {
            ways.push_back(out_.literal("0"));
            lo = 1;
        }
        if (lo <= hi) ways.push_back(out_.sequence({plain_multiples(lo, hi, step), out_.literal(zeros)}));
        return out_.choice(ways);
    }

    expression plain_multiples(std::int64_t lo, std::int64_t hi, std::int64_t step) {
        constexpr std::int64_t listed = 1000, most_remainders = 200;
        std::vector<expression> ways;
        if (step > most_remainders) {
            lo = lo % step == 0 ? lo : lo + (step - lo % step);
            if (lo > hi) return out_.never();
            if ((hi - lo) / step >= listed)
                fail(errc::unsupported, "", "'multipleOf' above ", most_remainders, " needs bounds between which at most ", listed,
                     " multiples lie");
            for (std::int64_t n = lo; n <= hi; n += step) ways.push_back(out_.literal(std::to_string(n)));
            return out_.choice(ways);
        }
        const std::string low = std::to_string(lo), high = std::to_string(hi);
        for (std::size_t length = low.size(); length <= high.size(); ++length) {
            const std::string from = length == low.size() ? low : "1" + std::string(length - 1, '0');
            const std::string to = length == high.size() ? high : std::string(length, '9');
            ways.push_back(digits_between(from, to, 0, true, true, 0, step));
        }
        return out_.choice(ways);
    }

    /// Digit strings from place `at` on of numbers in from … to that leave no remainder; `tight` where the digits so far are the
    /// bound's. Recursion as deep as digits.
    expression digits_between(const std::string& from, const std::string& to, std::size_t at, bool tight_low, bool tight_high,
                              std::int64_t remainder, std::int64_t step) {
        if (at == from.size()) return remainder == 0 ? out_.empty() : out_.never();
        if (!tight_low && !tight_high) return free_digits(from.size() - at, remainder, step);
        const char first = tight_low ? from[at] : '0', last = tight_high ? to[at] : '9';
        std::vector<expression> ways;
        for (char d = first; d <= last; ++d) {
            const bool low = tight_low && d == first, high = tight_high && d == last;
            const std::int64_t rest = (remainder * 10 + (d - '0')) % step;
            ways.push_back(out_.sequence({out_.literal({&d, 1}), digits_between(from, to, at + 1, low, high, rest, step)}));
        }
        return out_.choice(ways);
    }

    /// `count` digits that, behind a number of this remainder, leave none.
    expression free_digits(std::size_t count, std::int64_t remainder, std::int64_t step) {
        if (step == 1) return out_.repeat(digit_, count, count);
        if (count == 0) return remainder == 0 ? out_.empty() : out_.never();
        const auto [found, made] = free_.try_emplace({count, remainder, step}, 0);
        if (!made) return out_.call(found->second);
        const rule_id rule = out_.rule("multiples");
        found->second = rule;
        std::vector<expression> ways;
        for (char d = '0'; d <= '9'; ++d)
            ways.push_back(out_.sequence({out_.literal({&d, 1}), free_digits(count - 1, (remainder * 10 + (d - '0')) % step, step)}));
        out_.define(rule, out_.choice(ways));
        return out_.call(rule);
    }

    /// Decimals without sign between bounds that are not negative, of at most 15 digits before the point.
    expression magnitudes(const bound& from, const bound& to) {
        if (const int way = decimal::compare_magnitude(from.at, to.at); way > 0 || (way == 0 && (from.exclusive || to.exclusive)))
            return out_.never();
        const std::string &low = from.at.whole, &high = to.at.whole;
        if (low == high) return out_.sequence({out_.literal(low), fractions(&from, &to)});
        const std::int64_t first = std::stoll(low) + 1, last = std::stoll(high) - 1;
        std::vector<expression> ways{out_.sequence({out_.literal(low), fractions(&from, nullptr)}),
                                     out_.sequence({out_.literal(high), fractions(nullptr, &to)})};
        if (first <= last) ways.push_back(out_.sequence({plain_multiples(first, last, 1), fractions(nullptr, nullptr)}));
        return out_.choice(ways);
    }

    /// Fractions, point included or none at all, between those of the bounds that are given.
    expression fractions(const bound* from, const bound* to) {
        std::vector<expression> ways;
        if (may_stop(from, to, 0)) ways.push_back(out_.empty());
        if (places_ > 0) ways.push_back(out_.sequence({out_.literal("."), more_places(from, to, 0)}));
        return out_.choice(ways);
    }

    /// Whether the digits so far, those of the bounds given, are a number between them. Digits behind a bound's last are zeros.
    static bool may_stop(const bound* from, const bound* to, std::size_t at) noexcept {
        if (from != nullptr && (at < from->at.fraction.size() || from->exclusive)) return false;
        return to == nullptr || at < to->at.fraction.size() || !to->exclusive;
    }

    /// One digit or more from place `at` on.
    expression more_places(const bound* from, const bound* to, std::size_t at) {
        if (at == places_) return out_.never();
        if (from == nullptr && to == nullptr) return out_.repeat(digit_, 1, places_ - at);
        const auto digit_of = [&](const bound* b) { return at < b->at.fraction.size() ? b->at.fraction[at] : '0'; };
        const char first = from != nullptr ? digit_of(from) : '0', last = to != nullptr ? digit_of(to) : '9';
        std::vector<expression> ways;
        for (char d = first; d <= last; ++d) {
            const bound* low = d == first ? from : nullptr;
            const bound* high = d == last ? to : nullptr;
            std::vector<expression> rest{more_places(low, high, at + 1)};
            if (may_stop(low, high, at + 1)) rest.push_back(out_.empty());
            ways.push_back(out_.sequence({out_.literal({&d, 1}), out_.choice(rest)}));
        }
        return out_.choice(ways);
    }

    builder& out_;
    expression digit_;
    std::size_t places_ = 0;  // behind the point
    std::map<std::tuple<std::size_t, std::int64_t, std::int64_t>, rule_id> free_;
};

}  // namespace skald::grammar::detail
