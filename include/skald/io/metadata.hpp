// SPDX-License-Identifier: MIT
#pragma once
// The key/value part of a GGUF file. Strings and number arrays are views into the file's bytes, so the file they came from must
// live as long. Keys and scalar strings are valid UTF-8 without NUL; the strings of arrays (vocabularies) are bytes as they came.
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/gguf_types.hpp>

namespace skald::io {

class metadata_array;

/// One value: the kind it is stored as, and the value widened. Trivially copyable; valid as long as its metadata.
struct metadata_value {
    value_kind kind = value_kind::u8;
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, const metadata_array*> value;
};

/// The types that a value can be asked for as.
template <class T>
concept metadata_type = std::same_as<T, bool> || std::floating_point<T> || std::same_as<T, std::string_view> ||
                        std::same_as<T, std::string> || (std::integral<T> && !std::same_as<T, char> && !std::same_as<T, wchar_t>);

/// The value as a T, or nothing if it is of another sort or does not fit. An integer of any stored type is an integer, f32 and
/// f64 are floats; nothing else is converted.
template <metadata_type T>
std::optional<T> value_as(const metadata_value& v) {
    if constexpr (std::same_as<T, bool>) {
        if (const bool* b = std::get_if<bool>(&v.value)) return *b;
    } else if constexpr (std::integral<T>) {
        if (const auto* u = std::get_if<std::uint64_t>(&v.value); u != nullptr && std::in_range<T>(*u)) return static_cast<T>(*u);
        if (const auto* i = std::get_if<std::int64_t>(&v.value); i != nullptr && std::in_range<T>(*i)) return static_cast<T>(*i);
    } else if constexpr (std::floating_point<T>) {
        if (const double* d = std::get_if<double>(&v.value);
            d != nullptr && (!std::isfinite(*d) || std::abs(*d) <= std::numeric_limits<T>::max()))
            return static_cast<T>(*d);
    } else {
        if (const auto* s = std::get_if<std::string_view>(&v.value)) return T(*s);
    }
    return std::nullopt;
}

/// An array of numbers, strings or arrays.
class metadata_array {
public:
    /// Numbers as they lie in the file: `bytes` is a multiple of value_bytes(kind), of any alignment.
    metadata_array(value_kind kind, std::span<const std::byte> bytes) noexcept : kind_(kind), elements_(bytes) {}
    explicit metadata_array(std::vector<std::string_view> strings) noexcept : kind_(value_kind::string), elements_(std::move(strings)) {}
    explicit metadata_array(std::vector<metadata_array> arrays) noexcept : kind_(value_kind::array), elements_(std::move(arrays)) {}

    value_kind kind() const noexcept { return kind_; }  ///< of the elements
    std::size_t size() const noexcept {
        if (kind_ == value_kind::string) return strings().size();
        if (kind_ == value_kind::array) return arrays().size();
        return bytes().size() / value_bytes(kind_);
    }
    bool empty() const noexcept { return size() == 0; }

    /// Element i < size().
    metadata_value operator[](std::size_t i) const noexcept {
        switch (kind_) {
            case value_kind::u8: return {kind_, std::uint64_t{load<std::uint8_t>(i)}};
            case value_kind::i8: return {kind_, std::int64_t{load<std::int8_t>(i)}};
            case value_kind::u16: return {kind_, std::uint64_t{load<std::uint16_t>(i)}};
            case value_kind::i16: return {kind_, std::int64_t{load<std::int16_t>(i)}};
            case value_kind::u32: return {kind_, std::uint64_t{load<std::uint32_t>(i)}};
            case value_kind::i32: return {kind_, std::int64_t{load<std::int32_t>(i)}};
            case value_kind::u64: return {kind_, load<std::uint64_t>(i)};
            case value_kind::i64: return {kind_, load<std::int64_t>(i)};
            case value_kind::f32: return {kind_, double{load<float>(i)}};
            case value_kind::f64: return {kind_, load<double>(i)};
            case value_kind::boolean: return {kind_, load<std::uint8_t>(i) != 0};
            case value_kind::string: return {kind_, strings()[i]};
            case value_kind::array: return {kind_, &arrays()[i]};
        }
        return {};
    }

    /// All elements of an array of strings; empty for another kind.
    std::span<const std::string_view> strings() const noexcept {
        const auto* all = std::get_if<std::vector<std::string_view>>(&elements_);
        return all != nullptr ? std::span<const std::string_view>(*all) : std::span<const std::string_view>();
    }

    /// All elements of an array of arrays; empty for another kind.
    std::span<const metadata_array> arrays() const noexcept {
        const auto* all = std::get_if<std::vector<metadata_array>>(&elements_);
        return all != nullptr ? std::span<const metadata_array>(*all) : std::span<const metadata_array>();
    }

    /// The numbers as they lie in the file, little endian; empty for strings and arrays.
    std::span<const std::byte> bytes() const noexcept {
        const auto* all = std::get_if<std::span<const std::byte>>(&elements_);
        return all != nullptr ? *all : std::span<const std::byte>();
    }

private:
    template <class T>
    T load(std::size_t i) const noexcept {
        T value;
        std::memcpy(&value, bytes().data() + i * sizeof(T), sizeof(T));
        return value;
    }

