// SPDX-License-Identifier: MIT
#pragma once
// Reads the key/value part of a GGUF file. Strings and numbers stay where they lie; what is allocated is bounded by a small
// multiple of the bytes that were really read.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/checked.hpp>
#include <skald/io/detail/gguf_cursor.hpp>
#include <skald/io/gguf_types.hpp>
#include <skald/io/metadata.hpp>

namespace skald::io::detail {

inline constexpr std::size_t max_key_bytes = 65535;  // docs/gguf.md
inline constexpr int max_array_depth = 8;            // arrays of arrays; real files have one level

/// The least bytes that an element of that kind takes in a file.
constexpr std::uint64_t least_bytes(value_kind kind) noexcept {
    return kind == value_kind::string ? 8 : kind == value_kind::array ? 12 : value_bytes(kind);
}

inline value_kind read_kind(gguf_cursor& in, std::string_view what) {
    const auto number = in.number<std::uint32_t>(what);
    if (number >= value_kind_count) in.refuse(what, " is ", number, "; GGUF knows the types 0 to ", value_kind_count - 1);
    return static_cast<value_kind>(number);
}

inline void check_bools(const gguf_cursor& in, std::span<const std::byte> bytes) {
    for (const std::byte b : bytes)
        if (b > std::byte{1}) in.refuse("a bool must be 0 or 1, and is ", std::to_integer<unsigned>(b));
}

/// An array after its type number: element type, count, elements.
inline metadata_array read_array(gguf_cursor& in, int depth = 1) {
    if (depth > max_array_depth) in.refuse("arrays are nested more than ", max_array_depth, " deep");
    const value_kind kind = read_kind(in, "the array's element type");
    const auto count = in.number<std::uint64_t>("the array's length");
    in.check_count(count, least_bytes(kind), "array elements");  // no later product or reservation can exceed the file
    if (kind == value_kind::string) {
        std::vector<std::string_view> strings;
        strings.reserve(checked_size(count, in.file()).size());
        for (std::uint64_t i = 0; i < count; ++i) strings.push_back(in.string("a string of the array"));
        return metadata_array(std::move(strings));
    }
    if (kind == value_kind::array) {
        std::vector<metadata_array> arrays;  // grows with what is read: each level could claim the whole rest of the file
        for (std::uint64_t i = 0; i < count; ++i) arrays.push_back(read_array(in, depth + 1));
        return metadata_array(std::move(arrays));
    }
    const auto bytes = in.take((checked_size(count, in.file()) * value_bytes(kind)).value(), "the array's elements");
    if (kind == value_kind::boolean) check_bools(in, bytes);
    return metadata_array(kind, bytes);
}

/// A key, a tensor's name: not empty, at most `limit` bytes, UTF-8 without NUL.
inline std::string_view read_name(gguf_cursor& in, std::string_view what, std::size_t limit) {
    const std::uint64_t start = in.position();
    const std::string_view name = in.string(what);
    if (name.empty()) in.refuse(what, " at offset ", start, " is empty");
    if (name.size() > limit)
        in.refuse(what, " ", in_quotes(name), " at offset ", start, " has ", name.size(), " bytes; at most ", limit, " are allowed");
    if (name.find('\0') != name.npos || !is_utf8(name))
        in.refuse(what, " ", in_quotes(name), " at offset ", start,
                  name.find('\0') != name.npos ? " contains a NUL" : " is not valid UTF-8");
    return name;
}

/// `count` key/value pairs; the count has been checked against the file's size.
inline metadata read_metadata(gguf_cursor& in, std::uint64_t count) {
    std::vector<metadata_entry> entries;
    std::vector<std::unique_ptr<const metadata_array>> arrays;
    entries.reserve(checked_size(count, in.file()).size());
    for (std::uint64_t i = 0; i < count; ++i) {
        in.enter({}, {});
        const std::string_view key = read_name(in, "metadata key", max_key_bytes);
        in.enter("key", key);
        const value_kind kind = read_kind(in, "the value's type");
        metadata_value value;
        if (kind == value_kind::string) {
            const std::string_view text = in.string("the string");
            if (text.find('\0') != text.npos) in.refuse("the string ", in_quotes(text), " contains a NUL");
            if (!is_utf8(text)) in.refuse("the string ", in_quotes(text), " is not valid UTF-8");
            value = {kind, text};
        } else if (kind == value_kind::array) {
            arrays.push_back(std::make_unique<const metadata_array>(read_array(in)));
            value = {kind, arrays.back().get()};
        } else {
            const auto bytes = in.take(value_bytes(kind), "the value");
            if (kind == value_kind::boolean) check_bools(in, bytes);
            value = metadata_array(kind, bytes)[0];
        }
        entries.push_back({key, value});
    }
    in.enter({}, {});
    return metadata(std::string(in.file()), std::move(entries), std::move(arrays));
}

}  // namespace skald::io::detail
