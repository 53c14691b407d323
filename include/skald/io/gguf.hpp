// SPDX-License-Identifier: MIT
#pragma once
// GGUF, the model files of llama.cpp: versions 2 and 3, little endian, one file or split over several. Opening reads and checks
// the head only (metadata and tensor table); what the keys and tensors mean is the model loader's business.
// Format: docs/gguf.md of ggml.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/gguf_split.hpp>
#include <skald/io/detail/gguf_table.hpp>
#include <skald/io/mapped_file.hpp>
#include <skald/io/metadata.hpp>
#include <skald/io/tensor_entry.hpp>

namespace skald::io {

/// An open GGUF file. Everything it hands out (metadata, entries, bytes) is valid as long as it lives, also across moves; const
/// members may be called from several threads. Memory for the head is at most a small multiple of its bytes in the file.
class gguf_file {
public:
    /// Opens a file, and for the first file of a split model its other files too. Throws errc::io if the system refuses,
    /// errc::bad_file if the bytes are malformed, errc::unsupported for a tensor type that is not implemented. A mapped file (the
    /// default) must not shrink while it is open: see mapped_file.hpp, and `options.copy`.
    static gguf_file open(const std::filesystem::path& path, const open_options& options = {}) {
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

    /// Reads bytes that the caller keeps unchanged while the file is open. `name` stands in messages.
    static gguf_file from_bytes(std::span<const std::byte> bytes, std::string name) {
        return from_source(std::make_unique<memory_source>(bytes, std::move(name)));
    }

    /// Reads through a callback: the head while opening; a tensor when its bytes are first asked for, into `memory`.
    static gguf_file from_reader(read_callback read, std::uint64_t size, std::string name,
                                 std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
        return from_source(std::make_unique<callback_source>(std::move(read), size, std::move(name), memory));
    }

    /// Reads any source. A file of a split model is refused: its neighbours are found by path only.
    static gguf_file from_source(std::unique_ptr<const byte_source> source) {
        std::vector<detail::gguf_part> parts;
        parts.push_back(detail::read_part(std::move(source)));
        const detail::split_info split = detail::read_split(parts[0].meta);
        if (split.split())
            fail(errc::unsupported, parts[0].source->name(), "is one of ", split.count, " files of a split model; open it by its path");
        std::string name = parts[0].source->name();
        return gguf_file(std::move(name), std::move(parts), split);
    }

    /// The keys; of a split model those of the first file.
    const metadata& meta() const noexcept { return parts_[0].meta; }

    /// All tensors in the order of the file (or files).
    std::span<const tensor_entry> tensors() const noexcept { return tensors_; }

    /// The tensor of that name, or null.
    const tensor_entry* find(std::string_view name) const noexcept {
        const auto at =
            std::lower_bound(sorted_.begin(), sorted_.end(), name, [&](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
        return at != sorted_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
    }

    /// The tensor of that name; throws errc::bad_file without one.
    const tensor_entry& require(std::string_view name) const {
        if (const tensor_entry* t = find(name)) return *t;
        fail(errc::bad_file, name_, "tensor ", detail::in_quotes(name), " is missing");
    }

    /// The data of one of this file's tensors: a view into the mapping or the caller's bytes, or read now and kept.
    std::span<const std::byte> bytes(const tensor_entry& t) const { return source_of(t).view(t.offset, t.bytes); }

    /// Copies bytes [first, first + out.size()) of a tensor's data; keeps nothing in memory.
    void read(const tensor_entry& t, std::span<std::byte> out, std::uint64_t first = 0) const {
        if (first > t.bytes || out.size() > t.bytes - first)
            fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(t.name), ": bytes ", first, " + ", out.size(),
                 " are outside its ", t.bytes, " bytes");
        source_of(t).read(t.offset + first, out);
    }

    /// The file's name as the user gave it.
    const std::string& name() const noexcept { return name_; }

    std::uint32_t version() const noexcept { return parts_[0].version; }      ///< 2 or 3
    std::uint64_t alignment() const noexcept { return parts_[0].alignment; }  ///< of tensor data, in bytes
    std::size_t shards() const noexcept { return parts_.size(); }             ///< files of a split model; else 1

    /// Bytes of all files together.
    std::uint64_t size() const noexcept {
        std::uint64_t n = 0;
        for (const detail::gguf_part& part : parts_) n += part.source->size();
        return n;
    }

private:
    gguf_file(std::string name, std::vector<detail::gguf_part> parts, const detail::split_info& split)
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

    const byte_source& source_of(const tensor_entry& t) const {
        if (t.shard >= parts_.size()) fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(t.name), " is of another file");
        return *parts_[t.shard].source;
    }

    std::string name_;
    std::vector<detail::gguf_part> parts_;
    std::vector<tensor_entry> tensors_;
    std::vector<std::size_t> sorted_;  // indices of tensors_, by name
};

}  // namespace skald::io
