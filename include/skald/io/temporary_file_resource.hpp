// SPDX-License-Identifier: MIT
#pragma once
// Memory that lies in temporary files: each allocation is a file of its own, mapped, which the system writes out and reads back as it
// needs memory. For what is large and seldom read, as the cold tier of a cache (kv/tiered.hpp). A file's room is reserved before it is
// mapped, so that a full disk is an exception at the allocation and no signal at a write; its name is removed at once, so that nothing is
// left behind whatever happens. Put a capped_resource (core/memory.hpp) before it to bound the bytes on disk; what of them is in memory is
// bounded by who uses it as a pager (core/pager.hpp). Linux only.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory_resource>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/pager.hpp>
#include <skald/io/detail/descriptor.hpp>

namespace skald::io {

#if defined(__linux__)

/// Where pages go that are released.
enum class released_pages {
    cached,   ///< out of the process: the system keeps them as long as it has memory to spare
    on_disk,  ///< out of the system's memory, too, those that were written once they are on the disk: every use reads it
};

/// Allocates whole pages, zeros at first. Safe to use from several threads. Cost of an allocation: a file's, which stays open.
class temporary_file_resource final : public std::pmr::memory_resource, public pager {
public:
    /// Files are made in `folder`, which should be on a disk: many systems keep /tmp in memory. On file systems that write copies of what
    /// changes (btrfs) no room can be reserved for these.
    explicit temporary_file_resource(std::filesystem::path folder, released_pages released = released_pages::cached)
        : folder_(std::move(folder)), released_(released) {}

    temporary_file_resource(const temporary_file_resource&) = delete;
    temporary_file_resource& operator=(const temporary_file_resource&) = delete;

    const std::filesystem::path& folder() const noexcept { return folder_; }

    /// Cost: a system call for each 128 KiB, of which it reads no more at a time.
    void will_need(std::span<const std::byte> memory) noexcept override {
        constexpr std::size_t most = std::size_t{128} << 10;
        const part of = part_of(memory);
        for (std::size_t at = of.from; at < of.to; at += most)
            (void)::madvise(of.file.address + at, std::min(most, of.to - at), MADV_WILLNEED);
    }

    void release(std::span<const std::byte> memory) noexcept override {
        const part of = part_of(memory);
        if (of.from == of.to) return;
        const std::size_t from = of.from - std::min(of.from, around), to = of.to + std::min(of.file.size - of.to, around);
        (void)::madvise(of.file.address + from, to - from, MADV_DONTNEED);
        if (released_ == released_pages::on_disk)
            (void)::posix_fadvise(of.file.number, static_cast<off_t>(of.from), static_cast<off_t>(of.to - of.from), POSIX_FADV_DONTNEED);
    }

    std::size_t slack() const noexcept override { return 2 * (around + page()); }

private:
    /// Bytes that Linux maps at most before and after what is touched, if it has them in memory: fault_around_bytes.
    static constexpr std::size_t around = std::size_t{64} << 10;

    struct mapped {
        std::byte* address;
        std::size_t size;
        int number;  // of the open file
    };
    /// Whole pages [from, to) of a file; none where memory is not of this resource.
    struct part {
        mapped file;
        std::size_t from, to;
    };

    static std::size_t page() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }
    static std::size_t size_of(std::size_t bytes) {
        return round_up(checked_size(std::max<std::size_t>(bytes, 1), "temporary file"), page()).size();
    }

    part part_of(std::span<const std::byte> memory) const noexcept {
        const std::lock_guard lock(mutex_);
        for (const mapped& file : files_) {
            const auto offset = reinterpret_cast<std::uintptr_t>(memory.data()) - reinterpret_cast<std::uintptr_t>(file.address);
            if (offset < file.size) return {file, offset / page() * page(), std::min(file.size, round_up(offset + memory.size(), page()))};
        }
        return {};
    }

    /// Throws errc::io where the file cannot be made, has no room on the disk or cannot be mapped.
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        if (alignment > page())
            fail(errc::invalid_argument, folder_.string(), "memory in a file is aligned to ", page(), " bytes, not to ", alignment);
        const std::size_t size = size_of(bytes);
        std::string name = (folder_ / "skald-XXXXXX").string();
        detail::descriptor file(::mkostemp(name.data(), O_CLOEXEC));
        if (file.number < 0) refuse("no temporary file can be made", errno);
        ::unlink(name.c_str());
        if (const int status = ::posix_fallocate(file.number, 0, static_cast<off_t>(size)); status != 0)
            refuse(concat("no room for a temporary file of ", size, " bytes"), status);
        const std::lock_guard lock(mutex_);
        files_.reserve(files_.size() + 1);
        void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0);
        if (address == MAP_FAILED) refuse("a temporary file cannot be mapped", errno);
        files_.push_back({static_cast<std::byte*>(address), size, std::exchange(file.number, -1)});
        return address;
    }
    void do_deallocate(void* p, std::size_t, std::size_t) override {
        const std::lock_guard lock(mutex_);
        const auto at = std::ranges::find(files_, static_cast<std::byte*>(p), &mapped::address);
        ::munmap(at->address, at->size);
        ::close(at->number);
        files_.erase(at);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

    [[noreturn]] void refuse(std::string_view what, int status) const {
        fail(errc::io, folder_.string(), what, ": ", std::error_code(status, std::generic_category()).message());
    }

    std::filesystem::path folder_;
    released_pages released_;
    mutable std::mutex mutex_;
    std::vector<mapped> files_;
};

#endif

}  // namespace skald::io
