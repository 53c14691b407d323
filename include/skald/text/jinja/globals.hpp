// SPDX-License-Identifier: MIT
#pragma once
// The functions that templates find: those of jinja2's sandbox, and what transformers adds.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/text/jinja/access.hpp>
#include <skald/text/jinja/clock.hpp>
#include <skald/text/jinja/operators.hpp>
#include <skald/text/jinja/value.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja::detail {

inline constexpr std::int64_t longest_range = 100'000;  ///< jinja2's own limit

inline value global_range(runtime& rt, call_arguments& args) {
    const parameters p(rt, "range", args, {"", "", ""}, 1);
    const std::int64_t from = p.has(1) ? p.integer(0, 0) : 0, to = p.integer(p.has(1) ? 1 : 0, 0), step = p.integer(2, 1);
    if (step == 0) rt.fail("range() arg 3 must not be zero");
    std::vector<value> out;
    for (std::int64_t i = from; step > 0 ? i < to : i > to;) {
        if (out.size() == static_cast<std::size_t>(longest_range))
            rt.fail("Range too big. The sandbox blocks ranges larger than ", longest_range);
        out.push_back(i);
        if (step > 0 ? i > std::numeric_limits<std::int64_t>::max() - step : i < std::numeric_limits<std::int64_t>::min() - step) break;
        i += step;
    }
    return rt.make_sequence(sequence_kind::range, std::move(out));
}

/// dict(mapping or pairs, name=value…)
inline dict* make_dict_of(runtime& rt, std::string_view function, call_arguments& args) {
    if (args.positional.size() > 1) rt.fail(function, "() takes at most one argument");
    dict* out = rt.make_dict();
    const auto* from = args.positional.empty() ? nullptr : args.positional[0].as<dict>();
    if (from != nullptr) {
        for (const auto& [key, v] : from->entries) rt.set(*out, key_or_fail(rt, key), key, v);
    } else if (!args.positional.empty()) {
        for (const value& pair : items_of(rt, args.positional[0])) {
            const std::vector<value> parts = items_of(rt, pair);
            if (parts.size() != 2) rt.fail(function, "() needs pairs of a key and a value");
            rt.set(*out, key_or_fail(rt, parts[0]), parts[0], parts[1]);
        }
    }
    for (auto& [name, v] : args.named) rt.set(*out, "s" + name, rt.literal(name), std::move(v));
    return out;
}

/// namespace(…), whose attributes do not start with an underscore.
inline value global_namespace(runtime& rt, call_arguments& args) {
    dict* members = make_dict_of(rt, "namespace", args);
    for (const auto& [key, v] : members->entries)
        if (key.is_string() && key.view().starts_with('_')) rt.fail("namespaces have no attributes that start with an underscore");
    return rt.make<space>(0, members);
}

/// A function with attributes that are functions or values of its state.
class cycler final : public callable {
public:
    explicit cycler(std::vector<value> items) : items_(std::move(items)) {}

    std::string description() const override { return "<Cycler>"; }
    value call(runtime& rt, call_arguments) override { rt.fail("'Cycler' object is not callable"); }
    std::optional<value> attribute(runtime& rt, std::string_view name) override {
        if (name == "current") return items_[at_];
        if (name == "items") return rt.tuple(items_);
        if (name == "pos") return static_cast<std::int64_t>(at_);
        if (name == "next")
            return rt.make_function("next",
                                    [this](runtime&, call_arguments&) { return items_[std::exchange(at_, (at_ + 1) % items_.size())]; });
        if (name != "reset") return std::nullopt;
        return rt.make_function("reset", [this](runtime&, call_arguments&) {
            at_ = 0;
            return value();
        });
    }

private:
    const std::vector<value> items_;
    std::size_t at_ = 0;
};

inline value global_cycler(runtime& rt, call_arguments& args) {
    if (args.positional.empty()) rt.fail("at least one item has to be provided");
    return rt.make<cycler>(args.positional.size() * sizeof(value), std::move(args.positional));
}

inline value global_joiner(runtime& rt, call_arguments& args) {
    const parameters p(rt, "joiner", args, {"sep"});
    return rt.make_function("joiner", [separator = p.get(0, rt.literal(", ")), used = std::make_shared<bool>(false)](
                                          runtime& r, call_arguments&) { return std::exchange(*used, true) ? separator : r.literal(""); });
}

inline value global_raise_exception(runtime& rt, call_arguments& args) {
    const parameters p(rt, "raise_exception", args, {"message"}, 1);
    rt.fail(text_of(rt, p[0]).text());
}

inline value global_strftime_now(runtime& rt, call_arguments& args) {
    const parameters p(rt, "strftime_now", args, {"format"}, 1);
    rt.require(p.text(0).size(), 32);
    return rt.string(format_time(rt.now(), p.text(0).text()), false);
}

inline value global_dict(runtime& rt, call_arguments& args) { return make_dict_of(rt, "dict", args); }

struct global_entry {
    std::string_view name;
    value (*run)(runtime&, call_arguments&);
};

inline constexpr global_entry global_table[] = {
    {"cycler", global_cycler},
    {"dict", global_dict},
    {"joiner", global_joiner},
    {"namespace", global_namespace},
    {"raise_exception", global_raise_exception},
    {"range", global_range},
    {"strftime_now", global_strftime_now},
};

}  // namespace skald::text::jinja::detail

SKALD_COLD_END
