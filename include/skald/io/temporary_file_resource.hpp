// SPDX-License-Identifier: MIT
#pragma once
// Memory that lies in temporary files: each allocation is a file of its own, mapped, which the system writes out and reads back as it
// needs memory. For what is large and seldom read, as the cold tier of a cache (kv/tiered.hpp). A file's room is reserved before it is
// mapped, so that a full disk is an exception at the allocation and no signal at a write; its name is removed at once, so that nothing is
// left behind whatever happens. Put a capped_resource (core/memory.hpp) before it to bound the bytes on disk. Linux only.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory_resource>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#if defined(__linux__)
#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/io/detail/descriptor.hpp>

namespace skald::io {

#if defined(__linux__)

/// Allocates whole pages, zeros at first. Safe to use from several threads. Cost of an allocation: a file's.
class temporary_file_resource final : public std::pmr::memory_resource {
public:
    /// Files are made in `folder`, which should be on a disk: many systems keep /tmp in memory. On file systems that write copies of what
    /// changes (btrfs) no room can be reserved for these.
    explicit temporary_file_resource(std::filesystem::path folder) : folder_(std::move(folder)) {}

    const std::filesystem::path& folder() const noexcept { return folder_; }

private:
    static std::size_t page() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }
    static std::size_t size_of(std::size_t bytes) {
        return round_up(checked_size(std::max<std::size_t>(bytes, 1), "temporary file"), page()).size();
    }

    /// Throws errc::io where the file cannot be made, has no room on the disk or cannot be mapped.
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        if (alignment > page())
            fail(errc::invalid_argument, folder_.string(), "memory in a file is aligned to ", page(), " bytes, not to ", alignment);
        const std::size_t size = size_of(bytes);
        std::string name = (folder_ / "skald-XXXXXX").string();
        const detail::descriptor file(::mkostemp(name.data(), O_CLOEXEC));
        if (file.number < 0) refuse("no temporary file can be made", errno);
        ::unlink(name.c_str());
        if (const int status = ::posix_fallocate(file.number, 0, static_cast<off_t>(size)); status != 0)
            refuse(concat("no room for a temporary file of ", size, " bytes"), status);
        void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0);
        if (address == MAP_FAILED) refuse("a temporary file cannot be mapped", errno);
        return address;
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t) override { ::munmap(p, size_of(bytes)); }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

    [[noreturn]] void refuse(std::string_view what, int status) const {
        fail(errc::io, folder_.string(), what, ": ", std::error_code(status, std::generic_category()).message());
    }

    std::filesystem::path folder_;
};

#endif

}  // namespace skald::io
