// SPDX-License-Identifier: MIT
#pragma once
// A file that appears whole or not at all: what is written goes to a temporary file beside the target, which takes the target's
// place at the end. Until then, and if anything fails, a file that was there stays as it was.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/types.h>
#include <unistd.h>
#endif

#include <skald/core/error.hpp>

namespace skald::io {

/// Writes one file. A symbolic link stays a link: the file it names is replaced. What is no regular file (a pipe, a device) is
/// written directly. All members throw errc::io, naming the path as the user gave it. The destructor removes the temporary file.
class file_writer {
public:
    explicit file_writer(const std::filesystem::path& path) : name_(path.string()), target_(path) {
        std::error_code ignored;
        if (const auto real = std::filesystem::canonical(target_, ignored); !ignored) target_ = real;
        const auto status = std::filesystem::status(target_, ignored);
        if (std::filesystem::is_directory(status)) fail(errc::io, name_, "is a folder; pass the name of a file");
        if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
            file_.reset(std::fopen(target_.string().c_str(), "wb"));
        else
            open_temporary();
        if (!file_) refuse("cannot be created");
    }
    file_writer(const file_writer&) = delete;
    file_writer& operator=(const file_writer&) = delete;
    ~file_writer() {
        file_.reset();
        std::error_code ignored;
        for (const std::filesystem::path& rest : {temporary_, previous_})
            if (!rest.empty()) std::filesystem::remove(rest, ignored);
    }

    /// The file's name as the user gave it.
    const std::string& name() const noexcept { return name_; }

    /// Where the next byte goes.
    std::uint64_t position() const noexcept { return position_; }

    void write(std::span<const std::byte> bytes) {
        if (bytes.empty()) return;
        if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) refuse("cannot be written");
        position_ += bytes.size();
    }
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    /// Goes to another place of the file; bytes that are skipped read as zero.
    void seek(std::uint64_t position) {
        if (position == position_) return;
#if defined(__unix__) || defined(__APPLE__)
        const bool moved = fseeko(file_.get(), static_cast<off_t>(position), SEEK_SET) == 0;
#else
        const bool moved = std::fseek(file_.get(), static_cast<long>(position), SEEK_SET) == 0;
#endif
        if (!moved) refuse("cannot be written");
        position_ = position;
    }

    /// Writing is over: the bytes are on the disk, still under the temporary name.
    void close() {
        if (!file_) return;
        bool good = std::fflush(file_.get()) == 0;
#if defined(__unix__) || defined(__APPLE__)
        if (good && !temporary_.empty()) good = ::fsync(::fileno(file_.get())) == 0;
#endif
        const int why = errno;
        const bool closed = std::fclose(file_.release()) == 0;
        if (good && closed) return;
        if (!good) errno = why;
        refuse("cannot be written");
    }

    /// Gives the file that stands in the place another name, under which take_back() finds it and the destructor removes it.
    void set_aside() {
        std::error_code failed;
        if (temporary_.empty() || !std::filesystem::is_regular_file(target_, failed)) return;
        std::filesystem::path name = temporary_;
        name += ".old";
        std::filesystem::rename(target_, name, failed);
        if (failed) fail(errc::io, name_, "the file that is there cannot be set aside: ", failed.message());
        previous_ = std::move(name);
    }

    /// Puts the file in its place.
    void finish() {
        close();
        if (temporary_.empty()) return;
        std::error_code failed;
        std::filesystem::rename(temporary_, target_, failed);
        if (failed) fail(errc::io, name_, "cannot be put in place: ", failed.message());
        temporary_.clear();
        placed_ = true;
    }

    /// Undoes finish() and set_aside(), as far as the system lets it.
    void take_back() noexcept {
        std::error_code ignored;
        if (!previous_.empty())
            std::filesystem::rename(previous_, target_, ignored);
        else if (placed_)
            std::filesystem::remove(target_, ignored);
        previous_.clear();
        placed_ = false;
    }

private:
    struct closer {
        void operator()(std::FILE* f) const noexcept { std::fclose(f); }
    };

    void open_temporary() {
        std::random_device random;
        for (int tries = 0; tries < 100 && !file_; ++tries) {
            temporary_ = target_;
            temporary_ += concat(".", random(), ".tmp");
            file_.reset(std::fopen(temporary_.string().c_str(), "wbx"));
            if (!file_ && errno != EEXIST) break;
        }
        if (!file_) temporary_.clear();
    }

    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::io, name_, what, ": ", std::error_code(errno, std::generic_category()).message());
    }

    std::string name_;
    std::filesystem::path target_, temporary_, previous_;  // the last two: empty where there is none, or no more
    bool placed_ = false;
    std::unique_ptr<std::FILE, closer> file_;
    std::uint64_t position_ = 0;
};

}  // namespace skald::io
