// SPDX-License-Identifier: MIT
#pragma once
// Saved sequences in files. A file appears whole or not at all, and is read through a buffer, not mapped, so that one that changes
// meanwhile is a damaged one and nothing worse.
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <skald/core/error.hpp>
#include <skald/io/file_writer.hpp>
#include <skald/kv/state.hpp>

namespace skald::kv {

namespace detail {

/// A file's bytes, one after the other. Throws errc::io.
class state_file {
public:
    explicit state_file(const std::filesystem::path& path) : name_(path.string()), file_(std::fopen(name_.c_str(), "rb")) {
        if (!file_) refuse("cannot be opened");
    }

    const std::string& name() const noexcept { return name_; }

    state_source source() {
        return [this](std::span<std::byte> out) {
            const std::size_t got = std::fread(out.data(), 1, out.size(), file_.get());
            if (got != out.size() && std::ferror(file_.get()) != 0) refuse("cannot be read");
            return got;
        };
    }

private:
    struct closer {
        void operator()(std::FILE* f) const noexcept { std::fclose(f); }
    };

    [[noreturn]] void refuse(std::string_view what) const {
        fail(errc::io, name_, what, ": ", std::error_code(errno, std::generic_category()).message());
    }

    std::string name_;
    std::unique_ptr<std::FILE, closer> file_;
};

}  // namespace detail

/// As save() to a sink. Throws errc::io too; a file that was there then stays.
template <kv_cache Cache>
void save(Cache& cache, sequence_id s, std::span<const token_id> tokens, const std::filesystem::path& path, state_options options = {},
          std::string_view note = {}) {
    io::file_writer file(path);
    options.place = file.name();
    save(cache, s, tokens, state_sink([&](std::span<const std::byte> bytes) { file.write(bytes); }), options, note);
    file.finish();
}

/// As restore() from memory: nothing may stand in the file after the saved sequence. Throws errc::io too.
template <kv_cache Cache>
saved_text restore(Cache& cache, sequence_id s, const std::filesystem::path& path, state_options options = {}) {
    detail::state_file file(path);
    options.place = file.name();
    return detail::restore(cache, s, file.source(), true, options);
}

/// As check() of memory.
inline checked_state check(const std::filesystem::path& path, state_options options = {}) {
    detail::state_file file(path);
    options.place = file.name();
    return check(file.source(), options);
}

}  // namespace skald::kv
