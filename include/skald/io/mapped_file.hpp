// SPDX-License-Identifier: MIT
#pragma once
// A file as a byte_source: mapped read-only into memory, or copied. A mapping costs no memory of its own and is shared
// between processes; in return the file must stay as it is: if somebody truncates it while it is mapped, reading the lost part
// raises SIGBUS, which no library can turn into an exception. Where files may change under the program (network drives,
// downloads in place), open with `copy`.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/descriptor.hpp>

namespace skald::io {

/// How a file is opened.
struct open_options {
    bool copy = false;                                                     ///< read into memory instead of mapping
    std::pmr::memory_resource* memory = std::pmr::get_default_resource();  ///< for copies; outlives what is opened
};

namespace detail {

/// To be asked before the file is opened: a file that is replaced meanwhile then looks changed, rather than unchanged.
inline std::uint64_t modified(const std::filesystem::path& path) noexcept {
    std::error_code ignored;
    return static_cast<std::uint64_t>(std::filesystem::last_write_time(path, ignored).time_since_epoch().count());
}

}  // namespace detail

/// A file's bytes read into memory of `memory`. Throws errc::io if the file cannot be read or is no regular file.
inline std::unique_ptr<byte_source> read_file(const std::filesystem::path& path, std::pmr::memory_resource* memory) {
    std::string name = path.string();
    const std::uint64_t modified = detail::modified(path);
    std::error_code error;
    const bool regular = std::filesystem::is_regular_file(path, error);
    if (!error && !regular) fail(errc::io, name, "is no regular file; pass the path of a model file");
    const std::uint64_t size = error ? 0 : std::filesystem::file_size(path, error);
    if (error) fail(errc::io, name, "cannot be opened: ", error.message());
    std::ifstream in(path, std::ios::binary);
    if (!in) fail(errc::io, name, "cannot be opened for reading");
    buffer<std::byte> bytes(checked_size(size, name).size(), memory);
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (static_cast<std::uint64_t>(in.gcount()) != size)
        fail(errc::io, name, "only ", static_cast<std::uint64_t>(in.gcount()), " of ", size, " bytes could be read");
    return std::make_unique<owned_source>(std::move(bytes), std::move(name), modified);
}

#if defined(__unix__) || defined(__APPLE__)

/// A file mapped read-only. See the head of this file for what may not happen to the file meanwhile.
class mapped_file final : public memory_source {
public:
    /// Throws errc::io if the file cannot be opened or mapped, or is no regular file.
    explicit mapped_file(const std::filesystem::path& path) : memory_source({}, path.string()), modified_(detail::modified(path)) {
        const detail::descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (file.number < 0) refuse("cannot be opened");
        struct stat status{};
        if (::fstat(file.number, &status) != 0) refuse("cannot be examined");
        if (!S_ISREG(status.st_mode)) fail(errc::io, name(), "is no regular file; pass the path of a model file");
        if (status.st_size == 0) return;
        const std::size_t length = checked_size(static_cast<std::uint64_t>(status.st_size), name()).size();
        void* address = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file.number, 0);
        if (address == MAP_FAILED) refuse("cannot be mapped (open it with copy = true to read it instead)");
        set_bytes({static_cast<const std::byte*>(address), length});
    }

    ~mapped_file() override {
        if (!resident().empty()) ::munmap(const_cast<std::byte*>(resident().data()), resident().size());
    }

    std::uint64_t modified() const noexcept override { return modified_; }

protected:
    /// Takes the pages out of this process; they stay in the system's cache.
    void do_release(std::uint64_t offset, std::size_t count) const override {
        const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), first = static_cast<std::size_t>(offset) / page * page;
        (void)::madvise(const_cast<std::byte*>(resident().data()) + first, static_cast<std::size_t>(offset) - first + count, MADV_DONTNEED);
    }

private:
    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::io, name(), what, ": ", std::error_code(errno, std::generic_category()).message());
    }

    std::uint64_t modified_;
};

/// The file at `path`: mapped, or copied if `options.copy` says so or the system has no mappings.
inline std::unique_ptr<byte_source> open_file(const std::filesystem::path& path, const open_options& options = {}) {
    if (options.copy) return read_file(path, options.memory);
    return std::make_unique<mapped_file>(path);
}

#else

inline std::unique_ptr<byte_source> open_file(const std::filesystem::path& path, const open_options& options = {}) {
    return read_file(path, options.memory);
}

#endif

}  // namespace skald::io
