// SPDX-License-Identifier: MIT
#pragma once
// JSON as a host's data for templates: order kept, integers and numbers apart, of equal keys the last value.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/text/jinja/data.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

namespace detail {

/// Builds the tree from the parser's events; recurses nowhere.
class data_builder {
public:
    explicit data_builder(std::string_view place) : place_(place) {}

    data take() { return std::move(root_); }

    bool null() { return put(data()); }
    bool boolean(bool b) { return put(b); }
    bool number_integer(std::int64_t n) { return put(n); }
    bool number_unsigned(std::uint64_t n) {
        if (n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            fail(errc::bad_file, place_, "the integer ", n, " is beyond 2^63-1");
        return put(static_cast<std::int64_t>(n));
    }
    bool number_float(double x, const std::string& text) {
        if (text.find_first_of(".eE") == std::string::npos) fail(errc::bad_file, place_, "the integer ", text, " is beyond 64 bits");
        return put(x);
    }
    bool string(std::string& s) { return put(std::move(s)); }
    bool binary(nlohmann::json::binary_t&) { return false; }
    bool start_array(std::size_t) { return open(data_list{}); }
    bool end_array() { return close(); }
    bool start_object(std::size_t) { return open(data_object{}); }
    bool key(std::string& name) {
        levels_.back().key = std::move(name);
        return true;
    }
    bool end_object() { return close(); }
    bool parse_error(std::size_t at, const std::string&, const nlohmann::json::exception& e) {
        fail(errc::bad_file, place_, "is no JSON at byte ", at, ": ", e.what());
    }

private:
    struct level {
        data value;
        std::string key{};
        std::unordered_map<std::string, std::size_t> places{};
    };

    bool open(data container) {
        if (levels_.size() == static_cast<std::size_t>(data::depth))
            fail(errc::bad_file, place_, "is nested deeper than ", data::depth, " levels");
        levels_.push_back({std::move(container)});
        return true;
    }

    bool close() {
        data done = std::move(levels_.back().value);
        levels_.pop_back();
        return put(std::move(done));
    }

    bool put(data value) {
        if (levels_.empty()) {
            root_ = std::move(value);
            return true;
        }
        level& top = levels_.back();
        if (auto* list = std::get_if<data_list>(&top.value.variant())) {
            list->push_back(std::move(value));
            return true;
        }
        auto& members = std::get<data_object>(top.value.variant());
        const auto [at, is_new] = top.places.emplace(top.key, members.size());
        if (is_new)
            members.emplace_back(std::move(top.key), std::move(value));
        else
            members[at->second].second = std::move(value);
        return true;
    }

    std::string place_;
    data root_;
    std::vector<level> levels_;
};

}  // namespace detail

/// Reads JSON; `place` names it in messages. Throws errc::bad_file for what is no JSON, nested deeper than data::depth, or has integers
/// beyond 64 bits.
inline data parse_json(std::string_view text, std::string_view place) {
    detail::data_builder builder(place);
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

}  // namespace skald::text::jinja

SKALD_COLD_END
