// SPDX-License-Identifier: MIT
#pragma once
// The variable `loop`: where a for loop stands. It looks one value ahead only when asked.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/access.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

class loop_state final : public callable {
public:
    using source = std::function<std::optional<value>()>;
    using recursion = std::function<value(const value& iterable, int depth)>;

    /// `length` if it is known; `recurse` renders the body of a recursive loop over other values, null for other loops.
    loop_state(source next, std::optional<std::size_t> length, int depth, recursion recurse)
        : next_(std::move(next)), length_(length), depth_(depth), recurse_(std::move(recurse)) {}

    /// Moves on; false at the end.
    bool advance() {
        std::optional<value> v = peek();
        after_.reset();
        peeked_ = false;
        if (!v) return false;
        previous_ = std::exchange(current_, std::move(v));
        ++index_;
        return true;
    }

    const value& current() const { return *current_; }

    std::string description() const override { return concat("<LoopContext ", index_, "/", length_.value_or(0), ">"); }

    value call(runtime& rt, call_arguments args) override {
        const parameters p(rt, "loop", args, {"iterable"}, 1);
        if (!recurse_) rt.fail("The loop must have the 'recursive' marker to be called recursively.");
        return recurse_(p[0], depth_ + 1);
    }

    std::optional<value> attribute(runtime& rt, std::string_view name) override {
        const auto number = [](std::int64_t n) { return std::optional(value(n)); };
        if (name == "index") return number(index_);
        if (name == "index0") return number(index_ - 1);
        if (name == "first") return value(index_ == 1);
        if (name == "last") return value(!peek().has_value());
        if (name == "length") return number(length(rt));
        if (name == "revindex") return number(length(rt) - index_ + 1);
        if (name == "revindex0") return number(length(rt) - index_);
        if (name == "depth") return number(depth_ + 1);
        if (name == "depth0") return number(depth_);
        if (name == "previtem") return previous_ && index_ > 1 ? *previous_ : rt.undefined("there is no previous item");
        if (name == "nextitem") return peek() ? *after_ : rt.undefined("there is no next item");
        if (name == "cycle")
            return rt.make_function("cycle", [this](runtime& r, call_arguments& args) {
                if (args.positional.empty()) r.fail("no items for cycling given");
                return args.positional[static_cast<std::size_t>(index_ - 1) % args.positional.size()];
            });
        if (name == "changed")
            return rt.make_function("changed", [this](runtime& r, call_arguments& args) {
                const value now = r.tuple(std::move(args.positional));
                const bool differs = !last_seen_ || !equal(r, *last_seen_, now);
                last_seen_ = now;
                return value(differs);
            });
        return std::nullopt;
    }

private:
    const std::optional<value>& peek() {
        if (!std::exchange(peeked_, true)) after_ = next_();
        return after_;
    }

    std::int64_t length(runtime& rt) {
        if (!length_) {
            std::vector<value> rest;
            peek();
            while (auto v = next_()) {
                rt.require(rest.size() + 1, 2 * sizeof(value));
                rest.push_back(std::move(*v));
            }
            length_ = static_cast<std::size_t>(index_) + (after_ ? 1 : 0) + rest.size();
            next_ = [s = rt.list(std::move(rest)).as<sequence>(), at = std::size_t{0}]() mutable -> std::optional<value> {
                return at < s->items.size() ? std::optional(s->items[at++]) : std::nullopt;
            };
        }
        return static_cast<std::int64_t>(*length_);
    }

    source next_;
    std::optional<std::size_t> length_;
    const int depth_;
    const recursion recurse_;
    std::int64_t index_ = 0;
    bool peeked_ = false;
    std::optional<value> previous_, current_, after_, last_seen_;
};

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
