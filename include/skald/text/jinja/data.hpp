// SPDX-License-Identifier: MIT
#pragma once
// What a host hands a template: a tree of plain values, as JSON has them. Owned by the host, read by the engine.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace skald::text::jinja {

class data;
using data_list = std::vector<data>;
using data_object = std::vector<std::pair<std::string, data>>;  ///< in order; keys occur once

/// null, a boolean, an integer, a number, a string, a list or an object. Trees deeper than `depth` levels are refused by the engine.
class data {
public:
    static constexpr int depth = 100;

    data() = default;  ///< null
    data(std::nullptr_t) {}
    data(bool b) : value_(b) {}
    data(int n) : value_(std::int64_t{n}) {}
    data(std::int64_t n) : value_(n) {}
    data(double x) : value_(x) {}
    data(const char* s) : value_(std::string(s)) {}
    data(std::string_view s) : value_(std::string(s)) {}
    data(std::string s) : value_(std::move(s)) {}
    data(data_list items) : value_(std::move(items)) {}
    data(data_object members) : value_(std::move(members)) {}

    const auto& variant() const noexcept { return value_; }
    auto& variant() noexcept { return value_; }
    bool is_null() const noexcept { return value_.index() == 0; }

private:
    std::variant<std::monostate, bool, std::int64_t, double, std::string, data_list, data_object> value_;
};

/// The member of that name, or null.
inline const data* find(const data_object& object, std::string_view name) noexcept {
    for (const auto& [key, value] : object)
        if (key == name) return &value;
    return nullptr;
}

}  // namespace skald::text::jinja