    value_kind kind_;
    std::variant<std::span<const std::byte>, std::vector<std::string_view>, std::vector<metadata_array>> elements_;
};

/// The value for a message: `u32 5`, `string 'llama'`, `array of 3 f32`.
inline std::string describe(const metadata_value& v) {
    std::string out(to_string(v.kind));
    std::visit(
        [&](const auto& x) {
            using X = std::decay_t<decltype(x)>;
            if constexpr (std::same_as<X, std::string_view>)
                out.append(" ").append(detail::in_quotes(x));
            else if constexpr (std::same_as<X, const metadata_array*>)
                out.append(concat(" of ", x->size(), " ", to_string(x->kind())));
            else if constexpr (std::same_as<X, double>)
                out.append(v.kind == value_kind::f32 ? concat(" ", static_cast<float>(x)) : concat(" ", x));
            else
                out.append(concat(" ", x));
        },
        v.value);
    return out;
}

struct metadata_entry {
    std::string_view key;
    metadata_value value;
};

/// All keys of a file. Look-up is a binary search; failures are errc::bad_file and name file, key and value.
class metadata {
public:
    metadata() = default;

    /// `entries` in the order of the file; `arrays` owns what array values point to. Throws errc::bad_file if a key stands twice.
    metadata(std::string file, std::vector<metadata_entry> entries, std::vector<std::unique_ptr<const metadata_array>> arrays)
        : file_(std::move(file)), entries_(std::move(entries)), arrays_(std::move(arrays)), sorted_(entries_.size()) {
        for (std::size_t i = 0; i < sorted_.size(); ++i) sorted_[i] = i;
        std::sort(sorted_.begin(), sorted_.end(), [&](std::size_t a, std::size_t b) { return entries_[a].key < entries_[b].key; });
        for (std::size_t i = 1; i < sorted_.size(); ++i)
            if (const auto key = entries_[sorted_[i]].key; key == entries_[sorted_[i - 1]].key)
                fail(errc::bad_file, file_, "key ", detail::in_quotes(key), " stands twice in the metadata");
    }

    /// All entries in the order of the file.
    std::span<const metadata_entry> entries() const noexcept { return entries_; }
    std::size_t size() const noexcept { return entries_.size(); }

    /// The file's name, for messages.
    const std::string& file() const noexcept { return file_; }

    /// The value of a key, or null.
    const metadata_value* find(std::string_view key) const noexcept {
        const auto at =
            std::lower_bound(sorted_.begin(), sorted_.end(), key, [&](std::size_t i, std::string_view k) { return entries_[i].key < k; });
        return at != sorted_.end() && entries_[*at].key == key ? &entries_[*at].value : nullptr;
    }
    bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }

    /// The value of a key as a T (see value_as), or nothing without the key. Throws if it is there and is no such T.
    template <metadata_type T>
    std::optional<T> get(std::string_view key) const {
        const metadata_value* v = find(key);
        if (v == nullptr) return std::nullopt;
        if (auto converted = value_as<T>(*v)) return converted;
        refuse(key, *v, wanted<T>());
    }

    /// As get, but throws without the key too.
    template <metadata_type T>
    T require(std::string_view key) const {
        if (auto value = get<T>(key)) return *std::move(value);
        missing(key);
    }

    /// The array of a key, or null without the key. Throws if the value is no array.
    const metadata_array* array(std::string_view key) const {
        const metadata_value* v = find(key);
        if (v == nullptr) return nullptr;
        if (const auto* a = std::get_if<const metadata_array*>(&v->value)) return *a;
        refuse(key, *v, "an array");
    }

    /// All elements of an array as T. Throws without the key, or if an element is no T or does not fit.
    template <metadata_type T>
    std::vector<T> values(std::string_view key) const {
        const metadata_array* a = array(key);
        if (a == nullptr) missing(key);
        std::vector<T> out;
        out.reserve(a->size());
        for (std::size_t i = 0; i < a->size(); ++i) {
            const metadata_value v = (*a)[i];
            auto converted = value_as<T>(v);
            if (!converted)
                fail(errc::bad_file, file_, "key ", detail::in_quotes(key), ": element ", i, " is ", describe(v), ", not ", wanted<T>());
            out.push_back(*std::move(converted));
        }
        return out;
    }
    std::vector<std::string_view> strings(std::string_view key) const { return values<std::string_view>(key); }
    std::vector<float> floats(std::string_view key) const { return values<float>(key); }
    std::vector<std::int32_t> ints(std::string_view key) const { return values<std::int32_t>(key); }

private:
    template <class T>
    static std::string wanted() {
        if constexpr (std::same_as<T, bool>)
            return "a bool";
        else if constexpr (std::integral<T>)
            return concat("an integer from ", std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max());
        else if constexpr (std::floating_point<T>)
            return sizeof(T) == 4 ? "a float in the range of f32" : "a float";
        else
            return "a string";
    }

    [[noreturn]] void refuse(std::string_view key, const metadata_value& v, std::string_view wanted) const {
        fail(errc::bad_file, file_, "key ", detail::in_quotes(key), " is ", describe(v), ", not ", wanted);
    }
    [[noreturn]] void missing(std::string_view key) const {
        fail(errc::bad_file, file_, "key ", detail::in_quotes(key), " is missing from the metadata");
    }

    std::string file_;
    std::vector<metadata_entry> entries_;
    std::vector<std::unique_ptr<const metadata_array>> arrays_;
    std::vector<std::size_t> sorted_;
};

}  // namespace skald::io
