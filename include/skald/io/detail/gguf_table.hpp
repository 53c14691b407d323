// SPDX-License-Identifier: MIT
#pragma once
// Reads one GGUF file: header, metadata, tensor table. Nothing is believed before it is checked against the file's size.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/checked.hpp>
#include <skald/core/dtype.hpp>
#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/gguf_cursor.hpp>
#include <skald/io/detail/gguf_metadata.hpp>
#include <skald/io/detail/gguf_part.hpp>
#include <skald/io/gguf_types.hpp>
#include <skald/io/metadata.hpp>
#include <skald/io/tensor_entry.hpp>

namespace skald::io::detail {

inline constexpr std::size_t max_tensor_name = 63;          // ggml's GGML_MAX_NAME with its terminator is 64
inline constexpr std::uint64_t max_alignment = 2ull << 20;  // a huge page; nothing needs more
inline constexpr std::uint64_t least_key_bytes = 8 + 1 + 4 + 1;
inline constexpr std::uint64_t least_tensor_bytes = 8 + 1 + 4 + 8 + 4 + 8;

constexpr std::uint32_t byte_swapped(std::uint32_t v) noexcept { return v << 24 | (v & 0xFF00) << 8 | (v >> 8 & 0xFF00) | v >> 24; }

/// The version, 2 or 3, after the magic.
inline std::uint32_t read_version(gguf_cursor& in) {
    const auto magic = in.take(4, "the magic number");
    const std::string_view letters(reinterpret_cast<const char*>(magic.data()), 4);
    if (letters != "GGUF") in.refuse("is no GGUF file: it starts with ", in_quotes(letters), " instead of 'GGUF'");
    const auto version = in.number<std::uint32_t>("the version");
    if (version == 2 || version == 3) return version;
    if (version != 0 && (version & 0xFFFF) == 0)
        in.refuse("is a byte-swapped (big-endian) GGUF file of version ", byte_swapped(version),
                  "; convert it to little endian (gguf-py's gguf_convert_endian)");
    in.refuse("has GGUF version ", version, "; versions 2 and 3 are read", version == 1 ? "; convert the model again from its source" : "");
}

constexpr bool is_alignment(std::uint64_t n) noexcept { return n >= 8 && n <= max_alignment && std::has_single_bit(n); }

inline std::uint64_t read_alignment(const metadata& meta) {
    const metadata_value* value = meta.find("general.alignment");
    if (value == nullptr) return default_alignment;
    const std::uint64_t alignment = value->kind == value_kind::u32 ? std::get<std::uint64_t>(value->value) : 0;
    if (!is_alignment(alignment))
        fail(errc::bad_file, meta.file(), "key 'general.alignment' is ", describe(*value), ", not a u32 power of two from 8 to ",
             max_alignment);
    return alignment;
}

inline dtype read_tensor_type(gguf_cursor& in, std::uint32_t id) {
    const gguf_tensor_type* known = find_gguf_tensor_type(id);
    if (known == nullptr) {
        const auto as_signed = static_cast<std::int32_t>(id);
        in.refuse("its type ", id, as_signed < 0 ? concat(" (", as_signed, " as a signed number)") : std::string(),
                  " is not known; types 0 to ", gguf_tensor_types.size() - 1, " are");
    }
    if (known->removed)
        in.refuse_as(errc::unsupported, "its type ", id, " (", known->name, ") was removed from GGUF; quantize the model anew");
    if (!known->type)
        in.refuse_as(errc::unsupported, "its type ", id, " (", known->name, ") is not supported; use a model of another type");
    return *known->type;
}

/// One row of the table. `offset` is still relative to the data section, which starts after the table.
inline tensor_entry read_tensor(gguf_cursor& in) {
    tensor_entry t;
    in.enter({}, {});
    const std::string_view name = read_name(in, "tensor name", max_tensor_name);
    in.enter("tensor", name);
    t.name = name;
    const auto dimensions = in.number<std::uint32_t>("the number of dimensions");
    if (dimensions == 0 || dimensions > 4) in.refuse("it has ", dimensions, " dimensions; 1 to 4 are allowed");
    t.shape.resize(dimensions);
    for (std::uint64_t& extent : t.shape) {
        extent = in.number<std::uint64_t>("the shape");
        if (extent == 0 || extent > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            in.refuse("dimension ", &extent - t.shape.data(), " is ", static_cast<std::int64_t>(extent), "; it must be positive");
    }
    t.file_type = in.number<std::uint32_t>("the type");
    t.type = read_tensor_type(in, t.file_type);
    t.offset = in.number<std::uint64_t>("the offset");

    const std::string place = concat(in.file(), ": tensor ", in_quotes(name), " of shape ", shape_text(t.shape));
    const dtype_info& format = info(t.type);
    if (t.cols() % format.block_size != 0)
        in.refuse("its rows of ", t.cols(), " values are no multiple of the block of ", format.block_size, " values of ", format.name);
    checked_size blocks(t.cols() / format.block_size, place);
    for (std::size_t d = 1; d < t.shape.size(); ++d) blocks = blocks * t.shape[d];
    static_cast<void>(blocks * format.block_size);  // the number of values fits 64 bits too
    t.bytes = (blocks * format.block_bytes).value();
    return t;
}

/// Makes offsets absolute and checks that each tensor lies in the file, aligned, and on no other tensor's bytes.
inline void place_tensors(std::vector<tensor_entry>& tensors, const byte_source& source, std::uint64_t head, std::uint64_t alignment) {
    const std::uint64_t start = round_up(checked_size(head, source.name()), alignment).value();
    for (tensor_entry& t : tensors) {
        const std::string place = concat(source.name(), ": tensor ", in_quotes(t.name));
        if (t.offset % alignment != 0)
            fail(errc::bad_file, source.name(), "tensor ", in_quotes(t.name), ": its offset ", t.offset,
                 " is no multiple of the alignment ", alignment);
        const checked_size first = checked_size(start, place) + t.offset;
        const checked_size end = first + t.bytes;
        if (end.value() > source.size())
            fail(errc::bad_file, source.name(), "tensor ", in_quotes(t.name), ": its ", t.bytes, " bytes at offset ", first.value(),
                 " end at ", end.value(), ", past the end of the file (", source.size(), " bytes); is it a partial download?");
        t.offset = first.value();
    }
    std::vector<const tensor_entry*> order;
    order.reserve(tensors.size());
    for (const tensor_entry& t : tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
    for (std::size_t i = 1; i < order.size(); ++i)
        if (const tensor_entry &a = *order[i - 1], &b = *order[i]; b.offset - a.offset < a.bytes)
            fail(errc::bad_file, source.name(), "tensor ", in_quotes(b.name), ": its data at offset ", b.offset, " overlaps tensor ",
                 in_quotes(a.name), " (", a.bytes, " bytes at offset ", a.offset, ")");
}

/// The head of one file, all of it checked. `shard` is its number in a split model.
inline gguf_part read_part(std::unique_ptr<const byte_source> source, std::uint32_t shard = 0) {
    gguf_part part;
    gguf_cursor in(*source);
    part.version = read_version(in);
    const auto tensor_count = in.number<std::uint64_t>("the number of tensors");
    const auto key_count = in.number<std::uint64_t>("the number of keys");
    in.check_count(tensor_count, least_tensor_bytes, "tensors");
    in.check_count(key_count, least_key_bytes, "metadata keys");
    part.meta = read_metadata(in, key_count);
    part.alignment = read_alignment(part.meta);
    in.check_count(tensor_count, least_tensor_bytes, "tensors");
    part.tensors.reserve(checked_size(tensor_count, source->name()).size());
    for (std::uint64_t i = 0; i < tensor_count; ++i) part.tensors.push_back(read_tensor(in)), part.tensors.back().shard = shard;
    place_tensors(part.tensors, *source, in.position(), part.alignment);
    part.source = std::move(source);
    return part;
}

}  // namespace skald::io::detail
