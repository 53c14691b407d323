// SPDX-License-Identifier: MIT
#pragma once
// The JSON files that stand beside a model: read within limits, and asked for values by key. Every failure is errc::bad_file and names
// the file, the line or the key, and what stands there.
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/json_limits.hpp>
#include <skald/io/mapped_file.hpp>

namespace skald::io {

namespace detail {

/// "line 3, column 7" of a byte of a text, both counted from 1.
inline std::string line_and_column(std::string_view text, std::size_t at) {
    const std::string_view before = text.substr(0, at);
    std::size_t line = 1;
    for (const char c : before) line += c == '\n';
    const std::size_t start = before.rfind('\n');
    return concat("line ", line, ", column ", 1 + before.size() - (start == before.npos ? 0 : start + 1));
}

/// Refuses the token that ends at byte `end` of a text, counted from 1 as nlohmann does.
[[noreturn]] inline void refuse_json(std::string_view text, std::size_t end, std::string_view file) {
    const std::size_t at = end == 0 ? 0 : end - 1;
    const bool over = at >= text.size();
    fail(errc::bad_file, file, line_and_column(text, over ? text.size() : at),
         ": is no JSON: ", over ? "the text ends before its last bracket or quote; is it a partial download?" : "cannot go on at ",
         over ? std::string() : in_quotes(text.substr(at, 24)));
}

/// Builds a value from nlohmann's events, within limits.
template <class Json>
class json_builder {
public:
    using json = Json;

    json_builder(json& root, std::string_view text, std::string_view file, const json_limits& limits)
        : root_(root), text_(text), file_(file), limits_(limits) {}

    bool null() { return put(nullptr); }
    bool boolean(bool value) { return put(value); }
    bool number_integer(typename json::number_integer_t value) { return put(value); }
    bool number_unsigned(typename json::number_unsigned_t value) { return put(value); }
    bool number_float(typename json::number_float_t value, const typename json::string_t&) { return put(value); }
    bool string(typename json::string_t& value) { return put(std::move(value)); }
    bool binary(typename json::binary_t&) { return false; }  // JSON text has none
    bool start_object(std::size_t) { return enter(json::object()); }
    bool end_object() { return leave(); }
    bool start_array(std::size_t) { return enter(json::array()); }
    bool end_array() { return leave(); }
    bool key(typename json::string_t& name) {
        if (open_.back()->size() >= limits_.members && !open_.back()->contains(name))
            fail(errc::bad_file, file_, "an object has more than ", limits_.members, " members");
        member_ = &(*open_.back())[std::move(name)];
        return true;
    }
    bool parse_error(std::size_t end, const std::string&, const nlohmann::detail::exception&) { refuse_json(text_, end, file_); }

private:
    json& place() {
        if (open_.empty()) return root_;
        if (!open_.back()->is_array()) return *member_;
        return open_.back()->emplace_back();
    }
    template <class Value>
    bool put(Value&& value) {
        place() = std::forward<Value>(value);
        return true;
    }
    bool enter(json empty) {
        if (open_.size() == limits_.depth)
            fail(errc::bad_file, file_, "objects and arrays stand in each other more than ", limits_.depth, " deep");
        json& value = place();
        value = std::move(empty);
        open_.push_back(&value);
        return true;
    }
    bool leave() {
        open_.pop_back();
        return true;
    }

    json& root_;
    std::string_view text_, file_;
    json_limits limits_;
    std::vector<json*> open_;  // the objects and arrays that are not closed yet
    json* member_ = nullptr;   // the value of the key read last
};

}  // namespace detail

/// The value that a JSON text holds. `file` stands in messages. Of a key that stands twice the last value counts, as in Python.
/// nlohmann::ordered_json as Json keeps the members of objects in their order.
template <class Json = nlohmann::json>
Json read_json(std::string_view text, std::string_view file, const json_limits& limits = {}) {
    if (text.size() > limits.bytes)
        fail(errc::bad_file, file, "has ", text.size(), " bytes; ", limits.bytes, " are the most that is read of such a file");
    Json value;
    detail::json_builder<Json> builder(value, text, file, limits);
    Json::sax_parse(text.begin(), text.end(), &builder);
    return value;
}

/// The value in a JSON file. Throws errc::io too, where the file cannot be read.
inline nlohmann::json read_json(const std::filesystem::path& path, const json_limits& limits = {}, const open_options& options = {}) {
    const std::unique_ptr<byte_source> source = open_file(path, options);
    const std::span<const std::byte> bytes = source->resident();
    return read_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, source->name(), limits);
}

/// A JSON value for a message: `"abc"` as 'abc', numbers as they are, `an array of 3`, `an object of 2`.
inline std::string describe(const nlohmann::json& v) {
    if (v.is_string()) return detail::in_quotes(v.get_ref<const std::string&>());
    if (v.is_array()) return concat("an array of ", v.size());
    if (v.is_object()) return concat("an object of ", v.size());
    return v.dump();
}

/// The types that a JSON value can be asked for as.
template <class T>
concept json_type = std::same_as<T, bool> || std::floating_point<T> || std::same_as<T, std::string> || std::same_as<T, std::string_view> ||
                    std::integral<T>;

