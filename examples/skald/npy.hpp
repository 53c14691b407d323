// SPDX-License-Identifier: MIT
#pragma once
// Writes float32 arrays for numpy: .npy version 1, C order. Rows go to the file as they are computed, in any order; the file
// appears under its name only when it is whole.
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace cli {

class npy_writer {
public:
    /// Throws skald::error if the file cannot be created.
    npy_writer(const std::string& path, std::span<const std::size_t> shape);
    npy_writer(const npy_writer&) = delete;
    npy_writer& operator=(const npy_writer&) = delete;
    /// Removes what was written, unless finish() was called.
    ~npy_writer();

    /// Writes values from the index-th on.
    void write(std::size_t index, std::span<const float> values);

    /// Puts the file in its place.
    void finish();

private:
    struct closer {
        void operator()(std::FILE* file) const noexcept { std::fclose(file); }
    };
    [[noreturn]] void refuse(const char* what) const;

    std::string path_;
    std::filesystem::path target_, temporary_;  // temporary_ is empty where the target is no ordinary file
    std::unique_ptr<std::FILE, closer> file_;
    std::size_t data_start_ = 0;
    std::size_t next_ = 0;  // the index at which the file's position stands
};

}  // namespace cli
