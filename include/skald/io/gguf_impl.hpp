// SPDX-License-Identifier: MIT
#pragma once
// What gguf.hpp declares: opening one file or a split model.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/gguf_split.hpp>
#include <skald/io/detail/gguf_table.hpp>
#include <skald/io/gguf.hpp>

namespace skald::io {

SKALD_FUNCTION gguf_file gguf_file::open(const std::filesystem::path& path, const open_options& options) {
    std::vector<detail::gguf_part> parts;
    parts.push_back(detail::read_part(open_file(path, options)));
    const detail::split_info split = detail::read_split(parts[0].meta);
    if (split.split()) {
        const std::string& file = parts[0].source->name();
        if (split.number != 0)
            fail(errc::bad_file, file, "is file ", split.number + 1, " of ", split.count, " of a split model; open the one named '…",
                 detail::split_suffix(0, split.count), "'");
        for (std::uint16_t n = 1; n < split.count; ++n) {
            parts.push_back(detail::read_part(open_file(detail::split_path(path, n, split.count), options), n));
            const detail::split_info found = detail::read_split(parts[n].meta);
            if (found.number != n || found.count != split.count)
                fail(errc::bad_file, parts[n].source->name(), "says that it is file ", found.number + 1, " of ", found.count,
                     " of a split model, but is named as file ", n + 1, " of ", split.count);
        }
    }
    return gguf_file(path.string(), std::move(parts), split);
}

SKALD_FUNCTION gguf_file gguf_file::from_source(std::unique_ptr<const byte_source> source) {
    std::vector<detail::gguf_part> parts;
    parts.push_back(detail::read_part(std::move(source)));
    const detail::split_info split = detail::read_split(parts[0].meta);
    if (split.split())
        fail(errc::unsupported, parts[0].source->name(), "is one of ", split.count, " files of a split model; open it by its path");
    std::string name = parts[0].source->name();
    return gguf_file(std::move(name), std::move(parts), split);
}

SKALD_FUNCTION const tensor_entry* gguf_file::find(std::string_view name) const noexcept {
    const auto at =
        std::lower_bound(sorted_.begin(), sorted_.end(), name, [&](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
    return at != sorted_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

SKALD_FUNCTION void gguf_file::read(const tensor_entry& t, std::span<std::byte> out, std::uint64_t first) const {
    if (first > t.bytes || out.size() > t.bytes - first)
        fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(t.name), ": bytes ", first, " + ", out.size(), " are outside its ",
             t.bytes, " bytes");
    source_of(t).read(t.offset + first, out);
}

SKALD_FUNCTION gguf_file::gguf_file(std::string name, std::vector<detail::gguf_part> parts, const detail::split_info& split)
    : name_(std::move(name)), parts_(std::move(parts)) {
    std::size_t count = 0;
    for (const detail::gguf_part& part : parts_) count += part.tensors.size();
    if (split.tensors && *split.tensors != count)
        fail(errc::bad_file, name_, "key 'split.tensors.count' is ", *split.tensors, ", but the ", parts_.size(), " files have ", count,
             " tensors");
    tensors_.reserve(count);
    for (detail::gguf_part& part : parts_) {
        std::move(part.tensors.begin(), part.tensors.end(), std::back_inserter(tensors_));
        part.tensors = {};
    }
    sorted_.resize(count);
    for (std::size_t i = 0; i < count; ++i) sorted_[i] = i;
    std::sort(sorted_.begin(), sorted_.end(), [&](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
    for (std::size_t i = 1; i < count; ++i)
        if (const tensor_entry& t = tensors_[sorted_[i]]; t.name == tensors_[sorted_[i - 1]].name)
            fail(errc::bad_file, source_of(t).name(), "tensor ", detail::in_quotes(t.name), " stands twice in the tensor table");
}

}  // namespace skald::io