/// The value as a T, or nothing if it is of another sort or does not fit. Numbers are numbers: 8192.0 is an integer, 1 a float.
template <json_type T>
std::optional<T> value_as(const nlohmann::json& v) {
    if constexpr (std::same_as<T, bool>) {
        if (v.is_boolean()) return v.get<bool>();
    } else if constexpr (std::integral<T>) {
        if (v.is_number_unsigned()) {
            if (const auto u = v.get<std::uint64_t>(); std::in_range<T>(u)) return static_cast<T>(u);
        } else if (v.is_number_integer()) {
            if (const auto i = v.get<std::int64_t>(); std::in_range<T>(i)) return static_cast<T>(i);
        } else if (v.is_number_float()) {
            const double d = v.get<double>();
            if (std::abs(d) <= 9007199254740992.0 && d == std::floor(d) && std::in_range<T>(static_cast<std::int64_t>(d)))
                return static_cast<T>(d);
        }
    } else if constexpr (std::floating_point<T>) {
        if (v.is_number())
            if (const double d = v.get<double>(); std::abs(d) <= std::numeric_limits<T>::max()) return static_cast<T>(d);
    } else {
        if (v.is_string()) return T(v.get_ref<const std::string&>());
    }
    return std::nullopt;
}

/// An object of a JSON file together with its place in it, so that whoever reads a key need not say where it stands. A view: the value
/// must outlive it. A key whose value is null counts as absent.
class json_object {
public:
    /// `path` is the key under which the object stands, empty for the whole file. Throws if the value is no object.
    json_object(const nlohmann::json& value, std::string file, std::string path = {})
        : value_(&value), file_(std::move(file)), path_(std::move(path)) {
        if (!value.is_object())
            fail(errc::bad_file, file_, path_.empty() ? std::string("the file") : where({}), " is ", describe(value), ", not an object");
    }

    const nlohmann::json& value() const noexcept { return *value_; }
    const std::string& file() const noexcept { return file_; }

    /// "key 'rope_scaling.factor'", for messages.
    std::string where(std::string_view key) const {
        return concat("key ", detail::in_quotes(concat(path_, path_.empty() || key.empty() ? "" : ".", key)));
    }

    /// The value of a key, or null where it is absent.
    const nlohmann::json* find(std::string_view key) const {
        const auto at = value_->find(std::string(key));
        return at == value_->end() || at->is_null() ? nullptr : &*at;
    }
    bool contains(std::string_view key) const { return find(key) != nullptr; }

    /// The value of a key as a T (see value_as), or nothing without the key. Throws if it is there and is no such T.
    template <json_type T>
    std::optional<T> get(std::string_view key) const {
        const nlohmann::json* v = find(key);
        if (v == nullptr) return std::nullopt;
        if (auto converted = value_as<T>(*v)) return converted;
        refuse(key, wanted<T>());
    }

    /// As get, but throws without the key too.
    template <json_type T>
    T require(std::string_view key) const {
        if (auto value = get<T>(key)) return *std::move(value);
        missing(key);
    }

    /// The object of a key, or nothing without the key. Throws if the value is no object.
    std::optional<json_object> object(std::string_view key) const {
        const nlohmann::json* v = find(key);
        if (v == nullptr) return std::nullopt;
        return json_object(*v, file_, concat(path_, path_.empty() ? "" : ".", key));
    }

    /// The array of a key, or null without the key. Throws if the value is no array.
    const nlohmann::json* array(std::string_view key) const {
        const nlohmann::json* v = find(key);
        if (v != nullptr && !v->is_array()) refuse(key, "an array");
        return v;
    }

    /// All elements of an array as T; none without the key. Throws if an element is no T or does not fit.
    template <json_type T>
    std::vector<T> values(std::string_view key) const {
        std::vector<T> out;
        const nlohmann::json* all = array(key);
        if (all == nullptr) return out;
        out.reserve(all->size());
        for (const nlohmann::json& v : *all) {
            auto converted = value_as<T>(v);
            if (!converted) fail(errc::bad_file, file_, where(key), ": element ", out.size(), " is ", describe(v), ", not ", wanted<T>());
            out.push_back(*std::move(converted));
        }
        return out;
    }

    /// Throws errc::bad_file: the key's value is not `wanted`.
    [[noreturn]] void refuse(std::string_view key, std::string_view wanted) const {
        fail(errc::bad_file, file_, where(key), " is ", describe(value_->at(std::string(key))), ", not ", wanted);
    }
    [[noreturn]] void missing(std::string_view key) const { fail(errc::bad_file, file_, where(key), " is missing"); }

private:
    template <class T>
    static std::string wanted() {
        if constexpr (std::same_as<T, bool>)
            return "true or false";
        else if constexpr (std::integral<T>)
            return concat("an integer from ", std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max());
        else if constexpr (std::floating_point<T>)
            return sizeof(T) == 4 ? "a number in the range of f32" : "a number";
        else
            return "a string";
    }

    const nlohmann::json* value_;
    std::string file_, path_;
};

}  // namespace skald::io
