// SPDX-License-Identifier: MIT
#pragma once
// GGUF, the model files of llama.cpp: versions 2 and 3, little endian, one file or split over several. Opening reads and checks
// the head only (metadata and tensor table); what the keys and tensors mean is the model loader's business.
// Format: docs/gguf.md of ggml.
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/checksum.hpp>
#include <skald/core/error.hpp>
#include <skald/core/once.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/gguf_part.hpp>
#include <skald/io/mapped_file.hpp>
#include <skald/io/metadata.hpp>
#include <skald/io/tensor_entry.hpp>

namespace skald::io {

namespace detail {
struct split_info;
}

/// An open GGUF file. Everything it hands out (metadata, entries, bytes) is valid as long as it lives, also across moves; const
/// members may be called from several threads. Memory for the head is at most a small multiple of its bytes in the file.
class gguf_file {
public:
    /// Opens a file, and for the first file of a split model its other files too. Throws errc::io if the system refuses,
    /// errc::bad_file if the bytes are malformed, errc::unsupported for a tensor type that is not implemented. A mapped file (the
    /// default) must not shrink while it is open: see mapped_file.hpp, and `options.copy`.
    static gguf_file open(const std::filesystem::path& path, const open_options& options = {});

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
    static gguf_file from_source(std::unique_ptr<const byte_source> source);

    /// The keys; of a split model those of the first file.
    const metadata& meta() const noexcept { return parts_[0].meta; }

    /// All tensors in the order of the file (or files).
    std::span<const tensor_entry> tensors() const noexcept { return tensors_; }

    /// The tensor of that name, or null.
    const tensor_entry* find(std::string_view name) const noexcept;

    /// The tensor of that name; throws errc::bad_file without one.
    const tensor_entry& require(std::string_view name) const {
        if (const tensor_entry* t = find(name)) return *t;
        fail(errc::bad_file, name_, "tensor ", detail::in_quotes(name), " is missing");
    }

    /// The data of one of this file's tensors: a view into the mapping or the caller's bytes, or read now and kept.
    std::span<const std::byte> bytes(const tensor_entry& t) const { return source_of(t).view(t.offset, t.bytes); }

    /// Says that bytes of a tensor will not be read soon: see byte_source::release().
    void release(const tensor_entry& t, std::uint64_t first, std::uint64_t count) const { source_of(t).release(t.offset + first, count); }

    /// Copies bytes [first, first + out.size()) of a tensor's data; keeps nothing in memory.
    void read(const tensor_entry& t, std::span<std::byte> out, std::uint64_t first = 0) const;

    /// The file's name as the user gave it.
    const std::string& name() const noexcept { return name_; }

    std::uint32_t version() const noexcept { return parts_[0].version; }      ///< 2 or 3
    std::uint64_t alignment() const noexcept { return parts_[0].alignment; }  ///< of tensor data, in bytes
    std::size_t shards() const noexcept { return parts_.size(); }             ///< files of a split model; else 1

    /// Stands for the sizes of all files and when they were last changed.
    std::uint64_t stamp() const noexcept {
        std::uint64_t out = 0;
        for (const auto& part : parts_) {
            const std::array<std::uint64_t, 2> both{part.source->size(), part.source->modified()};
            out = checksum(std::as_bytes(std::span(both)), out);
        }
        return out;
    }

    /// Bytes of all files together.
    std::uint64_t size() const noexcept {
        std::uint64_t n = 0;
        for (const detail::gguf_part& part : parts_) n += part.source->size();
        return n;
    }

private:
    gguf_file(std::string name, std::vector<detail::gguf_part> parts, const detail::split_info& split);

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

#if SKALD_DEFINES
#include <skald/io/gguf_impl.hpp>
#endif
