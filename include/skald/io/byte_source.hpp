// SPDX-License-Identifier: MIT
#pragma once
// Where the bytes of a model file come from: memory, an owned copy, or a host's read callback (mapped_file.hpp adds files).
// A source hands out views that stay valid as long as it lives, so that parsers keep views instead of copies.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory_resource>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>

namespace skald::io {

/// Fills all of `out` with the bytes from `offset` on, or throws. Calls never overlap in time.
using read_callback = std::function<void(std::uint64_t offset, std::span<std::byte> out)>;

/// Read-only bytes of a known size. Const members may be called from several threads at once.
class byte_source {
public:
    explicit byte_source(std::string name) : name_(std::move(name)) {}
    byte_source(const byte_source&) = delete;
    byte_source& operator=(const byte_source&) = delete;
    virtual ~byte_source() = default;

    /// What messages call it: a file's name as the user gave it.
    const std::string& name() const noexcept { return name_; }

    virtual std::uint64_t size() const noexcept = 0;

    /// When the bytes last changed, as a file system tells it; 0 where nobody does.
    virtual std::uint64_t modified() const noexcept { return 0; }

    /// All bytes where they are in memory (or mapped); empty for a source that reads on demand.
    virtual std::span<const std::byte> resident() const noexcept { return {}; }

    /// Bytes [offset, offset + count), valid as long as the source. Throws errc::invalid_argument for a range outside it.
    std::span<const std::byte> view(std::uint64_t offset, std::uint64_t count) const {
        check(offset, count);
        return count == 0 ? std::span<const std::byte>{} : do_view(offset, checked_size(count, name_).size());
    }

    /// Copies the bytes from `offset` on into `out`; a source that reads on demand keeps nothing of them.
    void read(std::uint64_t offset, std::span<std::byte> out) const {
        check(offset, out.size());
        if (!out.empty()) do_read(offset, out);
    }

    /// Says that a range will not be read soon: what of it is in memory that is not the program's own may leave it.
    void release(std::uint64_t offset, std::uint64_t count) const {
        check(offset, count);
        if (count != 0) do_release(offset, static_cast<std::size_t>(count));
    }

protected:
    virtual std::span<const std::byte> do_view(std::uint64_t offset, std::size_t count) const = 0;
    virtual void do_read(std::uint64_t offset, std::span<std::byte> out) const = 0;
    virtual void do_release(std::uint64_t, std::size_t) const {}

private:
    void check(std::uint64_t offset, std::uint64_t count) const {
        if (offset > size() || count > size() - offset)
            fail(errc::invalid_argument, name_, count, " bytes at offset ", offset, " are outside the file of ", size(), " bytes");
    }

    std::string name_;
};

/// Bytes that somebody else owns and keeps unchanged while the source lives.
class memory_source : public byte_source {
public:
    memory_source(std::span<const std::byte> bytes, std::string name) : byte_source(std::move(name)), bytes_(bytes) {}

    std::uint64_t size() const noexcept override { return bytes_.size(); }
    std::span<const std::byte> resident() const noexcept override { return bytes_; }

protected:
    std::span<const std::byte> do_view(std::uint64_t offset, std::size_t count) const override {
        return bytes_.subspan(static_cast<std::size_t>(offset), count);
    }
    void do_read(std::uint64_t offset, std::span<std::byte> out) const override {
        std::memcpy(out.data(), bytes_.data() + offset, out.size());
    }

    /// For derived sources that obtain their memory in their constructor.
    void set_bytes(std::span<const std::byte> bytes) noexcept { bytes_ = bytes; }

private:
    std::span<const std::byte> bytes_;
};

/// Bytes in a buffer of the source's own.
class owned_source : public memory_source {
public:
    owned_source(buffer<std::byte> bytes, std::string name, std::uint64_t modified = 0)
        : memory_source(bytes.span(), std::move(name)), owned_(std::move(bytes)), modified_(modified) {}

    std::uint64_t modified() const noexcept override { return modified_; }

private:
    buffer<std::byte> owned_;
    std::uint64_t modified_;
};

/// Bytes behind a host's callback. A viewed range is read once and kept in memory of the given resource; exceptions of the
/// callback pass through and leave the source as it was.
class callback_source : public byte_source {
public:
    callback_source(read_callback read, std::uint64_t size, std::string name, std::pmr::memory_resource* memory)
        : byte_source(std::move(name)), read_(std::move(read)), size_(size), memory_(memory) {
        if (!read_) fail(errc::invalid_argument, this->name(), "the read callback is empty; pass a function that fills the span");
    }

    std::uint64_t size() const noexcept override { return size_; }

protected:
    std::span<const std::byte> do_view(std::uint64_t offset, std::size_t count) const override {
        const std::scoped_lock lock(mutex_);
        const std::pair key(offset, count);
        if (const auto known = ranges_.find(key); known != ranges_.end()) return known->second.span();
        buffer<std::byte> bytes(count, memory_);
        read_(offset, bytes.span());
        return ranges_.emplace(key, std::move(bytes)).first->second.span();
    }
    void do_read(std::uint64_t offset, std::span<std::byte> out) const override {
        const std::scoped_lock lock(mutex_);
        read_(offset, out);
    }

private:
    read_callback read_;
    std::uint64_t size_;
    std::pmr::memory_resource* memory_;
    mutable std::mutex mutex_;
    mutable std::map<std::pair<std::uint64_t, std::size_t>, buffer<std::byte>> ranges_;
};

}  // namespace skald::io
