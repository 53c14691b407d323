// SPDX-License-Identifier: MIT
#pragma once
// Builds GGUF files in memory for tests: well-formed ones by default, broken ones where a test says so. What it writes is
// independent of the reader's code except for the table of type numbers.
//
//     const auto file = gguf_writer{}.key("general.architecture", "llama").tensor("w", dtype::q4_1, {64, 2}, values).bytes();
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/dtype.hpp>
#include <skald/io/gguf_types.hpp>

#include "support/encode_blocks.hpp"

namespace skald::test {

/// A growing row of little-endian numbers and GGUF strings.
class byte_writer {
public:
    template <class T>
        requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
    byte_writer& put(T value) {
        return raw(std::as_bytes(std::span<const T, 1>(&value, 1)));
    }
    byte_writer& raw(std::span<const std::byte> bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    byte_writer& text(std::string_view s) { return raw(std::as_bytes(std::span(s.data(), s.size()))); }
    byte_writer& string(std::string_view s) { return put(static_cast<std::uint64_t>(s.size())).text(s); }
    byte_writer& pad(std::size_t unit) {
        bytes_.resize((bytes_.size() + unit - 1) / unit * unit);
        return *this;
    }

    const std::vector<std::byte>& bytes() const noexcept { return bytes_; }
    std::size_t size() const noexcept { return bytes_.size(); }

private:
    std::vector<std::byte> bytes_;
};

/// The value kind that a C++ number is stored as.
template <class T>
constexpr io::value_kind kind_of() {
    using io::value_kind;
    if constexpr (std::same_as<T, bool>)
        return value_kind::boolean;
    else if constexpr (std::floating_point<T>)
        return sizeof(T) == 4 ? value_kind::f32 : value_kind::f64;
    else if constexpr (sizeof(T) == 1)
        return std::is_signed_v<T> ? value_kind::i8 : value_kind::u8;
    else if constexpr (sizeof(T) == 2)
        return std::is_signed_v<T> ? value_kind::i16 : value_kind::u16;
    else if constexpr (sizeof(T) == 4)
        return std::is_signed_v<T> ? value_kind::i32 : value_kind::u32;
    else
        return std::is_signed_v<T> ? value_kind::i64 : value_kind::u64;
}

/// Collects keys and tensors in order; `bytes()` is the file. The public members override what the header says.
class gguf_writer {
public:
    std::string magic = "GGUF";
    std::uint32_t version = 3;
    std::optional<std::uint64_t> tensor_count;  ///< instead of the true number
    std::optional<std::uint64_t> key_count;
    std::size_t alignment = 32;  ///< of the data; writes no key

    // Keys.
    template <class T>
        requires std::is_arithmetic_v<T>
    gguf_writer& key(std::string_view name, T value) {
        start_key(name, kind_of<T>()).put(value);
        return *this;
    }
    gguf_writer& key(std::string_view name, std::string_view value) {
        start_key(name, io::value_kind::string).string(value);
        return *this;
    }
    gguf_writer& key(std::string_view name, const char* value) { return key(name, std::string_view(value)); }
    template <class T>
        requires std::is_arithmetic_v<T>
    gguf_writer& array(std::string_view name, std::span<const T> values) {
        byte_writer& out = start_array(name, kind_of<T>(), values.size());
        for (const T value : values) out.put(value);
        return *this;
    }
    template <class T>
        requires std::is_arithmetic_v<T>
    gguf_writer& array(std::string_view name, const std::vector<T>& values) {
        byte_writer& out = start_array(name, kind_of<T>(), values.size());
        for (const T value : values) out.put(value);
        return *this;
    }
    template <class T>
        requires std::is_arithmetic_v<T>
    gguf_writer& array(std::string_view name, std::initializer_list<T> values) {
        return array(name, std::vector<T>(values));
    }
    template <class S>
        requires std::convertible_to<const S&, std::string_view>
    gguf_writer& array(std::string_view name, const std::vector<S>& values) {
        byte_writer& out = start_array(name, io::value_kind::string, values.size());
        for (const std::string_view value : values) out.string(value);
        return *this;
    }
    /// A key whose value part (after the type number) is written by hand.
    gguf_writer& raw_key(std::string_view name, std::uint32_t kind, const byte_writer& value) {
        start_key(name, static_cast<io::value_kind>(kind)).raw(value.bytes());
        return *this;
    }
    /// Bytes in place of a whole key.
    gguf_writer& raw_key(const byte_writer& everything) {
        keys_.raw(everything.bytes());
        ++key_total_;
        return *this;
    }

    // Tensors. Shapes are in GGUF's order, the fastest varying extent first.
    /// Data already in the format of `type`.
    gguf_writer& tensor(std::string_view name, dtype type, const std::vector<std::uint64_t>& shape, std::span<const std::byte> data) {
        tensor_row(name, shape, io::gguf_id(type), data_.size());
        data_.raw(data).pad(alignment);
        return *this;
    }
    /// Floats, encoded as `type` (see encode_blocks.hpp).
    gguf_writer& tensor(std::string_view name, dtype type, const std::vector<std::uint64_t>& shape, std::span<const float> values) {
        return tensor(name, type, shape, encode_blocks(type, values));
    }
    gguf_writer& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::span<const float> values) {
        return tensor(name, dtype::f32, shape, values);
    }
    /// A row of the table as given, without data.
    gguf_writer& tensor_row(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type, std::uint64_t offset) {
        table_.string(name).put(static_cast<std::uint32_t>(shape.size()));
        for (const std::uint64_t extent : shape) table_.put(extent);
        table_.put(type).put(offset);
        ++tensor_total_;
        return *this;
    }
    /// Bytes in the data section that belong to no tensor.
    gguf_writer& data(std::span<const std::byte> bytes) {
        data_.raw(bytes);
        return *this;
    }

    std::vector<std::byte> bytes() const {
        byte_writer out;
        out.text(magic).put(version).put(tensor_count.value_or(tensor_total_)).put(key_count.value_or(key_total_));
        out.raw(keys_.bytes()).raw(table_.bytes());
        if (data_.size() != 0) out.pad(alignment).raw(data_.bytes());
        return out.bytes();
    }

private:
    byte_writer& start_key(std::string_view name, io::value_kind kind) {
        ++key_total_;
        return keys_.string(name).put(kind);
    }
    byte_writer& start_array(std::string_view name, io::value_kind kind, std::size_t size) {
        return start_key(name, io::value_kind::array).put(kind).put(static_cast<std::uint64_t>(size));
    }

    byte_writer keys_, table_, data_;
    std::uint64_t key_total_ = 0, tensor_total_ = 0;
};

}  // namespace skald::test
